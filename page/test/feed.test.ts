import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Reader } from "../src/feed";

/** Stands for the browser's connection to the server. */
class FakeSource {
  static readonly CLOSED = 2;
  static opened: FakeSource[] = [];
  readyState = 1;
  private readonly listeners = new Map<string, (message: { data: string }) => void>();

  constructor(readonly url: string) {
    FakeSource.opened.push(this);
  }

  addEventListener(name: string, listener: (message: { data: string }) => void): void {
    this.listeners.set(name, listener);
  }

  send(name: string, ...lines: string[]): void {
    this.listeners.get(name)?.({ data: lines.join("\n") });
  }

  close(): void {
    this.readyState = FakeSource.CLOSED;
  }
}

const flow = (id: number): string => JSON.stringify({ record: "FlowStarted", time: id, correlation_id: `flow-${id}` });

beforeEach(() => {
  FakeSource.opened = [];
  vi.stubGlobal("EventSource", FakeSource);
  vi.stubGlobal("location", { protocol: "http:" });
});
afterEach(() => vi.unstubAllGlobals());

function connected(): { reader: Reader; source: FakeSource } {
  const reader = new Reader(() => undefined);
  reader.connect();
  const source = FakeSource.opened[0] as FakeSource;
  source.send("hello", JSON.stringify({ name: "a session", live: true, prices: { tiny: { input: 1, output: 2, cached: 1 } } }));
  source.send("reset", "");
  return { reader, source };
}

it("records are added as they come, and a reset forgets them", () => {
  const { reader, source } = connected();
  source.send("records", flow(1), flow(2));
  expect(reader.feed.store.flows.length).toBe(2);
  expect(reader.feed.store.prices.get("tiny")?.output).toBe(2);
  expect([reader.feed.name, reader.feed.state]).toEqual(["a session", "live"]);
  source.send("reset", "");
  source.send("records", flow(3), "", "no record");
  expect(reader.feed.store.flows.map((one) => one.id)).toEqual(["flow-3"]);
  expect(reader.feed.store.unreadable).toBe(1);
});

it("the server says what is worth seeing first", () => {
  const { reader, source } = connected();
  expect(reader.feed.tab).toBe("lanes");
  source.send("hello", JSON.stringify({ name: "run.db", live: true, tab: "graph" }));
  expect(reader.feed.tab).toBe("graph");
});

it("after the end nothing is asked for any more", () => {
  const { reader, source } = connected();
  source.send("records", flow(1));
  source.send("end", "");
  expect([reader.feed.state, source.readyState]).toEqual(["ended", FakeSource.CLOSED]);
});

it("a connection that is refused is lost, one that is interrupted is not", () => {
  const { reader, source } = connected();
  source.readyState = 0;
  source.send("error", "");
  expect(reader.feed.state).toBe("connecting");
  source.readyState = FakeSource.CLOSED;
  source.send("error", "");
  expect(reader.feed.state).toBe("lost");
});

it("a page that has followed a session for weeks begins anew", async () => {
  const { source } = connected();
  for (let batch = 0; batch <= 400; batch += 1) source.send("records", ...Array.from({ length: 1000 }, () => flow(1)));
  await vi.waitFor(() => expect(FakeSource.opened.length).toBe(2), { timeout: 20_000 });
  expect(source.readyState).toBe(FakeSource.CLOSED);
}, 30_000);
