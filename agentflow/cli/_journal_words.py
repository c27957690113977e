"""What a journal holds, in words and as JSON: types are not imported, values as stored."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json import dumps
from typing import Any

import attrs

from agentflow._steps import DeadLetter, Entry, Failure, StoredFlow
from agentflow.cli._words import count, one_line, seconds
from agentflow.journal._sqlite_visit import FlowSummary
from agentflow.journal._story import (
    FlowStory,
    Pending,
    Seated,
    circumstances,
    event_json,
    kind_name,
    memo_words,
    moment,
)

_WIDE = 120
"""Characters of a reason that are shown in a table."""

_VALUE = 400
"""Characters of an event's fields, or of a value, that are shown."""

FLOW_HEADS = (
    *("flow", "begins with", "status", ">open", ">dead", ">events"),
    *("began", ">took", "why"),
)
"""Of `flow_row`."""


def flow_row(summary: FlowSummary) -> Sequence[str]:
    """Write a flow as a row of a table."""
    flow = summary.flow
    return (
        flow.id,
        kind_name(summary.kind),
        flow.status,
        f"{flow.open:,}",
        f"{summary.dead:,}",
        f"{flow.events:,}",
        moment(flow.started),
        "" if flow.ended is None else seconds(flow.ended - flow.started),
        one_line(flow.reason, _WIDE),
    )


def flow_json(summary: FlowSummary) -> Mapping[str, object]:
    """Write a flow as an object."""
    kind = {"dead": summary.dead, "kind": summary.kind}
    return {**attrs.asdict(summary.flow), **kind}


def letter_lines(letter: DeadLetter) -> Iterator[str]:
    """Tell of a dead letter, its history included."""
    yield f"{letter.key.agent} with {_kind_of(letter)} {letter.key.event}"
    yield f"  {_fields(_entry_of(letter))}"
    yield from (f"  {line}" for line in _history(letter.history))
    if not letter.history:
        yield "  it only waited in that flow"


def letter_json(letter: DeadLetter) -> Mapping[str, object]:
    """Write a dead letter as an object."""
    return {
        **letter.key._asdict(),
        "reason": letter.reason,
        "history": [attrs.asdict(failure) for failure in letter.history],
        "stored": event_json(_entry_of(letter)),
    }


def _entry_of(letter: DeadLetter) -> Entry:
    key = letter.key
    return Entry(id=key.event, flow=key.flow, parent=None, kind="", body=letter.body)


def _kind_of(letter: DeadLetter) -> str:
    return type_of(event_json(_entry_of(letter)))


def type_of(event: Mapping[str, Any]) -> str:
    """Return the bare class name of a stored event."""
    return kind_name(f"{event.get('type') or 'event'}@")


def _history(failures: Iterable[Failure]) -> Iterator[str]:
    for failure in failures:
        first, *rest = failure.error.splitlines() or [""]
        yield f"attempt {failure.attempt} failed at {moment(failure.time)}: {first}"
        yield from (f"  {line}" for line in rest)


def _fields(entry: Entry) -> str:
    fields = event_json(entry).get("fields")
    return one_line(dumps(fields, ensure_ascii=False), _VALUE)


def story_lines(story: FlowStory, *, in_use: bool) -> Iterator[str]:
    """Tell of a flow: what is known of it, and each of its events in order.

    Args:
        story: The flow.
        in_use: Whether a session has the journal.

    Yields:
        The lines.
    """
    yield from _flow_lines(story.flow)
    numbers = {entry.id: n for n, entry in enumerate(story.entries, 1)}
    agents, courses = story.agents(), _courses(story)
    for entry in story.entries:
        yield ""
        yield _event_line(entry, numbers)
        yield f"   {_fields(entry)}"
        for agent in agents[entry.id]:
            lines = courses[entry.id, agent].lines(agent, in_use=in_use)
            yield from (f"   {line}" for line in lines)


def _flow_lines(flow: StoredFlow) -> Iterator[str]:
    took = "" if flow.ended is None else f", took {seconds(flow.ended - flow.started)}"
    yield f"flow {flow.id}: {flow.status}"
    yield (
        f"began {moment(flow.started)}{took}; {count(flow.events, 'event')}, "
        f"{flow.open:,} open"
    )
    if flow.reason:
        yield f"why: {flow.reason}"
    if flow.deadline is not None:
        yield f"has to be over by {moment(flow.deadline)}"


def _event_line(entry: Entry, numbers: Mapping[str, int]) -> str:
    event = event_json(entry)
    cause = "" if entry.parent is None else f", of {numbers.get(entry.parent, '?')}"
    ending = "; it ends the flow" if entry.terminates else ""
    source = event.get("source") or "somebody"
    what = f"{numbers[entry.id]}. {type_of(event)} {entry.id}"
    return f"{what} from {source}{cause}{ending}"


@attrs.define
class _Course:
    """How it goes with one event and one agent."""

    pending: Pending | None = None
    seat: Seated | None = None
    failures: list[Failure] = attrs.field(factory=list[Failure])

    def lines(self, agent: str, *, in_use: bool) -> Iterator[str]:
        """Tell of it."""
        yield f"{agent}: {self._state(in_use=in_use)}"
        yield from (f"  {line}" for line in _history(self.failures))
        for name, value in self.pending.memos if self.pending else ():
            yield f"  {one_line(memo_words(name, value), _VALUE)}"

    def _state(self, *, in_use: bool) -> str:
        if self.pending is not None:
            return _state(self.pending, in_use=in_use)
        if self.seat is not None:
            return "in a set that is not complete" if self.seat.waits else "in a set"
        return "done"


def _courses(story: FlowStory) -> Mapping[tuple[str, str], _Course]:
    """Put together what belongs to the same event and agent."""
    found: dict[tuple[str, str], _Course] = defaultdict(_Course)
    for one in story.pending:
        found[one.event, one.agent].pending = one
    for seat in story.seats:
        found[seat.event, seat.agent].seat = seat
    for failed in story.failures:
        found[failed.event, failed.agent].failures.append(failed.failure)
    return found


def _state(one: Pending, *, in_use: bool) -> str:
    if one.is_dead:
        return "dead letter"
    holder = "a session has it" if in_use and one.is_claimed else "waits"
    return ", ".join(("open", holder, *circumstances(one)))


def story_json(story: FlowStory, *, in_use: bool) -> Mapping[str, object]:
    """Write a flow with all that is known of it as an object."""
    agents = story.agents()
    return {
        "in_use": in_use,
        "flow": attrs.asdict(story.flow),
        "events": [
            {
                "id": entry.id,
                "parent": entry.parent,
                "kind": entry.kind,
                "agents": agents[entry.id],
                "stored": event_json(entry),
            }
            for entry in story.entries
        ],
        "deliveries": [
            {**attrs.asdict(one), "memos": dict(one.memos)} for one in story.pending
        ],
        "failures": [
            {"event": one.event, "agent": one.agent, **attrs.asdict(one.failure)}
            for one in story.failures
        ],
        "seats": [attrs.asdict(one) for one in story.seats],
    }
