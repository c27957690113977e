"""What every store does: the steps of `agentflow._steps`, a batch at a time."""

from collections.abc import Callable, Sequence
from typing import Protocol

from agentflow._steps import (
    Answer,
    DeadLetter,
    Entry,
    News,
    Opened,
    Step,
    StoredFlow,
)

MAX_CRASHES = 3
"""How often a delivery may end the process while it runs alone before it is dead."""

CRASHED = "it ended the process {} times while it ran alone"


class Store(Protocol):
    """Holds deliveries, flows, joins, memos and facts; blocking, and never concurrent.

    Several owners may use one store, each fenced by its number. An owner without a lease
    has the store to itself: who opens it after that takes the owner before for dead.
    """

    def open(self, now: float, lease: float | None = None) -> Opened:
        """Become an owner, and free what dead owners had.

        Args:
            now: The Unix time in seconds.
            lease: Seconds until this owner counts as dead, unless it renews; None for an
                owner that has the store to itself.

        Returns:
            What is there.
        """
        ...

    def apply(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        """Take steps, in order and in one transaction.

        Args:
            owner: Who asks.
            steps: What to do.
            now: The Unix time in seconds.

        Returns:
            One answer for each step. When this returns, all of it is on disk.

        Raises:
            JournalError: Nothing of the batch has happened.
        """
        ...

    def close(self, owner: int) -> None:
        """Note that an owner ends in order; what it had is free for the next."""
        ...

    def watch(self, owner: int, told: Callable[[News], object] | None) -> None:
        """Tell an owner what others change, from now on.

        A store that cannot tell has `changed` say so when it is asked.

        Args:
            owner: Whom.
            told: Called from within the call that makes the change; None to stop.
        """
        ...

    def changed(self) -> bool:
        """Return whether others may have changed something that nobody was told of."""
        ...

    def flows(self) -> list[StoredFlow]:
        """Return every flow, the oldest first."""
        ...

    def flow(self, flow: str) -> StoredFlow | None:
        """Return one flow."""
        ...

    def events(self, flow: str) -> list[Entry]:
        """Return the events of a flow in order of acceptance; agents are left out."""
        ...

    def dead_letters(self) -> list[DeadLetter]:
        """Return what failed for good, the oldest first."""
        ...

    def retry(self, flow: str) -> int:
        """Make the dead letters of a flow open again; return how many.

        They begin with their first attempt: memos of an attempt (`OF_ATTEMPT`) go.
        """
        ...

    def drop(self, flow: str) -> int:
        """Forget a flow that is not open; return how many dead letters it had."""
        ...

    def prune(self, before: float) -> int:
        """Forget flows that were over before a time, dead letters aside; count them."""
        ...
