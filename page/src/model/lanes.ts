/** Swim lanes: one per agent, with as many rows as handlers ever ran in it at once. */

import type { Span } from "./types";

/** More handlers at once than this share the last row, drawn over each other. */
export const MOST_ROWS = 24;

export interface Lane {
  readonly agent: string;
  /** In order of their start. */
  readonly spans: Span[];
  /** Of each span its row; parallel to `spans`. */
  readonly rows: number[];
  height: number;
  /** The longest duration so far: how far back of a time a span that covers it may start. */
  longest: number;
  /** Whether a span is open, so that `longest` says nothing about it. */
  open: number;
}

/** Lay spans out. Spans must come in order of their start, as records do. */
export function layOut(spans: readonly Span[], agents: readonly string[], now: number): Lane[] {
  const lanes = new Map<string, Lane>();
  const busy = new Map<string, number[]>();
  const order = [...spans].sort((a, b) => a.start - b.start);
  for (const span of order) {
    let lane = lanes.get(span.agent);
    if (!lane) {
      lane = { agent: span.agent, spans: [], rows: [], height: 1, longest: 0, open: 0 };
      lanes.set(span.agent, lane);
      busy.set(span.agent, []);
    }
    const row = takeRow(busy.get(span.agent) ?? [], span.start, span.end ?? Infinity);
    lane.spans.push(span);
    lane.rows.push(row);
    lane.height = Math.max(lane.height, row + 1);
    lane.longest = Math.max(lane.longest, (span.end ?? now) - span.start);
    if (span.end === null) lane.open += 1;
  }
  return agents.flatMap((agent) => lanes.get(agent) ?? []);
}

/** The first row that is free at `start`; it is taken until `end`. */
function takeRow(rows: number[], start: number, end: number): number {
  let row = rows.findIndex((until) => until <= start);
  if (row < 0) row = Math.min(rows.length, MOST_ROWS - 1);
  rows[row] = end;
  return row;
}

/** The first index whose span starts at `time` or later. */
export function firstFrom(spans: readonly Span[], time: number): number {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spans[middle]?.start ?? Infinity) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Of a lane, the indices of the spans that may be seen between two times. */
export function visibleRange(lane: Lane, from: number, to: number): [number, number] {
  return [firstFrom(lane.spans, from - lane.longest), firstFrom(lane.spans, to)];
}
