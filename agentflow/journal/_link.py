"""One session's connection to a store: the queue of steps, and the task that writes them.

Theory of operation. Steps are queued and answered later, in order. The writer takes all
that has queued up while it wrote, hands it to the store as one batch, and tells the answers
on the event loop: that is group commit, the busier the session the larger the batches. The
store blocks, so it is called in a thread, one call at a time. The next batch is on its way
before the answers to the last are told: what comes of them is worked out meanwhile.

When the store fails, nothing of the batch has happened, and nothing that comes after may:
every step that waits, and every later one, is told the error. The writer ends only when
everything queued has been written, even if the session is cancelled.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import anyio
import attrs
import outcome
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from agentflow._errors import JournalError
from agentflow._steps import Answer, Entry, Opened, Step, StoredFlow
from agentflow.journal._store import Store

_T = TypeVar("_T")

Told: TypeAlias = Callable[[Answer | JournalError], object]
Batch: TypeAlias = Sequence[tuple[Step, Told]]
Result: TypeAlias = outcome.Outcome[Any]
Start: TypeAlias = Callable[[Callable[[], Any], Callable[[Result], object]], object]

TIDY_EVERY = 60.0
"""Seconds between two times of clearing away what need not be kept."""

ENOUGH = 32
"""So many steps queued are not worth waiting for more."""

MAX_TURNS = 20
"""Turns of the event loop that a batch waits for more: some hundred microseconds."""

MAX_BATCH = 1000
"""Steps in one transaction: beyond some hundred, more of them make none cheaper."""


@attrs.frozen(kw_only=True)
class Means:
    """How a link reaches its store.

    Attributes:
        call: Calls a blocking function; in a thread, unless time is simulated.
        start: Likewise, and tells its outcome on the event loop; None makes do with `call`.
        clock: The Unix time in seconds.
        tidy: Clears away what need not be kept any more; called now and then.
    """

    call: Callable[[Callable[[], Any]], Awaitable[Any]]
    start: Start | None = None
    clock: Callable[[], float]
    tidy: Callable[[], object] = int


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
        self._flying: Batch = ()
        """What the store has been asked to do."""
        self._landed: Result | None = None
        """What came of it."""
        self._is_closing = False
        self._tidied = means.clock()

    def now(self) -> float:
        """Return the Unix time in seconds."""
        return self._means.clock()

    def submit(self, step: Step, told: Told) -> None:
        """Queue a step; see `Link`."""
        if self.error is not None:
            told(self.error)
            return
        self._queue.append((step, told))
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
            async with anyio.create_task_group() as tasks:
                await self._write(tasks)

    async def _write(self, tasks: TaskGroup) -> None:  # noqa: ASYNC910 -- likewise
        while self._queue or self._flying or not self._is_closing:
            if self._landed is not None:
                self._land(tasks)
            elif self._queue and not self._flying:
                await self._gather()
                self._launch(tasks)
            else:
                await self._more.wait()
                self._more = anyio.Event()

    async def _gather(self) -> None:  # noqa: ASYNC910 -- when enough is queued
        """Let what is about to be queued be queued, as long as more comes each turn."""
        before, turns = 0, 0
        while before < len(self._queue) < ENOUGH and turns < MAX_TURNS:
            before = len(self._queue)
            await checkpoint()
            turns += 1

    def _launch(self, tasks: TaskGroup) -> None:
        """Hand all that is queued to the store."""
        take = self._queue.popleft
        self._flying = [take() for _ in range(min(len(self._queue), MAX_BATCH))]
        steps = [step for step, _ in self._flying]
        apply, owner, now = self._store.apply, self.opened.owner, self._means.clock()

        def write() -> Sequence[Answer]:
            return apply(owner, steps, now)

        if self._means.start is None:
            tasks.start_soon(self._call_and_note, write)
        else:
            self._means.start(write, self._note_landed)

    async def _call_and_note(self, function: Callable[[], object]) -> None:
        self._note_landed(await outcome.acapture(self._call, function))

    def _note_landed(self, result: Result) -> None:
        self._landed = result
        self._more.set()

    def _land(self, tasks: TaskGroup) -> None:
        """Tell the answers to a batch; the next is on its way by then."""
        batch, result = self._flying, cast("Result", self._landed)
        self._flying, self._landed = (), None
        if isinstance(result, outcome.Error):
            if not isinstance(result.error, JournalError):
                result.unwrap()
            self._fail(batch, result.error)
            return
        if self._queue:
            self._launch(tasks)
        for (_, told), answer in zip(batch, result.unwrap(), strict=True):
            told(answer)
        now = self._means.clock()
        if now - self._tidied > TIDY_EVERY:
            self._tidied = now
            tasks.start_soon(self._call, self._means.tidy)

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
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.write)
            try:
                yield link
            finally:
                link.close()
    finally:
        if link.error is None:
            with anyio.CancelScope(shield=True):  # noqa: ASYNC102 -- it is short
                await means.call(lambda: store.close(opened.owner))
