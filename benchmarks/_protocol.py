"""What workloads, systems and the harness agree on."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from time import perf_counter
from typing import ClassVar, Self

import attrs

LONGEST = 1.0
"""Seconds of laps after which a slow system has been measured well enough."""


class Wrong(Exception):
    """A system did not do the work, or not all of it."""


@attrs.frozen(kw_only=True)
class Measured:
    """What a system hands back.

    Attributes:
        amount: Seconds for the timed laps; bytes or seconds at once where a work says so.
        laps: How often the work was done in that time.
        done: How often it was done in all, warming up included.
        count: What the system counted while it did so, for the work to check.
    """

    amount: float
    laps: int = 1
    done: int = 1
    count: int


class Laps:
    """Repeats a piece of work and times it.

    The first lap warms up and is not timed, unless it took so long that it is measurement
    enough.

    Args:
        most: How many laps to time.

    Attributes:
        clock: What times them.
    """

    clock = staticmethod(perf_counter)

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds = 0.0
        self._timed = 0
        self._warming = 0

    def __iter__(self) -> Iterator[None]:
        """Go round until there have been enough laps, or a second of them."""
        start = Laps.clock()
        yield
        first = Laps.clock() - start
        if first > LONGEST:
            self._seconds, self._timed = first, 1
            return
        self._warming = 1
        start = Laps.clock()
        while self._timed < self._most and self._seconds < LONGEST:
            yield
            self._timed += 1
            self._seconds = Laps.clock() - start

    def measured(self, count: int) -> Measured:
        """Report the time, and what was counted in all laps."""
        return Measured(
            amount=self._seconds,
            laps=self._timed,
            done=self._timed + self._warming,
            count=count,
        )


@attrs.frozen(kw_only=True)
class Work(ABC):
    """One thing to measure, with its sizes; a workload is a few of these.

    Attributes:
        method: The name of the method of a system that does it.
        unit: What the figure is in.
        is_alone: Whether it needs a process for itself, because it fills the memory.
        rounds: The most rounds that are worth it; None for any number.
        is_long: Whether it is done only when asked for.
    """

    method: ClassVar[str]
    unit: ClassVar[str]
    is_alone: ClassVar[bool] = False
    rounds: ClassVar[int | None] = None
    is_long: bool = False

    @abstractmethod
    def expected(self) -> int:
        """Return what one lap has to count."""

    @abstractmethod
    def per_lap(self) -> float:
        """Return what the amount of one lap is to be divided by, to be in the unit."""

    def at_most(self, size: int) -> Self | None:
        """Return less of the same for a system too slow for it; None if that says little.

        The figure must be one that does not depend on the size.
        """
        del size
        return None

    def figure(self, measured: Measured) -> float:
        """Return the figure for the table.

        Raises:
            Wrong: The system did not do all of it, or did more.
        """
        expected = self.expected() * measured.done
        if measured.count != expected or not measured.laps:
            raise Wrong(f"{self}: counted {measured.count} instead of {expected}")
        return measured.amount / measured.laps / self.per_lap()


MICROSECOND = 1e-6
MILLISECOND = 1e-3
