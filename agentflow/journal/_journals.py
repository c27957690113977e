"""The journals that users name: in memory, and on SQLite."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from agentflow._encoding import EventRegistry
from agentflow._errors import JournalError
from agentflow._steps import DeadLetter, News, StoredFlow
from agentflow._writer import Writer, open_writer
from agentflow.abc import Link
from agentflow.journal._bell import bell_of, listening
from agentflow.journal._clock import Clock
from agentflow.journal._link import Means, open_link
from agentflow.journal._memory import MemoryStore
from agentflow.journal._sqlite import Synchronous
from agentflow.journal._sqlite_store import SQLiteStore
from agentflow.journal._sqlite_visit import SQLiteVisit, visiting
from agentflow.journal._tidying import Tidying

_T = TypeVar("_T")

DEFAULT_KEEP = 7 * 86_400.0
"""A week: long enough to look at what went wrong over the weekend."""


class MemoryJournal:
    """A journal in memory: durable for as long as this object lives, for tests.

    With a `lease`, several sessions of one event loop may use it at once, as several
    processes share a database: each works on what it has claimed, and goes on with what
    another leaves when it ends, or does not renew its lease in time.

    Args:
        events: How events are encoded; by default every class that is loaded, in version 1.
        lease: Seconds until a session counts as dead, unless it renews, which it does
            three times meanwhile; None for one session at a time: a second takes all that
            the first had.

    Raises:
        JournalError: The lease is no number above 0.
    """

    def __init__(
        self, *, events: EventRegistry | None = None, lease: float | None = None
    ) -> None:
        if lease is not None and not lease > 0:
            raise JournalError(f"lease must be above 0 s, or None, not {lease!r}")
        self.events: EventRegistry = EventRegistry() if events is None else events
        self.store: MemoryStore = MemoryStore()
        self._lease = lease

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Become an owner; see `agentflow.abc.Journal`."""
        means = Means(call=_at_once, clock=Clock().now)
        return open_link(self.store, means, self._lease)

    async def flows(self) -> list[StoredFlow]:
        """Return every flow the journal knows, the oldest first.

        Cancellation:
            Nothing has changed.
        """
        await checkpoint()
        return self.store.flows()

    async def dead_letters(self) -> list[DeadLetter]:
        """Return the deliveries that failed for good, the oldest first.

        Cancellation:
            Nothing has changed.
        """
        await checkpoint()
        return self.store.dead_letters()

    async def retry(self, flow: str) -> int:
        """Make the dead letters of a flow open again.

        A session that has the journal takes them in at once, or else the next one.

        Args:
            flow: Its correlation id.

        Returns:
            How many there were.

        Cancellation:
            Nothing has changed.
        """
        await checkpoint()
        return self.store.retry(flow)

    async def drop(self, flow: str) -> int:
        """Forget a flow that is over, with its dead letters.

        Args:
            flow: Its correlation id.

        Returns:
            How many dead letters it had; 0 also if it is open or not known.

        Cancellation:
            Nothing has changed.
        """
        await checkpoint()
        return self.store.drop(flow)


async def _at_once(function: Callable[[], Any]) -> Any:  # noqa: ANN401 -- anything
    await checkpoint()
    return function()


class SQLiteJournal:
    """A journal in an SQLite file.

    ::

        journal = SQLiteJournal("run.db")
        async with AsyncDispatcher(router, journal=journal) as dispatcher:
            await dispatcher.send(event)  # on disk when this returns

    One session at a time may use it. Beside it stand ``run.db-wal`` and ``run.db-shm``,
    which belong to it, and ``run.db-lock``, which is empty; while a session has it, also
    ``run.db-bell``, through which it hears of `retry` in another process.

    Args:
        path: The file; it is made if it does not exist.
        events: How events are encoded; by default every class that is loaded, in version 1.
        synchronous: "full" has everything on disk when it is accepted, as far as the disk
            keeps its word; with "normal" a crash of the machine, not of the process, may
            take the last moments; "extra" also syncs the folder.
        schema: SQL that makes your own tables, for rows that are written with `sql`; write
            ``CREATE TABLE IF NOT EXISTS``. Names that begin with ``agentflow_`` are taken.
        keep: Seconds to keep a flow that is over; None keeps it for ever. Dead letters
            are kept until they are retried or dropped.
        max_size: Bytes the file may take before flows that are over are dropped, the
            oldest first; None for any size.

    Raises:
        JournalError: `synchronous` is no such word, or `keep` or `max_size` no number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        events: EventRegistry | None = None,
        synchronous: Synchronous = "full",
        schema: str = "",
        keep: float | None = DEFAULT_KEEP,
        max_size: int | None = None,
    ) -> None:
        if synchronous not in {"normal", "full", "extra"}:
            raise JournalError(
                f"synchronous must be 'normal', 'full' or 'extra', not {synchronous!r}"
            )
        for name, limit in (("keep", keep), ("max_size", max_size)):
            if limit is not None and not limit >= 0:
                raise JournalError(f"{name} must be 0 or more, or None, not {limit!r}")
        self.events: EventRegistry = EventRegistry() if events is None else events
        self.path: str = os.fspath(path)
        self._synchronous: Synchronous = synchronous
        self._schema = schema
        self._keep = keep
        self._max_size = max_size
        self._bell = bell_of(self.path)

    def __repr__(self) -> str:
        return f"SQLiteJournal({self.path!r})"

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Become the owner of the file; see `agentflow.abc.Journal`.

        Returns:
            A context manager for the link.

        Raises:
            JournalInUse: Another session has it.
            JournalError: It cannot be opened, is damaged, or has another version's format.
        """
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[Link]:
        async with open_writer() as writer, self._opened(writer) as store:
            clock = Clock()
            tidy = Tidying(
                store,
                keep=self._keep,
                max_size=self._max_size,
                clock=clock.earliest,
            )
            means = Means(
                call=writer.call,
                clock=clock.now,
                tidy=tidy,
                is_untidy=await writer.call(tidy),
            )
            async with (
                open_link(store, means) as link,
                listening(self._bell, partial(link.tell, News(work=True))),
            ):
                yield link

    @asynccontextmanager
    async def _opened(self, writer: Writer) -> AsyncGenerator[SQLiteStore]:
        store = await writer.call(
            lambda: SQLiteStore(
                self.path, synchronous=self._synchronous, schema=self._schema
            )
        )
        try:
            yield store
        finally:
            with anyio.CancelScope(shield=True):
                await writer.call(store.shut)

    async def _visit(
        self, look: Callable[[SQLiteVisit], _T], *, write: bool = False
    ) -> _T:
        def visited() -> _T:
            with visiting(self.path, write=write) as visit:
                return look(visit)

        return await anyio.to_thread.run_sync(visited)

    async def _visit_or(
        self, empty: _T, look: Callable[[SQLiteVisit], _T], *, write: bool = False
    ) -> _T:
        """Look at the file; it is its first session that makes it."""
        if await anyio.Path(self.path).exists():
            return await self._visit(look, write=write)
        return empty

    async def flows(self) -> list[StoredFlow]:
        """Return every flow the journal knows, the oldest first; also while it is in use.

        Raises:
            JournalError: The file cannot be read.

        Cancellation:
            Nothing has changed.
        """
        return await self._visit_or([], SQLiteVisit.flows)

    async def dead_letters(self) -> list[DeadLetter]:
        """Return the deliveries that failed for good, the oldest first.

        Raises:
            JournalError: The file cannot be read.

        Cancellation:
            Nothing has changed.
        """
        return await self._visit_or([], SQLiteVisit.dead_letters)

    async def retry(self, flow: str) -> int:
        """Make the dead letters of a flow open again.

        A session that has the journal takes them in at once, or else the next one.

        Args:
            flow: Its correlation id.

        Returns:
            How many there were.

        Raises:
            JournalError: The file cannot be written.

        Cancellation:
            It happens all the same.
        """
        return await self._visit_or(0, lambda visit: visit.retry(flow), write=True)

    async def drop(self, flow: str) -> int:
        """Forget a flow that is over, with its dead letters.

        Args:
            flow: Its correlation id.

        Returns:
            How many dead letters it had; 0 also if it is open or not known.

        Raises:
            JournalError: The file cannot be written.

        Cancellation:
            It happens all the same.
        """
        return await self._visit_or(0, lambda visit: visit.drop(flow), write=True)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the journal to another file; also while it is in use.

        Args:
            path: The copy; it is replaced.

        Raises:
            JournalError: There is no journal, or the copy cannot be written.

        Cancellation:
            It is seen through.
        """
        await self._visit(lambda visit: visit.backup(os.fspath(path)))

    async def check(self) -> list[str]:
        """Look whether the file is sound and its counters are right.

        Returns:
            What is wrong, in words; nothing when all is well.

        Raises:
            JournalError: There is no journal, or it cannot be read.

        Cancellation:
            Nothing has changed.
        """
        return await self._visit(SQLiteVisit.check)
