"""What is measured: the clock and what the process computed, side by side, in turns."""

import time
from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

OURS = "agentflow"


class Lap(NamedTuple):
    """Seconds by the clock, and seconds that this process computed."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Lap":
        """Read both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: "Lap", parts: int = 1) -> "Lap":
        """Return what has gone by since, for each part of the work."""
        return Lap((self.wall - start.wall) / parts, (self.cpu - start.cpu) / parts)


class Rounds:
    """The laps of all sides of one comparison, round by round."""

    def __init__(self, sides: Iterable[str]) -> None:
        self._laps: Mapping[str, list[Lap]] = {side: [] for side in sides}

    def add(self, side: str, lap: Lap) -> None:
        """Enter a lap."""
        self._laps[side].append(lap)

    def median(self, side: str) -> Lap:
        """The median of a side."""
        laps = self._laps[side]
        return Lap(median(x.wall for x in laps), median(x.cpu for x in laps))

    def times(self, side: str, base: str = OURS) -> Lap:
        """How many times as long a side takes: the median of the rounds' ratios."""
        pairs = list(zip(self._laps[side], self._laps[base], strict=True))
        return Lap(
            median(x.wall / y.wall for x, y in pairs),
            median(x.cpu / y.cpu for x, y in pairs),
        )
