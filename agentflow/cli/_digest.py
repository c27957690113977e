"""What the records of a trace come to: flows, agents, models, what was slow, what failed.

Plain functions over records, so that a file and a session that still runs are told of in
the same way. Times count from the first record.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal

import attrs

from agentflow._errors import RestoredError
from agentflow._records import (
    EventAccepted,
    FlowEnded,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    LLMCallCancelled,
    LLMCallFailed,
    LLMCallFinished,
    LLMCallRecord,
    Record,
    ToolCallCancelled,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallRecord,
)
from agentflow.cli._exits import leaves

Kind = Literal["handler", "model", "tool"]


@attrs.define(kw_only=True)
class FlowDigest:
    """One flow.

    Attributes:
        flow: Its correlation id.
        root: The type of its first event; empty if that is not known.
        began: When.
        outcome: How it ended; "running" if it has not.
        reason: Why it was cancelled or terminated, or what failed.
        duration: Seconds from its first event to its end, or to the last that is known.
        events: How many events it accepted.
        errors: Handlers that failed for good.
        tokens: Tokens that models read and wrote for it.
    """

    flow: str
    root: str
    began: float
    outcome: str = "running"
    reason: str = ""
    duration: float = 0.0
    events: int = 0
    errors: int = 0
    tokens: int = 0


@attrs.frozen(kw_only=True)
class AgentDigest:
    """One agent.

    Attributes:
        agent: Its name.
        handled: Events it has handled.
        errors: Attempts that failed.
        cancelled: Handlers that were cancelled.
        total: Seconds it spent in all.
        median: Seconds that half of its handlers took at most.
        slowest: Seconds of the slowest.
        tokens: Tokens that models read and wrote for it.
    """

    agent: str
    handled: int
    errors: int
    cancelled: int
    total: float
    median: float
    slowest: float
    tokens: int


@attrs.frozen(kw_only=True)
class ModelDigest:
    """One model.

    Attributes:
        provider: Its provider.
        model: Its name.
        calls: How often it was asked.
        errors: How often there was no answer.
        input_tokens: Tokens it read.
        output_tokens: Tokens it wrote.
        total: Seconds that the calls took in all.
        slowest: Seconds of the slowest.
    """

    provider: str
    model: str
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    total: float
    slowest: float


@attrs.frozen(kw_only=True)
class Span:
    """Something that took its time.

    Attributes:
        kind: What it was.
        name: The agent, the model or the tool.
        agent: The agent in whose handler it was.
        event: The type of the event that was being handled.
        flow: The flow's correlation id.
        began: When.
        duration: Seconds.
    """

    kind: Kind
    name: str
    agent: str
    event: str
    flow: str
    began: float
    duration: float


@attrs.frozen(kw_only=True)
class FailureDigest:
    """Something that failed.

    Attributes:
        kind: What it was.
        name: The agent, the model or the tool.
        agent: The agent in whose handler it was.
        event: The type of the event that was being handled.
        flow: The flow's correlation id.
        time: When.
        consequence: What came of it: "retry", "hand over", "fail flow"; for models and
            tools empty, since the handler decides.
        error: The type and the words of the error.
        notes: What was noted on it.
        traceback: Its traceback, as far as it was written.
    """

    kind: Kind
    name: str
    agent: str
    event: str
    flow: str
    time: float
    consequence: str
    error: str
    notes: tuple[str, ...]
    traceback: str


_ENDED = (
    HandlerFinished,
    HandlerFailed,
    HandlerCancelled,
    LLMCallFinished,
    LLMCallFailed,
    LLMCallCancelled,
    ToolCallFinished,
    ToolCallFailed,
    ToolCallCancelled,
)
_FAILED = (HandlerFailed, LLMCallFailed, ToolCallFailed)


def digest_flows(records: Sequence[Record]) -> list[FlowDigest]:
    """Tell of every flow, in the order in which they began.

    Args:
        records: What happened, in order.

    Returns:
        The flows.
    """
    zero = records[0].time if records else 0.0
    flows: dict[str, FlowDigest] = {}
    for record in records:
        flow = flows.setdefault(
            record.correlation_id,
            FlowDigest(flow=record.correlation_id, root="", began=record.time - zero),
        )
        flow.duration = record.time - zero - flow.began
        if isinstance(record, EventAccepted):
            flow.root = flow.root or type(record.event).__name__
            flow.events += 1
        elif isinstance(record, HandlerFailed):
            flow.errors += record.consequence != "retry"
        elif isinstance(record, LLMCallFinished):
            flow.tokens += _tokens(record.usage)
        elif isinstance(record, FlowEnded):
            flow.outcome, flow.reason = record.outcome, record.reason
            flow.duration, flow.events = record.duration, record.events
    return list(flows.values())


def digest_agents(records: Sequence[Record]) -> list[AgentDigest]:
    """Tell of every agent that handled something, the busiest first.

    Args:
        records: What happened, in order.

    Returns:
        The agents.
    """
    ends: dict[str, list[HandlerFinished | HandlerFailed | HandlerCancelled]] = {}
    tokens: Counter[str] = Counter()
    for record in records:
        if isinstance(record, HandlerFinished | HandlerFailed | HandlerCancelled):
            ends.setdefault(record.agent, []).append(record)
        elif isinstance(record, LLMCallFinished):
            tokens[record.agent] += _tokens(record.usage)
    agents = [
        AgentDigest(
            agent=agent,
            handled=sum(isinstance(end, HandlerFinished) for end in ended),
            errors=sum(isinstance(end, HandlerFailed) for end in ended),
            cancelled=sum(isinstance(end, HandlerCancelled) for end in ended),
            total=sum(end.duration for end in ended),
            median=median(end.duration for end in ended),
            slowest=max(end.duration for end in ended),
            tokens=tokens[agent],
        )
        for agent, ended in ends.items()
    ]
    return sorted(agents, key=lambda agent: -agent.total)


def digest_models(records: Sequence[Record]) -> list[ModelDigest]:
    """Tell of every model that was asked, the busiest first.

    Args:
        records: What happened, in order.

    Returns:
        The models.
    """
    ends: dict[
        tuple[str, str], list[LLMCallFinished | LLMCallFailed | LLMCallCancelled]
    ] = {}
    for record in records:
        if isinstance(record, LLMCallFinished | LLMCallFailed | LLMCallCancelled):
            ends.setdefault((record.provider, record.model), []).append(record)
    models = [
        ModelDigest(
            provider=provider,
            model=model,
            calls=len(ended),
            errors=sum(isinstance(end, LLMCallFailed) for end in ended),
            input_tokens=_sum_of(ended, "input_tokens"),
            output_tokens=_sum_of(ended, "output_tokens"),
            total=sum(end.duration for end in ended),
            slowest=max(end.duration for end in ended),
        )
        for (provider, model), ended in ends.items()
    ]
    return sorted(models, key=lambda model: -model.total)


def digest_slowest(records: Sequence[Record], limit: int) -> list[Span]:
    """Tell of the handlers and calls that took longest, the longest first.

    Args:
        records: What happened, in order.
        limit: How many at most.

    Returns:
        They.
    """
    zero = records[0].time if records else 0.0
    ended = (record for record in records if isinstance(record, _ENDED))
    longest = sorted(ended, key=lambda record: -record.duration)[:limit]
    return [
        Span(
            kind=_kind(record),
            name=_name(record),
            agent=record.agent,
            event=type(record.event).__name__,
            flow=record.correlation_id,
            began=record.time - record.duration - zero,
            duration=record.duration,
        )
        for record in longest
    ]


def digest_failures(records: Sequence[Record]) -> list[FailureDigest]:
    """Tell of everything that failed, in order.

    Args:
        records: What happened, in order.

    Returns:
        It.
    """
    zero = records[0].time if records else 0.0
    return [
        FailureDigest(
            kind=_kind(record),
            name=_name(record),
            agent=record.agent,
            event=type(record.event).__name__,
            flow=record.correlation_id,
            time=record.time - zero,
            consequence=record.consequence if isinstance(record, HandlerFailed) else "",
            error=f"{type(record.error).__name__}: {record.error}",
            notes=tuple(getattr(record.error, "__notes__", ())),
            traceback=_traceback(record.error),
        )
        for record in records
        if isinstance(record, _FAILED)
    ]


def _traceback(error: Exception) -> str:
    """Return the tracebacks that were written of an error or of the errors in a group."""
    restored = (leaf for leaf in leaves(error) if isinstance(leaf, RestoredError))
    return "\n".join(leaf.traceback_text for leaf in restored)


def _kind(record: Record) -> Kind:
    if isinstance(record, LLMCallRecord):
        return "model"
    return "tool" if isinstance(record, ToolCallRecord) else "handler"


def _name(record: object) -> str:
    if isinstance(record, LLMCallRecord):
        return record.model
    if isinstance(record, ToolCallRecord):
        return record.tool
    return str(getattr(record, "agent", ""))


def _sum_of(ended: Iterable[Record], name: str) -> int:
    return sum(
        end.usage.get(name, 0) for end in ended if isinstance(end, LLMCallFinished)
    )


def _tokens(usage: Mapping[str, int]) -> int:
    return usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
