"""A session to look at while it runs."""

import anyio

from agentflow._errors import UsageError
from agentflow._records import Record

_SLACK = 4
"""The oldest records go when there are a quarter more than the limit: seldom, and many."""


class LiveTrace:
    """Keeps the latest records of a session, for pages that follow it.

    ::

        live = LiveTrace()
        async with (
            open_viewer(live) as viewer,
            AsyncDispatcher(router, tracer=live) as dispatcher,
        ):
            print(viewer.url)

    A page that is slow, or comes late, costs no memory here: it reads what is still kept,
    and starts over when it has been overtaken. Records become JSON only when a page asks
    for them. A session's records and its pages belong to one event loop.

    Args:
        limit: How many records to keep; the oldest fall out, up to a quarter late.

    Raises:
        UsageError: `limit` is no number from 1.
    """

    def __init__(self, limit: int = 100_000) -> None:
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, not {limit!r}")
        self._limit = limit
        self._records: list[Record] = []
        self._first = 0
        self._changed: anyio.Event | None = None

    def __len__(self) -> int:
        """Return how many records are kept."""
        return len(self._records)

    @property
    def first(self) -> int:
        """The number of the oldest record that is kept; the very first had the number 0."""
        return self._first

    @property
    def end(self) -> int:
        """The number that the next record will have."""
        return self._first + len(self._records)

    def record(self, record: Record, /) -> None:
        """Keep a record; a session calls this."""
        self._records.append(record)
        if len(self._records) > self._limit + self._limit // _SLACK:
            surplus = len(self._records) - self._limit
            del self._records[:surplus]
            self._first += surplus
        self.wake()

    def since(self, number: int, most: int) -> list[Record]:
        """Return the records from this number on; no more than `most`.

        Args:
            number: The number of the first one, not below `first`.
            most: How many at once.

        Returns:
            The records, oldest first.
        """
        start = number - self._first
        return self._records[start : start + most]

    def wake(self) -> None:
        """Have every `wait_changed` return."""
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def wait_changed(self) -> None:
        """Wait for the next record.

        Cancellation: nothing has happened.
        """
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()
