"""W5: how soon who waits for the end is told, and what waiting costs."""

from statistics import median
from typing import ClassVar

import attrs

from benchmarks._protocol import MICROSECOND, MILLISECOND, Measured, Work


@attrs.frozen(kw_only=True)
class EmptyQueue(Work):
    """Time from the end of the last handler to the return of the wait for it.

    Attributes:
        repeats: How often; the figure is the median.
    """

    method: ClassVar[str] = "empty_queue"
    unit: ClassVar[str] = "µs"
    repeats: int = 2_000

    def expected(self) -> int:
        """Return one event."""
        return 1

    def per_lap(self) -> float:
        """Return the microseconds of one second."""
        return MICROSECOND

    def measured(self, gaps: list[float]) -> Measured:
        """Report the median, as if each lap had taken that."""
        laps = len(gaps)
        return Measured(amount=median(gaps) * laps, laps=laps, done=laps, count=laps)


@attrs.frozen(kw_only=True)
class Idle(Work):
    """Time that the process computes while there is nothing to do.

    Attributes:
        agents: How many agents wait for events.
        seconds: For how long.
    """

    method: ClassVar[str] = "idle"
    unit: ClassVar[str] = "ms a second"
    agents: int = 10
    seconds: float = 1.0

    def expected(self) -> int:
        """Return the number of agents, each of which gets one event at the end."""
        return self.agents

    def per_lap(self) -> float:
        """Return the milliseconds of one second, for each second."""
        return MILLISECOND * self.seconds


CASES: dict[str, Work] = {
    "W5 end to return": EmptyQueue(),
    "W5 idle CPU": Idle(),
}
