import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Kin } from "../model/causes";
import { duration } from "../model/format";
import { brief } from "../model/json";
import { layOut, type Lane } from "../model/lanes";
import type { Store } from "../model/store";
import type { EventNode, Flow, Span } from "../model/types";
import { AXIS, colorsOf, draw, GUTTER, laneHeight, rowHeight, spanAt, timeAt, totalHeight, type Port } from "./draw";
import type { Actions, View } from "./state";

interface Props {
  store: Store;
  version: number;
  view: View;
  actions: Actions;
  kin: Kin;
  matches: ReadonlySet<EventNode> | null;
  now: number;
  theme: string;
}

/** Null while everything is shown: then new records widen the view. */
type Zoom = { from: number; to: number } | null;

export function Lanes(props: Props) {
  const { store, version, view, kin, now } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const places = useRef<Map<Span, { x: number; y: number; width: number; height: number }>>(new Map());
  const [size, setSize] = useState({ width: 800, height: 500 });
  const [zoom, setZoom] = useState<Zoom>(null);
  const [top, setTop] = useState(0);
  const [hover, setHover] = useState<{ span: Span; x: number; y: number } | null>(null);

  const lanes = useMemo(() => layOut(view.flow?.spans ?? store.spans, store.agents, now), [store, view.flow, version]);
  const whole = useMemo(() => wholeRange(store, view.flow, now), [store, view.flow, version, now]);
  const { from, to } = zoom ?? whole;
  const row = rowHeight(lanes, size.height);
  const lowest = Math.max(0, totalHeight(lanes, row) + AXIS - size.height);
  const port: Port = { from, to, top: Math.min(top, lowest), row, ...size };

  useEffect(() => {
    setZoom(null);
    setTop(0);
    setHover(null);
  }, [view.flow, store]);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const watch = new ResizeObserver(() => setSize({ width: element.clientWidth, height: element.clientHeight }));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  // A selection made elsewhere is brought into sight.
  useEffect(() => {
    const span = view.selection.span;
    if (!span) return;
    reveal(span, port, lanes, now, whole, setZoom, setTop);
  }, [view.selection.span]);

  useLayoutEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context) return;
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
    if (element.width !== width || element.height !== height) Object.assign(element, { width, height });
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    performance.clearMeasures("lanes");
    const began = performance.now();
    const { selection } = view;
    places.current = draw(context, {
      store, lanes, port, now, zero: view.flow?.start ?? (Number.isFinite(store.start) ? store.start : 0), selected: selection.event,
      span: selection.span, kin, matches: props.matches, arrows: view.flow !== null || store.spans.length <= 400,
    }, colorsOf(element));
    performance.measure("lanes", { start: began, end: performance.now() });
  }, [store, lanes, from, to, port.top, row, size, now, view.flow, view.selection, kin, props.matches, props.theme]);

  const zoomAt = (x: number, factor: number) => setZoom((old) => zoomed(old ?? whole, timeAt(port, Math.max(x, GUTTER)), factor, whole));
  const onWheel = (event: WheelEvent) => {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) zoomAt(event.offsetX, Math.exp(event.deltaY * 0.004));
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX || event.deltaY);
    else setTop((old) => clamp(Math.min(old, lowest) + event.deltaY, 0, lowest));
  };
  const pan = (pixels: number) => setZoom((old) => shifted(old ?? whole, (pixels / (size.width - GUTTER)) * (to - from), whole));
  useEffect(() => {
    const element = canvas.current;
    element?.addEventListener("wheel", onWheel, { passive: false });
    return () => element?.removeEventListener("wheel", onWheel);
  });
  const drag = useDrag(pan, (pixels) => setTop((old) => clamp(Math.min(old, lowest) - pixels, 0, lowest)));

  return (
    <div class="lanes" ref={box}>
      <canvas
        ref={canvas}
        class="lanes-canvas"
        role="application"
        aria-roledescription="swim lanes"
        aria-label={`Swim lanes of ${lanes.length} agents; arrow keys move through the handlers`}
        data-testid="lanes"
        data-lanes={lanes.length}
        onPointerDown={drag.start}
        onPointerMove={(event) => {
          if (drag.move(event)) {
            setHover(null);
            return;
          }
          const span = spanAt(places.current, event.offsetX, event.offsetY);
          setHover(span && { span, x: event.offsetX, y: event.offsetY });
        }}
        onPointerLeave={() => setHover(null)}
        onPointerUp={(event) => {
          if (drag.end()) return;
          const span = spanAt(places.current, event.offsetX, event.offsetY);
          if (span) props.actions.selectEvent(span.event, span);
          else props.actions.look({ selection: { event: null, span: null, call: null, group: null } });
        }}
        onDblClick={(event) => zoomAt(event.offsetX, 0.4)}
      />
      {!lanes.length && <p class="empty floating">Nothing has been handled yet.</p>}
      {hover && <Tip {...hover} width={size.width} now={now} />}
      <div class="zoom" role="toolbar" aria-label="Zoom">
        <button type="button" title="Zoom in (+)" aria-label="Zoom in" data-key="+" onClick={() => zoomAt((size.width + GUTTER) / 2, 0.5)}>+</button>
        <button type="button" title="Zoom out (-)" aria-label="Zoom out" data-key="-" onClick={() => zoomAt((size.width + GUTTER) / 2, 2)}>−</button>
        <button type="button" title="Show everything (0)" aria-label="Show everything" data-key="0" onClick={() => { setZoom(null); setTop(0); }}>fit</button>
      </div>
    </div>
  );
}

function Tip({ span, x, y, width, now }: { span: Span; x: number; y: number; width: number; now: number }) {
  const style = x > width * 0.6 ? { right: `${width - x + 12}px` } : { left: `${x + 12}px` };
  return (
    <div class="tip" style={{ ...style, top: `${y + 14}px` }}>
      <strong>{brief(span.event.type)}</strong> in {brief(span.agent, 40)}
      <div class="muted">{span.stored ? "" : `${duration((span.end ?? now) - span.start)} · `}{span.status}{span.attempt > 1 ? ` · attempt ${span.attempt}` : ""}{span.calls.length ? ` · ${span.calls.length} LLM` : ""}</div>
    </div>
  );
}

function wholeRange(store: Store, flow: Flow | null, now: number): { from: number; to: number } {
  const start = flow?.start ?? (Number.isFinite(store.start) ? store.start : 0);
  let end = flow ? flow.end : Number.isFinite(store.end) ? store.end : 1;
  if (flow?.outcome === "running" || (!flow && Number.isFinite(store.end))) end = Math.max(end, now);
  const length = Math.max(end - start, 1e-6);
  return { from: start - length * 0.015, to: start + length * 1.03 };
}

const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

function zoomed(range: { from: number; to: number }, center: number, factor: number, whole: { from: number; to: number }): Zoom {
  const from = center - (center - range.from) * factor;
  const to = center + (range.to - center) * factor;
  if (to - from >= (whole.to - whole.from) * 1.001) return null;
  return to - from < 1e-7 ? range : shifted({ from, to }, 0, whole);
}

function shifted({ from, to }: { from: number; to: number }, by: number, whole: { from: number; to: number }): Zoom {
  const length = to - from;
  const start = clamp(from + by, whole.from, Math.max(whole.from, whole.to - length));
  return { from: start, to: start + length };
}

/** Bring a span into sight; when it is too short to be seen, zoom in on it. */
function reveal(span: Span, port: Port, lanes: readonly Lane[], now: number, whole: { from: number; to: number }, setZoom: (zoom: Zoom) => void, setTop: (top: number) => void): void {
  const length = port.to - port.from;
  const end = span.end ?? now;
  if (end < port.from || span.start > port.to) {
    const middle = (span.start + end) / 2;
    setZoom(shifted({ from: middle - length / 2, to: middle + length / 2 }, 0, whole));
  }
  let y = 0;
  for (const lane of lanes) {
    const height = laneHeight(lane, port.row);
    if (lane.agent === span.agent) {
      const room = port.height - AXIS;
      if (y < port.top || y + Math.min(height, room) > port.top + room) setTop(Math.max(0, y - Math.max(0, room - height) / 2));
      return;
    }
    y += height;
  }
}

/** Dragging moves the view; a press that hardly moves is a click. */
function useDrag(panX: (pixels: number) => void, panY: (pixels: number) => void) {
  const state = useRef<{ x: number; y: number; moved: boolean } | null>(null);
  return {
    start: (event: PointerEvent) => {
      if (event.button !== 0) return;
      state.current = { x: event.clientX, y: event.clientY, moved: false };
      (event.currentTarget as Element).setPointerCapture(event.pointerId);
    },
    move: (event: PointerEvent): boolean => {
      const last = state.current;
      if (!last) return false;
      const [dx, dy] = [event.clientX - last.x, event.clientY - last.y];
      if (!last.moved && Math.hypot(dx, dy) < 4) return false;
      state.current = { x: event.clientX, y: event.clientY, moved: true };
      panX(-dx);
      panY(dy);
      return true;
    },
    end: (): boolean => {
      const moved = state.current?.moved ?? false;
      state.current = null;
      return moved;
    },
  };
}
