"""What an aggregator has of one correlation id, and what it still needs (rule A4).

Theory of operation. A join wants a multiset of event types: a type listed twice is needed
twice. Events come in any order. An event may fill the place of its own type or of a base
class; it takes the first empty one in the order listed, and where there is none, another
event may move to let it in. That is a bipartite matching, and a search for an augmenting
path (Kuhn's algorithm) finds room whenever there is any: no order of arrival can leave a
set incomplete that another order would complete.

Events beyond what the current set can hold wait for the next set, in order of arrival;
so a second round of the same id needs nothing but more events. What waits can never fill a
set alone: it waits because all its places are taken, and those are fewer than a set. A
*quorum* makes a set complete with that many events, whichever they are.
"""

from collections.abc import Sequence

from agentflow._events import Event


class Needs:
    """What makes a set: the same for all correlation ids of one aggregator.

    Args:
        types: Event types, with repetition.
        quorum: How many events make a set; None needs every place filled.
    """

    __slots__ = ("_fitting", "quorum", "types")

    def __init__(self, types: Sequence[type[Event]], quorum: int | None = None) -> None:
        self.types: tuple[type[Event], ...] = tuple(types)
        self.quorum: int = len(self.types) if quorum is None else quorum
        self._fitting: dict[type[Event], tuple[int, ...]] = {}

    def fitting(self, event_type: type[Event]) -> tuple[int, ...]:
        """Return the places that an event of this type may fill."""
        places = self._fitting.get(event_type)
        if places is None:
            places = self._fitting[event_type] = tuple(
                n for n, t in enumerate(self.types) if issubclass(event_type, t)
            )
        return places


class Join:
    """The sets of one correlation id.

    Args:
        needs: What makes a set.
    """

    __slots__ = ("_count", "_needs", "_places", "_waiting")

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._places: list[Event | None] = [None] * len(needs.types)
        self._count = 0
        self._waiting: list[Event] = []

    def add(self, event: Event) -> list[Event] | None:
        """Take an event in.

        Returns:
            The set, if the event completes it, in the order of the needed types; places
            that a quorum left empty are left out.
        """
        needs, places = self._needs, self._places
        for place in needs.fitting(event.__class__):
            if places[place] is None:  # the usual case, in line for speed
                places[place] = event
                self._count += 1
                break
        else:
            if not self._seat(event):
                self._waiting.append(event)
                return None
        return self.take() if self._count >= needs.quorum else None

    def take(self) -> list[Event]:
        """Give up what is collected and begin the next set with what waits."""
        events = self.collected()
        self._places = [None] * len(self._places)
        self._count = 0
        if self._waiting:
            self._waiting = [e for e in self._waiting if not self._seat(e)]
        return events

    def holds(self, event: Event) -> bool:
        """Return whether this very event is still in no complete set."""
        return any(held is event for held in (*self._places, *self._waiting))

    def collected(self) -> list[Event]:
        """Return what the current set holds, in the order of the needed types."""
        return [event for event in self._places if event is not None]

    def missing(self) -> tuple[str, ...]:
        """Return the names of the types whose places are empty."""
        return tuple(
            needed.__name__
            for needed, event in zip(self._needs.types, self._places, strict=True)
            if event is None
        )

    def is_empty(self) -> bool:
        """Return whether nothing is held at all."""
        return not self._count and not self._waiting

    def _seat(self, event: Event) -> bool:
        """Find a place for a new event, moving others where that makes room."""
        seated = self._find_place(event, set())
        self._count += seated
        return seated

    def _find_place(self, event: Event, tried: set[int]) -> bool:
        fitting = self._needs.fitting(type(event))
        for place in fitting:
            if self._places[place] is None:
                self._places[place] = event
                return True
        for place in fitting:
            occupant = self._places[place]
            if place not in tried and occupant is not None:
                tried.add(place)
                if self._find_place(occupant, tried):
                    self._places[place] = event
                    return True
        return False
