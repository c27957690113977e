/** Which event led to which, and which handler emitted it. */

import { shortName } from "./json";
import type { Store } from "./store";
import type { EventNode, Flow, Problem, Span } from "./types";

/**
 * The handler that emitted an event, among those that handled its parent.
 *
 * A record names the parent event only. Of several handlers it is the one whose agent the
 * event names as its source; else the one that ran when the event was accepted and ended
 * first after that, since what a handler returns is accepted as it ends.
 */
export function emitterOf(store: Store, event: EventNode): Span | null {
  const spans = store.eventById.get(event.parentId)?.spans ?? [];
  if (spans.length <= 1) return spans[0] ?? null;
  const source = shortName(event.source);
  const running = spans.filter((s) => s.start <= event.time && (s.end ?? Infinity) >= event.time);
  const among = running.length ? running : spans;
  const named = among.filter((s) => s.agent === event.source || s.agent === source);
  const [first] = (named.length ? named : among).toSorted((a, b) => (a.end ?? Infinity) - (b.end ?? Infinity));
  return first ?? null;
}

/** The events that led to this one, its parent first. */
export function ancestors(store: Store, event: EventNode): EventNode[] {
  const found = new Set<EventNode>();
  let next = store.eventById.get(event.parentId);
  while (next && next !== event && !found.has(next)) {
    found.add(next);
    next = store.eventById.get(next.parentId);
  }
  return [...found];
}

/** All that came of an event, level by level. */
export function descendants(event: EventNode): EventNode[] {
  const found = new Set<EventNode>();
  let level = event.children;
  while (level.length) {
    const fresh = level.filter((child) => child !== event && !found.has(child));
    for (const child of fresh) found.add(child);
    level = fresh.flatMap((child) => child.children);
  }
  return [...found];
}

export interface Kin {
  readonly ancestors: ReadonlySet<EventNode>;
  readonly descendants: ReadonlySet<EventNode>;
}

export const NO_KIN: Kin = { ancestors: new Set(), descendants: new Set() };

export function kinOf(store: Store, event: EventNode | null): Kin {
  if (!event) return NO_KIN;
  return { ancestors: new Set(ancestors(store, event)), descendants: new Set(descendants(event)) };
}

/**
 * The error to look at first: the earliest that ended something, else the earliest.
 *
 * A failure that was retried, or handed to an agent for failures, is no reason to worry
 * while there is one that ended its flow. A model's or tool's error is the cause of the
 * handler's, so it comes first, but only where the handler failed too.
 */
export function firstProblem(problems: readonly Problem[]): Problem | null {
  const fatal = problems.find((problem) => problem.span?.consequence === "fail flow");
  return fatal ?? problems[0] ?? null;
}

/** What an event still waits for: the agents that have neither begun nor been dropped. */
export function waitingAgents(event: EventNode): string[] {
  if (event.flow.outcome !== "running" || !event.agents.length) return [];
  const seen = new Set(event.spans.map((span) => span.agent));
  return event.agents.filter((agent) => !seen.has(agent));
}

/** The worst thing that happened to an event. */
export function eventStatus(event: EventNode): "failed" | "cancelled" | "running" | "waiting" | "finished" | "unrouted" {
  const [only] = event.spans;
  if (event.spans.length === 1 && only && only.status !== "finished") return only.status;
  if (event.spans.length > 1) {
    // Of several attempts of an agent, the last one counts.
    const states = new Set(new Map(event.spans.map((span) => [span.agent, span.status])).values());
    for (const status of ["failed", "running", "cancelled"] as const) if (states.has(status)) return status;
  }
  if (waitingAgents(event).length) return "waiting";
  if (event.notes.some((note) => note.what.startsWith("dropped"))) return "cancelled";
  if (event.flow.outcome === "failed" && event.notes.some((note) => note.what.startsWith("dead letter"))) return "cancelled";
  return event.agents.length || event.spans.length || event.stored ? "finished" : "unrouted";
}

/** The first few plain values of a payload. */
export function preview(event: EventNode, most = 3): string {
  const values = Object.values(event.fields ?? {}).filter((value) => typeof value !== "object");
  return values.slice(0, most).map((value) => String(value).slice(0, 60)).join(", ");
}

export function rootOf(flow: Flow): EventNode | null {
  return flow.events[0] ?? null;
}
