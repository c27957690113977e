import { describe, expect, it } from "vitest";
import { about, accepted, eventIn, ran, storeOf } from "./records";
import { testOf } from "../src/model/copytest";
import type { JsonObject } from "../src/model/json";

const said = (role: string, text: string): JsonObject => ({ $type: "agentflow.llm._messages:LLMMessage", role, content: [{ $type: "agentflow.llm._messages:TextPart", text, blob: null }] });
const call = { call: "c1", provider: "local", model: "tiny" };

describe("copy as test", () => {
  it("builds the event, scripts the answers and expects the same events", () => {
    const store = storeOf(
      accepted(1, "a", null, ["A"], { fields: { text: 'say "hi"\n', size: 3, tags: ["x", null, true], inner: { $type: "shop.parts:Inner", score: { $float: "nan" } } } }),
      about("HandlerStarted", 1, "a", "A"), about("LLMCallStarted", 2, "a", "A", { ...call, messages: [said("user", "what?")] }), about("LLMCallFinished", 3, "a", "A", { ...call, message: said("assistant", "that"), usage: {} }),
      accepted(4, "b", "a", [], { type: "shop:AnswerEvent" }), about("HandlerFinished", 4, "a", "A"),
    );
    const code = testOf(store, eventIn(store, "a"));
    expect(code).toContain("from shop import TextEvent\n");
    expect(code).toContain("from shop.parts import Inner\n");
    expect(code).toContain('text="say \\"hi\\"\\n"');
    expect(code).toContain('tags=["x", None, True]');
    expect(code).toContain('Inner(score=float("nan"))');
    expect(code).toContain('scripted_llm.reply("that", when="what?")');
    expect(code).toContain('assert names == ["AnswerEvent", "TextEvent"]');
  });
  it("expects the failure of a flow that failed", () => {
    const store = storeOf(accepted(1, "a", null, ["A"]), about("HandlerStarted", 1, "a", "A"), about("HandlerFailed", 2, "a", "A", { error: { type: "builtins:ValueError", message: "no" }, consequence: "fail flow" }));
    const code = testOf(store, eventIn(store, "a"));
    expect(code).toContain("pytest.raises(FlowFailed)");
    expect(code).toContain('names & {"ValueError"}');
    expect(code).not.toContain("ScriptedGateway");
  });
  it("lets no name from a trace become code", () => {
    const evil = '"""\nimport os; os.system("x")\n#';
    const store = storeOf(accepted(1, "a", null, ["A"], { type: `shop:${evil}`, source: evil, fields: { [evil]: 1, ok: { $type: evil, "a=1)\n": 2 }, number: { $int: "1; import os" } } }), ran("a", "A", 1, 2));
    const code = testOf(store, eventIn(store, "a"));
    const lines = code.split("\n").filter((line) => line.includes("os.system") && !line.includes('source="'));
    expect(lines).toEqual([]);
    expect(code).not.toMatch(/^import os/m);
    expect(code).toContain("SomeClass(");
  });
});
