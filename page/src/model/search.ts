/** Finding flows and events by what stands in them. */

import type { Json } from "./json";
import type { Store } from "./store";
import type { EventNode, Flow } from "./types";

/** Of one text, no more than this is searched. */
const LONGEST = 4000;

interface Kept {
  records: number;
  text: string;
}

/** Every word must be found, in any order and any case. */
export class Search {
  private readonly flowTexts = new WeakMap<Flow, Kept>();
  private readonly eventTexts = new WeakMap<EventNode, Kept>();

  private warmed = 0;

  constructor(private readonly store: Store) {}

  flows(query: string): Flow[] {
    const words = wordsOf(query);
    if (!words.length) return this.store.flows;
    return this.store.flows.filter((flow) => fits(this.flowText(flow), words));
  }

  /** The events that fit by themselves, of some flows, oldest first. */
  events(query: string, flows: readonly Flow[]): EventNode[] {
    const words = wordsOf(query);
    if (!words.length) return [];
    return flows.flatMap((flow) =>
      fits(this.flowText(flow), words) ? flow.events.filter((event) => fits(this.eventText(event), words)) : [],
    );
  }

  /** Read flows that have not been searched yet, until the time is up; false if none is left. */
  warm(until: () => boolean): boolean {
    while (this.warmed < this.store.flows.length) {
      if (until()) return true;
      const flow = this.store.flows[this.warmed];
      if (flow) this.flowText(flow);
      this.warmed += 1;
    }
    return false;
  }

  private flowText(flow: Flow): string {
    const kept = this.flowTexts.get(flow);
    if (kept?.records === flow.records) return kept.text;
    const text = [flow.id, flow.outcome, flow.reason, ...flow.events.map((event) => this.eventText(event))].join("\n").toLowerCase();
    this.flowTexts.set(flow, { records: flow.records, text });
    return text;
  }

  private eventText(event: EventNode): string {
    // All that can still change about an event changes one of these counts.
    const records = event.spans.length + event.notes.length + event.spans.reduce((sum, span) => sum + (span.end === null ? 0 : 1) + span.calls.reduce((n, call) => n + 1 + (call.end === null ? 0 : 1) + call.tools.length, 0), 0);
    const kept = this.eventTexts.get(event);
    if (kept?.records === records) return kept.text;
    const parts: string[] = [event.id, event.fullType, event.source, ...event.agents];
    if (event.fields) collect(event.fields, parts);
    for (const span of event.spans) {
      parts.push(span.agent, span.status, span.reason);
      if (span.error) collect(span.error, parts);
      for (const call of span.calls) {
        parts.push(call.model, call.provider);
        collect(call.message, parts);
        for (const tool of call.tools) parts.push(tool.name);
      }
    }
    for (const note of event.notes) parts.push(note.what);
    const text = parts.join("\n").toLowerCase();
    this.eventTexts.set(event, { records, text });
    return text;
  }
}

function wordsOf(query: string): string[] {
  return query.toLowerCase().split(/\s+/).filter(Boolean);
}

function fits(text: string, words: readonly string[]): boolean {
  return words.every((word) => text.includes(word));
}

/** All texts and numbers in a value, without recursion: a payload may nest deeply. */
function collect(value: Json, into: string[]): void {
  const todo: Json[] = [value];
  while (todo.length) {
    const next = todo.pop() ?? null;
    if (typeof next === "string") into.push(next.slice(0, LONGEST));
    else if (typeof next === "number") into.push(String(next));
    else if (typeof next === "object" && next !== null) todo.push(...Object.values(next).slice(0, 1000));
  }
}
