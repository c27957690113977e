"""Records: frozen values that say what happened (rule T1).

One vocabulary serves tracer, telemetry, journal, viewer and tests. Times are seconds on
the clock of the session's event loop; durations are seconds.
"""

from collections.abc import Mapping
from typing import Literal

import attrs

from agentflow._events import Event

FlowOutcome = Literal["finished", "failed", "cancelled", "terminated"]
"""How a flow ended."""


@attrs.frozen(kw_only=True, slots=False)
class Record:
    """Something that happened in a flow.

    Attributes:
        time: When, in seconds on the event loop's clock; 0 before the session opened.
        correlation_id: In which flow.
    """

    time: float
    correlation_id: str


@attrs.frozen(kw_only=True, slots=False)
class FlowStarted(Record):
    """The first event of a correlation id was accepted."""


@attrs.frozen(kw_only=True, slots=False)
class FlowEnded(Record):
    """A flow is idle and its owner is done with it; nothing of it is left.

    Attributes:
        outcome: How it ended.
        reason: Why it was cancelled or terminated, or what failed; else empty.
        events: How many events it accepted.
        duration: Seconds from its first event to its end.
    """

    outcome: FlowOutcome
    reason: str
    events: int
    duration: float


@attrs.frozen(kw_only=True, slots=False)
class EventAccepted(Record):
    """An event entered its flow.

    Attributes:
        event: The stamped event.
        agents: The names of the agents it goes to; empty when no route takes it (R4).
    """

    event: Event
    agents: tuple[str, ...]


@attrs.frozen(kw_only=True, slots=False)
class DeliveryRecord(Record):
    """Something that happened to one event on its way to one agent.

    Attributes:
        event: The event.
        agent: The agent's name.
    """

    event: Event
    agent: str


@attrs.frozen(kw_only=True, slots=False)
class HandlerStarted(DeliveryRecord):
    """The agent began to handle the event.

    Attributes:
        attempt: Which attempt this is; the first is 1.
    """

    attempt: int


@attrs.frozen(kw_only=True, slots=False)
class HandlerFinished(DeliveryRecord):
    """The agent handled the event.

    The events it emitted name the handled event as their parent.

    Attributes:
        duration: Seconds since it started.
    """

    duration: float


@attrs.frozen(kw_only=True, slots=False)
class HandlerFailed(DeliveryRecord):
    """The handler raised.

    Attributes:
        duration: Seconds since it started.
        error: What it raised.
        attempt: Which attempt failed; the first is 1.
        consequence: Whether it is tried again, was handed to a route for `AgentFailed`,
            or fails the flow.
        retry_in: Seconds until the next attempt, when there is one.
    """

    duration: float
    error: Exception
    attempt: int
    consequence: Literal["retry", "hand over", "fail flow"]
    retry_in: float | None = None


@attrs.frozen(kw_only=True, slots=False)
class HandlerCancelled(DeliveryRecord):
    """The handler was cancelled before it ended.

    Attributes:
        duration: Seconds since it started.
        reason: Why.
    """

    duration: float
    reason: str


@attrs.frozen(kw_only=True, slots=False)
class DeliveryDropped(DeliveryRecord):
    """The event was accepted, but its flow ended before the agent got it.

    Attributes:
        reason: Why.
    """

    reason: str


@attrs.frozen(kw_only=True, slots=False)
class OutputDropped(DeliveryRecord):
    """An agent emitted an event into a flow that had ended already.

    Attributes:
        reason: Why the flow takes no more.
    """

    reason: str


@attrs.frozen(kw_only=True, slots=False)
class ThreadAbandoned(DeliveryRecord):
    """A synchronous agent was cancelled, but its thread runs on (rule A3)."""


@attrs.frozen(kw_only=True, slots=False)
class SetCompleted(DeliveryRecord):
    """An aggregator begins to process a set (rule A4).

    The event is the one that completed it, or whose time was up.

    Attributes:
        events: The set, that event included, in the order of the types listed.
    """

    events: tuple[Event, ...]


@attrs.frozen(kw_only=True, slots=False)
class SetIncomplete(Record):
    """A flow ended while an aggregator still lacked events (rule A4).

    Attributes:
        agent: The aggregator's name.
        events: What it had collected.
        missing: The names of the event types it still needed.
    """

    agent: str
    events: tuple[Event, ...]
    missing: tuple[str, ...]


@attrs.frozen(kw_only=True, slots=False)
class LLMCallRecord(DeliveryRecord):
    """Something that happened to one question to a language model.

    Content stands in these records only if the broker was told to record it, and then as
    the very messages of the conversation, not as copies.

    Attributes:
        call: Id of the call, the same in all its records.
        provider: The provider that was asked.
        model: The model, as the provider knows it.
    """

    call: str
    provider: str
    model: str


@attrs.frozen(kw_only=True, slots=False)
class LLMCallStarted(LLMCallRecord):
    """An agent asked a model.

    Attributes:
        messages: The conversation, if content is recorded.
    """

    messages: tuple[object, ...] = ()


@attrs.frozen(kw_only=True, slots=False)
class LLMCallFinished(LLMCallRecord):
    """The model answered.

    Attributes:
        duration: Seconds since it was asked, retries included.
        attempts: How often it was asked; 0 for an answer from the journal.
        usage: Tokens used, under the names of `agentflow.llm.Usage`; none for an answer
            from the journal.
        stop: Why the model stopped, a value of `agentflow.llm.StopReason`.
        message: The answer, if content is recorded.
        from_journal: Whether nobody was asked, since the answer had come before the
            handler ran again.
    """

    duration: float
    attempts: int
    usage: Mapping[str, int]
    stop: str
    message: object = None
    from_journal: bool = False


@attrs.frozen(kw_only=True, slots=False)
class LLMCallFailed(LLMCallRecord):
    """There was no answer, after all retries.

    Attributes:
        duration: Seconds since it was asked, retries included.
        attempts: How often it was asked.
        error: Why.
    """

    duration: float
    attempts: int
    error: Exception


@attrs.frozen(kw_only=True, slots=False)
class LLMCallCancelled(LLMCallRecord):
    """Whoever asked was cancelled, or did not want to hear the rest.

    Attributes:
        duration: Seconds since it was asked.
    """

    duration: float


@attrs.frozen(kw_only=True, slots=False)
class ToolCallRecord(DeliveryRecord):
    """Something that happened to one tool call of a model's.

    Attributes:
        call: Id of the LLM call that asked for it.
        tool: Name of the tool.
        tool_call: Id that the model gave the tool call.
    """

    call: str
    tool: str
    tool_call: str


@attrs.frozen(kw_only=True, slots=False)
class ToolCallStarted(ToolCallRecord):
    """A tool is being called.

    Attributes:
        request: What the model asked for, if content is recorded.
    """

    request: object = None


@attrs.frozen(kw_only=True, slots=False)
class ToolCallFinished(ToolCallRecord):
    """The tool answered.

    Attributes:
        duration: Seconds it took.
        result: The answer, if content is recorded.
        from_journal: Whether the tool was not called, since it had been before the
            handler ran again; the answer may then be that it failed.
    """

    duration: float
    result: object = None
    from_journal: bool = False


@attrs.frozen(kw_only=True, slots=False)
class ToolCallFailed(ToolCallRecord):
    """The tool raised, took too long, or cannot be called like this.

    Attributes:
        duration: Seconds it took.
        error: Why.
    """

    duration: float
    error: Exception


@attrs.frozen(kw_only=True, slots=False)
class ToolCallCancelled(ToolCallRecord):
    """The tool was cancelled together with its turn.

    Attributes:
        duration: Seconds it took.
    """

    duration: float
