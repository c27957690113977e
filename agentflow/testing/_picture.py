"""The trace as people read it: what each agent got, what it did, and where it stood."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from agentflow._events import AgentFailed, Event, TerminateEvent
from agentflow._records import (
    DeliveryDropped,
    DeliveryRecord,
    EventAccepted,
    FlowEnded,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    LLMCallFailed,
    LLMCallFinished,
    Record,
    SetIncomplete,
    ToolCallFailed,
    ToolCallFinished,
)
from agentflow.tracing._tree import CausalTree, Node

_WIDTH = 100
_CANCELLED = re.compile(r"Cancelled(Error)?\(.*", re.DOTALL)


class Traced(Protocol):
    """What a picture is made from."""

    def flows(self) -> Iterator[str]:
        """Yield the flows."""
        ...

    def tree(self, correlation_id: str) -> CausalTree:
        """Return the tree of one of them."""
        ...

    def records(self) -> list[Record]:
        """Return all records."""
        ...


def picture(
    trace: Traced, standing: Mapping[tuple[str, str], str] | None = None
) -> str:
    """Draw what happened.

    Args:
        trace: Where it is written down.
        standing: Where a handler stands, by the id of its event and its agent's name.

    Returns:
        Lines of text; a single one when nothing happened.
    """
    records = trace.records()
    when = {
        r.event.id: r.time for r in reversed(records) if isinstance(r, EventAccepted)
    }
    lines: list[str] = []
    for correlation_id in trace.flows():
        tree = trace.tree(correlation_id)
        start = next(r.time for r in records if r.correlation_id == correlation_id)
        lines.append(f"flow {correlation_id}: {_end(tree.end)}")
        for depth, node in tree.walk():
            if isinstance(node.event, AgentFailed) and not node.agents:
                continue  # the line of the agent says it
            pad = "  " * (depth + 1)
            at = when.get(node.event.id, start) - start
            lines.append(f"{pad}{at:.3f} s  {_say(node.event)}")
            lines += [f"{pad}    {x}" for x in _agents(node, standing or {}, start)]
        lines += [
            f"  {r.agent} still lacked {', '.join(r.missing)}"
            for r in records
            if isinstance(r, SetIncomplete) and r.correlation_id == correlation_id
        ]
    return "\n".join(lines or ["nothing has been dispatched"])


def _end(end: FlowEnded | None) -> str:
    if end is None:
        return "goes on"
    why = f": {_cut(end.reason)}" if end.reason else ""
    return f"{end.outcome} after {end.duration:.3f} s{why}"


def _say(event: Event) -> str:
    fields = {
        name: value
        for name, value in vars(event).items()
        if name not in {"source", "correlation_id", "id", "parent_id"}
    }
    said = ", ".join(f"{name}={_short(value)}" for name, value in fields.items())
    source = event.source if isinstance(event.source, str) else event.source.__name__
    return f"{type(event).__name__}({_cut(said)}) from {source}"


def _short(value: object) -> str:
    """Say what a field holds; of an event its class, since it stands in the tree itself."""
    return type(value).__name__ if isinstance(value, Event) else repr(value)


def _cut(text: str) -> str:
    text = _CANCELLED.sub("cancelled", text)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"


def _agents(
    node: Node, standing: Mapping[tuple[str, str], str], start: float
) -> Iterator[str]:
    """Yield what each agent did with an event, in order, then who is still at it."""
    if not node.agents:
        ends = isinstance(node.event, TerminateEvent)
        yield "ends the flow" if ends else "nobody took it"
    at_work: dict[str, float] = {}
    waiting = dict.fromkeys(node.agents)
    for record in node.handled:
        waiting.pop(record.agent, None)
        if isinstance(record, HandlerStarted):
            at_work[record.agent] = record.time
        if isinstance(record, _ENDS):
            at_work.pop(record.agent, None)
        if line := _deed(record):
            yield f"{record.agent} {line}{_stood(record, standing)}"
    for agent, since in at_work.items():
        where = standing.get((node.event.id or "", agent)) or "a place unknown"
        yield f"{agent} is at it since {since - start:.3f} s, and stands at {where}"
    for agent in waiting:
        yield f"{agent} has not got it yet"


def _stood(record: DeliveryRecord, standing: Mapping[tuple[str, str], str]) -> str:
    where = standing.get((record.event.id or "", record.agent))
    return (
        f"; it stood at {where}"
        if where and isinstance(record, HandlerCancelled)
        else ""
    )


def _deed(record: DeliveryRecord) -> str:
    """Say what an agent did; empty for what another record says better."""
    for kind, say in _DEEDS:
        if isinstance(record, kind):
            return say(record)
    return ""


def _again(record: HandlerFailed) -> str:
    error = _cut(f"{type(record.error).__name__}: {record.error}")
    again = "; tried again" if record.consequence == "retry" else ""
    return f"raised {error} after {record.duration:.3f} s{again}"


_ENDS = (HandlerFinished, HandlerFailed, HandlerCancelled)

_DEEDS: tuple[tuple[type[DeliveryRecord], Callable[[Any], str]], ...] = (
    (HandlerFinished, lambda r: f"finished in {r.duration:.3f} s"),
    (HandlerFailed, _again),
    (
        HandlerCancelled,
        lambda r: f"was cancelled after {r.duration:.3f} s: {_cut(r.reason)}",
    ),
    (DeliveryDropped, lambda r: f"never got it: {_cut(r.reason)}"),
    (LLMCallFinished, lambda r: f"asked {r.provider}:{r.model}: {r.stop}"),
    (
        LLMCallFailed,
        lambda r: f"asked {r.provider}:{r.model}: {_cut(str(r.error))}",
    ),
    (ToolCallFinished, lambda r: f"called the tool {r.tool}"),
    (ToolCallFailed, lambda r: f"called the tool {r.tool}: {_cut(str(r.error))}"),
)
