import { preview, rootOf } from "../model/causes";
import { compact, cost, duration, plural } from "../model/format";
import { brief, visible } from "../model/json";
import type { Flow } from "../model/types";
import { passes, sorted, type Actions, type Sort, type StatusFilter, type View } from "./state";
import { StatusDot } from "./parts";
import { Virtual } from "./Virtual";

interface Props {
  view: View;
  actions: Actions;
  /** Those that fit the search. */
  found: readonly Flow[];
  total: number;
  now: number;
}

const SORTS: [Sort, string][] = [
  ["newest", "newest first"], ["oldest", "oldest first"], ["longest", "longest first"], ["tokens", "most tokens"], ["errors", "most errors"],
];
const STATES: [StatusFilter, string][] = [
  ["all", "all"], ["running", "running"], ["failed", "errors"], ["cancelled", "cancelled"], ["done", "done"],
];

export function shownFlows(found: readonly Flow[], view: View): Flow[] {
  return sorted(found.filter((flow) => passes(flow, view.status)), view.sort);
}

export function FlowList({ view, actions, found, total, now }: Props) {
  const flows = shownFlows(found, view);
  const current = view.flow ? flows.indexOf(view.flow) : -1;
  return (
    <section class="panel flows" aria-label="Flows">
      <div class="panel-head">
        <h2>Flows</h2>
        <span class="muted" data-testid="flow-count">{flows.length === total ? total.toLocaleString("en") : `${flows.length.toLocaleString("en")} of ${total.toLocaleString("en")}`}</span>
        <select class="push" aria-label="Order of the flows" value={view.sort} onChange={(event) => actions.look({ sort: event.currentTarget.value as Sort })}>
          {SORTS.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
      </div>
      <div class="chips" role="radiogroup" aria-label="Which flows">
        {STATES.map(([value, label]) => (
          <button key={value} type="button" role="radio" class="chip" aria-checked={view.status === value} onClick={() => actions.look({ status: value })}>{label}</button>
        ))}
      </div>
      <button type="button" class="all-flows" aria-pressed={view.flow === null} onClick={() => actions.selectFlow(null)}>
        All flows together
      </button>
      {flows.length === 0 && <p class="empty">{total ? "No flow fits." : "No flow yet."}</p>}
      <Virtual
        items={flows}
        rowHeight={54}
        current={current}
        label="Flows"
        row={(flow) => <Row key={flow.id} flow={flow} now={now} isCurrent={flow === view.flow} choose={() => actions.selectFlow(flow)} />}
      />
    </section>
  );
}

function Row({ flow, now, isCurrent, choose }: { flow: Flow; now: number; isCurrent: boolean; choose: () => void }) {
  const root = rootOf(flow);
  const tokens = flow.usage.input + flow.usage.output;
  const end = flow.outcome === "running" ? Math.max(now, flow.end) : flow.end;
  return (
    <div class="flow-row" role="option" aria-selected={isCurrent} data-flow={flow.id} onClick={choose}>
      <div class="flow-line">
        <StatusDot status={flow.outcome} />
        <span class="flow-name">{visible(root?.type ?? "(no event)")}</span>
        {root && <span class="muted clip">{brief(preview(root, 1), 60)}</span>}
        {flow.problems.length > 0 && <span class="badge bad">{plural(flow.problems.length, "error")}</span>}
        <span class="push number">{duration(end - flow.start)}</span>
      </div>
      <div class="flow-line muted">
        <bdi class="mono flow-id">{visible(flow.id)}</bdi>
        <span class="push number" title="events">{compact(flow.events.length)} ev</span>
        {tokens > 0 && <span class="number" title="tokens in and out">{compact(tokens)} tok</span>}
        {flow.cost !== null && <span class="number" title="cost">{cost(flow.cost)}</span>}
      </div>
    </div>
  );
}
