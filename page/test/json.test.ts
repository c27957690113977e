import { describe, expect, it } from "vitest";
import { brief, field, modelName, parseLine, shortName, visible } from "../src/model/json";

describe("parseLine", () => {
  it("takes NaN and Infinity that stand bare, but not within texts", () => {
    expect(parseLine('{"a": NaN, "b": -Infinity, "c": "NaN, \\"NaN"}')).toEqual({ a: "NaN", b: "-Infinity", c: 'NaN, "NaN' });
  });
  it("refuses what is cut off or no object", () => {
    expect([parseLine('{"a": 1'), parseLine("[1]"), parseLine("null"), parseLine("")]).toEqual([null, null, null, null]);
  });
  it("keeps __proto__ as a key like any other", () => {
    const value = parseLine('{"__proto__": {"polluted": 1}}');
    expect(Object.hasOwn(value ?? {}, "__proto__")).toBe(true);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

it("a field is the object's own, never its prototype's", () => {
  expect(field({}, "constructor")).toBeUndefined();
  expect(field(parseLine('{"__proto__": 1}') ?? {}, "__proto__")).toBe(1);
  expect(field("text", "length")).toBeUndefined();
});

it("what would hide or turn text around is shown by its number", () => {
  expect(visible("a\u202eb\u200bc\u0000")).toBe("a⟨U+202E⟩b⟨U+200B⟩c⟨U+0000⟩");
  expect(visible("tab\tline\nعربي 你好 é")).toBe("tab\tline\nعربي 你好 é");
});

it("a brief text is one line and marks what it leaves out", () => {
  expect(brief("a\n b", 10)).toBe("a b");
  expect(brief("x".repeat(50), 10)).toBe(`${"x".repeat(10)}…`);
});

it("a model is called by its file, or as it is", () => {
  expect(["/a/b c/Tiny.Q4.gguf", "C:\\m\\x.gguf", "meta/llama-3.1", "gpt-5"].map(modelName)).toEqual(["Tiny.Q4.gguf", "x.gguf", "meta/llama-3.1", "gpt-5"]);
});

it("a class is called by its last word", () => {
  expect(["shop.events:Outer.Text", "Text", ""].map(shortName)).toEqual(["Text", "Text", ""]);
});
