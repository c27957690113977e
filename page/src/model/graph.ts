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

/** The last graph: going to the lanes and back need not lay it out again. */
let kept: { store: Store; version: number; flow: Flow | null; graph: CausalGraph } | null = null;

/** The graph of one flow, or of all. */
export function causalGraph(store: Store, flow: Flow | null): CausalGraph {
  if (kept?.store === store && kept.version === store.version && kept.flow === flow) return kept.graph;
  const graph = newGraph(store, flow ? [flow] : store.flows);
  kept = { store, version: store.version, flow, graph };
  return graph;
}

function newGraph(store: Store, flows: readonly Flow[]): CausalGraph {
  const events = flows.flatMap((flow) => flow.events);
  const folded = events.length > MOST_EVENTS;
  const { nodes, nodeOf } = group(store, events, folded);
  const largest = [...nodes.values()].sort((a, b) => b.events.length - a.events.length).slice(0, MOST_NODES);
  const shown = new Set(largest);
  const edges = connect(store, events, nodeOf, shown);
  const ordered = [...nodes.values()].filter((node) => shown.has(node));
  const { width, height } = place(ordered, edges);
  return { nodes: ordered, edges, nodeOf, folded, cut: nodes.size - shown.size, width, height };
}

/** Nodes under the one they came of, so that folding compares names, not paths. */
interface Branch {
  readonly node: GraphNode | null;
  readonly name: string;
  readonly parent: Branch | null;
  readonly below: Map<string, Branch>;
}

function group(store: Store, events: readonly EventNode[], folded: boolean): { nodes: Map<string, GraphNode>; nodeOf: Map<EventNode, GraphNode> } {
  const nodes = new Map<string, GraphNode>();
  const nodeOf = new Map<EventNode, GraphNode>();
  const branchOf = new Map<EventNode, Branch>();
  const top: Branch = { node: null, name: "", parent: null, below: new Map() };
  for (const event of events) {
    const parent = store.eventById.get(event.parentId);
    const above = (parent && branchOf.get(parent)) ?? top;
    const branch = branchFor(above, folded ? `${event.fullType}\t${event.agents.join(",")}` : event.id, () => {
      const node: GraphNode = { key: String(nodes.size), type: event.type, agents: agentsOf(event), events: [], failed: 0, running: 0, x: 0, y: 0, width: 0, height: 0 };
      nodes.set(node.key, node);
      return node;
    });
    branchOf.set(event, branch);
    const { node } = branch;
    if (!node) continue;
    node.events.push(event);
    const status = eventStatus(event);
    if (status === "failed") node.failed += 1;
    if (status === "running" || status === "waiting") node.running += 1;
    nodeOf.set(event, node);
  }
  return { nodes, nodeOf };
}

/** A chain that runs in a circle comes back to the branch of that name above it. */
function branchFor(above: Branch, name: string, made: () => GraphNode): Branch {
  for (let up: Branch | null = above; up; up = up.parent) if (up.node && up.name === name) return up;
  let branch = above.below.get(name);
  if (!branch) {
    branch = { node: made(), name, parent: above, below: new Map() };
    above.below.set(name, branch);
  }
  return branch;
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

/** The widths of a character in the two lines of a node and on an edge, about. */
const TYPE_CHARACTER = 8.6;
const AGENT_CHARACTER = 6.4;
const EDGE_CHARACTER = 5.6;
export const WIDEST_NODE = 260;
/** The shape of the room a graph usually has. */
const ROOM = { width: 680, height: 620 };

/** Left to right, or top to bottom where that fits the room better. */
function place(nodes: readonly GraphNode[], edges: readonly GraphEdge[]): { width: number; height: number } {
  for (const node of nodes) {
    const many = node.events.length > 1;
    const first = (node.type.length + (many ? String(node.events.length).length + 3 : 0)) * TYPE_CHARACTER;
    const second = (node.agents.join(", ").length + 2 + (many && node.failed ? 11 : 0)) * AGENT_CHARACTER;
    node.width = Math.min(Math.max(first, second, 80) + 32, WIDEST_NODE);
    node.height = 48;
  }
  const across = arranged(nodes, edges, "LR");
  const down = scaleOf(across) < 1 ? arranged(nodes, edges, "TB") : across;
  const best = scaleOf(down) > scaleOf(across) ? down : across;
  nodes.forEach((node, index) => Object.assign(node, best.at[index]));
  edges.forEach((edge, index) => { edge.points = best.points[index] ?? []; });
  return { width: best.width, height: best.height };
}

interface Arrangement {
  width: number;
  height: number;
  at: { x: number; y: number }[];
  points: { x: number; y: number }[][];
}

const scaleOf = ({ width, height }: Arrangement): number => Math.min(ROOM.width / Math.max(width, 1), ROOM.height / Math.max(height, 1));

function arranged(nodes: readonly GraphNode[], edges: readonly GraphEdge[], rankdir: "LR" | "TB"): Arrangement {
  const graph = new Graph({ multigraph: false });
  graph.setGraph({ rankdir, nodesep: 20, ranksep: rankdir === "LR" ? 60 : 44, marginx: 24, marginy: 24 });
  graph.setDefaultEdgeLabel(() => ({}));
  const names = new Map(nodes.map((node, index) => [node.key, String(index)]));
  const ends = (edge: GraphEdge): [string, string] => [names.get(edge.from) ?? "", names.get(edge.to) ?? ""];
  nodes.forEach((node, index) => graph.setNode(String(index), { width: node.width, height: node.height }));
  for (const edge of edges) graph.setEdge(...ends(edge), { width: Math.min(edge.label.length, 18) * EDGE_CHARACTER, height: 12, labelpos: "c" });
  layout(graph);
  const size = graph.graph() as { width?: number; height?: number };
  return {
    width: finite(size.width),
    height: finite(size.height),
    at: nodes.map((_, index) => {
      const { x, y } = graph.node(String(index)) as { x: number; y: number };
      return { x, y };
    }),
    points: edges.map((edge) => (graph.edge(...ends(edge)) as { points?: { x: number; y: number }[] }).points ?? []),
  };
}

const finite = (value: number | undefined): number => (value !== undefined && Number.isFinite(value) ? value : 0);
