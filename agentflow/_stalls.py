"""The stall detector: ends a handler's wait for what cannot come any more.

`_waits` knows whether a wait is stuck; this is the list of moments at which a wait may have
become so. One wait of a tangle is ended, with the chain in its error; what that handler's
failure leads to may free the others, or brings up the next moment.
"""

from collections.abc import Iterable

from agentflow._errors import FlowStalled
from agentflow._ledger import FlowState, Lane
from agentflow._waits import Wait, Waits


class StallWatch:
    """Looks at the waits of one session when they may be stuck.

    Args:
        max_concurrency: How many handlers the session runs at a time; None for any.
    """

    def __init__(self, max_concurrency: int | None) -> None:
        self.waits: Waits = Waits(max_concurrency)

    def begin(self, wait: Wait) -> None:
        """Enter a handler's wait; it ends at once when it can never end by itself."""
        self.waits.add(wait)
        self._look([wait])

    def end(self, wait: Wait) -> None:
        """Strike out a wait that is over."""
        self.waits.remove(wait)

    def queued(self, lane: Lane) -> None:
        """A delivery queued up in a lane, maybe behind who waits for it."""
        if self.waits.by_delivery:
            self._look(self.waits.in_lane(lane))

    def exhausted(self) -> None:
        """There is work, and no worker left for it; all of them may be waiting for it."""
        if self.waits.by_delivery:
            self._look(self.waits.all())

    def ended(self, flow: FlowState) -> None:
        """A delivery of this flow ended, or its owner left; others counted on it."""
        self._look(self.waits.on_flow(flow))

    def stopping(self) -> None:
        """Nothing comes from outside any more."""
        self.waits.takes_events = False
        self._look(self.waits.all())

    def _look(self, waits: Iterable[Wait]) -> None:
        for wait in waits:
            chain = self.waits.stuck(wait)
            if chain is not None:
                links = [link.describe() for link in chain]
                wait.error = FlowStalled(
                    "this can never come: " + "; ".join(links), links
                )
                wait.signal.set()
                return
