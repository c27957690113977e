import { describe, expect, it } from "vitest";
import { about, accepted, eventIn, HEADER, ran, record, storeOf } from "./records";
import { eventStatus, waitingAgents } from "../src/model/causes";
import { Store } from "../src/model/store";
import type { JsonObject } from "../src/model/json";

const call = { call: "c1", provider: "local", model: "tiny" };
const usage = { input_tokens: 100, output_tokens: 10, cached_tokens: 40, cache_write_tokens: 0, reasoning_tokens: 3 };

describe("a flow", () => {
  it("has the times of the wall clock, whatever the loop's clock says", () => {
    const store = storeOf(HEADER, record("FlowStarted", 12), record("FlowEnded", 15, { outcome: "finished" }));
    expect([store.flows[0]?.start, store.flows[0]?.end]).toEqual([1002, 1005]);
  });
  it("starts with its session when it was dispatched before that", () => {
    expect(storeOf(HEADER, record("FlowStarted", 0)).flows[0]?.start).toBe(1000);
  });
  it("of a second session in the same file has that session's clock", () => {
    const later = { ...HEADER, wall: 5000, time: 1 };
    const store = storeOf(HEADER, record("FlowStarted", 12), later, { ...record("FlowStarted", 3), correlation_id: "second" });
    expect(store.flows.map((flow) => flow.start)).toEqual([1002, 5002]);
  });
  it("runs until it has ended, and takes its outcome from the record", () => {
    const store = storeOf(record("FlowStarted", 1));
    expect(store.flows[0]?.outcome).toBe("running");
    store.add(record("FlowEnded", 2, { outcome: "cancelled", reason: "why" }));
    expect([store.flows[0]?.outcome, store.flows[0]?.reason]).toEqual(["cancelled", "why"]);
  });
  it("sums up tokens, and costs where prices are known", () => {
    const store = new Store();
    store.prices = new Map([["tiny", { input: 2, output: 5, cached: 1 }]]);
    for (const one of [accepted(1, "e", null, ["A"]), about("HandlerStarted", 1, "e", "A"), about("LLMCallStarted", 2, "e", "A", call), about("LLMCallFinished", 3, "e", "A", { ...call, usage, attempts: 2, stop: "end" })]) store.add(one);
    const [flow] = store.flows;
    expect(flow?.usage).toEqual({ input: 100, output: 10, cached: 40, cacheWrite: 0, reasoning: 3 });
    expect(flow?.cost).toBeCloseTo((60 * 2 + 40 * 1 + 10 * 5) / 1e6, 12);
    expect(flow?.calls[0]?.attempts).toBe(2);
  });
  it("has no cost while no price is known", () => {
    const store = storeOf(accepted(1, "e", null, ["A"]), about("LLMCallFinished", 3, "e", "A", { ...call, usage }));
    expect(store.flows[0]?.cost).toBeNull();
  });
});

describe("a handler", () => {
  const failed: JsonObject = { error: { type: "builtins:ValueError", message: "no" }, consequence: "retry", retry_in: 0.5, attempt: 1, duration: 1 };
  it("has an attempt for each start, and its errors are problems", () => {
    const store = storeOf(accepted(1, "e", null, ["A"]), about("HandlerStarted", 1, "e", "A", { attempt: 1 }), about("HandlerFailed", 2, "e", "A", failed), about("HandlerStarted", 3, "e", "A", { attempt: 2 }), about("HandlerFinished", 4, "e", "A"));
    expect(store.spans.map((span) => [span.attempt, span.status, span.start, span.end])).toEqual([[1, "failed", 1, 2], [2, "finished", 3, 4]]);
    expect(store.problems.map((problem) => [problem.where, problem.span?.retryIn])).toEqual([["A", 0.5]]);
    expect(eventStatus(eventIn(store, "e"))).toBe("finished");
  });
  it("whose start fell out of the window starts by its duration", () => {
    const store = storeOf(about("HandlerFinished", 9, "e", "A", { duration: 4 }));
    expect(store.spans.map((span) => [span.start, span.end, span.event.type])).toEqual([[5, 9, "TextEvent"]]);
    expect(eventIn(store, "e").fields).toBeNull();
  });
  it("that was cancelled says why", () => {
    const store = storeOf(about("HandlerStarted", 1, "e", "A"), about("HandlerCancelled", 2, "e", "A", { reason: "too late" }));
    expect(store.spans.map((span) => [span.status, span.reason])).toEqual([["cancelled", "too late"]]);
  });
});

describe("an event", () => {
  it("waits for the agents that have not begun, while its flow runs", () => {
    const store = storeOf(accepted(1, "e", null, ["A", "B"]), ran("e", "A", 1, 2));
    expect(waitingAgents(eventIn(store, "e"))).toEqual(["B"]);
    expect(eventStatus(eventIn(store, "e"))).toBe("waiting");
    store.add(record("FlowEnded", 3, { outcome: "finished" }));
    expect(waitingAgents(eventIn(store, "e"))).toEqual([]);
  });
  it("that nobody took, and one that was dropped, say so", () => {
    const store = storeOf(accepted(1, "a", null, []), accepted(1, "b", null, ["A"]), about("DeliveryDropped", 2, "b", "A", { reason: "over" }), record("FlowEnded", 3, { outcome: "failed" }));
    expect(eventStatus(eventIn(store, "a"))).toBe("unrouted");
    expect(eventStatus(eventIn(store, "b"))).toBe("cancelled");
    expect(eventIn(store, "b").notes.map((note) => note.what)).toEqual(["dropped before A got it: over"]);
  });
  it("finds its children although they come before it", () => {
    const store = storeOf(accepted(2, "child", "parent", []), accepted(3, "parent", null, []));
    expect(eventIn(store, "parent").children.map((child) => child.id)).toEqual(["child"]);
  });
  it("seen whole takes the place of the one known by name", () => {
    const store = storeOf(about("HandlerStarted", 1, "e", "A"), accepted(2, "e", null, ["A"], { fields: { text: "x" } }));
    expect(store.flows[0]?.events.map((event) => event.fields)).toEqual([{ text: "x" }]);
  });
});

describe("tools", () => {
  it("belong to the call that asked for them, also when called twice", () => {
    const tool = { ...call, tool: "add", tool_call: "t1" };
    const store = storeOf(
      about("HandlerStarted", 1, "e", "A"), about("LLMCallStarted", 1, "e", "A", call), about("ToolCallStarted", 2, "e", "A", { ...tool, request: { name: "add" } }),
      about("ToolCallFailed", 3, "e", "A", { ...tool, error: { type: "builtins:KeyError", message: "k" }, duration: 1 }), about("ToolCallStarted", 4, "e", "A", tool), about("ToolCallCancelled", 5, "e", "A", tool),
    );
    expect(store.flows[0]?.calls[0]?.tools.map((one) => [one.name, one.status])).toEqual([["add", "failed"], ["add", "cancelled"]]);
    expect(store.problems.map((problem) => problem.where)).toEqual(["tool add"]);
  });
});

it("records that were lost on the way to the disk are counted", () => {
  const store = storeOf({ record: "Gap", time: 1, lost: 17 }, { record: "Gap", time: 2, lost: 3 });
  expect([store.lost, store.records, store.flows.length]).toEqual([20, 0, 0]);
});

describe("a journal", () => {
  const stored = { stored: true };
  const kept = (id: string, agents: string[]) => ({ ...accepted(1, id, null, agents), ...stored });
  it("does not say when, nor who had an event that nobody has any more", () => {
    const store = storeOf(kept("e", []), kept("f", []), about("HandlerFinished", 1, "f", "A", stored), record("FlowEnded", 2, { outcome: "finished" }));
    expect([eventStatus(eventIn(store, "e")), eventStatus(eventIn(store, "f"))]).toEqual(["finished", "finished"]);
    expect([eventIn(store, "e").stored, store.spans[0]?.stored]).toEqual([true, true]);
    expect(storeOf(accepted(1, "e", null, [])).eventById.get("e")?.stored).toBe(false);
  });
  it("is as old as the moment it was opened, however old its records are", () => {
    const store = storeOf({ ...HEADER, wall: 5000, time: 5000 }, kept("e", ["A"]));
    expect([store.wall, store.end]).toEqual([5000, 1]);
  });
  it("says what is open and what is dead", () => {
    const store = storeOf(kept("e", ["A", "B"]), about("DeliveryOpen", 1, "e", "A", { ...stored, reason: "due at noon" }));
    expect(waitingAgents(eventIn(store, "e"))).toEqual(["A", "B"]);
    expect(eventStatus(eventIn(store, "e"))).toBe("waiting");
    store.add(about("DeliveryDead", 2, "e", "B", { ...stored, reason: "A raised" }));
    store.add(record("FlowEnded", 2, { outcome: "failed" }));
    expect(eventStatus(eventIn(store, "e"))).toBe("cancelled");
    expect(eventIn(store, "e").notes.map((note) => note.what)).toEqual(["open for A: due at noon", "dead letter for B: A raised"]);
  });
});

describe("what nobody has heard of", () => {
  it("is kept with its event, and breaks nothing", () => {
    const store = storeOf(accepted(1, "e", null, []), about("SomethingNew", 2, "e", "A"), { record: 7 }, {}, { record: "HandlerFinished" }, { record: "FlowEnded", outcome: "exploded", correlation_id: ["x"] });
    expect(eventIn(store, "e").notes.map((note) => note.what)).toEqual(["SomethingNew"]);
    expect(store.records).toBe(6);
  });
  it("takes names from outside for keys without harm", () => {
    const evil = { ...record("FlowStarted", 1), correlation_id: "__proto__" };
    const store = storeOf(evil, about("HandlerStarted", 1, "constructor", "__proto__"));
    expect(store.flowById.get("__proto__")?.id).toBe("__proto__");
    expect(store.agents).toEqual(["__proto__"]);
  });
});
