import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Kin } from "../model/causes";
import { causalGraph, type CausalGraph, type GraphEdge, type GraphNode } from "../model/graph";
import { count } from "../model/format";
import { brief } from "../model/json";
import type { Store } from "../model/store";
import type { EventNode } from "../model/types";
import { eventStatus } from "../model/causes";
import { NOTHING, type Actions, type View } from "./state";

interface Props {
  store: Store;
  version: number;
  view: View;
  actions: Actions;
  kin: Kin;
  matches: ReadonlySet<EventNode> | null;
}

interface Camera {
  x: number;
  y: number;
  scale: number;
}

/** A graph that grows live is laid out anew no more often than this, in milliseconds. */
const PAUSE = 400;

export function GraphView({ store, version, view, actions, kin, matches }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const settled = useSettled(version, PAUSE);
  const graph = useMemo(() => causalGraph(store, view.flow), [store, view.flow, settled]);
  const [camera, setCamera] = useState<Camera | null>(null);
  const [size, setSize] = useState({ width: 800, height: 500 });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const watch = new ResizeObserver(() => setSize({ width: element.clientWidth, height: element.clientHeight }));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  useEffect(() => setCamera(null), [view.flow, store]);
  const shown = camera ?? fit(graph, size);
  const mouse = useCamera(box, shown, setCamera);
  const lit = litNodes(graph, view.selection.event, view.selection.group, kin);

  return (
    <div class="graph" ref={box} data-testid="graph" {...mouse}>
      <svg width="100%" height="100%" role="img" aria-label={`Causal graph of ${count(graph.nodes.length)} nodes`}>
        <defs>
          <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5 8 4 0 7.5z" class="edge-tip" /></marker>
          <marker id="tip-lit" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5 8 4 0 7.5z" class="edge-tip lit" /></marker>
        </defs>
        <g transform={`translate(${shown.x} ${shown.y}) scale(${shown.scale})`}>
          {graph.edges.map((edge) => <Edge key={`${edge.from}>${edge.to}`} edge={edge} lit={lit !== null && lit.has(edge.from) && lit.has(edge.to)} dim={lit !== null && !(lit.has(edge.from) && lit.has(edge.to))} />)}
          {graph.nodes.map((node) => (
            <Node
              key={node.key}
              node={node}
              isSelected={view.selection.group ? view.selection.group.key === node.key : view.selection.event !== null && graph.nodeOf.get(view.selection.event) === node}
              isDim={lit !== null ? !lit.has(node.key) : matches !== null && !node.events.some((event) => matches.has(event))}
              choose={() => choose(node, actions)}
            />
          ))}
        </g>
      </svg>
      {!graph.nodes.length && <p class="empty floating">No event yet.</p>}
      {graph.folded && (
        <p class="graph-note">
          {count(graph.nodes.reduce((sum, node) => sum + node.events.length, 0))} events, folded into {count(graph.nodes.length)} by type and cause{graph.cut ? `; ${count(graph.cut)} rarer ones are left out` : ""}
        </p>
      )}
      <div class="zoom" role="toolbar" aria-label="Zoom">
        <button type="button" aria-label="Zoom in" data-key="+" onClick={() => setCamera(scaled(shown, size.width / 2, size.height / 2, 1.4))}>+</button>
        <button type="button" aria-label="Zoom out" data-key="-" onClick={() => setCamera(scaled(shown, size.width / 2, size.height / 2, 1 / 1.4))}>−</button>
        <button type="button" aria-label="Show everything" data-key="0" onClick={() => setCamera(null)}>fit</button>
      </div>
    </div>
  );
}

function choose(node: GraphNode, actions: Actions): void {
  const [event] = node.events;
  if (node.events.length === 1 && event) actions.selectEvent(event);
  else actions.look({ selection: { ...NOTHING, group: node } });
}

function litNodes(graph: CausalGraph, event: EventNode | null, groupNode: GraphNode | null, kin: Kin): Set<string> | null {
  if (groupNode) return relatives(graph, groupNode.key);
  if (!event) return null;
  const events = [event, ...kin.ancestors, ...kin.descendants];
  return new Set(events.flatMap((relative) => graph.nodeOf.get(relative)?.key ?? []));
}

/** A node, all that leads to it, and all that it leads to. */
function relatives(graph: CausalGraph, key: string): Set<string> {
  const found = new Set([key]);
  for (const [here, there] of [["from", "to"], ["to", "from"]] as const) {
    const todo = [key];
    const seen = new Set(todo);
    while (todo.length) {
      const at = todo.pop();
      for (const edge of graph.edges) {
        if (edge[here] !== at || seen.has(edge[there])) continue;
        seen.add(edge[there]);
        found.add(edge[there]);
        todo.push(edge[there]);
      }
    }
  }
  return found;
}

function Node({ node, isSelected, isDim, choose: pick }: { node: GraphNode; isSelected: boolean; isDim: boolean; choose: () => void }) {
  const [only] = node.events;
  const many = node.events.length > 1;
  const status = node.failed ? "failed" : node.running ? "running" : only && !many ? eventStatus(only) : "finished";
  const room = Math.floor((node.width - 28) / 6.4);
  const typeRoom = Math.floor((node.width - 28) / 8.2) - (many ? String(node.events.length).length + 2 : 0);
  const agents = node.agents.join(", ");
  return (
    <g
      class={`node ${status} ${isSelected ? "selected" : ""} ${isDim ? "dim" : ""} ${many ? "many" : ""}`}
      transform={`translate(${node.x - node.width / 2} ${node.y - node.height / 2})`}
      role="button"
      tabIndex={0}
      aria-label={`${node.type}, ${node.events.length} events, ${status}`}
      data-node={node.type}
      onClick={pick}
      onKeyDown={(event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } }}
    >
      {many && <rect class="behind" x="4" y="-4" width={node.width} height={node.height} rx="7" />}
      <rect class="box" width={node.width} height={node.height} rx="7" />
      <rect class="mark" width="4" height={node.height - 14} x="7" y="7" rx="2" />
      <text x="19" y="20" class="node-type">{brief(node.type, typeRoom)}</text>
      <text x="19" y="37" class="node-agents">{agents ? brief(`→ ${agents}`, room) : node.type === "TerminateEvent" ? "ends the flow" : node.events[0]?.stored ? "" : "taken by nobody"}</text>
      {many && <text x={node.width - 10} y="20" text-anchor="end" class="node-count">×{count(node.events.length)}</text>}
      {node.failed > 0 && many && <text x={node.width - 10} y="37" text-anchor="end" class="node-failed">{count(node.failed)} failed</text>}
    </g>
  );
}

function Edge({ edge, lit, dim }: { edge: GraphEdge; lit: boolean; dim: boolean }) {
  const [first, ...rest] = edge.points;
  if (!first) return null;
  const middle = edge.points[Math.floor(edge.points.length / 2)] ?? first;
  return (
    <g class={`edge ${lit ? "lit" : ""} ${dim ? "dim" : ""}`}>
      <path d={smooth(first, rest)} marker-end={lit ? "url(#tip-lit)" : "url(#tip)"} style={{ strokeWidth: String(Math.min(1 + Math.log10(edge.count), 4)) }} />
      {edge.label && <text x={middle.x} y={middle.y - 5} text-anchor="middle">{brief(edge.label, 18)}</text>}
    </g>
  );
}

/** A curve through the points, without corners. */
function smooth(first: { x: number; y: number }, rest: readonly { x: number; y: number }[]): string {
  let path = `M${first.x} ${first.y}`;
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    path += next ? ` Q${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}` : ` L${point.x} ${point.y}`;
  });
  return path;
}

function fit(graph: CausalGraph, size: { width: number; height: number }): Camera {
  const scale = Math.min(size.width / Math.max(graph.width, 1), size.height / Math.max(graph.height, 1), 1.25);
  return { scale, x: (size.width - graph.width * scale) / 2, y: (size.height - graph.height * scale) / 2 };
}

function scaled(camera: Camera, x: number, y: number, factor: number): Camera {
  const scale = Math.min(Math.max(camera.scale * factor, 0.02), 4);
  const by = scale / camera.scale;
  return { scale, x: x - (x - camera.x) * by, y: y - (y - camera.y) * by };
}

function useCamera(box: { current: HTMLDivElement | null }, camera: Camera, move: (camera: Camera) => void) {
  const last = useRef<{ x: number; y: number } | null>(null);
  useEffect(() => {
    const element = box.current;
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const place = element?.getBoundingClientRect();
      move(scaled(camera, event.clientX - (place?.left ?? 0), event.clientY - (place?.top ?? 0), Math.exp(-event.deltaY * 0.002)));
    };
    element?.addEventListener("wheel", onWheel, { passive: false });
    return () => element?.removeEventListener("wheel", onWheel);
  });
  return {
    onPointerDown: (event: PointerEvent) => { if (event.button === 0) last.current = { x: event.clientX, y: event.clientY }; },
    onPointerMove: (event: PointerEvent) => {
      if (!last.current || !(event.buttons & 1)) return;
      move({ ...camera, x: camera.x + event.clientX - last.current.x, y: camera.y + event.clientY - last.current.y });
      last.current = { x: event.clientX, y: event.clientY };
    },
    onPointerUp: () => { last.current = null; },
  };
}

/** A value that follows another, but rests for a while after each change. */
function useSettled(value: number, pause: number): number {
  const [settled, setSettled] = useState(value);
  const changed = useRef(0);
  useEffect(() => {
    if (value === settled) return undefined;
    const wait = Math.max(0, changed.current + pause - performance.now());
    const timer = setTimeout(() => {
      changed.current = performance.now();
      setSettled(value);
    }, wait);
    return () => clearTimeout(timer);
  }, [value === settled]);
  return settled;
}
