"""One session's connection to a store: the queue of steps, and the task that writes them.

Theory of operation. Steps are queued and answered later, in order. The writer takes all
that has queued up while it wrote, hands it to the store as one batch, and tells the answers
on the event loop: that is group commit, the busier the session the larger the batches. The
store blocks, so it is called in a thread, one call at a time.

Before it writes, the writer waits for what is about to be queued, as long as more comes
with each turn of the event loop. Writing a part of it meanwhile was measured to be slower,
two batches in turn as well: Python has one lock for both threads, and a thread that wants
it from a busy event loop waits longer than the commit takes.

When the store fails, nothing of the batch has happened, and nothing that comes after may:
every step that waits, and every later one, is told the error. The writer ends only when
everything queued has been written, even if the session is cancelled.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Any, TypeAlias, TypeVar, cast

import anyio
import attrs
from anyio.lowlevel import checkpoint

from agentflow._errors import JournalError
from agentflow._steps import Answer, Entry, News, Opened, Step, StoredFlow
from agentflow.journal._store import Store

_T = TypeVar("_T")

Told: TypeAlias = Callable[[Answer | JournalError], object]
Batch: TypeAlias = Sequence[tuple[Step, Told]]

TIDY_EVERY = 60.0
"""Seconds between two times of clearing away what need not be kept."""

MAX_TURNS = 20
"""Turns of the event loop that a batch waits for more: some hundred microseconds."""

MAX_BATCH = 1000
"""Steps in one transaction: beyond some hundred, more of them make none cheaper."""


@attrs.frozen(kw_only=True)
class Means:
    """How a link reaches its store.

    Attributes:
        call: Calls a blocking function; in a thread, unless time is simulated.
        clock: The Unix time in seconds.
        tidy: Clears away a little of what need not be kept any more, and returns whether
            there is more; called now and then.
        is_untidy: Whether there is more from the beginning.
    """

    call: Callable[[Callable[[], Any]], Awaitable[Any]]
    clock: Callable[[], float]
    tidy: Callable[[], object] = int
    is_untidy: bool = False


class StoreLink:
    """A `Link` to a store.

    Args:
        store: The store.
        opened: What was found when it was opened.
        means: How to reach it.
    """

    def __init__(self, store: Store, opened: Opened, means: Means) -> None:
        self.opened: Opened = opened
        self.error: JournalError | None = None
        self._store = store
        self._means = means
        self._queue: deque[tuple[Step, Told]] = deque()
        self._more = anyio.Event()
        self._is_waiting = False
        self._last = 0
        """How many steps were in the last batch."""
        self._is_closing = False
        self._tidied = -inf if means.is_untidy else means.clock()

    lease: float | None = None
    """See `Link`."""

    _told: Callable[[News], object] = bool  # nobody, until `watch`

    def watch(self, told: Callable[[News], object]) -> None:
        """Tell the session what others change; see `Link`."""
        self._told = told

    def tell(self, news: News) -> None:
        """Tell the session what others have changed."""
        self._told(news)

    def now(self) -> float:
        """Return the Unix time in seconds."""
        return self._means.clock()

    def submit(self, step: Step, told: Told) -> None:
        """Queue a step; see `Link`."""
        if self.error is not None:
            told(self.error)
            return
        self._queue.append((step, told))
        if self._is_waiting:
            self._is_waiting = False
            self._more.set()

    async def ask(self, step: Step) -> Answer:
        """Queue a step and wait for its answer; see `Link`.

        Returns:
            The answer.

        Raises:
            JournalError: The journal cannot be written.

        Cancellation:
            The step happens all the same.
        """
        answers: list[Answer | JournalError] = []
        come = anyio.Event()

        def told(answer: Answer | JournalError) -> None:
            answers.append(answer)
            come.set()

        self.submit(step, told)
        await come.wait()
        (answer,) = answers
        if isinstance(answer, JournalError):
            raise answer
        return answer

    async def events(self, flow: str) -> list[Entry]:
        """Return the events of a flow; see `Link`.

        Cancellation:
            Nothing has changed.
        """
        return await self._call(partial(self._store.events, flow))

    async def flow(self, flow: str) -> StoredFlow | None:
        """Return what is known of a flow; see `Link`.

        Cancellation:
            Nothing has changed.
        """
        return await self._call(partial(self._store.flow, flow))

    async def _call(self, function: Callable[[], _T]) -> _T:
        return cast("_T", await self._means.call(function))

    async def write(self) -> None:  # noqa: ASYNC910 -- when closed before it began
        """Write until the link is closed and nothing is queued.

        Cancellation:
            Waits until then all the same.
        """
        # What is queued has been promised.
        with anyio.CancelScope(shield=True):  # noqa: ASYNC912 -- likewise
            while self._queue or not self._is_closing:
                if not self._queue:
                    self._is_waiting = True
                    await self._more.wait()
                    self._more = anyio.Event()
                    continue
                await self._gather()
                await self._write()

    async def _gather(self) -> None:  # noqa: ASYNC910 -- when enough is queued
        """Let what is about to be queued be queued, as long as more comes each turn.

        Who was alone the last time probably is again, and need not wait.
        """
        before, turns = 0, 0
        queue = self._queue
        while before < len(queue) < MAX_BATCH and turns < MAX_TURNS:
            if len(queue) == self._last == 1:
                break
            before = len(queue)
            await checkpoint()
            turns += 1

    async def _write(self) -> None:
        take = self._queue.popleft
        batch = [take() for _ in range(min(len(self._queue), MAX_BATCH))]
        self._last = len(batch)
        steps = [step for step, _ in batch]
        apply, owner, now = self._store.apply, self.opened.owner, self._means.clock()
        try:
            answers = await self._call(partial(apply, owner, steps, now))
        except JournalError as error:
            self._fail(batch, error)
            return  # noqa: ASYNC910 -- the call has been awaited
        for (_, told), answer in zip(batch, answers, strict=True):
            told(answer)
        if not 0 <= now - self._tidied <= TIDY_EVERY:  # the clock may have gone back
            self._tidied = now
            await self._tidy()

    async def _tidy(self) -> None:  # noqa: ASYNC910 -- when it fails it has been called
        """Clear away a little; more of it after the next batch, if there is more."""
        try:
            if await self._call(self._means.tidy):
                self._tidied = -inf
            if await self._call(self._store.changed):
                self.tell(News(work=True))
        except JournalError as error:
            self._fail((), error)

    def _fail(self, batch: Batch, error: JournalError) -> None:
        self.error = error
        left = [*batch, *self._queue]
        self._queue.clear()
        for _, told in left:
            told(error)

    def close(self) -> None:
        """Let the writer end when it has written everything."""
        self._is_closing = True
        self._more.set()


@asynccontextmanager
async def open_link(
    store: Store, means: Means, lease: float | None = None
) -> AsyncGenerator[StoreLink]:
    """Be an owner of a store for the length of a block.

    Args:
        store: The store.
        means: How to reach it.
        lease: See `Store.open`.

    Yields:
        The link.

    Raises:
        JournalError: The store cannot be opened.

    Cancellation:
        What has been queued is written.
    """
    opened = cast("Opened", await means.call(lambda: store.open(means.clock(), lease)))
    link = StoreLink(store, opened, means)
    link.lease = lease
    store.watch(opened.owner, link.tell)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.write)
            try:
                yield link
            finally:
                link.close()
    finally:
        store.watch(opened.owner, None)
        if link.error is None:
            with anyio.CancelScope(shield=True):  # noqa: ASYNC102 -- it is short
                await means.call(lambda: store.close(opened.owner))
