import { describe, expect, it } from "vitest";
import { about, accepted, eventIn, ran, storeOf } from "./records";
import { ancestors, descendants, emitterOf, firstProblem, kinOf } from "../src/model/causes";

const ids = (events: Iterable<{ id: string }>): string[] => [...events].map((event) => event.id);

function family() {
  return storeOf(accepted(1, "a", null, ["A"]), accepted(2, "b", "a", ["B"]), accepted(2, "c", "a", ["C"]), accepted(3, "d", "b", []), accepted(4, "e", "d", []));
}

it("ancestors go up to the root, descendants down to the last", () => {
  const store = family();
  expect(ids(ancestors(store, eventIn(store, "e")))).toEqual(["d", "b", "a"]);
  expect(ids(descendants(eventIn(store, "a")))).toEqual(["b", "c", "d", "e"]);
  const kin = kinOf(store, eventIn(store, "b"));
  expect([ids(kin.ancestors), ids(kin.descendants)]).toEqual([["a"], ["d", "e"]]);
});

it("a circle of causes, which only a broken trace has, ends", () => {
  const store = storeOf(accepted(1, "a", "b", []), accepted(2, "b", "a", []));
  expect(ids(ancestors(store, eventIn(store, "a")))).toEqual(["b"]);
  expect(ids(descendants(eventIn(store, "a")))).toEqual(["b"]);
});

describe("the emitter of an event", () => {
  it("is the one that ran when it was accepted and ended first after that", () => {
    const store = storeOf(accepted(0, "a", null, ["A", "B", "C"]), ran("a", "A", 1, 5), ran("a", "B", 1, 9), ran("a", "C", 1, 2), accepted(5, "x", "a", []));
    expect(emitterOf(store, eventIn(store, "x"))?.agent).toBe("A");
  });
  it("is the agent that the event names, when it ran", () => {
    const store = storeOf(accepted(0, "a", null, ["A", "B"]), ran("a", "A", 1, 5), ran("a", "B", 1, 9), accepted(5, "x", "a", [], { source: "shop:B" }));
    expect(emitterOf(store, eventIn(store, "x"))?.agent).toBe("B");
  });
  it("of a root is nobody", () => {
    const store = family();
    expect(emitterOf(store, eventIn(store, "a"))).toBeNull();
  });
});

it("the first error is the one that ended a flow, whatever was retried before", () => {
  const error = { error: { type: "builtins:ValueError", message: "no" } };
  const store = storeOf(
    about("HandlerStarted", 1, "a", "A"), about("HandlerFailed", 2, "a", "A", { ...error, consequence: "retry" }),
    about("HandlerStarted", 3, "b", "B"), about("HandlerFailed", 4, "b", "B", { ...error, consequence: "fail flow" }),
  );
  expect(firstProblem(store.problems)?.where).toBe("B");
  expect(firstProblem(store.problems.slice(0, 1))?.where).toBe("A");
  expect(firstProblem([])).toBeNull();
});
