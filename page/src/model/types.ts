/** What the page knows: flows, their events, the handlers that ran, and what these asked. */

import type { Json, JsonObject } from "./json";

export type Outcome = "running" | "finished" | "failed" | "cancelled" | "terminated";
export type SpanStatus = "running" | "finished" | "failed" | "cancelled";

export interface Problem {
  readonly time: number;
  readonly flow: Flow;
  readonly event: EventNode;
  readonly where: string;
  readonly error: JsonObject;
  readonly span: Span | null;
  readonly call: Call | null;
}

export interface Usage {
  input: number;
  output: number;
  cached: number;
  cacheWrite: number;
  reasoning: number;
}

export interface Flow {
  readonly id: string;
  readonly index: number;
  outcome: Outcome;
  reason: string;
  start: number;
  /** When it ended; while it runs, when something was last heard of it. */
  end: number;
  records: number;
  readonly events: EventNode[];
  readonly spans: Span[];
  readonly calls: Call[];
  readonly problems: Problem[];
  readonly usage: Usage;
  /** In the currency of the prices; null while no price is known. */
  cost: number | null;
}

export interface EventNode {
  readonly id: string;
  readonly flow: Flow;
  readonly time: number;
  readonly type: string;
  readonly fullType: string;
  readonly source: string;
  readonly parentId: string;
  readonly agents: readonly string[];
  /** The payload; null when only the event's name is known. */
  readonly fields: JsonObject | null;
  /** Whether a journal told of it, which keeps neither times nor who finished an event. */
  readonly stored: boolean;
  readonly spans: Span[];
  readonly children: EventNode[];
  readonly notes: Note[];
}

/** Something that happened to an event and is no handler: dropped, incomplete, unknown. */
export interface Note {
  readonly time: number;
  readonly what: string;
  readonly record: JsonObject;
}

/** One attempt of one agent at one event. */
export interface Span {
  readonly index: number;
  readonly event: EventNode;
  readonly agent: string;
  readonly attempt: number;
  readonly start: number;
  /** Null while it runs. */
  end: number | null;
  status: SpanStatus;
  reason: string;
  error: JsonObject | null;
  consequence: string;
  retryIn: number | null;
  /** Whether a journal told of it: when it ran is not known. */
  readonly stored: boolean;
  readonly calls: Call[];
}

export interface Tool {
  readonly id: string;
  readonly name: string;
  readonly start: number;
  end: number | null;
  status: SpanStatus;
  request: Json;
  result: Json;
  error: JsonObject | null;
}

export interface Call {
  readonly id: string;
  readonly span: Span;
  readonly start: number;
  end: number | null;
  status: SpanStatus;
  provider: string;
  model: string;
  messages: Json[];
  message: Json;
  stop: string;
  attempts: number;
  usage: Usage | null;
  cost: number | null;
  error: JsonObject | null;
  readonly tools: Tool[];
}

/** Per million tokens. */
export interface Price {
  readonly input: number;
  readonly output: number;
  readonly cached: number;
}
