"""AsyncDispatcher: the session in which flows run, and the way into it.

Where to look: `_workers` is how events reach handlers, `_engine` is what follows from each
step, `_ledger` is the state, `_session` opens and stops. This file is what users call:
dispatching, owning flows, waiting, looking.
"""

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import anyio
import anyio.from_thread
from anyio.lowlevel import checkpoint

from agentflow._context import current_delivery
from agentflow._dump import SessionDump, dump
from agentflow._errors import SessionError
from agentflow._events import Event, check_event, check_event_type
from agentflow._flow import Flow, owning
from agentflow._ledger import GONE, FlowState
from agentflow._reports import DispatcherStatistics
from agentflow._session import Session, check_limit
from agentflow._statistics import snapshot
from agentflow._waiting import until_idle

_E = TypeVar("_E", bound=Event)


class AsyncDispatcher(Session):
    """Moves events to agents, many at once, for as long as its block is open.

    ::

        async with AsyncDispatcher(router) as dispatcher:
            result = await dispatcher.run(TextEvent(source="main", text=text), Summary)

    It runs on trio and, under anyio, on asyncio. Leaving the block delivers what has been
    dispatched; leaving it with an exception, or cancelled, cancels all that runs.

    Args:
        router: Which agent gets which event.
        shared_working_memory: Facts that agents share; a new, empty one by default.
        batch_size: How many deliveries a worker takes before it lets other tasks run:
            more for throughput, fewer for fairness. It may be set while running.
        capacity: How many root events may be unfinished: `dispatch` raises beyond that,
            `send`, `run` and `open_flow` wait. None for any number.
        max_events_per_flow: How many events a flow may accept before it fails with
            `FlowBudgetExceeded`, so that agents which run in a circle end. None for any
            number.
        max_concurrency: How many handlers may run at a time in all; None for as many as
            the agents allow.
        tracer: Gets a record of everything that happens; several may stand in a list.
        journal: Keeps what has been accepted and not finished beyond the process, such as
            `agentflow.journal.SQLiteJournal`; None keeps it in memory alone.

    Raises:
        SessionError: A limit makes no sense.
    """

    # -- events in ------------------------------------------------------------------

    def dispatch(self, event: _E) -> _E:
        """Accept an event and return at once.

        Called from a handler, the event belongs to the handler's flow, as if returned.
        Called before the session is open, it is delivered once it is.

        Args:
            event: The event. Without a correlation id it starts a flow of its own.

        Returns:
            The stamped copy: it has `id` and `correlation_id`. The argument is unchanged.

        Raises:
            EventTypeError: It is no event.
            QueueFull: `capacity` root events are unfinished; see `send`.
            SessionError: The session stops, or the event's flow has been ended, or this
                is a thread that is not one of the event loop's.
        """
        check_event(event)
        if self._state != "new" and threading.get_ident() != self._thread:
            return self._dispatch_from_thread(event)
        engine = self._engine
        delivery = engine.current()
        if delivery is not None:
            child = engine.emit(delivery, event)
            self._workers.wake()
            return child
        self._check_open(None)
        self._door.check()
        root = engine.stamp_root(event, None)
        engine.enter_root(root, counted=True)
        if self._state == "open":
            self._workers.wake()
        return root

    def _dispatch_from_thread(self, event: _E) -> _E:
        delivery = current_delivery.get()
        if delivery is not None and delivery.runner is GONE:
            raise SessionError(
                f"{delivery.target.name} goes on in its thread although its flow has "
                f"ended; its {type(event).__name__} is not accepted"
            )
        try:
            return anyio.from_thread.run_sync(self.dispatch, event)
        except RuntimeError as error:
            if isinstance(error, SessionError):
                raise
            raise SessionError(
                f"dispatch({type(event).__name__}) was called from a thread that the "
                "event loop did not start; use trio.from_thread.run_sync(dispatcher."
                "dispatch, event, trio_token=...) or an anyio blocking portal"
            ) from error

    async def send(self, event: _E, *, key: str | None = None) -> _E:
        """Accept an event as soon as there is room, first come, first served.

        With a journal, it is on disk when this returns.

        Args:
            event: As for `dispatch`.
            key: A name for what the event asks for, in a session with a journal: an event
                that is sent again with the same name is not accepted again, though it
                gets the same ids. None makes each event a new one.

        Returns:
            The stamped copy.

        Raises:
            EventTypeError: It is no event.
            SessionError: As for `dispatch`, or there is a key and no journal.
            JournalError: The journal cannot be written.

        Cancellation:
            The event has not been accepted. With a journal, it may have been; a `key`
            lets you send it again in any case.
        """
        check_event(event)
        await self._door.wait()
        durability = self._durability
        if durability is None:
            try:
                if key is not None:
                    raise SessionError("send(key=...) needs a journal to remember keys")
                return self.dispatch(event)
            finally:
                self._door.call_next()
        receipt = durability.receipt()
        child, refused = event, None
        try:
            self._check_open(self._engine.current())
            child = durability.send(event, key, receipt)
        except SessionError as error:
            refused = error
        finally:
            self._door.call_next()
        if refused is None:
            await receipt.wait()
            return child
        # Its flow may have ended, but a known event need not go into it again.
        before = None if key is None else await durability.known(event, key)
        if before is None:
            raise refused
        return before

    # -- flows ----------------------------------------------------------------------

    @asynccontextmanager
    async def open_flow(
        self, event: Event | None = None, *, correlation_id: str | None = None
    ) -> AsyncGenerator[Flow]:
        """Dispatch an event and own the flow that comes of it.

        ::

            async with dispatcher.open_flow(TextEvent(source="main", text=t)) as flow:
                summary = await flow.result(SummaryEvent)

        Leaving the block waits until the flow is idle. An exception or cancellation in
        the block cancels the flow; when the flow fails, the block is cancelled.

        Args:
            event: The root event. It starts a new flow, also within a handler.
            correlation_id: Instead of an event: take hold of this flow of the journal,
                which an earlier process may have started. What agents emitted in it so
                far counts for `Flow.result`.

        Yields:
            The flow.

        Raises:
            EventTypeError: It is no event.
            SessionError: The session is not open, or a flow with the event's correlation
                id is; or the flow to take hold of is not known, or has an owner.
            FlowFailed: An agent raised, and no route took `AgentFailed`. With an
                exception of the block's own, both leave in one group.
            FlowStalled: A handler opened the flow, and it can never become idle.
            FlowCancelled: The session ended before the flow.

        Cancellation:
            The flow has been cancelled, and its handlers have cleaned up.
        """
        if event is None:
            async with self._take_hold(correlation_id) as flow:
                yield flow
            return
        if correlation_id is not None:
            raise SessionError(
                "open_flow() takes an event or a correlation_id, not both"
            )
        async with self._open_flow(event) as flow:
            yield flow

    @asynccontextmanager
    async def _take_hold(self, correlation_id: str | None) -> AsyncGenerator[Flow]:
        self._check_opened()
        if self._durability is None or correlation_id is None:
            raise SessionError(
                "open_flow() takes an event; open_flow(correlation_id=...) takes hold of "
                "a flow that a journal has, so the dispatcher needs journal=..."
            )
        state = await self._durability.take_hold(correlation_id)
        flow = Flow(self._engine, state, partial(self._join, state))
        async with owning(self._engine, state, flow):
            flow.on_abandon = self._durability.let_go
            flow.recall(await self._durability.emitted(correlation_id))
            yield flow

    @asynccontextmanager
    async def _open_flow(
        self, event: Event, *, is_left: bool = False
    ) -> AsyncGenerator[Flow]:
        check_event(event)
        await self._door.wait()
        if self._durability is not None:
            again = await self._durability.started_before(event)
            if again is not None:
                async with self._take_hold(again) as flow:
                    yield flow
                return
        try:
            state = self._adopt(event)
        finally:
            self._door.call_next()
        state.is_left = is_left
        flow = self._flow_of(state)
        async with owning(self._engine, state, flow):
            if self._durability is not None:
                flow.on_abandon = self._durability.let_go
                await self._durability.until_kept()
            yield flow

    def _flow_of(self, state: FlowState) -> Flow:
        """Make the owner's view of a flow."""
        return Flow(self._engine, state, partial(self._join, state))

    def _adopt(self, event: Event) -> FlowState:
        """Start the flow of a root event on behalf of its owner."""
        self._check_opened()
        parent = self._engine.current()
        self._check_open(parent)
        child = self._engine.stamp_root(event, parent)
        if child.correlation_id in self._engine.ledger.flows:
            raise SessionError(
                f"flow {child.correlation_id} is open already; dispatch into it, or "
                "leave correlation_id out to start another"
            )
        state = self._engine.enter_root(child, counted=parent is None, held=True)
        self._workers.wake()
        return state

    def _join(self, state: FlowState, event: Event) -> Event:
        """Enter another root event into a flow, for its owner."""
        parent = self._engine.current()
        self._check_open(parent)
        if not state.held:
            raise SessionError(f"the block of flow {state.correlation_id} is over")
        if parent is None:
            self._door.check()
        child = self._engine.stamp_root(event, parent, state.correlation_id)
        self._engine.enter_root(child, counted=parent is None)
        self._workers.wake()
        return child

    async def run(self, event: Event, result_type: type[_E]) -> _E:
        """Dispatch an event, see its flow to the end, and return its result.

        Args:
            event: The root event of a new flow.
            result_type: The class of the result; subclasses count.

        Returns:
            The first event of that class that an agent emitted.

        Raises:
            NoResult: The flow ended without one.
            Exception: As `open_flow` raises.

        Cancellation:
            The flow is cancelled, and its handlers have cleaned up. Bound the call with
            ``trio.fail_after`` or ``anyio.fail_after``.
        """
        check_event_type(result_type)
        async with self._open_flow(event, is_left=True) as flow:
            return await flow.result(result_type)

    # -- waiting and looking ----------------------------------------------------------

    async def wait_for_empty_queue(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 -- it answers, it does not raise
        correlation_id: str | None = None,
    ) -> bool:
        """Wait until every flow is idle, or one of them: nothing queued or running.

        Args:
            timeout: Seconds to wait; None waits as long as it takes.
            correlation_id: Wait for this flow only; one that is not known is idle.

        Returns:
            True when idle, False when time is up. The work goes on in either case.

        Raises:
            FlowFailed: A flow of plain `dispatch` failed, and this is the first to ask.
            FlowStalled: A handler asks about a flow that can never become idle.
            WouldDeadlock: A handler asks about its own flow, or about all of them.
            SessionError: The session was never opened.

        Cancellation:
            Leaves the work as it is.
        """
        self._refuse_in_handler("wait_for_empty_queue()", correlation_id)
        self._check_opened()
        if timeout is None:  # no scope: it would cost more than the wake-up
            await self._until_idle(correlation_id)
        else:
            # With others on the journal, only the journal can say so.
            is_idle = self._durability is None or self._durability.others is None
            with anyio.move_on_after(timeout):
                await self._until_idle(correlation_id)
                is_idle = True
            if not is_idle:
                return False
        if self._is_busy(correlation_id):
            return False
        if failed := self._engine.unclaimed.claim(correlation_id):
            raise failed
        return True

    async def _until_idle(self, correlation_id: str | None) -> None:
        """Wait until a flow, or every flow, is idle; with a journal, on disk too."""
        if self._durability is None:
            await self._until_idle_here(correlation_id)
            return
        await self._durability.take_in(correlation_id)
        await self._until_idle_here(correlation_id)
        while not await self._durability.is_idle(correlation_id):
            await self._until_idle_here(correlation_id)
        await self._until_idle_here(correlation_id)

    async def _until_idle_here(self, correlation_id: str | None) -> None:
        flows = self._engine.ledger.flows
        flow = None if correlation_id is None else flows.get(correlation_id)
        if correlation_id is not None and flow is None:
            await checkpoint()
        else:
            await until_idle(self._engine, flow)
        while self._is_busy(correlation_id):  # by now the id has a flow, or a new one
            await until_idle(self._engine, flows[correlation_id or ""])

    def _is_busy(self, correlation_id: str | None) -> bool:
        if correlation_id is None:
            return self._engine.ledger.busy > 0
        flow = self._engine.ledger.flows.get(correlation_id)
        return flow is not None and flow.unfinished > 0

    @property
    def batch_size(self) -> int:
        """How many deliveries a worker takes before it lets other tasks run."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        check_limit("batch_size", value)
        self._batch_size = value
        if self._state != "new":
            self._workers.batch_size = value

    def dump(self) -> SessionDump:
        """Say which agent is at which line, how long, and for which flow.

        Call it on the event loop, in a signal handler's task say, when a session hangs::

            print(dispatcher.dump())

        Returns:
            What the session is doing now.

        Raises:
            SessionError: The session is not open.
        """
        self._check_opened()
        return dump(self._engine)

    def statistics(self) -> DispatcherStatistics:
        """Return a snapshot of what is queued and running (rule D7)."""
        workers = 0 if self._state == "new" else self._workers.count
        return snapshot(
            self._engine,
            workers=workers,
            threads_abandoned=self._threads.abandoned,
        )
