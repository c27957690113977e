/** Where records come from: the server that served this page, or a file dropped on it. */

import { field, isObject, number, parseLine, text } from "./model/json";
import { Store } from "./model/store";
import type { Price } from "./model/types";

export type FeedState = "connecting" | "live" | "reading" | "ended" | "lost" | "none";

export interface Feed {
  store: Store;
  name: string;
  state: FeedState;
  /** What is worth seeing first; lanes say little where times are not known. */
  tab: "lanes" | "graph";
  /** Grows when the store is replaced by another. */
  generation: number;
}

/**
 * Of a session that runs for weeks, no more than this is kept: then the page begins anew
 * with what the server still has, which is less.
 */
const MOST_RECORDS = 400_000;
/** Milliseconds that parsing may hold up the page at a time. */
const SLICE = 12;

export class Reader {
  readonly feed: Feed = { store: new Store(), name: "", state: "connecting", tab: "lanes", generation: 0 };
  private readonly queue: string[][] = [];
  private busy = false;
  private ending = false;
  private prices = new Map<string, Price>();
  private events: EventSource | null = null;
  /** A message to oneself comes back sooner than a timer, which waits 4 ms at least. */
  private readonly channel = new MessageChannel();

  constructor(private readonly changed: () => void) {
    this.channel.port1.onmessage = () => this.work();
  }

  /** Listen to the server; a page that was opened as a file has none. */
  connect(): void {
    if (location.protocol === "file:") {
      this.feed.state = "none";
      return;
    }
    const events = new EventSource("records");
    this.events = events;
    events.addEventListener("hello", (message) => this.greet(message.data as string));
    events.addEventListener("reset", () => this.reset());
    events.addEventListener("records", (message) => this.take((message.data as string).split("\n")));
    events.addEventListener("end", () => {
      events.close();
      this.ending = true;
      this.work();
    });
    events.addEventListener("error", () => {
      this.feed.state = events.readyState === EventSource.CLOSED ? "lost" : "connecting";
      this.changed();
    });
  }

  /** Show a file from this computer instead. */
  async open(file: File): Promise<void> {
    this.events?.close();
    this.feed.name = file.name;
    this.feed.state = "reading";
    this.reset();
    let rest = "";
    const reader = file.stream().pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      this.take(lines);
    }
    this.take([rest]);
    this.ending = true;
    this.work();
  }

  private greet(data: string): void {
    const about = parseLine(data);
    this.feed.name = text(field(about ?? {}, "name"), "a trace");
    this.feed.state = field(about ?? {}, "live") === true ? "live" : "reading";
    this.feed.tab = field(about ?? {}, "tab") === "graph" ? "graph" : "lanes";
    const prices = field(about ?? {}, "prices");
    this.prices = new Map();
    if (isObject(prices)) {
      for (const [model, price] of Object.entries(prices)) {
        this.prices.set(model, { input: number(field(price, "input")), output: number(field(price, "output")), cached: number(field(price, "cached")) });
      }
    }
    this.changed();
  }

  private reset(): void {
    this.queue.length = 0;
    this.ending = false;
    this.feed.store = new Store();
    this.feed.store.prices = this.prices;
    this.feed.generation += 1;
    this.changed();
  }

  private take(lines: string[]): void {
    this.queue.push(lines);
    if (!this.busy) this.work();
  }

  /** Parse what has come, in slices, so that the page answers clicks meanwhile. */
  private work(): void {
    this.busy = false;
    const until = performance.now() + SLICE;
    let lines = this.queue[0];
    while (lines) {
      this.addAll(lines, until);
      if (lines.length) {
        this.busy = true;
        this.channel.port2.postMessage(null);
        break;
      }
      this.queue.shift();
      lines = this.queue[0];
    }
    if (!this.busy && this.ending) this.feed.state = "ended";
    if (this.feed.state === "live" && this.feed.store.records > MOST_RECORDS) {
      this.events?.close();
      this.connect();
    }
    this.changed();
  }

  /** Add lines and take them away, until they or the time are up. */
  private addAll(lines: string[], until: number): void {
    let done = 0;
    for (const line of lines) {
      if (done % 64 === 63 && performance.now() > until) break;
      done += 1;
      if (!line.trim()) continue;
      const record = parseLine(line);
      if (record) this.feed.store.add(record);
      else this.feed.store.addUnreadable();
    }
    lines.splice(0, done);
  }
}
