/** What the person looks at, and what they can do about it. */

import type { GraphNode } from "../model/graph";
import type { Call, EventNode, Flow, Span } from "../model/types";

export type Tab = "lanes" | "graph";
export type Sort = "newest" | "oldest" | "longest" | "tokens" | "errors";
export type StatusFilter = "all" | "running" | "failed" | "cancelled" | "done";

export interface Selection {
  readonly event: EventNode | null;
  readonly span: Span | null;
  readonly call: Call | null;
  /** A folded node of the graph: many events at once. */
  readonly group: GraphNode | null;
}

export const NOTHING: Selection = { event: null, span: null, call: null, group: null };

export interface View {
  readonly tab: Tab;
  readonly sort: Sort;
  readonly status: StatusFilter;
  readonly query: string;
  /** Null for all flows at once. */
  readonly flow: Flow | null;
  readonly selection: Selection;
  readonly help: boolean;
}

export const FIRST_VIEW: View = {
  tab: "lanes", sort: "newest", status: "all", query: "", flow: null, selection: NOTHING, help: false,
};

export interface Actions {
  look(change: Partial<View>): void;
  selectEvent(event: EventNode, span?: Span | null, call?: Call | null): void;
  selectFlow(flow: Flow | null): void;
}

export function passes(flow: Flow, status: StatusFilter): boolean {
  if (status === "all") return true;
  if (status === "failed") return flow.outcome === "failed" || flow.problems.length > 0;
  if (status === "done") return flow.outcome === "finished" || flow.outcome === "terminated";
  return flow.outcome === status;
}

const KEYS: Record<Sort, (flow: Flow) => number> = {
  newest: (flow) => -flow.start,
  oldest: (flow) => flow.start,
  longest: (flow) => flow.start - flow.end,
  tokens: (flow) => -(flow.usage.input + flow.usage.output),
  errors: (flow) => -flow.problems.length,
};

export function sorted(flows: readonly Flow[], sort: Sort): Flow[] {
  const key = KEYS[sort];
  const tie = sort === "newest" ? -1 : 1;
  return [...flows].sort((a, b) => key(a) - key(b) || tie * (a.index - b.index));
}
