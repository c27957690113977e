"""Which of the events that an aggregator holds make a set.

Theory of operation. The rule is that of ``agentflow._joining``, over rows instead of
events: each event may fill some places of the set, takes the first empty one, and moves
others where that lets it in (Kuhn's algorithm). It is worked out from the rows each time,
in order of arrival, so that it comes out the same for whoever asks, after any crash.
"""

from collections.abc import Sequence


def complete_set(
    fitting: Sequence[Sequence[int]], size: int, quorum: int
) -> list[int] | None:
    """Return the events that make a set, if there is one.

    Args:
        fitting: For each event, in order of arrival, the places it may fill, in order.
        size: How many places there are.
        quorum: How many events make a set.

    Returns:
        The indices of the events, in order of the places, or None.
    """
    places: list[int | None] = [None] * size

    def seat(index: int, tried: set[int]) -> bool:
        """Find a place for an event, moving others where that makes room."""
        for place in fitting[index]:
            if places[place] is None:
                places[place] = index
                return True
        for place in fitting[index]:
            occupant = places[place]
            if place not in tried and occupant is not None:
                tried.add(place)
                if seat(occupant, tried):
                    places[place] = index
                    return True
        return False

    for index in range(len(fitting)):
        seat(index, set())
    seated = [index for index in places if index is not None]
    return seated if len(seated) >= quorum else None
