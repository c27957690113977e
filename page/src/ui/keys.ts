/** The keyboard: everything a pointer can do. */

import { useLayoutEffect } from "preact/hooks";
import type { Store } from "../model/store";
import type { EventNode, Flow, Span } from "../model/types";
import { NOTHING, type Actions, type View } from "./state";

export interface Keyboard {
  store: Store;
  view: View;
  actions: Actions;
  matches: ReadonlySet<EventNode> | null;
  flows: () => Flow[];
  firstError: () => void;
  nextError: (step: number) => void;
  nextTheme: () => void;
  focusSearch: () => void;
}

/** What the help shows. */
export const KEYS: [string, string][] = [
  ["/", "search"], ["Enter", "in the search: the next event found"], ["n N", "next, previous event found"],
  ["j k", "next, previous flow"], ["a", "all flows together"], ["← →", "the handler before, after"],
  ["↑ ↓", "what it came of, what came of it"], ["e", "first error"], ["] [", "next, previous error"],
  ["l g", "lanes, graph"], ["+ − 0", "zoom in, out, show everything"], ["c", "copy as test"],
  ["t", "light or dark"], ["?", "this help"], ["Esc", "back"],
];

export function useKeys(keyboard: Keyboard): void {
  // In the layout phase, so that a key that follows at once meets the new state.
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target as HTMLElement;
      const typing = target.matches("input, textarea, select");
      if (typing ? typed(event, target, keyboard) : pressed(event.key, keyboard)) event.preventDefault();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  });
}

function typed(event: KeyboardEvent, target: HTMLElement, keyboard: Keyboard): boolean {
  if (event.key === "Escape") {
    if (keyboard.view.query) keyboard.actions.look({ query: "" });
    target.blur();
    return true;
  }
  if (event.key === "Enter" && target.matches(".search")) {
    nextMatch(keyboard, event.shiftKey ? -1 : 1);
    return true;
  }
  return false;
}

const COMMANDS: Record<string, (keyboard: Keyboard) => void> = {
  "/": (k) => k.focusSearch(),
  n: (k) => nextMatch(k, 1),
  N: (k) => nextMatch(k, -1),
  j: (k) => nextFlow(k, 1),
  k: (k) => nextFlow(k, -1),
  a: (k) => k.actions.selectFlow(null),
  ArrowLeft: (k) => nextSpan(k, -1),
  ArrowRight: (k) => nextSpan(k, 1),
  ArrowUp: (k) => toParent(k),
  ArrowDown: (k) => toChild(k),
  e: (k) => k.firstError(),
  "]": (k) => k.nextError(1),
  "[": (k) => k.nextError(-1),
  l: (k) => k.actions.look({ tab: "lanes" }),
  g: (k) => k.actions.look({ tab: "graph" }),
  "+": () => press("+"),
  "=": () => press("+"),
  "-": () => press("-"),
  "0": () => press("0"),
  c: () => document.querySelector<HTMLElement>("[data-testid=copy-test]")?.click(),
  t: (k) => k.nextTheme(),
  "?": (k) => k.actions.look({ help: !k.view.help }),
  Escape: (k) => back(k),
};

function pressed(key: string, keyboard: Keyboard): boolean {
  const command = Object.hasOwn(COMMANDS, key) ? COMMANDS[key] : undefined;
  command?.(keyboard);
  return command !== undefined;
}

function press(key: string): void {
  document.querySelector<HTMLElement>(`[data-key="${key}"]`)?.click();
}

function back({ view, actions }: Keyboard): void {
  if (view.help) actions.look({ help: false });
  else if (view.selection !== NOTHING && (view.selection.event || view.selection.group)) actions.look({ selection: NOTHING });
  else if (view.query) actions.look({ query: "" });
  else actions.selectFlow(null);
}

function nextFlow({ view, actions, flows }: Keyboard, step: number): void {
  const all = flows();
  const at = view.flow ? all.indexOf(view.flow) : step > 0 ? -1 : all.length;
  const flow = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  if (flow) actions.selectFlow(flow);
}

function nextSpan({ store, view, actions }: Keyboard, step: number): void {
  const spans: readonly Span[] = view.flow?.spans ?? store.spans;
  const at = view.selection.span ? spans.indexOf(view.selection.span) : step > 0 ? -1 : spans.length;
  const span = spans[at + step];
  if (span) actions.selectEvent(span.event, span);
}

function toParent({ store, view, actions }: Keyboard): void {
  const parent = view.selection.event && store.eventById.get(view.selection.event.parentId);
  if (parent) actions.selectEvent(parent);
}

function toChild({ view, actions, store }: Keyboard): void {
  const { event } = view.selection;
  const child = event ? event.children[0] : (view.flow ?? store.flows[0])?.events[0];
  if (child) actions.selectEvent(child);
}

function nextMatch({ view, actions, matches }: Keyboard, step: number): void {
  const all = [...(matches ?? [])];
  const at = view.selection.event ? all.indexOf(view.selection.event) : step > 0 ? -1 : 0;
  const event = all[(at + step + all.length) % all.length];
  if (event) actions.selectEvent(event);
}
