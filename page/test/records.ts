/** Records as a session writes them, for the tests. */

import type { JsonObject } from "../src/model/json";
import { Store } from "../src/model/store";
import type { EventNode } from "../src/model/types";

export const HEADER: JsonObject = { record: "Header", format: 1, wall: 1000, time: 10, pid: 1 };

export function record(kind: string, time: number, fields: JsonObject = {}): JsonObject {
  return { record: kind, time, correlation_id: "flow", ...fields };
}

export function accepted(time: number, id: string, parent: string | null, agents: string[], more: JsonObject = {}): JsonObject {
  const event = { type: "shop:TextEvent", version: 1, id, correlation_id: "flow", parent_id: parent, source: "main", fields: {}, ...more };
  return record("EventAccepted", time, { event, agents });
}

export function about(kind: string, time: number, id: string, agent: string, fields: JsonObject = {}): JsonObject {
  return record(kind, time, { event: { id, type: "shop:TextEvent" }, agent, ...fields });
}

export function ran(id: string, agent: string, from: number, to: number): JsonObject[] {
  return [about("HandlerStarted", from, id, agent, { attempt: 1 }), about("HandlerFinished", to, id, agent, { duration: to - from })];
}

export function storeOf(...records: (JsonObject | JsonObject[])[]): Store {
  const store = new Store();
  for (const one of records.flat()) store.add(one);
  return store;
}

export function eventIn(store: Store, id: string): EventNode {
  const event = store.eventById.get(id);
  if (!event) throw new Error(`no event ${id}`);
  return event;
}
