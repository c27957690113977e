/** What a flow, or all of them, did in numbers. */

import { addUsage, noUsage, type Store } from "./store";
import type { Flow, Span, Usage } from "./types";

export interface AgentSum {
  readonly name: string;
  runs: number;
  total: number;
  longest: number;
  slowest: Span;
  errors: number;
}

export interface ModelSum {
  readonly name: string;
  calls: number;
  readonly usage: Usage;
  cost: number | null;
}

export interface Sum {
  readonly duration: number;
  readonly events: number;
  readonly handlers: number;
  readonly calls: number;
  readonly usage: Usage;
  readonly cost: number | null;
  readonly agents: AgentSum[];
  readonly models: ModelSum[];
}

export function summaryOf(store: Store, flow: Flow | null, now: number): Sum {
  const flows = flow ? [flow] : store.flows;
  const usage = noUsage();
  let cost: number | null = null;
  let events = 0;
  let calls = 0;
  const models = new Map<string, ModelSum>();
  for (const one of flows) {
    addUsage(usage, one.usage);
    events += one.events.length;
    calls += one.calls.length;
    if (one.cost !== null) cost = (cost ?? 0) + one.cost;
    for (const call of one.calls) {
      const name = call.model || "(unnamed)";
      const sum = models.get(name) ?? { name, calls: 0, usage: noUsage(), cost: null };
      models.set(name, sum);
      sum.calls += 1;
      if (call.usage) addUsage(sum.usage, call.usage);
      if (call.cost !== null) sum.cost = (sum.cost ?? 0) + call.cost;
    }
  }
  const spans = flow ? flow.spans : store.spans;
  const agents = agentSums(spans, now);
  const start = flow ? flow.start : store.start;
  const end = flow ? (flow.outcome === "running" ? Math.max(now, flow.end) : flow.end) : store.end;
  return { duration: Number.isFinite(end - start) ? end - start : 0, events, handlers: spans.length, calls, usage, cost, agents, models: [...models.values()] };
}

function agentSums(spans: readonly Span[], now: number): AgentSum[] {
  const sums = new Map<string, AgentSum>();
  for (const span of spans) {
    const took = (span.end ?? now) - span.start;
    let sum = sums.get(span.agent);
    if (!sum) {
      sum = { name: span.agent, runs: 0, total: 0, longest: -1, slowest: span, errors: 0 };
      sums.set(span.agent, sum);
    }
    sum.runs += 1;
    sum.total += took;
    if (span.status === "failed") sum.errors += 1;
    if (took > sum.longest) {
      sum.longest = took;
      sum.slowest = span;
    }
  }
  return [...sums.values()].sort((a, b) => b.total - a.total);
}
