/** Drawing the lanes on a canvas, and finding what is under the pointer. */

import { emitterOf, type Kin } from "../model/causes";
import { clockTime, duration, tickStep } from "../model/format";
import { brief } from "../model/json";
import { visibleRange, type Lane } from "../model/lanes";
import type { Store } from "../model/store";
import type { EventNode, Span } from "../model/types";

export const GUTTER = 168;
export const AXIS = 26;
const LEAST_ROW = 13;
const MOST_ROW = 30;
const PADDING = 7;
/** More arrows than this say nothing; then only those of the selection are drawn. */
const MOST_ARROWS = 400;

export interface Port {
  readonly from: number;
  readonly to: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly row: number;
}

export interface Scene {
  readonly store: Store;
  readonly lanes: readonly Lane[];
  readonly port: Port;
  readonly zero: number;
  readonly now: number;
  readonly selected: EventNode | null;
  readonly span: Span | null;
  readonly kin: Kin;
  readonly matches: ReadonlySet<EventNode> | null;
  readonly arrows: boolean;
}

export interface Colors {
  readonly ink: string;
  readonly muted: string;
  readonly line: string;
  readonly panel: string;
  readonly stripe: string;
  readonly accent: string;
  readonly bad: string;
  readonly warn: string;
  readonly match: string;
  readonly dark: boolean;
}

export function colorsOf(element: Element): Colors {
  const style = getComputedStyle(element);
  const of = (name: string): string => style.getPropertyValue(name).trim();
  return {
    ink: of("--ink"), muted: of("--muted"), line: of("--line"), panel: of("--panel"), stripe: of("--stripe"),
    accent: of("--accent"), bad: of("--bad"), warn: of("--warn"), match: of("--match"), dark: of("--is-dark") === "1",
  };
}

const HUES = [222, 160, 38, 282, 192, 338, 96, 12, 250, 60];

export function agentColor(index: number, dark: boolean): string {
  const hue = HUES[index % HUES.length] ?? 0;
  return dark ? `hsl(${hue} 52% 58%)` : `hsl(${hue} 58% 52%)`;
}

/** Rows as high as the room allows, within reason. */
export function rowHeight(lanes: readonly Lane[], height: number): number {
  const rows = lanes.reduce((sum, lane) => sum + lane.height, 0);
  const room = (height - AXIS - lanes.length * 2 * PADDING) / Math.max(rows, 1);
  return Math.floor(Math.min(Math.max(room, LEAST_ROW), MOST_ROW));
}

export const laneHeight = (lane: Lane, row: number): number => lane.height * row + 2 * PADDING;

export function totalHeight(lanes: readonly Lane[], row: number): number {
  return lanes.reduce((sum, lane) => sum + laneHeight(lane, row), 0);
}

export const xOf = (port: Port, time: number): number => GUTTER + ((time - port.from) / (port.to - port.from)) * (port.width - GUTTER);
export const timeAt = (port: Port, x: number): number => port.from + ((x - GUTTER) / (port.width - GUTTER)) * (port.to - port.from);

interface Place {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

type Places = Map<Span, Place>;

export function draw(context: CanvasRenderingContext2D, scene: Scene, colors: Colors): Places {
  const { port, lanes } = scene;
  const places: Places = new Map();
  context.clearRect(0, 0, port.width, port.height);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  drawGrid(context, scene, colors);
  context.save();
  context.beginPath();
  context.rect(0, AXIS, port.width, port.height - AXIS);
  context.clip();
  let y = AXIS - port.top;
  lanes.forEach((lane, index) => {
    const height = laneHeight(lane, port.row);
    if (y + height > AXIS && y < port.height) drawLane(context, scene, colors, lane, index, y, places);
    y += height;
  });
  drawArrows(context, scene, colors, places);
  context.restore();
  return places;
}

function drawGrid(context: CanvasRenderingContext2D, { port, zero }: Scene, colors: Colors): void {
  const step = tickStep(port.to - port.from, (port.width - GUTTER) / 110);
  context.fillStyle = colors.muted;
  context.strokeStyle = colors.line;
  context.textAlign = "left";
  context.beginPath();
  for (let time = zero + Math.ceil((port.from - zero) / step) * step; time < port.to; time += step) {
    const x = Math.round(xOf(port, time)) + 0.5;
    context.moveTo(x, AXIS - 6);
    context.lineTo(x, port.height);
    context.fillText(duration(Math.abs(time - zero) < step / 1e3 ? 0 : time - zero).replace(/\.0+(?= )/, ""), x + 5, AXIS / 2);
  }
  context.moveTo(0, AXIS - 0.5);
  context.lineTo(port.width, AXIS - 0.5);
  context.stroke();
  context.fillText(clockTime(zero), 14, AXIS / 2);
}

function drawLane(context: CanvasRenderingContext2D, scene: Scene, colors: Colors, lane: Lane, index: number, top: number, places: Places): void {
  const { port } = scene;
  const height = laneHeight(lane, port.row);
  if (index % 2) {
    context.fillStyle = colors.stripe;
    context.fillRect(0, top, port.width, height);
  }
  context.save();
  context.beginPath();
  context.rect(GUTTER, top, port.width - GUTTER, height);
  context.clip();
  drawSpans(context, scene, colors, lane, top, places);
  context.restore();
  const color = agentColor(scene.store.agents.indexOf(lane.agent), colors.dark);
  context.fillStyle = color;
  const middle = Math.max(Math.min(top + height / 2, port.height - 14), Math.min(AXIS + 14, top + height - 14));
  context.fillRect(14, middle - 5, 4, 10);
  context.fillStyle = colors.ink;
  context.textAlign = "left";
  context.fillText(fitting(context, brief(lane.agent, 60), GUTTER - 40), 26, middle);
}

function drawSpans(context: CanvasRenderingContext2D, scene: Scene, colors: Colors, lane: Lane, top: number, places: Places): void {
  const { port, now } = scene;
  const { row } = port;
  const [first, last] = visibleRange(lane, port.from, port.to);
  const base = agentColor(scene.store.agents.indexOf(lane.agent), colors.dark);
  const slivers = new Slivers(context, base, lane.height);
  const special: [Span, Place][] = [];
  for (let i = first; i < last; i += 1) {
    const span = lane.spans[i];
    if (!span) continue;
    const end = span.end ?? now;
    if (end < port.from) continue;
    const line = lane.rows[i] ?? 0;
    const x = xOf(port, span.start);
    const place = { x, y: top + PADDING + line * row + 1, width: Math.max(xOf(port, end) - x, 1.5), height: row - 2 };
    if (place.width < 4 && isPlain(scene, span)) {
      if (slivers.add(line, place, alphaOf(scene, span.event))) places.set(span, place);
    } else {
      places.set(span, place);
      if (place.width < 4) special.push([span, { ...place, width: Math.max(place.width, 3) }]);
      else drawSpan(context, scene, colors, span, place, base);
    }
  }
  slivers.flushAll();
  for (const [span, place] of special) drawSpan(context, scene, colors, span, place, base);
}

/** Whether nothing about a handler calls for a drawing of its own. */
function isPlain({ span: chosen, selected, kin, matches }: Scene, span: Span): boolean {
  if (span === chosen || span.event === selected || span.status === "failed" || span.status === "running") return false;
  return !kin.ancestors.has(span.event) && !kin.descendants.has(span.event) && !matches?.has(span.event);
}

/** Handlers too short to be told apart: neighbours become one bar, so a row has few. */
class Slivers {
  private readonly runs: ({ from: number; to: number; y: number; height: number; alpha: number } | null)[];

  constructor(private readonly context: CanvasRenderingContext2D, private readonly color: string, rows: number) {
    this.runs = new Array<null>(rows).fill(null);
  }

  /** Take one; false if it adds no pixel to what is there. */
  add(line: number, { x, y, width, height }: Place, alpha: number): boolean {
    const from = Math.floor(x);
    const to = Math.max(Math.round(x + width), from + 1);
    const run = this.runs[line];
    if (run?.alpha === alpha && from <= run.to) {
      if (to <= run.to) return false;
      run.to = to;
      return true;
    }
    this.flush(line);
    this.runs[line] = { from, to, y, height, alpha };
    return true;
  }

  flush(line: number): void {
    const run = this.runs[line];
    if (!run) return;
    this.context.globalAlpha = run.alpha;
    this.context.fillStyle = this.color;
    this.context.fillRect(run.from, run.y, run.to - run.from, run.height);
    this.context.globalAlpha = 1;
    this.runs[line] = null;
  }

  flushAll(): void {
    for (let line = 0; line < this.runs.length; line += 1) this.flush(line);
  }
}

function alphaOf(scene: Scene, event: EventNode): number {
  if (scene.selected) {
    const related = event === scene.selected || scene.kin.ancestors.has(event) || scene.kin.descendants.has(event);
    return related ? 1 : 0.22;
  }
  return scene.matches && !scene.matches.has(event) ? 0.22 : 1;
}

function drawSpan(context: CanvasRenderingContext2D, scene: Scene, colors: Colors, span: Span, place: Place, base: string): void {
  const { x, y, width, height } = place;
  context.globalAlpha = alphaOf(scene, span.event) * (span.status === "cancelled" ? 0.55 : 1);
  context.fillStyle = span.status === "failed" ? colors.bad : base;
  bar(context, x, y, width, height);
  context.fill();
  if (span.status === "running") fadeOut(context, colors, place);
  if (width > 6) {
    for (const call of span.calls) {
      context.fillStyle = call.status === "failed" ? colors.bad : colors.dark ? "#0009" : "#fff9";
      const from = xOf(scene.port, call.start);
      context.fillRect(from, y + height - 4, Math.max(xOf(scene.port, call.end ?? scene.now) - from, 1), 3);
    }
  }
  const shownFrom = Math.max(x, GUTTER);
  const room = Math.min(x + width, scene.port.width) - shownFrom;
  if (room > 34 && height > 12) {
    context.fillStyle = colors.dark ? "#10131a" : "#fff";
    context.font = "11px system-ui, sans-serif";
    context.fillText(fitting(context, brief(span.event.type, 40), room - 10), shownFrom + 5, y + height / 2 - (span.calls.length ? 1.5 : 0));
  }
  context.globalAlpha = 1;
  outline(context, scene, colors, span, place);
}

function outline(context: CanvasRenderingContext2D, scene: Scene, colors: Colors, span: Span, { x, y, width, height }: Place): void {
  const isSelected = span.event === scene.selected;
  const isMatch = scene.matches?.has(span.event) ?? false;
  if (!isSelected && !isMatch) return;
  context.strokeStyle = isSelected ? colors.ink : colors.match;
  context.lineWidth = span === scene.span ? 2.5 : 1.5;
  bar(context, x - 1, y - 1, width + 2, height + 2);
  context.stroke();
  context.lineWidth = 1;
}

function bar(context: CanvasRenderingContext2D, x: number, y: number, width: number, height: number): void {
  context.beginPath();
  if (width < 4) context.rect(x, y, width, height);
  else context.roundRect(x, y, width, height, 3);
}

function fadeOut(context: CanvasRenderingContext2D, colors: Colors, { x, y, width, height }: Place): void {
  const reach = Math.min(width, 36);
  const fade = context.createLinearGradient(x + width - reach, 0, x + width, 0);
  fade.addColorStop(0, "transparent");
  fade.addColorStop(1, colors.panel);
  context.fillStyle = fade;
  context.fillRect(x + width - reach, y, reach + 1, height);
}

function drawArrows(context: CanvasRenderingContext2D, scene: Scene, colors: Colors, places: Places): void {
  const { kin, selected, store } = scene;
  const lit = new Set<EventNode>([...kin.ancestors, ...kin.descendants]);
  if (selected) lit.add(selected);
  let faint = scene.arrows && places.size <= MOST_ARROWS;
  let drawn = 0;
  for (const [span, place] of places) {
    const isLit = lit.has(span.event);
    if (!isLit && !faint) continue;
    const emitter = emitterOf(store, span.event);
    const from = emitter && places.get(emitter);
    if (!emitter || !from || span.attempt > 1) continue;
    const both = isLit && lit.has(emitter.event);
    if (!both && !faint) continue;
    const x = Math.min(Math.max(xOf(scene.port, span.event.time), from.x), from.x + from.width);
    arrow(context, [x, from.y + from.height / 2], [place.x, place.y + place.height / 2], both ? colors.accent : colors.muted, both ? 1.6 : selected ? 0.25 : 0.7);
    drawn += 1;
    if (drawn > MOST_ARROWS) faint = false;
    if (drawn > 4 * MOST_ARROWS) return;
  }
}

function arrow(context: CanvasRenderingContext2D, [x1, y1]: [number, number], [x2, y2]: [number, number], color: string, width: number): void {
  const bend = Math.max(Math.min(Math.abs(x2 - x1) / 2, 60), 12);
  context.strokeStyle = context.fillStyle = color;
  context.lineWidth = Math.max(width, 0.5);
  context.globalAlpha = width < 0.5 ? 0.3 : width < 1 ? 0.75 : 1;
  context.beginPath();
  context.moveTo(x1, y1);
  context.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2 - 4, y2);
  context.stroke();
  context.beginPath();
  context.moveTo(x2, y2);
  context.lineTo(x2 - 5.5, y2 - 3.2);
  context.lineTo(x2 - 5.5, y2 + 3.2);
  context.fill();
  context.globalAlpha = 1;
  context.lineWidth = 1;
}

const widths = new Map<string, string>();

/** Cut a text so that it fits; measured once. */
function fitting(context: CanvasRenderingContext2D, text: string, room: number): string {
  const key = `${context.font}\n${Math.round(room / 4)}\n${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  let cut = text;
  if (context.measureText(text).width > room) {
    let low = 0;
    let high = text.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (context.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
      else high = middle - 1;
    }
    cut = low > 1 ? `${text.slice(0, low)}…` : "";
  }
  if (widths.size > 5000) widths.clear();
  widths.set(key, cut);
  return cut;
}

/** The span at a point, or the nearest one within a few pixels. */
export function spanAt(places: Places, x: number, y: number): Span | null {
  let best: Span | null = null;
  let least = 5;
  for (const [span, place] of places) {
    if (y < place.y - 1 || y > place.y + place.height + 1) continue;
    const away = Math.max(place.x - x, x - place.x - place.width, 0);
    if (away < least) {
      least = away;
      best = span;
    }
  }
  return best;
}
