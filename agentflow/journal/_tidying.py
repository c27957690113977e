"""Clearing a journal of what need not be kept, a little at a time.

Nothing else can be written meanwhile, and what is forgotten in one transaction stands in
the log as a whole. So each piece is small, and whoever calls for them does so between the
batches of a session.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from agentflow.journal._sqlite_store import SQLiteStore

FLOWS = 200
"""Flows in one piece: some ten milliseconds."""

PAGES = 200
"""Pages that one piece gives back to the file system."""

MOST = 20_000
"""Flows that are looked for at a time: looking may go through all there are."""


class Tidying:
    """Clears one store.

    Args:
        store: The store.
        keep: Seconds to keep a flow that is over; None for ever.
        max_size: Bytes that may be in use before flows that are over go, the oldest
            first; None for any number.
        clock: The Unix time in seconds.
    """

    def __init__(
        self,
        store: SQLiteStore,
        *,
        keep: float | None,
        max_size: int | None,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._keep = keep
        self._max_size = max_size
        self._clock = clock
        self._doomed: deque[int] = deque()
        self._before = inf

    def __call__(self) -> bool:
        """Do one piece.

        Returns:
            Whether there is more to do.
        """
        if not self._doomed:
            self._doomed.extend(self._find())
        if self._doomed:
            count = min(FLOWS, len(self._doomed))
            piece = [self._doomed.popleft() for _ in range(count)]
            self._store.forget(piece, self._before)
            return True
        return self._max_size is not None and self._store.vacuum(PAGES)

    def _find(self) -> list[int]:
        if self._keep is not None:
            self._before = self._clock() - self._keep
            if found := self._store.over(self._before, MOST):
                return found
        if self._max_size is not None and self._store.size() > self._max_size:
            self._before = inf
            return self._store.oldest(MOST)
        return []
