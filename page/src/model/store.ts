/**
 * Records in, flows out. Records come one by one, live or from a file; whatever is already
 * known is updated in place, so that adding a record costs the same at any size.
 *
 * Nothing here trusts a record: it may be of a newer version, cut off, or made by somebody
 * who means harm. Keys that come from outside go into Maps, never into objects.
 */

import { field, isObject, list, modelName, number, shortName, text, type Json, type JsonObject } from "./json";
import type { Call, EventNode, Flow, Price, Problem, Span, SpanStatus, Tool, Usage } from "./types";

export const noUsage = (): Usage => ({ input: 0, output: 0, cached: 0, cacheWrite: 0, reasoning: 0 });

type Handler = (store: Store, record: JsonObject, time: number) => void;

export class Store {
  readonly flows: Flow[] = [];
  readonly spans: Span[] = [];
  readonly problems: Problem[] = [];
  /** The agents, in the order in which they were first heard of. */
  readonly agents: string[] = [];
  records = 0;
  unreadable = 0;
  /** Records that were made, but not written: they came too fast for the disk. */
  lost = 0;
  /** Grows with every change; views compare it. */
  version = 0;
  header: JsonObject | null = null;
  start = Infinity;
  end = -Infinity;
  /** The Unix time at which the trace was opened; a journal may hold nothing but old records. */
  wall = -Infinity;
  prices = new Map<string, Price>();

  readonly flowById = new Map<string, Flow>();
  readonly eventById = new Map<string, EventNode>();
  private readonly openSpans = new Map<string, Span>();
  private readonly callById = new Map<string, Call>();
  private readonly knownAgents = new Set<string>();
  private readonly orphans = new Map<string, EventNode[]>();
  private offset = 0;
  private opened: number | null = null;

  add(record: JsonObject): void {
    this.version += 1;
    const kind = text(field(record, "record"));
    if (kind === "Header") {
      this.open(record);
      return;
    }
    if (kind === "Gap") {
      this.lost += number(field(record, "lost"));
      return;
    }
    this.records += 1;
    const time = this.clock(number(field(record, "time")));
    this.start = Math.min(this.start, time);
    this.end = Math.max(this.end, time);
    const handler = HANDLERS.get(kind);
    if (handler) handler(this, record, time);
    else this.other(record, time, kind);
  }

  addUnreadable(): void {
    this.version += 1;
    this.unreadable += 1;
  }

  /** A session begins: from here on its loop's clock is the one that counts. */
  private open(record: JsonObject): void {
    this.header ??= record;
    const loop = number(field(record, "time"));
    this.wall = number(field(record, "wall"), loop);
    this.offset = this.wall - loop;
    this.opened = loop;
  }

  /** Loop time to unix time. What happened before a session opened carries the time 0. */
  private clock(time: number): number {
    return (time === 0 && this.opened !== null ? this.opened : time) + this.offset;
  }

  flowOf(record: JsonObject, time: number): Flow {
    const id = text(field(record, "correlation_id"), "(no correlation id)");
    let flow = this.flowById.get(id);
    if (!flow) {
      flow = {
        id, index: this.flows.length, outcome: "running", reason: "", start: time, end: time, records: 0,
        events: [], spans: [], calls: [], problems: [], usage: noUsage(), cost: null,
      };
      this.flowById.set(id, flow);
      this.flows.push(flow);
    }
    flow.records += 1;
    flow.end = Math.max(flow.end, time);
    return flow;
  }

  /** The event a record is about; one that was never seen whole is known by name alone. */
  eventOf(record: JsonObject, flow: Flow, time: number): EventNode {
    const reference = field(record, "event");
    const id = text(field(reference, "id"), "(no id)");
    return this.eventById.get(id) ?? this.newEvent(reference, flow, time, [], isStored(record));
  }

  newEvent(raw: Json | undefined, flow: Flow, time: number, agents: readonly string[], stored: boolean): EventNode {
    const fullType = text(field(raw, "type"), "(unknown event)");
    const fields = field(raw, "fields");
    const event: EventNode = {
      id: text(field(raw, "id"), "(no id)"), flow, time, type: shortName(fullType), fullType,
      source: text(field(raw, "source")), parentId: text(field(raw, "parent_id")), agents,
      fields: isObject(fields) ? fields : null, stored, spans: [], children: [], notes: [],
    };
    const before = this.eventById.get(event.id);
    if (before) this.replace(before, event);
    else flow.events.push(event);
    this.eventById.set(event.id, event);
    this.attach(event);
    for (const agent of agents) this.meet(agent);
    return event;
  }

  /** A whole event takes the place of the one that was known by name alone. */
  private replace(before: EventNode, event: EventNode): void {
    event.children.push(...before.children);
    event.notes.push(...before.notes);
    const at = before.flow.events.indexOf(before);
    if (before.flow === event.flow && at >= 0) before.flow.events[at] = event;
    else event.flow.events.push(event);
  }

  private attach(event: EventNode): void {
    for (const child of this.orphans.get(event.id) ?? []) event.children.push(child);
    this.orphans.delete(event.id);
    if (!event.parentId || event.parentId === event.id) return;
    const parent = this.eventById.get(event.parentId);
    if (parent) {
      parent.children.push(event);
      return;
    }
    const waiting = this.orphans.get(event.parentId);
    if (waiting) waiting.push(event);
    else this.orphans.set(event.parentId, [event]);
  }

  private meet(agent: string): void {
    if (this.knownAgents.has(agent)) return;
    this.knownAgents.add(agent);
    this.agents.push(agent);
  }

  startSpan(record: JsonObject, time: number): Span {
    const flow = this.flowOf(record, time);
    const event = this.eventOf(record, flow, time);
    const agent = text(field(record, "agent"), "(no agent)");
    this.meet(agent);
    const span: Span = {
      index: this.spans.length, event, agent, attempt: number(field(record, "attempt"), 1), start: time,
      end: null, status: "running", reason: "", error: null, consequence: "", retryIn: null,
      stored: isStored(record), calls: [],
    };
    this.spans.push(span);
    flow.spans.push(span);
    event.spans.push(span);
    this.openSpans.set(spanKey(event.id, agent), span);
    return span;
  }

  /** The handler a record is about; one whose start was never seen starts `duration` ago. */
  spanOf(record: JsonObject, time: number): Span {
    const key = spanKey(text(field(field(record, "event"), "id"), "(no id)"), text(field(record, "agent"), "(no agent)"));
    const span = this.openSpans.get(key);
    if (!span) return this.startSpan(record, time - number(field(record, "duration")));
    this.flowOf(record, time);
    return span;
  }

  endSpan(record: JsonObject, time: number, status: SpanStatus): Span {
    const span = this.spanOf(record, time);
    span.end = time;
    span.status = status;
    span.reason = text(field(record, "reason"));
    this.openSpans.delete(spanKey(span.event.id, span.agent));
    return span;
  }

  call(record: JsonObject, time: number): Call {
    const id = text(field(record, "call"), "(no call id)");
    const known = this.callById.get(id);
    if (known) {
      this.flowOf(record, time);
      return known;
    }
    const span = this.spanOf(record, time);
    const call: Call = {
      id, span, start: time - number(field(record, "duration")), end: null, status: "running",
      provider: text(field(record, "provider")), model: text(field(record, "model")),
      messages: [], message: null, stop: "", attempts: 1, usage: null, cost: null, error: null, tools: [],
    };
    this.callById.set(id, call);
    span.calls.push(call);
    span.event.flow.calls.push(call);
    return call;
  }

  endCall(record: JsonObject, time: number, status: SpanStatus): Call {
    const call = this.call(record, time);
    call.end = time;
    call.status = status;
    call.attempts = number(field(record, "attempts"), 1);
    call.model = text(field(record, "model"), call.model);
    return call;
  }

  tool(record: JsonObject, time: number): Tool {
    const call = this.call(record, time);
    const id = text(field(record, "tool_call"));
    const known = call.tools.find((tool) => tool.id === id && tool.end === null);
    if (known) return known;
    const tool: Tool = {
      id, name: text(field(record, "tool")), start: time - number(field(record, "duration")), end: null,
      status: "running", request: null, result: null, error: null,
    };
    call.tools.push(tool);
    return tool;
  }

  endTool(record: JsonObject, time: number, status: SpanStatus): Tool {
    const tool = this.tool(record, time);
    tool.end = time;
    tool.status = status;
    return tool;
  }

  problem(span: Span, time: number, where: string, error: JsonObject, call: Call | null = null): void {
    const flow = span.event.flow;
    const problem: Problem = { time, flow, event: span.event, where, error, span, call };
    flow.problems.push(problem);
    this.problems.push(problem);
  }

  /** A kind of record that this page does not know: kept beside its event, if it names one. */
  private other(record: JsonObject, time: number, kind: string): void {
    const flow = this.flowOf(record, time);
    if (isObject(field(record, "event"))) this.note(record, flow, time, kind || "(a record without a kind)");
  }

  note(record: JsonObject, flow: Flow, time: number, what: string): void {
    this.eventOf(record, flow, time).notes.push({ time, what, record });
  }

  cost(call: Call): number | null {
    const price = this.prices.get(call.model);
    if (!price || !call.usage) return null;
    const { input, cached, output } = call.usage;
    return ((input - cached) * price.input + cached * price.cached + output * price.output) / 1e6;
  }
}

const isStored = (record: JsonObject): boolean => field(record, "stored") === true;

const spanKey = (event: string, agent: string): string => `${event}\n${agent}`;

function usageOf(raw: Json | undefined): Usage {
  return {
    input: number(field(raw, "input_tokens")),
    output: number(field(raw, "output_tokens")),
    cached: number(field(raw, "cached_tokens")),
    cacheWrite: number(field(raw, "cache_write_tokens")),
    reasoning: number(field(raw, "reasoning_tokens")),
  };
}

export function addUsage(sum: Usage, more: Usage): void {
  sum.input += more.input;
  sum.output += more.output;
  sum.cached += more.cached;
  sum.cacheWrite += more.cacheWrite;
  sum.reasoning += more.reasoning;
}

function errorOf(record: JsonObject): JsonObject {
  const error = field(record, "error");
  return isObject(error) ? error : { type: "(unknown error)", message: text(error) };
}

const OUTCOMES = new Set(["finished", "failed", "cancelled", "terminated"]);

function flowEnded(store: Store, record: JsonObject, time: number): void {
  const flow = store.flowOf(record, time);
  const outcome = text(field(record, "outcome"));
  flow.outcome = OUTCOMES.has(outcome) ? (outcome as Flow["outcome"]) : "finished";
  flow.reason = text(field(record, "reason"));
  flow.end = time;
}

function accepted(store: Store, record: JsonObject, time: number): void {
  const agents = list(field(record, "agents")).filter((name) => typeof name === "string");
  store.newEvent(field(record, "event"), store.flowOf(record, time), time, agents, isStored(record));
}

function handlerFailed(store: Store, record: JsonObject, time: number): void {
  const span = store.endSpan(record, time, "failed");
  span.error = errorOf(record);
  span.consequence = text(field(record, "consequence"));
  const retry = field(record, "retry_in");
  span.retryIn = typeof retry === "number" ? retry : null;
  store.problem(span, time, span.agent, span.error);
}

function callFinished(store: Store, record: JsonObject, time: number): void {
  const call = store.endCall(record, time, "finished");
  call.message = field(record, "message") ?? null;
  call.stop = text(field(record, "stop"));
  call.usage = usageOf(field(record, "usage"));
  const flow = call.span.event.flow;
  addUsage(flow.usage, call.usage);
  const told = field(record, "cost");
  call.cost = typeof told === "number" ? told : store.cost(call);
  if (call.cost !== null) flow.cost = (flow.cost ?? 0) + call.cost;
}

function callFailed(store: Store, record: JsonObject, time: number): void {
  const call = store.endCall(record, time, "failed");
  call.error = errorOf(record);
  store.problem(call.span, time, modelName(call.model) || "model", call.error, call);
}

function toolFailed(store: Store, record: JsonObject, time: number): void {
  const tool = store.endTool(record, time, "failed");
  tool.error = errorOf(record);
  const call = store.call(record, time);
  store.problem(call.span, time, `tool ${tool.name}`, tool.error, call);
}

const noteAs = (what: string): Handler => (store, record, time) => {
  const flow = store.flowOf(record, time);
  const agent = text(field(record, "agent"));
  const reason = text(field(record, "reason"));
  store.note(record, flow, time, [what.replace("{agent}", agent), reason].filter(Boolean).join(": "));
};

const HANDLERS = new Map<string, Handler>([
  ["FlowStarted", (store, record, time) => {
    const flow = store.flowOf(record, time);
    flow.outcome = "running";
    flow.start = Math.min(flow.start, time);
  }],
  ["FlowEnded", flowEnded],
  ["EventAccepted", accepted],
  ["HandlerStarted", (store, record, time) => void store.startSpan(record, time)],
  ["HandlerFinished", (store, record, time) => void store.endSpan(record, time, "finished")],
  ["HandlerFailed", handlerFailed],
  ["HandlerCancelled", (store, record, time) => void store.endSpan(record, time, "cancelled")],
  ["DeliveryDropped", noteAs("dropped before {agent} got it")],
  ["DeliveryOpen", noteAs("open for {agent}")],
  ["DeliveryDead", noteAs("dead letter for {agent}")],
  ["OutputDropped", noteAs("output of {agent} dropped")],
  ["ThreadAbandoned", noteAs("the thread of {agent} runs on")],
  ["LLMCallStarted", (store, record, time) => void (store.call(record, time).messages = list(field(record, "messages")))],
  ["LLMCallFinished", callFinished],
  ["LLMCallFailed", callFailed],
  ["LLMCallCancelled", (store, record, time) => void store.endCall(record, time, "cancelled")],
  ["ToolCallStarted", (store, record, time) => void (store.tool(record, time).request = field(record, "request") ?? null)],
  ["ToolCallFinished", (store, record, time) => void (store.endTool(record, time, "finished").result = field(record, "result") ?? null)],
  ["ToolCallFailed", toolFailed],
  ["ToolCallCancelled", (store, record, time) => void store.endTool(record, time, "cancelled")],
]);
