import { useEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { Reader, type Feed } from "../feed";
import { firstProblem, kinOf } from "../model/causes";
import { compact, plural } from "../model/format";
import { visible } from "../model/json";
import { Search } from "../model/search";
import type { EventNode, Flow, Problem } from "../model/types";
import { FlowList, shownFlows } from "./FlowList";
import { GraphView } from "./GraphView";
import { Help } from "./Help";
import { Inspector } from "./Inspector";
import { useKeys } from "./keys";
import { Lanes } from "./Lanes";
import { FIRST_VIEW, NOTHING, type Actions, type View } from "./state";
import { useTheme } from "./theme";

/** Milliseconds between two drawings while records come in; longer where there is much. */
const pauseFor = (spans: number): number => (spans > 20_000 ? 1000 : spans > 4000 ? 300 : 80);

function useFeed(): [Feed, Reader] {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const reader = useMemo(() => {
    let timer = 0;
    let drawn = 0;
    const made: Reader = new Reader(() => {
      if (timer) return;
      const over = made.feed.state === "ended" || made.feed.state === "lost";
      const wait = over ? 0 : drawn + pauseFor(made.feed.store.spans.length) - performance.now();
      timer = window.setTimeout(() => {
        timer = 0;
        drawn = performance.now();
        redraw(0);
      }, Math.max(wait, 0));
    });
    return made;
  }, []);
  useEffect(() => reader.connect(), [reader]);
  return [reader.feed, reader];
}

/** The time of the trace: it goes on while a session is live. */
function useNow(feed: Feed, busy: boolean): number {
  const [, tick] = useReducer((n: number) => n + 1, 0);
  const heard = useRef({ version: -1, at: 0 });
  const { store } = feed;
  if (heard.current.version !== store.version) heard.current = { version: store.version, at: performance.now() };
  const live = feed.state === "live" && busy;
  useEffect(() => {
    if (!live) return undefined;
    const timer = setInterval(() => tick(0), store.spans.length > 4000 ? 1000 : 200);
    return () => clearInterval(timer);
  }, [live, store]);
  const end = Number.isFinite(store.end) ? store.end : 0;
  return live ? Math.max(end, store.wall) + (performance.now() - heard.current.at) / 1000 : end;
}

export function App() {
  const [feed, reader] = useFeed();
  const { store } = feed;
  const [view, setView] = useState<View>(FIRST_VIEW);
  const [theme, nextTheme] = useTheme();
  const running = useMemo(() => store.flows.some((flow) => flow.outcome === "running"), [store, store.version]);
  const now = useNow(feed, running);
  const search = useMemo(() => new Search(store), [store]);
  const found = useMemo(() => search.flows(view.query), [search, view.query, store.version]);
  const matches = useMatches(search, view, found, store.version);
  useEffect(() => (feed.state === "ended" ? warmUp(search) : undefined), [search, feed.state]);
  const kin = useMemo(() => kinOf(store, view.selection.event), [store, view.selection.event, store.version]);
  useEffect(() => setView((old) => ({ ...old, flow: null, selection: NOTHING })), [feed.generation]);
  useEffect(() => setView((old) => ({ ...old, tab: feed.tab })), [feed.tab]);

  const look = (change: Partial<View>) => setView((old) => ({ ...old, ...change }));
  const actions: Actions = {
    look,
    selectFlow: (flow) => look({ flow, selection: NOTHING }),
    selectEvent: (event, span, call) => setView((old) => ({
      ...old,
      // What belongs to another flow than the one in view opens that flow.
      flow: old.flow && old.flow !== event.flow ? event.flow : old.flow,
      selection: { event, span: span ?? event.spans.at(-1) ?? null, call: call ?? null, group: null },
    })),
  };
  const problems = view.flow?.problems.length ? view.flow.problems : store.problems;
  const showProblem = (problem: Problem | null | undefined) => {
    if (!problem) return;
    setView((old) => ({ ...old, status: "all", query: "", flow: problem.flow, selection: { event: problem.event, span: problem.span, call: problem.call, group: null } }));
  };
  const searchBox = useRef<HTMLInputElement>(null);
  useKeys({
    store, view, actions, matches, nextTheme,
    flows: () => shownFlows(found, view),
    firstError: () => showProblem(firstProblem(store.problems)),
    nextError: (step) => showProblem(neighbour(store.problems, view, step)),
    focusSearch: () => searchBox.current?.select(),
  });
  const drop = useDrop((file) => void reader.open(file));

  return (
    <div class="app" {...drop.handlers} data-state={feed.state} data-records={store.records}>
      <header class="bar">
        <span class="brand"><Logo /> agentflow</span>
        <FeedState feed={feed} />
        <input
          ref={searchBox}
          type="search"
          class="search"
          placeholder="Search events, agents, payloads, errors  ( / )"
          aria-label="Search"
          value={view.query}
          onInput={(event) => look({ query: event.currentTarget.value })}
        />
        {matches && <span class="muted nowrap" data-testid="matches">{plural(matches.size, "event")} in {plural(found.length, "flow")}</span>}
        <button type="button" class={`push ${problems.length ? "alert" : ""}`} disabled={!store.problems.length} title="Jump to the first error (e)" data-testid="first-error" onClick={() => showProblem(firstProblem(problems))}>
          {store.problems.length ? `First of ${plural(store.problems.length, "error")}` : "No errors"}
        </button>
        <button type="button" aria-label={`Theme: ${theme}`} title="Light or dark (t)" onClick={nextTheme}>{theme === "dark" ? "☾" : "☀"}</button>
        <button type="button" aria-label="Keys and help" title="Keys and help (?)" onClick={() => look({ help: !view.help })}>?</button>
      </header>
      <FlowList view={view} actions={actions} found={found} total={store.flows.length} now={now} />
      <main class="panel stage">
        <div class="panel-head">
          <div role="tablist" aria-label="View">
            {(["lanes", "graph"] as const).map((tab) => (
              <button key={tab} type="button" role="tab" aria-selected={view.tab === tab} onClick={() => look({ tab })}>{tab === "lanes" ? "Lanes" : "Graph"}</button>
            ))}
          </div>
          <span class="muted clip">{view.flow ? <bdi class="mono">{visible(view.flow.id)}</bdi> : `all ${plural(store.flows.length, "flow")}`}</span>
          <span class="push muted nowrap" data-testid="record-count">{compact(store.records)} records{store.lost ? `, ${compact(store.lost)} lost` : ""}{store.unreadable ? `, ${compact(store.unreadable)} lines unreadable` : ""}</span>
        </div>
        {view.tab === "lanes"
          ? <Lanes store={store} version={store.version} view={view} actions={actions} kin={kin} matches={matches} now={now} theme={theme} />
          : <GraphView store={store} version={store.version} view={view} actions={actions} kin={kin} matches={matches} />}
      </main>
      <Inspector store={store} view={view} actions={actions} now={now} />
      <div class="sr-only" role="status" aria-live="polite">{spoken(view)}</div>
      {view.help && <Help close={() => look({ help: false })} />}
      {drop.over && <div class="drop-hint">Drop the trace file to open it here. It stays on this computer.</div>}
      {feed.state === "none" && !store.records && <div class="drop-hint">Drop a trace file (.jsonl) here. It stays on this computer.</div>}
    </div>
  );
}

/** Prepare the search while nobody waits, so that its first letter is as quick as the next. */
function warmUp(search: Search): () => void {
  let handle = 0;
  const step = (deadline: IdleDeadline) => {
    if (search.warm(() => deadline.timeRemaining() < 2)) handle = requestIdleCallback(step);
  };
  handle = requestIdleCallback(step);
  return () => cancelIdleCallback(handle);
}

function useMatches(search: Search, view: View, found: readonly Flow[], version: number): ReadonlySet<EventNode> | null {
  return useMemo(() => {
    if (!view.query.trim()) return null;
    return new Set(search.events(view.query, view.flow ? [view.flow] : found));
  }, [search, view.query, view.flow, found, version]);
}

function neighbour(problems: readonly Problem[], view: View, step: number): Problem | undefined {
  const at = problems.findIndex((problem) => problem.event === view.selection.event && problem.span === view.selection.span);
  if (at < 0) return step > 0 ? problems[0] : problems.at(-1);
  return problems[(at + step + problems.length) % problems.length];
}

function spoken({ selection, flow }: View): string {
  if (selection.group) return `${selection.group.events.length} events ${selection.group.type}`;
  const { event, span } = selection;
  if (!event) return flow ? `flow ${flow.id}, ${flow.outcome}` : "";
  return `${event.type}${span ? ` in ${span.agent}, ${span.status}` : ""}`;
}

const STATES: Record<Feed["state"], string> = {
  connecting: "connecting…", live: "live", reading: "reading…", ended: "complete", lost: "connection lost: open the link again", none: "no trace open",
};

function FeedState({ feed }: { feed: Feed }) {
  return (
    <span class="feed" data-testid="feed" data-state={feed.state}>
      <span class={`pulse ${feed.state}`} /> <bdi class="clip">{visible(feed.name)}</bdi> <span class="muted nowrap">{STATES[feed.state]}</span>
    </span>
  );
}

function Logo() {
  return (
    <svg width="18" height="18" viewBox="0 0 16 16" aria-hidden="true">
      <path d="M5 7 10.5 4M5 9l5.5 3" stroke="var(--muted)" fill="none" />
      <circle cx="3.5" cy="8" r="2.5" fill="#4f6bed" /><circle cx="12.5" cy="3.5" r="2.5" fill="#22a06b" /><circle cx="12.5" cy="12.5" r="2.5" fill="#e2a93b" />
    </svg>
  );
}

function useDrop(open: (file: File) => void) {
  const [over, setOver] = useState(false);
  return {
    over,
    handlers: {
      onDragOver: (event: DragEvent) => { event.preventDefault(); setOver(true); },
      onDragLeave: (event: DragEvent) => { if (!event.relatedTarget) setOver(false); },
      onDrop: (event: DragEvent) => {
        event.preventDefault();
        setOver(false);
        const file = event.dataTransfer?.files[0];
        if (file) open(file);
      },
    },
  };
}

