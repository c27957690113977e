import { describe, expect, it } from "vitest";
import { about, accepted, eventIn, ran, record, storeOf } from "./records";
import { compact, cost, duration, tickStep } from "../src/model/format";
import { causalGraph, MOST_EVENTS } from "../src/model/graph";
import { layOut, MOST_ROWS, visibleRange } from "../src/model/lanes";
import { Search } from "../src/model/search";
import { summaryOf } from "../src/model/summary";
import type { JsonObject } from "../src/model/json";

describe("lanes", () => {
  it("give handlers that ran at once rows of their own", () => {
    const store = storeOf(ran("a", "A", 1, 5), ran("b", "A", 2, 3), ran("c", "A", 3, 4), ran("d", "B", 1, 2));
    const lanes = layOut(store.spans, store.agents, 9);
    expect(lanes.map((lane) => [lane.agent, lane.rows, lane.height])).toEqual([["A", [0, 1, 1], 2], ["B", [0], 1]]);
  });
  it("never grow beyond a bound", () => {
    const store = storeOf(...Array.from({ length: 100 }, (_, n) => about("HandlerStarted", n, `e${n}`, "A")));
    expect(layOut(store.spans, store.agents, 200)[0]?.height).toBe(MOST_ROWS);
  });
  it("find what is in view, long handlers from before included", () => {
    const store = storeOf(ran("long", "A", 0, 50), ...Array.from({ length: 40 }, (_, n) => ran(`e${n}`, "A", n + 1, n + 1.5)));
    const [lane] = layOut(store.spans, store.agents, 50);
    if (!lane) throw new Error("no lane");
    const [first, last] = visibleRange(lane, 20, 22);
    const seen = lane.spans.slice(first, last).map((span) => span.event.id);
    expect(seen).toContain("long");
    expect(seen.at(-1)).toBe("e20");
  });
});

function fan(parts: number): JsonObject[] {
  const many = Array.from({ length: parts }, (_, n) => accepted(2, `p${n}`, "root", ["Worker"], { type: "shop:Part" }));
  return [accepted(1, "root", null, ["Splitter"]), ...ran("root", "Splitter", 1, 2), ...many];
}

describe("the causal graph", () => {
  it("of a small flow has a node for each event, left to right", () => {
    const store = storeOf(fan(3));
    const graph = causalGraph(store, null);
    expect(graph.nodes.map((node) => node.type)).toEqual(["TextEvent", "Part", "Part", "Part"]);
    expect(graph.edges.map((edge) => edge.label)).toEqual(["Splitter", "Splitter", "Splitter"]);
    const [root, part] = graph.nodes;
    expect(root && part && root.x < part.x).toBe(true);
  });
  it("of a large one folds events of one type and cause", () => {
    const store = storeOf(fan(MOST_EVENTS + 20), about("HandlerStarted", 3, "p7", "Worker"), about("HandlerFailed", 4, "p7", "Worker", { error: {} }));
    const graph = causalGraph(store, null);
    expect(graph.nodes.map((node) => [node.type, node.events.length, node.failed])).toEqual([["TextEvent", 1, 0], ["Part", MOST_EVENTS + 20, 1]]);
    expect(graph.edges.map((edge) => edge.count)).toEqual([MOST_EVENTS + 20]);
  });
  it("of agents that run in a circle stays small", () => {
    const chain = Array.from({ length: 300 }, (_, n) => accepted(n, `e${n}`, n ? `e${n - 1}` : null, ["A"], { type: n % 2 ? "shop:Ping" : "shop:Pong" }));
    const store = storeOf(chain);
    expect(causalGraph(store, null).nodes.map((node) => node.type)).toEqual(["Pong", "Ping"]);
  });
  it("of nothing is empty", () => {
    expect(causalGraph(storeOf(), null).nodes).toEqual([]);
  });
});

describe("search", () => {
  const store = storeOf(accepted(1, "a", null, ["Reader"], { fields: { text: "The Raven", deep: [{ n: 42 }] } }), { ...accepted(1, "b", null, []), correlation_id: "other" });
  const search = new Search(store);
  it("finds all words in payload, type, agent or id, in any case", () => {
    expect(search.flows("raven READER").map((flow) => flow.id)).toEqual(["flow"]);
    expect(search.events("42", store.flows).map((event) => event.id)).toEqual(["a"]);
    expect(search.flows("raven nowhere")).toEqual([]);
    expect(search.flows(" ").length).toBe(2);
  });
  it("can be prepared piece by piece", () => {
    const fresh = new Search(store);
    let steps = 0;
    expect(fresh.warm(() => (steps += 1) > 1)).toBe(true);
    expect(fresh.warm(() => false)).toBe(false);
    expect(fresh.flows("raven").length).toBe(1);
  });
  it("finds what came after the first search", () => {
    store.add(about("HandlerStarted", 2, "a", "Reader"));
    expect(search.flows("quoth")).toEqual([]);
    store.add(about("HandlerFailed", 3, "a", "Reader", { error: { type: "builtins:KeyError", message: "quoth" } }));
    expect(search.flows("quoth").length).toBe(1);
    expect(search.events("keyerror", store.flows).length).toBe(1);
  });
});

it("the summary counts runs and the longest of each agent", () => {
  const store = storeOf(ran("a", "A", 1, 5), ran("b", "A", 2, 3), ran("c", "B", 1, 2), record("FlowEnded", 9, { outcome: "finished" }));
  const sum = summaryOf(store, null, 9);
  expect(sum.agents.map((agent) => [agent.name, agent.runs, agent.total, agent.slowest.event.id])).toEqual([["A", 2, 5, "a"], ["B", 1, 1, "c"]]);
  expect([sum.handlers, sum.events, sum.duration]).toEqual([3, 3, 8]);
  expect(eventIn(store, "a").flow).toBe(store.flows[0]);
});

it("numbers are written for people", () => {
  expect([0, 2e-7, 0.0123, 1.5, 75, 7261, NaN, -2].map(duration)).toEqual(["0 s", "0.20 µs", "12.3 ms", "1.50 s", "1 min 15 s", "2 h 01 min", "–", "−2.00 s"]);
  expect([999, 12_345, 250_000, 3_400_000].map(compact)).toEqual(["999", "12.3k", "250k", "3.4M"]);
  expect([null, 0, 0.00012, 0.5, 12].map(cost)).toEqual(["–", "0.000", "0.00012", "0.500", "12.00"]);
  expect(tickStep(1, 10)).toBeCloseTo(0.1);
  expect(tickStep(37, 8)).toBe(5);
});
