"""Parking the handlers of a durable session that wait for somebody outside."""

from collections.abc import Callable, Iterable

from agentflow._stalls import StallWatch
from agentflow._waits import Wait

PARKED = "it waits for an event from outside, and goes on with the next session"


class ParkingStalls(StallWatch):
    """A stall watch that parks who waits for the outside when the session stops.

    It judges nobody while events are on their way through the journal.
    """

    def __init__(self, max_concurrency: int | None) -> None:
        super().__init__(max_concurrency)
        self.is_quiet: Callable[[], bool] = bool
        """Whether nothing is on its way."""
        self.goes_on_elsewhere: Callable[[Wait], bool] | None = None
        """Whether a handler may wait for what another session does; None for no other."""

    def settled(self) -> None:
        """Look at every wait, now that nothing is on its way."""
        self._look(self.waits.all())

    def _look(self, waits: Iterable[Wait]) -> None:
        if self.is_quiet():
            takes_events = self.waits.takes_events
            super()._look([w for w in waits if takes_events or not w.outside])

    def begin(self, wait: Wait) -> None:
        """Enter a handler's wait; see `StallWatch.begin`."""
        if self.goes_on_elsewhere is not None:
            has_tasks, elsewhere = wait.has_tasks, self.goes_on_elsewhere
            wait.has_tasks = lambda: has_tasks() or elsewhere(wait)
        if wait.outside and not self.waits.takes_events:
            self.waits.add(wait)
            _park(wait)
        else:
            super().begin(wait)

    def stopping(self) -> None:
        """Nothing comes from outside any more: who waits for that is parked."""
        for wait in self.waits.all():
            if wait.outside:
                _park(wait)
        super().stopping()


def _park(wait: Wait) -> None:
    runner = wait.delivery.runner
    assert runner is not None
    runner.cancel(PARKED)
