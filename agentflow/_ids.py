"""Ids that are cheap, sortable by time and unique across processes (rule E3).

An id is the Unix time as 16 hexadecimal digits, and 64 random bits drawn once for each
source. The first 14 digits count ticks of 256 nanoseconds, the last two the ids of one
tick. Ids of one source sort in the order in which they were made, ids
of different processes by their clocks. The first part keeps its width from the year 2006
to 2554.

Writing a time in hexadecimal costs more than all the rest, so the time of an id is up to a
millisecond old, or as old as the tick whose ids are not used up while the clock goes back.
"""

from collections.abc import Callable, Iterator
from secrets import token_hex
from time import time_ns

_TICK_BITS = 8
_PER_TICK = 1 << _TICK_BITS  # few enough to stay in the processor's cache
_FRESH_NS = 1_000_000
"""For how long ids take the same tick."""


class IdSource:
    """Makes ids: call it.

    Args:
        now_ns: Unix time in nanoseconds; a clock that goes back is held at its latest.
    """

    __slots__ = ("_fresh_until", "_head", "_left", "_now_ns", "_tails", "_tick")

    def __init__(self, now_ns: Callable[[], int] = time_ns) -> None:
        tail = token_hex(8)
        self._now_ns = now_ns
        self._tails = tuple(f"{n:02x}-{tail}" for n in range(_PER_TICK))
        self._tick = self._fresh_until = 0
        self._head = ""
        self._left: Iterator[str] = iter(())

    def __call__(self) -> str:
        """Return a new id."""
        return self.at(self._now_ns())

    def at(self, now: int) -> str:
        """Return a new id, for whoever knows the time, in nanoseconds, already."""
        if now < self._fresh_until:
            for tail in self._left:
                return self._head + tail
        tick = self._tick = max(now >> _TICK_BITS, self._tick + 1)
        self._fresh_until = (tick << _TICK_BITS) + _FRESH_NS
        self._head = f"{tick:014x}"
        self._left = iter(self._tails)
        return self._head + next(self._left)


def age_of(made: str, now_ns: int) -> float:
    """Return how many seconds ago an id was made, by the wall clock."""
    return max(0.0, (now_ns - int(made[:16], 16)) / 1e9)
