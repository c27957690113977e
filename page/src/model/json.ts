/** Reading lines that others wrote, and showing text that others wrote. */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

const STRING_OR_BARE = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;

/** Read one line of JSON; NaN and Infinity, which some writers leave bare, become text. */
export function parseLine(line: string): JsonObject | null {
  const value = tryParse(line) ?? tryParse(line.replace(STRING_OR_BARE, quoteBare));
  return isObject(value) ? value : null;
}

function quoteBare(token: string): string {
  return token.startsWith('"') ? token : `"${token}"`;
}

function tryParse(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A field of an object that is its own, whatever the object's prototype has. */
export function field(object: Json | undefined, name: string): Json | undefined {
  return isObject(object) && Object.hasOwn(object, name) ? object[name] : undefined;
}

export function text(value: Json | undefined, otherwise = ""): string {
  return typeof value === "string" ? value : otherwise;
}

export function number(value: Json | undefined, otherwise = 0): number {
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}

export function list(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

// Controls, zero-width characters and marks that turn the direction of text around.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Show characters that would hide, or change how their neighbours look. */
export function visible(raw: string): string {
  return raw.replace(UNSEEN, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
    return `⟨U+${code}⟩`;
  });
}

/** The first characters of a text, on one line. */
export function brief(raw: string, limit = 80): string {
  const start = visible(raw.slice(0, limit * 2).replace(/\s+/g, " "));
  return start.length > limit || raw.length > limit * 2 ? `${start.slice(0, limit)}…` : start;
}

/** A model in a file is called by the file's name; all others as they are. */
export function modelName(model: string): string {
  return /^([/~]|[A-Za-z]:[\\/]).*\.\w+$/.test(model) ? model.slice(Math.max(model.lastIndexOf("/"), model.lastIndexOf("\\")) + 1) : model;
}

/** The last word of "package.module:Outer.Name". */
export function shortName(name: string): string {
  const last = name.slice(name.lastIndexOf(":") + 1);
  return last.slice(last.lastIndexOf(".") + 1) || name;
}
