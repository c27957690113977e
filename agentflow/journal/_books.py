"""The rows of the in-memory store."""

import attrs

from agentflow._steps import Entry, Failure, Join, Key
from agentflow.journal._matching import complete_set


@attrs.define
class Delivery:
    """An open or dead delivery."""

    entry: Entry
    agent: str
    owner: int | None = None
    attempt: int = 1
    due: float = 0.0
    is_dead: bool = False
    recovered: bool = False
    suspect: bool = False
    started: int = 0
    """0 not, 1 beside others, 2 alone; written for recovered deliveries only."""
    crashes: int = 0
    memos: dict[str, str] = attrs.field(factory=dict[str, str])
    failures: list[Failure] = attrs.field(factory=list[Failure])

    @property
    def key(self) -> Key:
        """Which delivery it is."""
        return Key(self.entry.flow, self.entry.id, self.agent)


@attrs.define
class FlowRow:
    """A flow."""

    id: str
    started: float
    status: str = "open"
    reason: str = ""
    open: int = 0
    events: int = 0
    ended: float | None = None
    deadline: float | None = None


@attrs.define
class Seat:
    """An event in an aggregator's set."""

    event_id: str
    places: tuple[int, ...]
    taken_by: str | None = None
    """The event that completed the set."""


def take_set(seats: list[Seat], step: Join, quorum: int) -> bool:
    """Complete a set with the event of a step, if its seat and the free ones make one.

    Args:
        seats: All seats of the flow and the aggregator, in order.
        step: The step.
        quorum: How many events make a set.

    Returns:
        Whether there is one.
    """
    free = [seat for seat in seats if seat.taken_by is None]
    chosen = complete_set([s.places for s in free], step.size, quorum)
    if chosen is None:
        return False
    for index in chosen:
        free[index].taken_by = step.key.event
    # In the order of the places, which is how the set is to be told.
    taken = [free[index] for index in chosen]
    seats[:] = [s for s in seats if s not in taken] + taken
    return True


@attrs.define
class Books:
    """Everything a store holds."""

    deliveries: dict[Key, Delivery] = attrs.field(factory=dict[Key, Delivery])
    """In order of arrival."""
    flows: dict[str, FlowRow] = attrs.field(factory=dict[str, FlowRow])
    entries: dict[str, Entry] = attrs.field(factory=dict[str, Entry])
    joins: dict[tuple[str, str], list[Seat]] = attrs.field(
        factory=dict[tuple[str, str], list[Seat]]
    )
    facts: dict[str, str] = attrs.field(factory=dict[str, str])
    owners: dict[int, float | None] = attrs.field(factory=dict[int, float | None])
    """Until when each lives; None for as long as nobody else opens the store."""
    last_owner: int = 0
    rows: list[tuple[str, tuple[object, ...]]] = attrs.field(
        factory=list[tuple[str, tuple[object, ...]]]
    )
    """The user's rows."""
