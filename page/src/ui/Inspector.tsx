import { ancestors, emitterOf, eventStatus, preview, waitingAgents } from "../model/causes";
import { testOf } from "../model/copytest";
import { cost, count, duration, large, plural } from "../model/format";
import type { GraphNode } from "../model/graph";
import { brief, modelName, visible } from "../model/json";
import { summaryOf } from "../model/summary";
import type { Store } from "../model/store";
import type { EventNode, Flow, Problem, Span } from "../model/types";
import { ErrorView } from "./ErrorView";
import { CallView } from "./Messages";
import { CopyButton, Section, StatusBadge, StatusDot } from "./parts";
import type { Actions, Selection, View } from "./state";
import { Value } from "./Value";
import { Virtual } from "./Virtual";

interface Props {
  store: Store;
  view: View;
  actions: Actions;
  now: number;
}

/** As many errors or events are listed in full; the rest is in a list that scrolls. */
const SOME = 30;

export function Inspector({ store, view, actions, now }: Props) {
  const { selection, flow } = view;
  return (
    <section class="panel inspector" aria-label="Inspector" data-testid="inspector">
      {selection.group ? <GroupView node={selection.group} actions={actions} />
        : selection.event ? <EventView key={`${selection.event.flow.id}\n${selection.event.id}`} store={store} event={selection.event} selection={selection} actions={actions} now={now} />
        : <Summary store={store} flow={flow} actions={actions} now={now} />}
    </section>
  );
}

function EventView({ store, event, selection, actions, now }: { store: Store; event: EventNode; selection: Selection; actions: Actions; now: number }) {
  const flow = event.flow;
  const above = ancestors(store, event).reverse();
  // What the selected handler asked comes first.
  const asking = selection.span ? [selection.span, ...event.spans.filter((span) => span !== selection.span)] : event.spans;
  const calls = asking.flatMap((span) => span.calls);
  const failed = event.spans.filter((span) => span.error);
  const shown = selection.span ? [selection.span, ...failed.filter((span) => span !== selection.span)] : failed;
  const waiting = waitingAgents(event);
  const tokens = calls.reduce((sum, call) => sum + (call.usage ? call.usage.input + call.usage.output : 0), 0);
  const emitter = emitterOf(store, event);
  return (
    <>
      <header class="inspector-head">
        <div class="title-line">
          <h2 title={visible(event.fullType)}>{visible(event.type)}</h2>
          <StatusBadge status={eventStatus(event)} />
        </div>
        <div class="muted small"><bdi class="mono">{visible(event.fullType)}</bdi></div>
        <div class="facts">
          <span>{emitter ? <>from <button type="button" class="link" onClick={() => actions.selectEvent(emitter.event, emitter)}>{brief(emitter.agent, 40)}</button></> : <>from {brief(event.source || "outside", 40)}</>}</span>
          {!event.stored && <span>at {duration(event.time - flow.start)}</span>}
          <span>{plural(event.children.length, "event")} came of it</span>
        </div>
        <div class="buttons">
          <CopyButton label="Copy as test" text={() => testOf(store, event)} testId="copy-test" />
          <CopyButton label="Copy JSON" text={() => JSON.stringify({ type: event.fullType, id: event.id, source: event.source, fields: event.fields }, null, 2)} />
        </div>
      </header>
      {shown.map((span) => span.error && (
        <Section key={span.index} title="Error" aside={brief(span.agent, 30)}>
          <ErrorView error={span.error} />
          <p class="muted small">{consequence(span)}</p>
        </Section>
      ))}
      <Section title="Payload">
        {event.fields ? <Value value={event.fields} /> : <p class="muted">Its content was not seen: the trace begins after it.</p>}
      </Section>
      <Section title="Handled by" aside={plural(event.spans.length, "attempt")}>
        {event.spans.slice(0, 200).map((span) => <SpanRow key={span.index} span={span} isCurrent={span === selection.span} now={now} choose={() => actions.selectEvent(event, span)} />)}
        {waiting.map((agent) => <div class="attempt" key={agent}><StatusDot status="waiting" /><span>{visible(agent)}</span><span class="push muted">waiting</span></div>)}
        {event.notes.map((note, index) => <div class="attempt muted" key={index}>{brief(note.what, 300)}</div>)}
        {!event.spans.length && !waiting.length && !event.notes.length && <p class="muted">{event.agents.length ? "Nobody has begun with it." : event.stored ? "Nobody has it any more; a journal does not keep who had it." : "No route takes it."}</p>}
      </Section>
      {calls.length > 0 && (
        <Section title="Language model" aside={`${plural(calls.length, "call")}, ${count(tokens)} tokens`}>
          {calls.slice(0, 50).map((call) => <CallView key={call.id} call={call} start={flow.start} isCurrent={call === selection.call} />)}
          {calls.length > 50 && <p class="muted">{count(calls.length - 50)} more</p>}
        </Section>
      )}
      <Section title="Causes" aside={`${count(above.length)} above, ${count(event.children.length)} below`}>
        <ol class="chain">
          {above.slice(-SOME).map((cause) => <Related key={cause.id} event={cause} actions={actions} />)}
          <li class="here"><StatusDot status={eventStatus(event)} /> {visible(event.type)}</li>
        </ol>
        {event.children.length > 0 && <EventList events={event.children} actions={actions} label="What came of it" />}
      </Section>
      <Section title="Ids" open={false}>
        <dl class="ids">
          <dt>event</dt><dd><bdi class="mono">{visible(event.id)}</bdi></dd>
          <dt>parent</dt><dd><bdi class="mono">{visible(event.parentId || "none")}</bdi></dd>
          <dt>flow</dt><dd><bdi class="mono">{visible(flow.id)}</bdi></dd>
          <dt>source</dt><dd><bdi class="mono">{visible(event.source)}</bdi></dd>
        </dl>
      </Section>
    </>
  );
}

function consequence(span: Span): string {
  if (span.consequence === "retry") return `Attempt ${span.attempt}; tried again${span.retryIn === null ? "" : ` after ${duration(span.retryIn)}`}.`;
  if (span.consequence === "hand over") return "Handed to an agent that takes AgentFailed, so the flow went on.";
  return span.consequence === "fail flow" ? "It ended the flow." : "";
}

function SpanRow({ span, isCurrent, now, choose }: { span: Span; isCurrent: boolean; now: number; choose: () => void }) {
  return (
    <button type="button" class="attempt" aria-current={isCurrent} onClick={choose}>
      <StatusDot status={span.status} />
      <span>{brief(span.agent, 40)}</span>
      {span.attempt > 1 && <span class="badge">attempt {span.attempt}</span>}
      {span.reason && <span class="muted small">{brief(span.reason, 120)}</span>}
      {!span.stored && <span class="push number">{duration((span.end ?? now) - span.start)}</span>}
    </button>
  );
}

function Related({ event, actions }: { event: EventNode; actions: Actions }) {
  return (
    <li>
      <button type="button" class="attempt" onClick={() => actions.selectEvent(event)}>
        <StatusDot status={eventStatus(event)} />
        <span>{brief(event.type, 40)}</span>
        <span class="push muted small">{brief(event.agents.join(", "), 40)}</span>
      </button>
    </li>
  );
}

function EventList({ events, actions, label }: { events: readonly EventNode[]; actions: Actions; label: string }) {
  return (
    <Virtual
      items={events}
      rowHeight={30}
      rows={10}
      label={label}
      role="list"
      row={(event) => (
        <button type="button" class="attempt" key={event.id} onClick={() => actions.selectEvent(event)}>
          <StatusDot status={eventStatus(event)} />
          <span>{brief(event.type, 40)}</span>
          <span class="muted small mono">{brief(preview(event), 40)}</span>
          {!event.stored && <span class="push muted small">{duration(event.time - event.flow.start)}</span>}
        </button>
      )}
    />
  );
}

function GroupView({ node, actions }: { node: GraphNode; actions: Actions }) {
  const failed = node.events.filter((event) => eventStatus(event) === "failed");
  return (
    <>
      <header class="inspector-head">
        <div class="title-line"><h2>{visible(node.type)}</h2><span class="badge">×{count(node.events.length)}</span></div>
        <div class="facts"><span>{plural(node.agents.length, "agent")}: {brief(node.agents.join(", "), 100)}</span></div>
      </header>
      {failed.length > 0 && <Section title="Failed" aside={count(failed.length)}><EventList events={failed} actions={actions} label="Failed events" /></Section>}
      <Section title="Events" aside={count(node.events.length)}><EventList events={node.events} actions={actions} label="Events" /></Section>
    </>
  );
}

function Summary({ store, flow, actions, now }: { store: Store; flow: Flow | null; actions: Actions; now: number }) {
  const problems = flow ? flow.problems : store.problems;
  const sum = summaryOf(store, flow, now);
  return (
    <>
      <header class="inspector-head">
        <div class="title-line">
          <h2>{flow ? "Flow" : "All flows"}</h2>
          {flow && <StatusBadge status={flow.outcome} />}
        </div>
        {flow && <div class="muted small"><bdi class="mono">{visible(flow.id)}</bdi></div>}
        {flow?.reason && <p class={flow.outcome === "failed" ? "bad-text" : "muted"}>{brief(flow.reason, 400)}</p>}
      </header>
      <dl class="numbers">
        {!flow && <div><dt>flows</dt><dd>{large(store.flows.length)}</dd></div>}
        <div><dt>duration</dt><dd>{duration(sum.duration)}</dd></div>
        <div><dt>events</dt><dd>{large(sum.events)}</dd></div>
        <div><dt>handlers</dt><dd>{large(sum.handlers)}</dd></div>
        <div><dt>LLM calls</dt><dd>{large(sum.calls)}</dd></div>
        <div><dt>tokens in</dt><dd>{large(sum.usage.input)}</dd></div>
        <div><dt>tokens out</dt><dd>{large(sum.usage.output)}</dd></div>
        <div><dt>cost</dt><dd>{cost(sum.cost)}</dd></div>
        <div><dt>errors</dt><dd class={problems.length ? "bad-text" : ""}>{large(problems.length)}</dd></div>
      </dl>
      {problems.length > 0 && (
        <Section title="Errors" aside={count(problems.length)}>
          <Virtual items={problems} rowHeight={48} rows={6} label="Errors" role="list" row={(problem, index) => <ProblemRow key={index} problem={problem} actions={actions} />} />
        </Section>
      )}
      <Section title="Agents" aside={count(sum.agents.length)}>
        <table class="agents">
          <thead><tr><th>agent</th><th>runs</th><th>total</th><th>longest</th><th>errors</th></tr></thead>
          <tbody>
            {sum.agents.slice(0, 200).map((agent) => (
              <tr key={agent.name}>
                <td><bdi>{brief(agent.name, 40)}</bdi></td>
                <td class="number">{count(agent.runs)}</td>
                <td class="number">{!agent.slowest.stored && duration(agent.total)}</td>
                <td class="number"><button type="button" class="link" onClick={() => actions.selectEvent(agent.slowest.event, agent.slowest)}>{agent.slowest.stored ? "show" : duration(agent.longest)}</button></td>
                <td class={`number ${agent.errors ? "bad-text" : "muted"}`}>{count(agent.errors)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Section>
      {sum.models.length > 0 && (
        <Section title="Models">
          <table class="agents">
            <thead><tr><th>model</th><th>calls</th><th>in</th><th>out</th><th>cost</th></tr></thead>
            <tbody>
              {sum.models.map((model) => (
                <tr key={model.name}><td title={visible(model.name)}><bdi>{brief(modelName(model.name), 40)}</bdi></td><td class="number">{count(model.calls)}</td><td class="number">{count(model.usage.input)}</td><td class="number">{count(model.usage.output)}</td><td class="number">{cost(model.cost)}</td></tr>
              ))}
            </tbody>
          </table>
        </Section>
      )}
    </>
  );
}

function ProblemRow({ problem, actions }: { problem: Problem; actions: Actions }) {
  const message = typeof problem.error["message"] === "string" ? problem.error["message"] : "";
  const type = typeof problem.error["type"] === "string" ? problem.error["type"] : "error";
  return (
    <button type="button" class="problem" onClick={() => actions.selectEvent(problem.event, problem.span, problem.call)}>
      <span class="problem-line"><strong>{brief(type.slice(type.lastIndexOf(":") + 1), 40)}</strong><span class="muted push">{brief(problem.where, 30)}</span></span>
      <span class="problem-line muted">{brief(message, 90)}</span>
    </button>
  );
}
