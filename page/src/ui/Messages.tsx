/** A conversation with a model: who said what, the thinking, the tools. */

import { brief, field, isObject, list, modelName, parseLine, shortName, text, visible, type Json } from "../model/json";
import { cost, count, duration } from "../model/format";
import type { Call, Tool } from "../model/types";
import { LongText, Value } from "./Value";
import { ErrorView } from "./ErrorView";
import { StatusBadge } from "./parts";

export function CallView({ call, start, isCurrent }: { call: Call; start: number; isCurrent: boolean }) {
  const usage = call.usage;
  return (
    <article class="call" aria-current={isCurrent} data-call={call.id}>
      <header>
        <strong class="clip" title={visible(call.model)}>{visible(modelName(call.model) || "model")}</strong> <span class="muted nowrap">{visible(call.provider)}</span>
        <span class="push"><StatusBadge status={call.status} /></span>
      </header>
      <div class="facts">
        <span>at {duration(call.start - start)}</span>
        {call.end !== null && <span>took {duration(call.end - call.start)}</span>}
        {call.attempts > 1 && <span class="warn">{call.attempts} attempts</span>}
        {usage && <span title={`${count(usage.cached)} from a cache, ${count(usage.reasoning)} of reasoning`}>{count(usage.input)} tokens in, {count(usage.output)} out</span>}
        {usage && usage.cached > 0 && <span>{count(usage.cached)} cached</span>}
        {usage && usage.reasoning > 0 && <span>{count(usage.reasoning)} reasoning</span>}
        {call.cost !== null && <span>cost {cost(call.cost)}</span>}
        {call.stop && <span>stop: {visible(call.stop)}</span>}
      </div>
      {call.error && <ErrorView error={call.error} />}
      {call.messages.map((message, index) => <Message key={index} message={message} />)}
      {call.message !== null && <Message message={call.message} isAnswer />}
      {call.tools.map((tool, index) => <ToolView key={index} tool={tool} />)}
      {!call.messages.length && call.message === null && (
        <p class="muted small">What was said is not recorded: make the broker with <code>records_content=True</code>.</p>
      )}
    </article>
  );
}

function Message({ message, isAnswer = false }: { message: Json; isAnswer?: boolean }) {
  const role = text(field(message, "role"), "message");
  const content = field(message, "content");
  const parts = typeof content === "string" ? [content] : list(content);
  return (
    <div class={`message ${isAnswer ? "answer" : ""}`} data-role={role}>
      <div class="role">{visible(role)}{isAnswer && <span class="muted"> answered</span>}</div>
      {parts.map((part, index) => <Part key={index} part={part} />)}
      {content === undefined && <Value value={message} />}
    </div>
  );
}

function Part({ part }: { part: Json }) {
  if (typeof part === "string") return <div class="said"><LongText text={part} plain /></div>;
  const kind = shortName(text(field(part, "$type"), text(field(part, "type"))));
  const said = text(field(part, "text"));
  if (kind === "ReasoningPart") {
    return <details class="reasoning"><summary>reasoning{said ? `: ${brief(said, 60)}` : ", which the provider keeps to itself"}</summary><LongText text={said} plain /></details>;
  }
  if (kind === "RefusalPart") return <div class="said refusal">refused: <LongText text={said} plain /></div>;
  if (kind === "TextPart") return <div class="said"><LongText text={said} plain /></div>;
  if (kind === "ToolCall") {
    return <div class="tool-call"><code>{visible(text(field(part, "name")))}</code> <Arguments raw={field(part, "arguments")} /></div>;
  }
  if (kind === "ToolResult") {
    return (
      <div class={`tool-result ${field(part, "is_error") === true ? "bad" : ""}`}>
        <span class="muted">result of <code>{visible(text(field(part, "name")))}</code></span>
        {list(field(part, "content")).map((inner, index) => <Part key={index} part={inner} />)}
      </div>
    );
  }
  return <Value value={part} />;
}

/** Arguments are the JSON text that the model wrote, which may be broken. */
function Arguments({ raw }: { raw: Json | undefined }) {
  const written = text(raw);
  const parsed = written ? parseLine(written) : null;
  return parsed ? <Value value={parsed} depth={1} /> : <LongText text={written || "( )"} />;
}

function ToolView({ tool }: { tool: Tool }) {
  return (
    <div class="tool">
      <header>
        <span class="muted">tool</span> <code>{visible(tool.name)}</code>
        {tool.end !== null && <span class="muted">{duration(tool.end - tool.start)}</span>}
        <span class="push"><StatusBadge status={tool.status} /></span>
      </header>
      {isObject(tool.request) && <Arguments raw={field(tool.request, "arguments")} />}
      {isObject(tool.result) && list(field(tool.result, "content")).map((part, index) => <Part key={index} part={part} />)}
      {tool.error && <ErrorView error={tool.error} />}
    </div>
  );
}
