"""The workers: the tasks in which handlers run.

A worker takes a delivery, awaits the handler in place, and goes straight on with the next
delivery that is ready, its own follow-up first; so a chain of agents costs no task switch.
When there is more to do than it can, it wakes one other worker, and that one the next:
waking several at once was measured to cost twice as much. After ``batch_size`` deliveries,
or a millisecond, it lets other tasks run (rule D2).

A worker has one cancel scope for all its deliveries, since a scope for each costs as much
as a whole hop. Cancelling a flow cancels the scopes of the workers that are on it now; such
a worker opens a new scope before it takes the next delivery, so nothing of the cancellation
reaches another flow (rule F6). A worker whose handler has changed a context variable ends,
so that the change does not leak into the next handler.

Deliveries start in order of arrival. So a worker that is woken takes the first that is
ready when it runs, and what travels over the memory channel on which workers wait is the
wake-up alone: a delivery that travelled itself was measured to be overtaken by the next.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import AsyncExitStack, aclosing
from contextvars import Context, copy_context
from time import time_ns
from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from agentflow._context import current_delivery
from agentflow._engine import Engine
from agentflow._errors import AgentFlowError, HandlerReturnError
from agentflow._events import Event
from agentflow._ledger import Delivery
from agentflow._tasks import Loop, Scope, Tasks

MAX_PARKED = 64
"""Workers that stay when there is nothing to do; starting one costs 4 times a wake-up."""

_LONGEST_SHIFT = 1_000_000
"""Nanoseconds after which a worker yields, however small its batch: synchronous handlers.

The wall clock serves, since ids need it too: set back in the middle of a shift, it leaves
the batch as the bound of that shift."""


class Worker:
    """One worker as the ledger sees it: how to interrupt it (a `Runner`)."""

    __slots__ = (
        "context",
        "delivery",
        "is_cancelled",
        "pool",
        "scope",
        "since",
        "task_id",
    )

    handling = True

    def __init__(self, pool: "Workers") -> None:
        self.pool: Workers = pool
        self.task_id: int = anyio.get_current_task().id
        self.scope: Scope
        self.is_cancelled: bool = False
        """Whether `scope` has been; asking the scope itself costs ten times as much."""
        self.since: float = 0.0
        """When the handler started; kept only while somebody observes."""
        self.context: Context = copy_context()
        """The context as it was before the handler."""
        self.delivery: Delivery | None = None
        """What it is handling now."""

    def cancel(self, reason: str) -> None:
        """Cancel the handler it is running."""
        self.is_cancelled = True
        self.scope.cancel(reason)


class Backoff:
    """A delivery that waits for its next attempt (a `Runner`)."""

    __slots__ = ("scope",)

    handling = False

    def __init__(self) -> None:
        self.scope: anyio.CancelScope = anyio.CancelScope()

    def cancel(self, reason: str) -> None:
        """End the wait: the delivery has been dropped."""
        self.scope.cancel(reason)


class Workers:
    """The pool of one session.

    Args:
        engine: What to do with the outcome of each handler.
        loop: The event loop.
        tasks: Where the workers run.
        context: The context variables that handlers start with.
        batch_size: How many deliveries a worker takes before it lets others run.
        limit: How many workers there may be; None for as many as there is work for.
    """

    def __init__(
        self,
        engine: Engine,
        loop: Loop,
        tasks: Tasks,
        *,
        context: Context,
        batch_size: int,
        limit: int | None,
    ) -> None:
        self.batch_size: int = batch_size
        self.count: int = 0
        self.aside: int = 0
        """Workers whose handlers stand aside and count for no limit."""
        self.engine: Engine = engine
        self._loop = loop
        self._ready = engine.ledger.ready
        self._tasks = tasks
        self._limit = float("inf") if limit is None else limit
        self._context = context
        self._closed = False
        self._coming = False
        self._parked = 0
        self._last: Worker | None = None
        """The worker that began a delivery last."""
        self._send, self._receive = anyio.create_memory_object_stream[None](
            float("inf")
        )

    def wake(self) -> None:
        """Bring in one more worker if there is work and none is on its way."""
        if self._coming or self._closed or not self._ready:
            return
        if self._parked:
            self._coming = True
            self._parked -= 1
            self._send.send_nowait(None)
        elif self.count - self.aside < self._limit:
            self._coming = True
            self.count += 1
            # In the session's context: a new task must not inherit a handler's.
            self._context.run(self._tasks.start_soon, self._work)
        else:
            self.engine.stalls.exhausted()

    def close(self) -> None:
        """Send the workers home, each when it has nothing left to do."""
        self._closed = True
        self._send.close()

    def dispose(self) -> None:
        """Let go of the channel when every worker has ended."""
        self._send.close()
        self._receive.close()

    async def _work(self) -> None:
        """Be a worker, and handle one delivery after another until none is left for it.

        This and `_drain` stand below every handler, and each resumption of one passes
        through them; so there is no third.
        """
        self._coming = False
        worker = Worker(self)
        ends = False
        try:  # noqa: PLR1702 -- one more function would be one more frame
            while not ends:
                worker.is_cancelled = False
                try:
                    with self._loop.new_scope() as worker.scope:
                        ends = await self._drain(worker)
                except Exception as error:
                    if worker.delivery is None:
                        raise  # no handler's: a bug of ours, which must not be quiet
                    self._failed(worker, error)
                except BaseException as error:  # noqa: ASYNC103 -- or nobody cancelled
                    leaving = await self._settle_cancelled(  # noqa: ASYNC102 -- looks
                        worker, error
                    )
                    if leaving is error:
                        raise
                    if leaving is not None:
                        raise leaving from None  # noqa: ASYNC104 -- the cancelled part
                if worker.delivery is not None:  # its own scope took the cancellation
                    self.engine.interrupted(worker.delivery, worker.since)
                    worker.delivery = None
                ends = ends or _is_soiled(worker.context)
        finally:
            self.count -= 1
        self.wake()

    def _failed(self, worker: Worker, error: Exception) -> None:
        delivery, worker.delivery = worker.delivery, None
        assert delivery is not None
        self.engine.failed(
            delivery, error, since=worker.since, retry_later=self._retry_later
        )

    async def _settle_cancelled(
        self, worker: Worker, error: BaseException
    ) -> BaseException | None:
        """Account for a handler that the session's end cut off.

        A handler's own nursery may bring a failure along with the cancellation, and under
        asyncio a handler may raise CancelledError although nobody cancelled it.

        Returns:
            What must leave the worker.
        """
        delivery = worker.delivery
        whole = error
        if delivery is None:
            return whole
        if isinstance(error, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", error)
            cancelled, failure = _apart(group)
            if isinstance(failure, Exception):
                self._failed(worker, failure)
                return cancelled
        elif (
            isinstance(error, anyio.get_cancelled_exc_class())
            and not await _is_being_cancelled()
        ):
            name = type(error).__name__
            self._failed(
                worker,
                AgentFlowError(f"{name} came out of a handler that nobody cancelled"),
            )
            return None
        self.engine.interrupted(delivery, worker.since)
        worker.delivery = None
        return whole

    async def _drain(  # noqa: C901, PLR0912, PLR0915 -- the hot loop: a call is a 30th of it
        self, worker: Worker
    ) -> bool:
        """Handle deliveries, one after another.

        Whatever a handler raises leaves from here, with the delivery in the worker.

        Returns:
            Whether to end, rather than to open a new scope.
        """
        engine, ready, set_current = self.engine, self._ready, current_delivery.set
        succeeded, snapshot, clock = engine.succeeded, copy_context, time_ns
        delivery: Delivery | None = None
        left, until = self.batch_size, clock() + _LONGEST_SHIFT
        while True:
            if delivery is None:
                if not ready and not await self._await_work():
                    return True
                delivery = ready.popleft()
                if delivery.runner is not None:
                    engine.ledger.skip(delivery)
                    delivery = None
                    continue
            delivery.runner = self._last = worker
            if ready and not self._coming:
                self.wake()
            if engine.recorder is not None:
                worker.since = engine.recorder.started(delivery)
            set_current(delivery)
            before = snapshot()
            try:
                outputs: Any = await delivery.target.call(delivery.event)
                if outputs.__class__ is not list:
                    outputs = (
                        () if outputs is None else await self._settle(delivery, outputs)
                    )
                now = clock()
                delivery = succeeded(delivery, outputs, worker.since, now)
            except BaseException:
                worker.delivery = delivery
                worker.context = before
                raise
            try:
                is_soiled = snapshot() != before  # as _is_soiled, in line for speed
            except Exception:  # noqa: BLE001 -- likewise
                is_soiled = True
            if is_soiled or worker.is_cancelled:
                self._leave(worker, before, delivery)
                return False
            left -= 1
            if self._last is not worker:  # others have run: the loop has turned
                left, until = self.batch_size, now + _LONGEST_SHIFT
            elif left <= 0 or now > until:
                delivery = await self._turn(delivery)
                left, until = self.batch_size, clock() + _LONGEST_SHIFT

    def _leave(
        self, worker: Worker, before: Context, follow_up: Delivery | None
    ) -> None:
        worker.context = before
        if follow_up is not None:
            self._ready.appendleft(follow_up)

    async def _turn(self, follow_up: Delivery | None) -> Delivery | None:
        """Let other tasks run, and what has been ready for longer than the follow-up.

        Returns:
            The follow-up, if it is still to go on with.
        """
        if follow_up is not None and self._ready:
            self._ready.append(follow_up)
            follow_up = None
        await self._loop.checkpoint()
        if follow_up is None or follow_up.runner is None:
            return follow_up
        self.engine.ledger.skip(follow_up)  # its flow was cut while other tasks ran
        return None

    async def _await_work(self) -> bool:
        """Wait until something is ready; false when the worker is not needed any more."""
        while not self._ready:
            if self._parked >= MAX_PARKED:
                return False
            self._parked += 1
            try:
                await self._receive.receive()
            except anyio.EndOfStream:
                return False
            self._coming = False
        return True

    async def _settle(self, delivery: Delivery, outputs: object) -> list[Event]:
        """Turn whatever a handler may return into a list of events (rule A1)."""
        if isinstance(outputs, Event):
            return [outputs]
        if isinstance(outputs, AsyncIterable):
            await self._stream(delivery, cast("AsyncIterable[object]", outputs))
            return []
        if isinstance(outputs, Iterable) and not isinstance(outputs, (str, bytes)):
            return list(cast("Iterable[Event]", outputs))
        raise HandlerReturnError(
            f"{delivery.target.name} returned {outputs!r}; return a list of events, one "
            "event, or None"
        )

    async def _stream(self, delivery: Delivery, outputs: AsyncIterable[object]) -> None:
        """Dispatch each event of a generator as it is yielded."""
        async with AsyncExitStack() as stack:
            if isinstance(outputs, AsyncGenerator):
                generator = cast("AsyncGenerator[object, object]", outputs)
                await stack.enter_async_context(aclosing(generator))
            async for output in outputs:
                self.engine.emit(delivery, cast("Event", output))
                self.wake()

    def _retry_later(self, delivery: Delivery, delay: float) -> None:
        backoff = Backoff()
        again = self.engine.ledger.defer(delivery, backoff)
        self._context.run(
            self._tasks.start_soon, self._wait_and_resume, again, backoff, delay
        )

    async def _wait_and_resume(
        self, delivery: Delivery, backoff: Backoff, delay: float
    ) -> None:
        with backoff.scope:
            await anyio.sleep(delay)
            if delivery.runner is backoff:  # else its flow was cut at this very moment
                self.engine.ledger.resume(delivery)
                self.wake()


def _is_soiled(before: Context) -> bool:
    """Return whether a handler has left something behind in the task's context.

    A value that equals the one before counts as unchanged.
    """
    try:
        return copy_context() != before
    except Exception:  # noqa: BLE001 -- a value that cannot be compared is a new one
        return True


async def _is_being_cancelled() -> bool:
    try:
        await checkpoint_if_cancelled()
    except anyio.get_cancelled_exc_class():  # noqa: ASYNC103 -- the caller raises it
        return True  # noqa: ASYNC104 -- likewise
    return False


def _apart(
    group: BaseExceptionGroup[BaseException],
) -> tuple[BaseException | None, BaseException | None]:
    """Split a group into cancellations and the rest."""
    return group.split(anyio.get_cancelled_exc_class())
