"""A journal that several sessions share, on the clock of the event loop."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from agentflow._encoding import EventRegistry
from agentflow.abc import Link
from agentflow.journal._link import Means, open_link
from agentflow.journal._memory import MemoryStore
from agentflow.journal._sqlite_store import SQLiteStore

LEASE = 0.3


class SharedJournal:
    """Gives every session a link with a lease to one store.

    Args:
        store: The store.
    """

    events = EventRegistry()

    def __init__(self, store: MemoryStore | SQLiteStore) -> None:
        self.store = store
        self.stalled = False
        """Whether what is written now takes longer than a lease."""

    def connect(self) -> AbstractAsyncContextManager[Link]:
        means = Means(call=self._call, clock=anyio.current_time)
        return open_link(self.store, means, LEASE)

    async def _call(self, function: Callable[[], Any]) -> Any:
        await anyio.sleep(2 * LEASE if self.stalled else 0.001)
        return function()

    def open_count(self) -> int:
        """Return how many deliveries are open."""
        return sum(flow.open for flow in self.store.flows())
