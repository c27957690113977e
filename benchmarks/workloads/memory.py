"""W4: what events, flows and a crowd of flows leave behind or cost.

- Drift: how much the process grows while events come and go, after a tenth of them.
- Waiting flows: what a flow takes whose two handlers wait.
- Live flows: what an event costs beside flows that wait; it must not depend on how many.
  Garbage is collected just before, since a full collection looks at all that waits.
- Cancelling: how long it takes to end one flow of many that are queued.
"""

import gc
from pathlib import Path
from resource import getpagesize
from typing import ClassVar

import attrs

from benchmarks._protocol import MICROSECOND, MILLISECOND, Work

MEGABYTE = 1e6
CROWD = 100_000


def resident_bytes() -> int:
    """Return how much memory the process has, after it has cleaned up."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * getpagesize()


@attrs.frozen(kw_only=True)
class Drift(Work):
    """Send events, each a flow of its own, to an agent that only counts them.

    Attributes:
        events: How many.
        at_once: How many of them are dispatched before they are waited for.
    """

    method: ClassVar[str] = "drift"
    unit: ClassVar[str] = "MB"
    is_alone: ClassVar[bool] = True
    rounds: ClassVar[int] = 1
    events: int
    at_once: int = 1_000
    is_long: bool = False

    def expected(self) -> int:
        """Return the number of events."""
        return self.events

    def per_lap(self) -> float:
        """Return the bytes of a megabyte."""
        return MEGABYTE


@attrs.frozen(kw_only=True)
class WaitingFlows(Work):
    """Let each flow's two handlers wait, and see what that takes.

    Attributes:
        flows: How many wait at the same time.
    """

    method: ClassVar[str] = "waiting"
    unit: ClassVar[str] = "bytes a flow"
    is_alone: ClassVar[bool] = True
    rounds: ClassVar[int] = 2
    flows: int = CROWD

    def expected(self) -> int:
        """Return the number of handlers that wait."""
        return 2 * self.flows

    def per_lap(self) -> float:
        """Return the number of flows."""
        return self.flows


@attrs.frozen(kw_only=True)
class LiveFlows(Work):
    """Send events, each a flow of its own of one more event, beside flows that wait.

    Attributes:
        live: How many flows wait.
        flows: How many come and go.
        repeats: Laps.
    """

    method: ClassVar[str] = "live"
    unit: ClassVar[str] = "µs an event"
    is_alone: ClassVar[bool] = True
    live: int
    flows: int = 1_000
    repeats: int = 10

    def expected(self) -> int:
        """Return the number of flows that came and went."""
        return self.flows

    def per_lap(self) -> float:
        """Return the microseconds of one second for each event."""
        return 2 * self.flows * MICROSECOND


@attrs.frozen(kw_only=True)
class CancelOne(Work):
    """Cancel a flow amid many that wait for the same agent, and see it end.

    Attributes:
        queued: How many flows are queued.
    """

    method: ClassVar[str] = "cancel_one"
    unit: ClassVar[str] = "ms"
    is_alone: ClassVar[bool] = True
    queued: int = CROWD

    def expected(self) -> int:
        """Return the number of flows that are handled in the end."""
        return self.queued - 1

    def per_lap(self) -> float:
        """Return the milliseconds of one second."""
        return MILLISECOND


CASES: dict[str, Work] = {
    "W4 drift, 1 M events": Drift(events=1_000_000),
    "W4 drift, 10 M events": Drift(events=10_000_000, is_long=True),
    "W4 100,000 waiting flows": WaitingFlows(),
    "W4 beside 100 flows": LiveFlows(live=100),
    "W4 beside 100,000 flows": LiveFlows(live=CROWD),
    "W4 cancel one of 100,000": CancelOne(),
}
