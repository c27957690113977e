/** Any JSON value as a tree that unfolds, whatever somebody has put into it. */

import { useState } from "preact/hooks";
import { brief, isObject, shortName, visible, type Json, type JsonObject } from "../model/json";
import { count } from "../model/format";
import { CopyButton } from "./parts";

/** Of one text, this much is shown before one asks for the rest. */
const FIRST_CHARACTERS = 1200;
/** Then this much at a time: a browser lays out 100 kB of text without a hitch. */
const MORE_CHARACTERS = 100_000;
/** Entries of a list or an object shown at once. */
const FIRST_ENTRIES = 100;
/** Levels that stand open at first. */
const OPEN_LEVELS = 3;

export function Value({ value, depth = 0 }: { value: Json; depth?: number }) {
  if (typeof value === "string") return <LongText text={value} />;
  if (Array.isArray(value)) return <Entries entries={value.map((item, index) => [String(index), item])} kind="list" depth={depth} />;
  if (isObject(value)) return special(value) ?? <Entries entries={Object.entries(value).filter(([key]) => key !== "$type")} kind={typeOf(value)} depth={depth} />;
  return <span class={`value ${value === null ? "null" : typeof value}`}>{String(value)}</span>;
}

function typeOf(value: JsonObject): string {
  const name = Object.hasOwn(value, "$type") ? value["$type"] : Object.hasOwn(value, "fields") ? value["type"] : null;
  return typeof name === "string" ? shortName(name) : "";
}

/** What JSON has no word for stands as an object of one key with a dollar sign. */
function special(value: JsonObject) {
  const keys = Object.keys(value);
  const key = keys.length === 1 ? keys[0] : undefined;
  const content = key === undefined ? null : value[key];
  if (key === "$float" || key === "$int") return <span class="value number">{visible(String(content))}</span>;
  if (key === "$repr") return <span class="value repr">{visible(String(content))}</span>;
  if (key === "$hidden") return <span class="value repr" title="its class keeps it out of its repr">hidden {visible(String(content))}</span>;
  if (key === "$bytes") return <span class="value repr">bytes {brief(String(content), 200)}</span>;
  if (key === "$more") return <span class="value repr">… and {visible(String(content))} more that were not recorded</span>;
  return null;
}

function Entries({ entries, kind, depth }: { entries: [string, Json][]; kind: string; depth: number }) {
  const [open, setOpen] = useState(depth < OPEN_LEVELS && entries.length <= FIRST_ENTRIES);
  const [shown, setShown] = useState(FIRST_ENTRIES);
  const isList = kind === "list";
  if (!entries.length) return <span class="value null">{kind && !isList ? `${visible(kind)}()` : isList ? "[ ]" : "{ }"}</span>;
  const size = isList ? `[${count(entries.length)}]` : `{${count(entries.length)}}`;
  return (
    <div class="tree">
      <button type="button" class="fold" aria-expanded={open} onClick={() => setOpen(!open)}>
        {!isList && kind && <span class="kind">{visible(kind)} </span>}<span class="muted">{size}</span>
      </button>
      {open && (
        <dl class={isList ? "entries list" : "entries"}>
          {entries.slice(0, shown).map(([key, item]) => (
            <div class="entry" key={key}>
              <dt><bdi>{brief(key, 60)}</bdi></dt>
              <dd><Value value={item} depth={depth + 1} /></dd>
            </div>
          ))}
          {entries.length > shown && <button type="button" class="quiet" onClick={() => setShown(shown + 1000)}>{count(entries.length - shown)} more</button>}
        </dl>
      )}
    </div>
  );
}

export function LongText({ text, plain = false }: { text: string; plain?: boolean }) {
  const [shown, setShown] = useState(FIRST_CHARACTERS);
  const rest = text.length - shown;
  return (
    <span class={plain ? "text" : "value string"}>
      <bdi>{visible(rest > 0 ? text.slice(0, shown) : text)}</bdi>
      {rest > 0 && (
        <span class="rest">
          … <button type="button" class="quiet" onClick={() => setShown(shown === FIRST_CHARACTERS ? MORE_CHARACTERS : shown + MORE_CHARACTERS)}>{count(rest)} more characters</button>
          <CopyButton label="copy all" text={() => text} />
        </span>
      )}
    </span>
  );
}
