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

/** Characters of a question by which its answer is found. */
const KEY = 80;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const KEYWORDS = new Set(
  "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield".split(" "),
);

export function testOf(store: Store, event: EventNode): string {
  const root = event.fields ? event : (store.eventById.get(event.parentId) ?? event);
  const below = descendants(root);
  const all = [root, ...below];
  const calls = all.flatMap((one) => one.spans.flatMap((span) => span.calls));
  const failures = all.flatMap((one) => one.spans.filter((span) => span.consequence === "fail flow"));
  const code = new Code();
  const built = code.object(root.fullType, root.fields ?? {}, `source=${code.text(sourceName(root))}`);
  // Who asks a model anywhere has a router that is made with one.
  const asks = store.flows.some((flow) => flow.calls.length > 0);
  const answers = asks ? answersOf(calls, code) : "";
  const types = all.map((one) => pythonName(one.type, "AnEvent")).sort();
  return assemble({ root, built, answers, types, code, failed: failures.map((span) => pythonName(shortName(text(field(span.error ?? {}, "type"))), "Exception")) });
}

interface Pieces {
  root: EventNode;
  built: string;
  answers: string;
  types: string[];
  failed: string[];
  code: Code;
}

function assemble({ root, built, answers, types, failed, code }: Pieces): string {
  const fails = failed.length > 0;
  const scripted = answers !== "";
  code.use("agentflow", "AsyncDispatcher");
  if (fails) code.use("agentflow", "FlowFailed");
  else code.use("agentflow.tracing", "Tracer");
  if (scripted) {
    code.use("agentflow.llm", "LLMBroker");
    code.use("agentflow.testing", "ScriptedGateway");
  }
  code.use("your_program", "make_router");
  const name = pythonName(root.type, "event").replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toLowerCase();
  const broker = scripted ? `        llm = LLMBroker("scripted", gateway=ScriptedGateway(answer))\n` : "";
  const session = `AsyncDispatcher(make_router(${scripted ? "llm" : ""})${fails ? "" : ", tracer=tracer"})`;
  const main = [
    broker.trimEnd(),
    `        async with ${session} as dispatcher:`,
    "            async with dispatcher.open_flow(event) as flow:",
    "                pass",
    "        return flow.correlation_id",
  ].filter(Boolean);
  const check = fails
    ? [
        "    with pytest.raises(FlowFailed) as caught:",
        "        trio.run(main)",
        "    names = [type(error).__name__ for error in caught.value.exceptions]",
        `    assert names[0] in ${code.value(failed)}`,
      ]
    : [
        "    tree = tracer.tree(trio.run(main))",
        "    names = sorted(type(node.event).__name__ for _, node in tree.walk())",
        `    assert names == ${wrapped(types.map((type) => code.text(type)), 4)}`,
      ];
  return [
    `"""Made from a trace: ${pythonName(root.type, "an event")} flows again, without a model."""`,
    "",
    ...(fails ? ["import pytest"] : []),
    "import trio",
    "",
    "# make_router is yours: it builds the router that your program runs with.",
    ...code.imports(),
    ...(answers ? ["", answers] : []),
    "",
    "",
    `def test_${name}_as_in_the_trace() -> None:`,
    `    """${fails ? "It fails as it did." : "The same events come of it."}"""`,
    `    event = ${indent(built, 4)}`,
    ...(fails ? [] : ["    tracer = Tracer()"]),
    "",
    "    async def main() -> str:",
    ...main,
    "",
    ...check,
    "",
  ].join("\n");
}

function answersOf(calls: readonly Call[], code: Code): string {
  const byKey = new Map<string, string[]>();
  let unrecorded = 0;
  let unanswered = false;
  for (const call of calls) {
    const last = call.messages.at(-1);
    const isOpen = call.status === "cancelled" || call.status === "running";
    if (last === undefined || (call.status === "finished" && call.message === null)) {
      unrecorded += 1;
      continue;
    }
    unanswered ||= isOpen;
    const key = `(${call.messages.length}, ${code.text(firstCharacters(saidIn(last)))})`;
    const answers = byKey.get(key) ?? [];
    byKey.set(key, answers);
    answers.push(isOpen ? "None" : call.error ? code.failure(call.error) : code.message(call.message));
  }
  const entries = [...byKey].map(([key, answers]) => `    ${key}: ${wrapped(answers, 4)},`);
  const missing = unrecorded ? [`# ${unrecorded} answers were not recorded (records_content=True records them).`] : [];
  return [
    ...missing,
    "# By the number of messages in a question and how its last one begins, the answers.",
    ...(entries.length ? ["ANSWERS = {", ...entries, "}"] : ["ANSWERS = {}"]),
    "",
    "",
    "async def answer(request):",
    `    last = request.messages[-1].text[:${KEY}]`,
    "    said = ANSWERS[len(request.messages), last].pop(0)",
    ...(unanswered ? ["    if said is None:  # nobody waited for the answer, in the trace", "        await trio.sleep_forever()"] : []),
    "    return said",
  ].join("\n");
}

function saidIn(message: Json): string {
  return list(field(message, "content")).map((part) => (kindOf(part) === "TextPart" ? text(field(part, "text")) : "")).join("");
}

const kindOf = (part: Json): string => shortName(text(field(part, "$type")));

/** As Python counts them: by code points. */
const firstCharacters = (said: string): string => [...said.slice(0, KEY * 2)].slice(0, KEY).join("");

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
