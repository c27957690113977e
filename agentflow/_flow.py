"""The owner's view of one flow (rule F1)."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar, cast, overload

import anyio
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from agentflow._engine import Engine
from agentflow._errors import FlowCancelled, FlowFailed, NoResult, SessionError
from agentflow._events import Event, check_event, check_event_type
from agentflow._ledger import FlowState
from agentflow._reports import FlowStatistics
from agentflow._waiting import until_event, until_idle

_E = TypeVar("_E", bound=Event)


class Flow:
    """Everything that comes of one dispatched event, in the hands of its owner.

    `AsyncDispatcher.open_flow` makes it. Leaving the block waits until the flow is idle.
    """

    def __init__(
        self, engine: Engine, state: FlowState, enter: Callable[[Event], Event]
    ) -> None:
        self._engine = engine
        self._state = state
        self._enter = enter
        self._firsts: dict[type[Event], Event] = {}
        self.on_abandon: Callable[[FlowState, BaseException], object] | None = None
        """Told when the flow is to be cancelled because its block ended early."""
        state.listen(self._note)

    def __repr__(self) -> str:
        return f"<Flow {self.correlation_id} {self._state.status}>"

    @property
    def correlation_id(self) -> str:
        """The id that all events of this flow carry."""
        return self._state.correlation_id

    def _note(self, event: Event, outside: bool) -> None:
        if not outside:
            self._firsts.setdefault(type(event), event)

    def recall(self, events: Iterable[Event]) -> None:
        """Note what agents emitted in this flow before it was taken hold of again."""
        before: dict[type[Event], Event] = {}
        for event in events:
            before.setdefault(type(event), event)
        self._firsts = {**self._firsts, **before}

    def dispatch(self, event: _E) -> _E:
        """Add another root event to this flow.

        Args:
            event: An event without a correlation id, or with this flow's.

        Returns:
            The stamped copy.

        Raises:
            QueueFull: The session has no room for another root event.
            SessionError: The flow has been ended, the session stops, or the event belongs
                to another flow.
        """
        check_event(event)
        if event.correlation_id not in {None, self.correlation_id}:
            raise SessionError(
                f"{type(event).__name__} belongs to flow {event.correlation_id}, not to "
                f"{self.correlation_id}; dispatch it through the dispatcher"
            )
        return cast("_E", self._enter(event))

    @overload
    def events(
        self,
    ) -> AbstractAsyncContextManager[MemoryObjectReceiveStream[Event]]: ...

    @overload
    def events(
        self, event_type: type[_E]
    ) -> AbstractAsyncContextManager[MemoryObjectReceiveStream[_E]]: ...

    def events(
        self, event_type: type[Event] = Event
    ) -> AbstractAsyncContextManager[MemoryObjectReceiveStream[Any]]:
        """Follow the flow's events from now on, as they are accepted.

        ::

            async with flow.events(AnalysisEvent) as events:
                async for event in events:
                    ...

        Args:
            event_type: Only events of this class and its subclasses.

        Returns:
            A context manager for a stream that ends when the flow is idle. What a slow
            reader has not read yet waits, bounded by the flow's budget of events.

        Raises:
            EventTypeError: `event_type` is no event class.
        """
        return self._stream(check_event_type(event_type))

    @asynccontextmanager
    async def _stream(
        self, event_type: type[Event]
    ) -> AsyncGenerator[MemoryObjectReceiveStream[Event]]:
        send, receive = anyio.create_memory_object_stream[Event](float("inf"))

        def listen(event: Event, _outside: bool) -> None:
            if isinstance(event, event_type):
                _offer(send, event)

        state = self._state
        state.listen(listen)
        state.when_idle(send.close)
        try:
            with send, receive:
                if not state.unfinished:
                    send.close()
                yield receive
        finally:
            state.unlisten(listen)
            state.not_when_idle(send.close)

    async def result(self, event_type: type[_E]) -> _E:
        """Wait for the first event of a class that an agent emits in this flow.

        Args:
            event_type: The class; subclasses count.

        Returns:
            The event, also when it came before this call.

        Raises:
            EventTypeError: `event_type` is no event class.
            NoResult: The flow is idle, and no agent has emitted such an event.

        Cancellation:
            Leaves the flow as it is.
        """
        checked = check_event_type(event_type)
        what = f"a {checked.__name__} of flow {self.correlation_id}"
        await until_event(
            self._engine,
            self._state,
            lambda: self._first(checked) is not None,
            what=what,
        )
        found = self._first(checked)
        if found is not None:
            return cast("_E", found)
        state = self._state
        if state.failures:
            # The owner's block is cancelled with the flow: it reports the failure.
            await checkpoint()
        how = "" if state.status == "open" else f": it was {state.status}"
        why = f" ({state.reason})" if state.reason else ""
        raise NoResult(
            f"flow {state.correlation_id} ended without {event_type.__name__}{how}{why}"
        )

    def _first(self, event_type: type[Event]) -> Event | None:
        for event in self._firsts.values():
            if isinstance(event, event_type):
                return event
        return None

    def cancel(self, reason: str = "its owner cancelled it") -> None:
        """Cancel the flow: running handlers, their HTTP calls, and queued deliveries.

        The owner's block goes on; leaving it waits until cancelled handlers have cleaned
        up, and raises only what failed.

        Args:
            reason: Goes into the records and into what waits for a result.
        """
        self._state.on_cut = None
        self._engine.cut(self._state, "cancelled", reason)

    def statistics(self) -> FlowStatistics:
        """Return what is queued and running now."""
        state = self._state
        open_now = list(state.pending)
        running = sum(d.runner is not None and d.runner.handling for d in open_now)
        return FlowStatistics(
            queued=len(open_now) - running,
            running=running,
            events=state.events,
            age=self._engine.clock() - state.started,
        )


def _offer(send: MemoryObjectSendStream[Event], event: Event) -> None:
    # The reader may have closed its end, and a stream ends with the first idle moment.
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        send.send_nowait(event)


@asynccontextmanager
async def owning(engine: Engine, state: FlowState, flow: Flow) -> AsyncGenerator[Flow]:
    """Be the owner of a flow for the length of a block (rules F1 to F3).

    Args:
        engine: The session's engine.
        state: The flow.
        flow: The owner's view of it.

    Yields:
        That view.

    Raises:
        BaseExceptionGroup: The block raised, and the flow failed.
        FlowFailed: An agent raised and nobody handled it.
        FlowCancelled: Somebody else than the owner cancelled the flow.

    Cancellation:
        The flow has been cancelled, and its handlers have cleaned up.
    """
    try:
        with anyio.CancelScope() as scope:
            state.on_cut = scope.cancel
            yield flow
            _leave(engine, state)
            await until_idle(engine, state)
        if (
            state.unfinished
        ):  # it failed: its last handlers clean up, a log sees the failure
            await until_idle(engine, state)
    except BaseException as error:
        await _abandon(engine, flow, error)  # noqa: ASYNC102 -- shielded inside
        if failures := engine.release(state):
            raise BaseExceptionGroup(  # noqa: ASYNC104 -- it holds the error
                "the flow's block raised, and the flow failed",
                [error, FlowFailed.of(failures)],
            ) from None
        raise
    failures = engine.release(state)
    if failures:
        failed = FlowFailed.of(failures)
        raise failed
    if scope.cancel_called:
        raise FlowCancelled(
            f"flow {state.correlation_id} was cancelled: {state.reason}", state.reason
        )


def _leave(engine: Engine, state: FlowState) -> None:
    """Note that the owner dispatches nothing any more; a handler may count on that."""
    state.is_left = True
    engine.stalls.ended(state)


async def _abandon(  # noqa: ASYNC910 -- a flow that is idle needs no wait
    engine: Engine, flow: Flow, error: BaseException
) -> None:
    """Cancel a flow whose owner left early, and wait until it has cleaned up."""
    state = flow._state
    state.on_cut = None
    if state.unfinished:
        if flow.on_abandon is not None:
            flow.on_abandon(state, error)
        engine.cut(state, "cancelled", f"its owner's block ended with {error!r}")
        with anyio.CancelScope(shield=True):  # as a nursery waits for its children
            await until_idle(engine, state)
