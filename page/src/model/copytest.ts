/**
 * A pytest that lets an event flow again as it did in the trace, with the model's answers
 * from the trace instead of the model.
 *
 * What it writes will be run by somebody, and what it is made of was written by others: a
 * name goes into the code only if it is a Python identifier, and a text only as a literal.
 */

import { descendants } from "./causes";
import { field, isObject, list, shortName, text, type Json, type JsonObject } from "./json";
import type { Store } from "./store";
import type { Call, EventNode } from "./types";

/** Of the last text in a conversation, so many characters are what a reply waits for. */
const KEY = 80;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const KEYWORDS = new Set(
  "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield".split(" "),
);

export function testOf(store: Store, event: EventNode): string {
  const root = event.fields ? event : (store.eventById.get(event.parentId) ?? event);
  const all = [root, ...descendants(root)];
  const calls = all.flatMap((one) => one.spans.flatMap((span) => span.calls));
  const errors = all.flatMap((one) => one.spans.filter((span) => span.consequence === "fail flow").map((span) => span.error ?? {}));
  const code = new Code();
  const pieces: Pieces = {
    code,
    event: code.object(root.fullType, root.fields ?? {}, `source=${code.text(sourceName(root))}`),
    name: pythonName(root.type, "AnEvent"),
    // Who asks a model anywhere has a router that is made with one.
    asks: store.flows.some((flow) => flow.calls.length > 0),
    answers: answersOf(calls, code),
    types: all.map((one) => pythonName(one.type, "AnEvent")).sort(),
    errors: [...new Set(errors.map((error) => pythonName(shortName(text(field(error, "type"))), "Exception")))],
  };
  return pieces.errors.length ? failingTest(pieces) : passingTest(pieces);
}

interface Pieces {
  readonly code: Code;
  readonly event: string;
  readonly name: string;
  readonly asks: boolean;
  readonly answers: Answers;
  readonly types: readonly string[];
  readonly errors: readonly string[];
}

interface Answers {
  /** In the order in which they were asked for. */
  readonly lines: readonly { when: string; said: string | null }[];
  readonly unrecorded: number;
}

/** A flow that went well asks the same again, and nothing else: the fixture sees to it. */
function passingTest({ code, event, name, asks, answers, types }: Pieces): string {
  code.use("agentflow", "AsyncDispatcher");
  code.use("agentflow.tracing", "Tracer");
  code.use("your_program", "make_router");
  const replies = answers.lines.map(({ when, said }) =>
    said === null
      ? `    scripted_llm.reply(when=${when}, delay=float("inf"))  # nobody waited for it`
      : `    scripted_llm.reply(${indent(said, 4)}, when=${when})`,
  );
  return [
    ...head(name, code, []),
    `def test_${snake(name)}_as_in_the_trace(${asks ? "scripted_llm" : ""}):`,
    '    """The same events come of it."""',
    `    event = ${indent(event, 4)}`,
    ...missing(answers),
    ...replies,
    "    tracer = Tracer()",
    "",
    "    async def main():",
    `        router = make_router(${asks ? "scripted_llm.broker()" : ""})`,
    "        async with AsyncDispatcher(router, tracer=tracer) as dispatcher:",
    "            async with dispatcher.open_flow(event) as flow:",
    "                pass",
    "        return flow.correlation_id",
    "",
    "    tree = tracer.tree(trio.run(main))",
    "    names = sorted(type(node.event).__name__ for _, node in tree.walk())",
    `    assert names == ${wrapped(types.map((type) => code.text(type)), 4)}`,
    "",
  ].join("\n");
}

/** A flow that failed was cut off: which questions came before that is chance. */
function failingTest({ code, event, name, asks, answers, errors }: Pieces): string {
  code.use("agentflow", "AsyncDispatcher");
  code.use("agentflow", "FlowFailed");
  code.use("your_program", "make_router");
  if (asks) code.use("agentflow.testing", "ScriptedGateway");
  const known = answers.lines.filter(({ said }) => said !== null).map(({ when, said }) => `        (${when}, ${indent(said ?? "", 8)}),`);
  const script = [
    ...missing(answers),
    ...(known.length ? ["    answers = [", ...known, "    ]"] : ["    answers = []"]),
    "",
    "    async def answer(request):",
    "        asked = [message.text for message in request.messages]",
    "        for when, said in answers:",
    "            if any(when in text for text in asked):",
    "                answers.remove((when, said))",
    "                return said",
    "        await trio.sleep_forever()  # in the trace, the failure came first",
    "",
  ];
  return [
    ...head(name, code, ["import pytest"]),
    `def test_${snake(name)}_fails_as_in_the_trace():`,
    `    """It fails by ${errors.join(" or ")}."""`,
    `    event = ${indent(event, 4)}`,
    ...(asks ? script : [""]),
    "    async def main():",
    ...(asks ? ["        scripted_llm = ScriptedGateway(answer)"] : []),
    `        router = make_router(${asks ? "scripted_llm.broker()" : ""})`,
    "        async with AsyncDispatcher(router) as dispatcher:",
    "            async with dispatcher.open_flow(event):",
    "                pass",
    "",
    "    with pytest.raises(FlowFailed) as caught:",
    "        trio.run(main)",
    "    names = {type(error).__name__ for error in caught.value.exceptions}",
    `    assert names & {${errors.map((error) => code.text(error)).join(", ")}}`,
    "",
  ].join("\n");
}

function head(name: string, code: Code, imports: readonly string[]): string[] {
  return [
    `"""Made from a trace: ${name} flows again, without a model."""`,
    "",
    ...imports,
    "import trio",
    "",
    "# make_router is yours: it builds the router that your program runs with.",
    ...code.imports(),
    "",
    "",
  ];
}

function missing({ unrecorded }: Answers): string[] {
  return unrecorded ? [`    # ${unrecorded} answers were not recorded (records_content=True records them).`] : [];
}

const snake = (name: string): string => name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toLowerCase();

function answersOf(calls: readonly Call[], code: Code): Answers {
  const lines: { when: string; said: string | null }[] = [];
  let unrecorded = 0;
  for (const call of [...calls].sort((a, b) => a.start - b.start)) {
    const asked = call.messages.map(saidIn).findLast((said) => said !== "");
    if (asked === undefined || (call.status === "finished" && call.message === null)) {
      unrecorded += 1;
      continue;
    }
    const isOpen = call.status === "cancelled" || call.status === "running";
    const said = isOpen ? null : call.error ? code.failure(call.error) : code.message(call.message);
    lines.push({ when: code.text(firstCharacters(asked)), said });
  }
  return { lines, unrecorded };
}

function saidIn(message: Json): string {
  return list(field(message, "content")).map((part) => (kindOf(part) === "TextPart" ? text(field(part, "text")) : "")).join("");
}

const kindOf = (part: Json): string => shortName(text(field(part, "$type")));

/** No half of a character at the end. */
const firstCharacters = (said: string): string => [...said.slice(0, KEY)].join("").replace(/[\ud800-\udbff]$/, "");

function sourceName(event: EventNode): string {
  return shortName(event.source) || "main";
}

export function pythonName(name: string, otherwise: string): string {
  return NAME.test(name) && !KEYWORDS.has(name) ? name : otherwise;
}

function wrapped(items: readonly string[], by: number): string {
  const line = `[${items.join(", ")}]`;
  if (line.length < 70 && !line.includes("\n")) return line;
  const pad = " ".repeat(by);
  return `[\n${items.map((item) => `${pad}    ${indent(item, by + 4)},`).join("\n")}\n${pad}]`;
}

function indent(code: string, by: number): string {
  return code.replaceAll("\n", `\n${" ".repeat(by)}`);
}

/** Writes Python, and keeps what it has to import. */
class Code {
  private readonly used = new Map<string, Set<string>>();

  use(module: string, name: string): void {
    const names = this.used.get(module) ?? new Set();
    this.used.set(module, names);
    names.add(name);
  }

  imports(): string[] {
    return [...this.used].sort(([a], [b]) => (a < b ? -1 : 1)).map(([module, names]) => `from ${module} import ${[...names].sort().join(", ")}`);
  }

  /** JSON's notation of a text is a Python literal too. */
  text(value: string): string {
    return JSON.stringify(value);
  }

  value(value: Json): string {
    if (value === null) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    if (typeof value === "string") return this.text(value);
    if (typeof value === "number") return String(value);
    if (Array.isArray(value)) return wrapped(value.map((item) => this.value(item)), 0);
    return this.special(value) ?? this.mapping(value);
  }

  private special(value: JsonObject): string | null {
    const type = text(field(value, "$type"));
    if (type) return this.object(type, value);
    const whole = text(field(value, "type"));
    const fields = field(value, "fields");
    if (whole && isObject(fields)) return this.object(whole, fields, `source=${this.text(shortName(text(field(value, "source"))) || "main")}`);
    const float = field(value, "$float");
    if (float !== undefined) return `float(${this.text(text(float))})`;
    const int = text(field(value, "$int"));
    if (/^-?(\d+|0x[0-9a-f]+)$/.test(int)) return int;
    const bytes = field(value, "$bytes");
    if (bytes !== undefined) return `__import__("base64").b64decode(${this.text(text(bytes))})`;
    return null;
  }

  private mapping(value: JsonObject): string {
    const items = Object.entries(value).map(([key, item]) => `${this.text(key)}: ${this.value(item)}`);
    return `{${items.join(", ")}}`;
  }

  /** An instance of a class, by its name as "module:Outer.Name". */
  object(type: string, fields: JsonObject, first = ""): string {
    const name = this.class(type);
    const given = Object.entries(fields)
      .filter(([key]) => key !== "$type" && key !== "blob" && pythonName(key, "") !== "")
      .map(([key, item]) => `${key.replace(/^_+/, "")}=${this.value(item)}`);
    const all = first ? [first, ...given] : given;
    const line = `${name}(${all.join(", ")})`;
    if (line.length < 80 && !line.includes("\n")) return line;
    return `${name}(\n${all.map((item) => `    ${indent(item, 4)},`).join("\n")}\n)`;
  }

  private class(type: string): string {
    const [module = "", path = ""] = type.split(":");
    const names = path.split(".");
    const [outer] = names;
    if (!outer || !names.every((name) => pythonName(name, ""))) return "SomeClass";
    const known = module !== "__main__" && module.split(".").every((part) => pythonName(part, ""));
    this.use(known ? publicModule(module) : "your_program", outer);
    return path;
  }

  /** A model's answer, as a script takes it: a text, or a list of parts. */
  message(message: Json): string {
    const parts = list(field(message, "content"));
    const [only] = parts;
    if (parts.length === 1 && only !== undefined && kindOf(only) === "TextPart") return this.text(text(field(only, "text")));
    return wrapped(parts.flatMap((part) => (isObject(part) ? [this.part(part)] : [])), 0);
  }

  /** An error of a model's stands for all of them: which class it was is not to be trusted. */
  failure(error: JsonObject): string {
    this.use("agentflow.llm", "LLMError");
    return `LLMError(${this.text(text(field(error, "message")))})`;
  }

  private part(part: JsonObject): string {
    if (kindOf(part) === "TextPart") return this.text(text(field(part, "text")));
    return this.object(text(field(part, "$type")), part);
  }
}

/** agentflow.llm._messages and the like are private: their names stand in agentflow.llm. */
function publicModule(module: string): string {
  return module.startsWith("agentflow.") ? module.split("._")[0] ?? module : module;
}
