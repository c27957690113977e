"""What a journal knows of one flow, put together for people to look at.

Theory of operation. The journal keeps events until their flow is forgotten, and deliveries
only until they are finished, so it does not say who finished an event. It can mostly be
found out: the id of an emitted event is made from the handled event, the agent and a
number (`agentflow._packing.child_id`), so whether an agent emitted it can be worked out
for each name in question. Those are the agents that the flow is known to have, and the
names that events give as their source. An agent that took an event and emitted nothing
leaves no trace.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from json import dumps, loads
from typing import Any, cast

import attrs

from agentflow._lenient import JSON
from agentflow._packing import child_id
from agentflow._steps import Entry, Failure, Key, StoredFlow

_SPARE = 8
"""A handler may have emitted some events that are not there, being known already."""


@attrs.frozen(kw_only=True)
class Pending:
    """A delivery that is open or dead.

    Attributes:
        event: The event's id.
        agent: The agent's name.
        attempt: Which attempt the next one is.
        due: The Unix time at which it is due; 0 for at once.
        is_dead: Whether it is a dead letter.
        is_claimed: Whether a session has taken it, which may have died since.
        recovered: Whether a process died that had it.
        crashes: How often one died while this ran alone.
        memos: What its handler has kept, by name.
    """

    event: str
    agent: str
    attempt: int
    due: float
    is_dead: bool
    is_claimed: bool
    recovered: bool
    crashes: int
    memos: tuple[tuple[str, str], ...] = ()


@attrs.frozen(kw_only=True)
class Failed:
    """A failed attempt at a delivery, whatever became of that since.

    Attributes:
        event: The event's id.
        agent: The agent's name.
        failure: When and why.
    """

    event: str
    agent: str
    failure: Failure


@attrs.frozen(kw_only=True)
class Seated:
    """An event that an aggregator has taken.

    Attributes:
        event: The event's id.
        agent: The aggregator's name.
        waits: Whether its set is not complete.
    """

    event: str
    agent: str
    waits: bool


@attrs.frozen(kw_only=True)
class FlowStory:
    """A flow with all that the journal knows of it.

    Attributes:
        flow: The flow.
        entries: Its events in order of acceptance.
        pending: Its open and dead deliveries, in order of arrival.
        failures: The failed attempts at all of its deliveries, in order.
        seats: What its aggregators have taken.
    """

    flow: StoredFlow
    entries: tuple[Entry, ...]
    pending: tuple[Pending, ...] = ()
    failures: tuple[Failed, ...] = ()
    seats: tuple[Seated, ...] = ()

    @cached_property
    def emitters(self) -> list[tuple[str, str]]:
        """Events, by id, and the agents that are known to have emitted others for them."""
        return list(_emitters(self.entries, {agent for _, agent in self._told()}))

    @cached_property
    def takers(self) -> list[tuple[str, str]]:
        """Events, by id, and the agents that are known to have got them."""
        return list(dict.fromkeys((*self._told(), *self.emitters)))

    def _told(self) -> list[tuple[str, str]]:
        told: list[Pending | Failed | Seated] = [*self.pending, *self.failures]
        return [(one.event, one.agent) for one in (*told, *self.seats)]

    def agents(self) -> dict[str, list[str]]:
        """Return who is known to have got each event, by the ids of the events."""
        found: dict[str, list[str]] = {entry.id: [] for entry in self.entries}
        for event, agent in self.takers:
            found.setdefault(event, []).append(agent)
        return found


def moment(unix: float) -> str:
    """Write a Unix time as the clock on the wall has it."""
    local = datetime.fromtimestamp(unix, UTC).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}"


def circumstances(one: Pending) -> list[str]:
    """Say what is special about an open delivery."""
    words: list[str] = []
    if one.attempt > 1:
        words.append(f"attempt {one.attempt} comes next")
    if one.due:
        words.append(f"due at {moment(one.due)}")
    if one.recovered:
        words.append("a process died that had it")
    if one.crashes:
        words.append(f"crashes while it ran alone: {one.crashes}")
    return words


def memo_words(name: str, value: str) -> str:
    """Say what a handler has kept: the value of a step, or how far it came."""
    kind, colon, rest = name.partition(":")
    if not colon:
        return f"kept {name}"
    if kind == "wait":
        return f"came to its wait number {rest}"
    with suppress(ValueError, KeyError, TypeError):  # else it is shown as it is
        value = dumps(loads(value)["value"], ensure_ascii=False)
    return f"kept {rest} = {value}"


def event_json(entry: Entry) -> dict[str, Any]:
    """Return an event as it is stored; of what is no event, what can be said of it.

    Nothing is imported, so the program that wrote it need not be there.
    """
    try:
        data: object = loads(entry.body)
    except ValueError:
        data = None
    if isinstance(data, dict):
        return cast("dict[str, Any]", data)
    unknown: dict[str, JSON] = {
        "type": entry.kind.rpartition("@")[0] or entry.kind,
        "id": entry.id,
        "correlation_id": entry.flow,
        "parent_id": entry.parent,
        "source": "",
        "fields": {"$repr": entry.body},
    }
    return unknown


def kind_name(kind: str) -> str:
    """Return the bare class name of what stands in `Entry.kind`: "module:Qual.Name@1"."""
    return kind.rpartition("@")[0].rpartition(":")[2].rpartition(".")[2] or kind


def _emitters(
    entries: Iterable[Entry], known: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Find out which agents emitted events; yields the event handled, and the agent."""
    children: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.parent is not None:
            children.setdefault(entry.parent, []).append(entry)
    for parent, emitted in children.items():
        names = set(known)
        for entry in emitted:
            source = str(event_json(entry).get("source", ""))
            names |= {source, source.rpartition(":")[2].rpartition(".")[2]}
        ids = {entry.id for entry in emitted}
        for name in sorted(names):
            if ids & _possible_ids(Key(emitted[0].flow, parent, name), len(emitted)):
                yield parent, name


def _possible_ids(key: Key, count: int) -> set[str]:
    """Return the ids that events have which this delivery emitted."""
    try:
        return {child_id(key, index) for index in range(count + _SPARE)}
    except ValueError:
        return set()  # the handled event has an id that is not ours
