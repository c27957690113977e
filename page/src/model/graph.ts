/**
 * The causal graph of some flows, folded where it is large, and laid out by dagre.
 *
 * Unfolded, a node is an event. Folded, a node stands for all events of one type that the
 * same agents took and that came of one node: a thousand parts of one text are one node
 * that says ×1,000. A graph that is still too large is cut at its least used nodes.
 */

import { Graph, layout } from "@dagrejs/dagre";
import { emitterOf, eventStatus } from "./causes";
import type { Store } from "./store";
import type { EventNode, Flow } from "./types";

/** As many events as are shown one by one. */
export const MOST_EVENTS = 80;
/** As many nodes as are laid out. */
export const MOST_NODES = 160;

export interface GraphNode {
  readonly key: string;
  readonly type: string;
  readonly agents: readonly string[];
  readonly events: EventNode[];
  failed: number;
  running: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  /** The agent that emitted, when all events of the edge come from one. */
  label: string;
  count: number;
  points: { x: number; y: number }[];
}

export interface CausalGraph {
  readonly nodes: GraphNode[];
  readonly edges: GraphEdge[];
  readonly nodeOf: ReadonlyMap<EventNode, GraphNode>;
  readonly folded: boolean;
  /** Nodes that are left out. */
  readonly cut: number;
  readonly width: number;
  readonly height: number;
}

export function causalGraph(store: Store, flows: readonly Flow[]): CausalGraph {
  const events = flows.flatMap((flow) => flow.events);
  const folded = events.length > MOST_EVENTS;
  const { nodes, nodeOf } = group(store, events, folded);
  const kept = [...nodes.values()].sort((a, b) => b.events.length - a.events.length).slice(0, MOST_NODES);
  const shown = new Set(kept);
  const edges = connect(store, events, nodeOf, shown);
  const ordered = [...nodes.values()].filter((node) => shown.has(node));
  const { width, height } = place(ordered, edges);
  return { nodes: ordered, edges, nodeOf, folded, cut: nodes.size - shown.size, width, height };
}

function group(store: Store, events: readonly EventNode[], folded: boolean): { nodes: Map<string, GraphNode>; nodeOf: Map<EventNode, GraphNode> } {
  const nodes = new Map<string, GraphNode>();
  const nodeOf = new Map<EventNode, GraphNode>();
  for (const event of events) {
    const parent = store.eventById.get(event.parentId);
    const above = (parent && nodeOf.get(parent)?.key) ?? "";
    const key = folded ? foldedKey(above, event) : event.id;
    let node = nodes.get(key);
    if (!node) {
      node = { key, type: event.type, agents: agentsOf(event), events: [], failed: 0, running: 0, x: 0, y: 0, width: 0, height: 0 };
      nodes.set(key, node);
    }
    node.events.push(event);
    const status = eventStatus(event);
    if (status === "failed") node.failed += 1;
    if (status === "running" || status === "waiting") node.running += 1;
    nodeOf.set(event, node);
  }
  return { nodes, nodeOf };
}

/** A chain that runs in a circle would give ever new keys: below a few levels, types merge. */
function foldedKey(above: string, event: EventNode): string {
  const own = `${event.fullType}\t${event.agents.join(",")}`;
  const path = above.split("\n");
  const seen = path.indexOf(own);
  if (seen >= 0) return path.slice(0, seen + 1).join("\n");
  return above ? `${above}\n${own}` : own;
}

function agentsOf(event: EventNode): string[] {
  return [...new Set([...event.agents, ...event.spans.map((span) => span.agent)])];
}

function connect(store: Store, events: readonly EventNode[], nodeOf: ReadonlyMap<EventNode, GraphNode>, shown: ReadonlySet<GraphNode>): GraphEdge[] {
  const edges = new Map<string, GraphEdge>();
  for (const event of events) {
    const parent = store.eventById.get(event.parentId);
    const from = parent && nodeOf.get(parent);
    const to = nodeOf.get(event);
    if (!from || !to || !shown.has(from) || !shown.has(to)) continue;
    const label = emitterOf(store, event)?.agent ?? "";
    const key = `${from.key}\u0000${to.key}`;
    const edge = edges.get(key);
    if (!edge) edges.set(key, { from: from.key, to: to.key, label, count: 1, points: [] });
    else {
      edge.count += 1;
      if (edge.label !== label) edge.label = "";
    }
  }
  return [...edges.values()];
}

/** Characters of the two lines of a node, in pixels at the size they are drawn in. */
const CHARACTER = 6.9;
export const WIDEST_NODE = 240;

function place(nodes: readonly GraphNode[], edges: readonly GraphEdge[]): { width: number; height: number } {
  const graph = new Graph({ multigraph: false });
  graph.setGraph({ rankdir: "LR", nodesep: 18, ranksep: 64, marginx: 24, marginy: 24 });
  graph.setDefaultEdgeLabel(() => ({}));
  const names = new Map(nodes.map((node, index) => [node.key, String(index)]));
  for (const node of nodes) {
    const longest = Math.max(node.type.length + (node.events.length > 1 ? 9 : 2), node.agents.join(", ").length + (node.failed && node.events.length > 1 ? 14 : 3), 10);
    node.width = Math.min(longest * CHARACTER + 28, WIDEST_NODE);
    node.height = 48;
    graph.setNode(names.get(node.key) ?? "", { width: node.width, height: node.height });
  }
  for (const edge of edges) {
    graph.setEdge(names.get(edge.from) ?? "", names.get(edge.to) ?? "", { width: Math.min(edge.label.length, 18) * 5.5, height: 12, labelpos: "c" });
  }
  layout(graph);
  for (const node of nodes) {
    const { x, y } = graph.node(names.get(node.key) ?? "") as { x: number; y: number };
    node.x = x;
    node.y = y;
  }
  for (const edge of edges) {
    const placed = graph.edge(names.get(edge.from) ?? "", names.get(edge.to) ?? "") as { points?: { x: number; y: number }[] };
    edge.points = placed.points ?? [];
  }
  const size = graph.graph() as { width?: number; height?: number };
  return { width: finite(size.width), height: finite(size.height) };
}

const finite = (value: number | undefined): number => (value !== undefined && Number.isFinite(value) ? value : 0);
