"""OpenTelemetry: spans and metrics by the GenAI conventions, from the records of a session.

The one file that imports it; ``pip install 'trio-agentflow[otel]'``. Names and attributes
come from ``opentelemetry-util-genai``, which follows the conventions as they change.

Theory of operation. Every span is begun and ended by a record, never held across an await:

- a flow is an ``invoke_workflow`` span below whatever span was current where its first
  event was dispatched;
- an attempt at handling an event is an ``invoke_agent`` span below the span that was
  current where the event was emitted, which is that of the handler that emitted it, or
  below its flow's;
- a call of a model is a ``chat`` span and a tool an ``execute_tool`` span below what is
  current where they are made;
- an event that nobody takes is an ``event`` span without duration, so that results show.

`HandlerStarted` is recorded in the task that then runs the handler, before the kernel looks
at its context variables. So making the span current there, and leaving it so, is all that a
user's own spans need to stand below it; the next handler of that task begins with a span of
its own. An aggregator's span is linked to the handlers that emitted the other events of the
set it processes. A flow's contexts are kept until it ends, and so are bounded by
``max_events_per_flow``.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

import attrs
from opentelemetry._logs import LoggerProvider
from opentelemetry.context import Context, attach, get_current
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import (
    SpanContext,
    TracerProvider,
    get_current_span,
    get_tracer,
)
from opentelemetry.util.genai.handler import (  # pyright: ignore[reportMissingTypeStubs]  # typed, but says so nowhere
    TelemetryHandler,
)
from opentelemetry.util.genai.invocation import (  # pyright: ignore[reportMissingTypeStubs]  # likewise
    GenAIInvocation,
    InferenceInvocation,
    LocalAgentInvocation,
    ToolInvocation,
    WorkflowInvocation,
)
from opentelemetry.util.genai.types import (  # pyright: ignore[reportMissingTypeStubs]  # likewise
    Error,
    InputMessage,
    MessagePart,
    OutputMessage,
    ReasoningPart,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
)

from agentflow._context import current_delivery
from agentflow._events import Event
from agentflow._lenient import type_name, value_as_json
from agentflow._records import (
    DeliveryDropped,
    DeliveryRecord,
    EventAccepted,
    FlowEnded,
    FlowStarted,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    LLMCallCancelled,
    LLMCallFailed,
    LLMCallFinished,
    LLMCallRecord,
    LLMCallStarted,
    Record,
    SetCompleted,
    ToolCallCancelled,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallRecord,
    ToolCallStarted,
)

_SCOPE = "agentflow"

_STOPS = {
    "end": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_full": "length",
    "tool_calls": "tool_call",
    "refused": "content_filter",
}
"""The finish reasons of the conventions; others go as they are."""

_I = TypeVar("_I", bound=GenAIInvocation)


@attrs.frozen
class _Cause:
    """Where an event came from.

    Attributes:
        context: What its handlers' spans stand below.
        link: A span that caused it too, though it is not above.
    """

    context: Context
    link: SpanContext | None = None


class _Flow:
    """What is known of a flow until it ends."""

    def __init__(self, caller: Context) -> None:
        self.caller: Context = caller
        self.span: WorkflowInvocation | None = None
        self.causes: dict[str, _Cause] = {}
        self.running: dict[tuple[str, str], LocalAgentInvocation] = {}
        self.calls: dict[str, InferenceInvocation] = {}
        self.tools: dict[tuple[str, str], ToolInvocation] = {}

    def everything(self) -> Iterable[GenAIInvocation]:
        """Yield what has been begun and not ended, the innermost first."""
        yield from self.tools.values()
        yield from self.calls.values()
        yield from self.running.values()


class OpenTelemetryObserver:
    """Makes spans and metrics of what a session does.

    ::

        observer = OpenTelemetryObserver()
        async with AsyncDispatcher(router, tracer=observer) as dispatcher:
            ...

    What models and tools are asked and answer is in the spans only if the broker records
    content and ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is set, as the
    conventions want it. Export with a batch processor: a simple one blocks the event loop.

    Args:
        tracer_provider: Where spans go; the global one by default.
        meter_provider: Where metrics go; the global one by default.
        logger_provider: Where events go; the global one by default.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        self._genai = TelemetryHandler(
            tracer_provider,
            meter_provider,
            logger_provider,
            instrumentation_scope_name=_SCOPE,
        )
        self._tracer = get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._flows: dict[str, _Flow] = {}
        self._take: dict[type[Record], Callable[[_Flow, Any], None]] = {
            FlowEnded: self._flow_ended,
            EventAccepted: self._accepted,
            HandlerStarted: self._handler_started,
            HandlerFinished: self._handler_ended,
            HandlerFailed: self._handler_ended,
            HandlerCancelled: self._handler_ended,
            DeliveryDropped: self._dropped,
            SetCompleted: self._set_completed,
            LLMCallStarted: self._call_started,
            LLMCallFinished: self._call_ended,
            LLMCallFailed: self._call_ended,
            LLMCallCancelled: self._call_ended,
            ToolCallStarted: self._tool_started,
            ToolCallFinished: self._tool_ended,
            ToolCallFailed: self._tool_ended,
            ToolCallCancelled: self._tool_ended,
        }

    def record(self, record: Record, /) -> None:
        """Take a record; a session calls this."""
        if isinstance(record, FlowStarted):
            self._flows[record.correlation_id] = _Flow(get_current())
            return
        flow = self._flows.get(record.correlation_id)
        take = self._take.get(type(record))
        if flow is not None and take is not None:
            take(flow, record)

    # -- flows and events -----------------------------------------------------------------

    def _accepted(self, flow: _Flow, record: EventAccepted) -> None:
        if flow.span is None:
            flow.span = self._began(
                self._genai.workflow(
                    type(record.event).__name__,
                    context=flow.caller,
                    conversation_id=record.correlation_id,
                )
            )
            flow.span.attributes["agentflow.flow.id"] = record.correlation_id
        delivery = current_delivery.get()
        if delivery is None or (
            delivery.root.flow.correlation_id != record.correlation_id
        ):
            caller = get_current_span().get_span_context()
            above = get_current_span(flow.caller).get_span_context()
            is_other = caller.is_valid and caller.span_id != above.span_id
            cause = _Cause(flow.span.context, caller if is_other else None)
        else:
            cause = _Cause(get_current())
        flow.causes[record.event.id or ""] = cause
        if not record.agents:
            self._tracer.start_span(
                f"event {type(record.event).__name__}",
                cause.context,
                attributes=_of_event(record.event),
            ).end()

    def _flow_ended(self, flow: _Flow, record: FlowEnded) -> None:
        del self._flows[record.correlation_id]
        for left in flow.everything():
            left.fail(Error("its flow ended", "cancelled"))
        if flow.span is None:
            return
        flow.span.attributes["agentflow.outcome"] = record.outcome
        if record.outcome in {"failed", "cancelled"}:
            flow.span.fail(Error(record.reason, record.outcome))
        else:
            flow.span.stop()

    # -- handlers -------------------------------------------------------------------------

    def _handler_started(self, flow: _Flow, record: HandlerStarted) -> None:
        handler = self._handler(flow, record)
        handler.attributes["agentflow.attempt"] = record.attempt
        flow.running[_key(record)] = handler
        # For the handler that begins now; it stays until the task's next one begins.
        attach(handler.context)

    def _handler(self, flow: _Flow, record: DeliveryRecord) -> LocalAgentInvocation:
        cause = flow.causes.get(record.event.id or "") or _Cause(flow.caller)
        handler = self._began(
            self._genai.invoke_local_agent(
                agent_name=record.agent,
                context=cause.context,
                conversation_id=record.correlation_id,
            )
        )
        handler.attributes.update(_of_event(record.event))
        if cause.link is not None:
            handler.span.add_link(cause.link)
        return handler

    def _handler_ended(
        self,
        flow: _Flow,
        record: HandlerFinished | HandlerFailed | HandlerCancelled,
    ) -> None:
        handler = flow.running.pop(_key(record), None)
        if handler is None:
            return
        if isinstance(record, HandlerFailed):
            handler.attributes["agentflow.outcome"] = record.consequence
            handler.span.record_exception(record.error)
            handler.fail(record.error)
        elif isinstance(record, HandlerCancelled):
            handler.attributes["agentflow.outcome"] = "cancelled"
            handler.fail(Error(record.reason, "cancelled"))
        else:
            handler.attributes["agentflow.outcome"] = "finished"
            handler.stop()

    def _dropped(self, flow: _Flow, record: DeliveryDropped) -> None:
        handler = self._handler(flow, record)
        handler.attributes["agentflow.outcome"] = "dropped"
        handler.fail(Error(record.reason, "dropped"))

    def _set_completed(self, flow: _Flow, record: SetCompleted) -> None:
        handler = flow.running.get(_key(record))
        if handler is None:
            return
        for event in record.events:
            cause = flow.causes.get(event.id or "")
            if cause is not None and event is not record.event:
                emitter = get_current_span(cause.context).get_span_context()
                handler.span.add_link(emitter, {"agentflow.event.id": event.id or ""})

    # -- models and tools -----------------------------------------------------------------

    def _call_started(self, flow: _Flow, record: LLMCallStarted) -> None:
        call = self._began(
            self._genai.inference(
                record.provider,
                request_model=record.model,
                context=get_current(),
                conversation_id=record.correlation_id,
            )
        )
        call.attributes["agentflow.agent"] = record.agent
        if call.should_capture_content and record.messages:
            messages = [_message_of(message) for message in record.messages]
            call.input_messages = [InputMessage(role, p) for role, p in messages]
        flow.calls[record.call] = call

    def _call_ended(self, flow: _Flow, record: LLMCallRecord) -> None:
        call = flow.calls.pop(record.call, None)
        if call is None:
            return
        if isinstance(record, LLMCallFailed):
            call.attributes["agentflow.attempts"] = record.attempts
            call.fail(record.error)
        elif isinstance(record, LLMCallFinished):
            call.attributes["agentflow.attempts"] = record.attempts
            if record.from_journal:
                call.attributes["agentflow.from_journal"] = True
            _answer(call, record)
            call.stop()
        else:
            call.fail(Error("whoever asked was cancelled", "cancelled"))

    def _tool_started(self, flow: _Flow, record: ToolCallStarted) -> None:
        tool = self._began(
            self._genai.tool(
                record.tool,
                tool_type="function",
                agent_name=record.agent,
                context=get_current(),
            )
        )
        tool.tool_call_id = record.tool_call
        if tool.should_capture_content and record.request is not None:
            tool.arguments = _plain(record.request).get("arguments")
        flow.tools[record.call, record.tool_call] = tool

    def _tool_ended(self, flow: _Flow, record: ToolCallRecord) -> None:
        tool = flow.tools.pop((record.call, record.tool_call), None)
        if tool is None:
            return
        if isinstance(record, ToolCallFailed):
            tool.fail(record.error)
        elif isinstance(record, ToolCallFinished):
            if record.from_journal:
                tool.attributes["agentflow.from_journal"] = True
            if tool.should_capture_content and record.result is not None:
                tool.tool_result = _text_of(_plain(record.result).get("content"))
            tool.stop()
        else:
            tool.fail(Error("the turn was cancelled", "cancelled"))

    @staticmethod
    def _began(invocation: _I) -> _I:
        """Take what has begun out of the current context again: others end it."""
        invocation.suspend()
        return invocation


def _key(record: DeliveryRecord) -> tuple[str, str]:
    return record.event.id or "", record.agent


def _of_event(event: Event) -> dict[str, str]:
    """Return the attributes that say which event a span is about."""
    shown = {
        "agentflow.event.id": event.id or "",
        "agentflow.event.type": type_name(type(event)),
    }
    if event.parent_id is not None:
        shown["agentflow.event.parent_id"] = event.parent_id
    return shown


def _answer(call: InferenceInvocation, record: LLMCallFinished) -> None:
    """Put the answer of a model into its span."""
    usage = record.usage
    call.input_tokens = usage.get("input_tokens")
    call.output_tokens = usage.get("output_tokens")
    call.cache_read_input_tokens = usage.get("cached_tokens") or None
    call.cache_write_input_tokens = usage.get("cache_write_tokens") or None
    call.thinking_tokens = usage.get("reasoning_tokens") or None
    call.response_model_name = record.model
    call.finish_reasons = [_STOPS.get(record.stop, record.stop)]
    if call.should_capture_content and record.message is not None:
        role, parts = _message_of(record.message)
        call.output_messages = [OutputMessage(role, parts)]


def _plain(value: object) -> Mapping[str, Any]:
    """Return a value of the LLM half as plain data: its classes are no business of ours."""
    shown = value_as_json(value)
    return shown if isinstance(shown, dict) else {}


def _message_of(message: object) -> tuple[str, list[MessagePart]]:
    """Return a message's role and its parts, in the form of the conventions."""
    shown = _plain(message)
    parts = (_part_of(part) for part in shown.get("content") or ())
    return str(shown.get("role", "")), [part for part in parts if part is not None]


def _part_of(part: Mapping[str, Any]) -> MessagePart | None:
    """Return a part of a message; None for pictures and what one provider knows."""
    with suppress(KeyError):
        kind = str(part.get("$type")).rpartition(":")[2]
        if kind == "ToolCall":
            return ToolCallRequestPart(part["arguments"], part["name"], part["id"])
        if kind == "ToolResult":
            return ToolCallResponsePart(_text_of(part["content"]), part["call_id"])
        if kind == "ReasoningPart":
            return ReasoningPart(part["text"])
        return TextPart(part["text"])
    return None


def _text_of(content: object) -> str:
    """Return the text in the parts of a tool's result."""
    parts = cast("Iterable[Mapping[str, Any]]", content or ())
    return "".join(str(part.get("text") or "") for part in parts)
