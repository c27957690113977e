"""The life of a session: opening, stopping, and how errors leave.

`AsyncDispatcher` is a session with a way in. The session's workers live in a task group of
its own. Nothing that a handler raises reaches that group, so an error of the block's own
body leaves bare (rule F3); and leaving always waits for every worker to end.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import anyio
from anyio.abc import TaskStatus

from agentflow._calls import Call, Threads, async_call
from agentflow._context import current_delivery, current_memory, current_recorder
from agentflow._door import Door
from agentflow._engine import Engine
from agentflow._errors import SessionError, WouldDeadlock
from agentflow._handlers import Handler
from agentflow._ledger import Delivery
from agentflow._memory import SharedWorkingMemory
from agentflow._observers import as_observer
from agentflow._recorder import Recorder
from agentflow._reports import StopReport
from agentflow._routing import Router
from agentflow._switchboard import Switchboard
from agentflow._tasks import Tasks, running_loop
from agentflow._waiting import until_idle
from agentflow._workers import Workers
from agentflow.abc import Journal, Nursery, Observer

if TYPE_CHECKING:
    from agentflow._durability import Durability

DEFAULT_CAPACITY = 100_000
"""Unfinished root events: some 100 MB of small ones, so a runaway producer is loud."""

DEFAULT_BUDGET = 100_000
"""Events a flow may accept: far beyond what agents mean to emit, well within memory."""


class Session:
    """What an `AsyncDispatcher` is from its beginning to its end."""

    def __init__(  # noqa: PLR0913 -- each is a setting of its own, all but one optional
        self,
        router: Router,
        *,
        shared_working_memory: SharedWorkingMemory | None = None,
        batch_size: int = 64,
        capacity: int | None = DEFAULT_CAPACITY,
        max_events_per_flow: int | None = DEFAULT_BUDGET,
        max_concurrency: int | None = None,
        tracer: Observer | Iterable[Observer] | None = None,
        journal: Journal | None = None,
    ) -> None:
        for name, value in {
            "batch_size": batch_size,
            "capacity": capacity,
            "max_events_per_flow": max_events_per_flow,
            "max_concurrency": max_concurrency,
        }.items():
            check_limit(name, value)
        self.shared_working_memory: SharedWorkingMemory = (
            SharedWorkingMemory()
            if shared_working_memory is None
            else shared_working_memory
        )
        self._batch_size = batch_size
        self._limit = max_concurrency
        self._state: Literal["new", "open", "stopping", "closed"] = "new"
        self._threads = Threads(self._thread_abandoned)
        observer = as_observer(tracer)
        make_engine, self._durability = _durable_or_not(journal)
        self._engine = make_engine(
            Switchboard(router, self._call_for),
            max_events_per_flow=max_events_per_flow,
            max_concurrency=max_concurrency,
            recorder=None if observer is None else Recorder(observer),
        )
        if self._durability is not None:
            self._durability.attach(router, capacity=capacity)
        self._door = Door(self._engine, capacity)
        self._workers: Workers
        self._tasks: AbstractAsyncContextManager[Tasks]
        self._thread = 0
        self._stopped: anyio.Event
        self._closed: anyio.Event
        self._is_hosted = False
        self._report = StopReport()

    def __repr__(self) -> str:
        busy = self._engine.ledger.busy
        return f"<{type(self).__name__} {self._state}, {busy} flows>"

    def _call_for(self, handler: Handler) -> Call:
        if self._durability is not None and (
            call := self._durability.call_for(handler)
        ):
            return call
        if handler.kind == "thread":
            return self._threads.call_for(handler)
        return async_call(handler)

    def _thread_abandoned(self, delivery: Delivery) -> None:
        if self._engine.recorder is not None:
            self._engine.recorder.thread_abandoned(delivery)

    # -- the session's life ---------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the session, and deliver what has been dispatched before.

        Returns:
            The dispatcher.

        Raises:
            SessionError: It has been opened before.
        """
        if self._state != "new":
            raise SessionError(
                f"this dispatcher is {self._state}; each one is entered once, so make "
                "another: AsyncDispatcher(router)"
            )
        if self._durability is not None:
            await self._durability.open(self.shared_working_memory)
        self._state = "open"
        self._thread = threading.get_ident()
        self._stopped = anyio.Event()
        self._closed = anyio.Event()
        loop = running_loop()
        self._engine.begin(loop.now)
        self._tasks = loop.open_tasks()
        tasks = await self._tasks.__aenter__()
        context = copy_context()
        context.run(current_memory.set, self.shared_working_memory)
        context.run(current_recorder.set, self._engine.recorder)
        context.run(current_delivery.set, None)
        self._workers = Workers(
            self._engine,
            loop,
            tasks,
            context=context,
            batch_size=self._batch_size,
            limit=self._limit,
        )
        if self._durability is not None:
            self._durability.begin(self._workers, tasks, context)
        self._workers.wake()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the work, or cancel it when the block raised; then close the session.

        Raises:
            FlowFailed: A flow of plain `dispatch` failed and nobody asked.
            ExceptionGroup: So it did, and the journal failed, too.
            BaseExceptionGroup: A flow failed, and the block raised, too.
        """
        # A cancellation is the task group's to judge: it may be its own, after a crash.
        is_cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
        passed_on = exc if is_cancelled else None
        try:
            try:
                if exc is None:
                    self._begin_stopping()
                    await until_idle(self._engine, None)  # noqa: ASYNC102 -- no error
            finally:
                why = "the session was cancelled" if exc is None else repr(exc)
                await self._close(why, passed_on)  # noqa: ASYNC102 -- it does end
        except BaseException as late:
            body = [] if exc is None or is_cancelled else [exc]
            errors = [*body, late, *self._failures()]
            if len(errors) == 1:
                raise
            raise BaseExceptionGroup(  # noqa: ASYNC104 -- it holds `late`
                "the block, its end or its flows failed", errors
            ) from None
        failures = self._failures()
        if exc is not None and failures:
            raise BaseExceptionGroup(
                "the block raised, and flows failed", [exc, *failures]
            ) from None
        if len(failures) > 1:
            raise ExceptionGroup("flows failed, and so did the journal", failures)
        for failed in failures:
            raise failed

    async def _close(self, reason: str, cancelled: BaseException | None) -> None:
        """Cancel what is left and wait for the workers to end, whatever happens."""
        self._end_all(reason)
        self._workers.close()
        kind = None if cancelled is None else type(cancelled)
        try:
            await self._tasks.__aexit__(kind, cancelled, None)
        finally:
            self._end_all(reason)  # what cancelled handlers left, and its report
            self._workers.dispose()
            if self._durability is not None:
                await self._durability.close()  # noqa: ASYNC102 -- shielded inside
            self._closed.set()

    def _end_all(self, reason: str) -> None:
        self._begin_stopping()
        self._state = "closed"
        self._engine.cut_all(f"the session ended: {reason}")
        left = sorted(self._engine.left, key=lambda u: u.event.id or "")
        self._report = StopReport(undelivered=tuple(left))

    def _failures(self) -> list[Exception]:
        failed = self._engine.unclaimed.claim()
        broken = None if self._durability is None else self._durability.error
        return [error for error in (failed, broken) if error is not None]

    def _begin_stopping(self) -> None:
        if self._state == "open":
            self._state = "stopping"
        self._door.close()
        self._engine.stalls.stopping()

    async def start(self, nursery: Nursery) -> None:
        """Open the session in a nursery of yours, instead of in an ``async with``.

        Args:
            nursery: A trio nursery or an anyio task group. When it is cancelled, the
                session is, too; without `stop`, the nursery's block does not end.

        Raises:
            SessionError: The session has been opened before.

        Cancellation:
            The session has not been opened, or ends at once.
        """
        await nursery.start(self._host)

    async def _host(  # noqa: ASYNC114 -- started with `nursery.start` only
        self, *, task_status: TaskStatus[None]
    ) -> None:
        async with self:
            self._is_hosted = True
            task_status.started()
            await self._stopped.wait()

    async def stop(self, grace: float | None = None) -> StopReport:
        """End the session: finish what has been accepted, then cancel what is left.

        Args:
            grace: Seconds to finish in; 0 cancels at once, None waits for all of it.

        Returns:
            What was not delivered.

        Raises:
            FlowFailed: A flow of plain `dispatch` failed and nobody asked; the report is
                in `stop_report`.
            WouldDeadlock: Called from a handler, which it would wait for.
            SessionError: The session was never opened.

        Cancellation:
            The session takes nothing new, and what is left is cancelled when its block or
            nursery ends.
        """
        self._refuse_in_handler("stop()", None)
        self._check_opened()
        self._begin_stopping()
        with anyio.move_on_after(grace):
            await until_idle(self._engine, None)
        self._end_all("its grace was over")
        with anyio.CancelScope(shield=True):  # as a nursery waits for what it cancelled
            await until_idle(self._engine, None)
        self._end_all("its grace was over")
        self._workers.close()
        self._stopped.set()
        failed = self._engine.unclaimed.claim()
        if self._is_hosted:
            with anyio.CancelScope(shield=True):  # nothing but idle workers is left
                await self._closed.wait()
        if failed is not None:
            raise failed
        return self._report

    @property
    def stop_report(self) -> StopReport:
        """What was not delivered when the session ended; empty while it is open."""
        return self._report

    def _check_open(self, parent: Delivery | None) -> None:
        """Refuse new work while stopping; what is being finished may still make some."""
        if self._state == "closed" or (self._state == "stopping" and parent is None):
            raise SessionError("the session takes no more events: it is being stopped")

    def _check_opened(self) -> None:
        if self._state == "new":
            raise SessionError(
                "the session is not open; write async with AsyncDispatcher(router) as "
                "dispatcher: or await dispatcher.start(nursery)"
            )

    def _refuse_in_handler(self, call: str, correlation_id: str | None) -> None:
        delivery = self._engine.current()
        if delivery is not None and correlation_id in {
            None,
            delivery.root.flow.correlation_id,
        }:
            raise WouldDeadlock(
                f"{delivery.target.name} called {call} while it handles an event: it "
                "would wait for itself; return events instead, or open_flow() another"
            )


def check_limit(name: str, value: int | None) -> None:
    """Refuse a limit that is not a number from 1.

    Raises:
        SessionError: Naming the limit.
    """
    if value is not None and not value >= 1:
        raise SessionError(f"{name} must be 1 or more, not {value!r}")


def _durable_or_not(
    journal: Journal | None,
) -> "tuple[Callable[..., Engine], Durability | None]":
    """Return what makes the engine, and what keeps the journal if there is one."""
    if journal is None:
        return Engine, None
    # Loads cattrs: a session without a journal does not pay for it.
    from agentflow._durability import Durability  # noqa: PLC0415

    durability = Durability(journal)
    return durability.make_engine, durability
