"""A session for tests: it fails when work or an error was lost in it.

`FlowSession` is a dispatcher that watches itself; `open_test_session` opens one and, at
the end of its block, judges what it has left behind.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypedDict, TypeVar, Unpack, cast

from agentflow._calls import Call
from agentflow._context import current_delivery
from agentflow._dispatcher import AsyncDispatcher
from agentflow._events import Event, check_event_type
from agentflow._flow import Flow
from agentflow._handlers import Handler
from agentflow._ledger import FlowState
from agentflow._memory import SharedWorkingMemory
from agentflow._records import HandlerCancelled, ThreadAbandoned
from agentflow._reports import StopReport
from agentflow._routing import Router
from agentflow.abc import Observer
from agentflow.testing._bare import bare_assertions
from agentflow.testing._faults import (
    Checkpoint,
    Fault,
    FaultKind,
    InjectedFault,
    Strike,
    WatchedStream,
)
from agentflow.testing._picture import picture
from agentflow.testing._standing import where, where_raised
from agentflow.testing._trace import FlowTrace
from agentflow.testing._watch import Watch

_E = TypeVar("_E", bound=Event)


class SessionSettings(TypedDict, total=False):
    """Settings of the dispatcher; see `AsyncDispatcher`.

    Keys:
        shared_working_memory: Facts that agents share.
        batch_size: How many deliveries a worker takes at a time.
        capacity: How many root events may be unfinished.
        max_events_per_flow: How many events a flow may accept.
        max_concurrency: How many handlers may run at a time.
    """

    shared_working_memory: SharedWorkingMemory | None
    batch_size: int
    capacity: int | None
    max_events_per_flow: int | None
    max_concurrency: int | None


class _AskedFlow(Flow):
    """A flow that tells the session which events it was asked for."""

    asked: set[type[Event]]

    def _stream(self, event_type: type[Event]):  # type: ignore[no-untyped-def]
        self.asked.add(event_type)
        return super()._stream(event_type)

    async def result(self, event_type: type[_E]) -> _E:
        """See `Flow.result`.

        Returns:
            The event.

        Cancellation:
            Leaves the flow as it is.
        """
        self.asked.add(event_type)
        return await super().result(event_type)


class FlowSession(AsyncDispatcher):
    """A dispatcher for tests; `open_test_session` and the `flow_session` fixture make it.

    It does all that an `AsyncDispatcher` does. Assertions that fail in a handler leave
    its calls bare, not in a `FlowFailed`. `crash_at`, `cancel_at` and `delay` set faults.

    Attributes:
        router: The router; routes may be added at any time.
        trace: Everything that has happened so far.
    """

    def __init__(
        self,
        router: Router,
        trace: FlowTrace,
        tracer: Observer | None = None,
        **settings: Unpack[SessionSettings],
    ) -> None:
        self._watch = Watch(trace, tracer, lambda: self._engine.totals.unrouted)
        super().__init__(router, tracer=self._watch, **settings)
        self.router: Router = router
        self.trace: FlowTrace = trace
        self._asked: set[type[Event]] = set()
        self._faults: list[Fault] = []
        self._at_work: dict[tuple[str, str], object] = {}
        self._standing: dict[tuple[str, str], str] = {}
        self._failure: BaseException | None = None

    # -- faults -----------------------------------------------------------------------

    def crash_at(
        self,
        agent: object,
        checkpoint: int | Checkpoint = 0,
        *,
        error: Exception | None = None,
        event_type: type[Event] = Event,
        times: int | None = 1,
    ) -> None:
        """Have an agent's handler raise.

        Args:
            agent: The agent, its class or its name.
            checkpoint: At which of its checkpoints, after what it waits for there has
                come; 0 is before it starts. `every_checkpoint` takes them in turn.
            error: What it raises; by default an `InjectedFault`.
            event_type: Only when it handles an event of this class.
            times: How many deliveries are struck, the first ones; None for all.

        Raises:
            ValueError: The router has no such agent.
        """
        default = InjectedFault(f"crash_at({self._name_of(agent)!r}) of the test")
        self._add("crash", agent, checkpoint, event_type, times, error=error or default)

    def cancel_at(
        self,
        agent: object,
        checkpoint: int | Checkpoint = 0,
        *,
        event_type: type[Event] = Event,
        times: int | None = 1,
    ) -> None:
        """Have a flow cancelled while an agent handles one of its events.

        Whoever owns the flow gets `FlowCancelled`.

        Args:
            agent: The agent, its class or its name.
            checkpoint: At which of its checkpoints: the wait there is cancelled. 0 is
                before it starts. `every_checkpoint` takes them in turn.
            event_type: Only when it handles an event of this class.
            times: How many deliveries are struck, the first ones; None for all.

        Raises:
            ValueError: The router has no such agent.
        """
        self._add("cancel", agent, checkpoint, event_type, times)

    def delay(
        self,
        agent: object,
        seconds: float,
        *,
        event_type: type[Event] = Event,
        times: int | None = None,
    ) -> None:
        """Have an agent take longer: it waits before it starts on an event.

        Args:
            agent: The agent, its class or its name.
            seconds: How long.
            event_type: Only when it handles an event of this class.
            times: How many deliveries are late, the first ones; None for all.

        Raises:
            ValueError: The router has no such agent.
        """
        self._add("delay", agent, 0, event_type, times, seconds=seconds)

    def _add(  # noqa: PLR0913, PLR0917 -- what its three callers have in common
        self,
        kind: FaultKind,
        agent: object,
        checkpoint: int | Checkpoint,
        event_type: type[Event],
        times: int | None,
        *,
        error: Exception | None = None,
        seconds: float = 0.0,
    ) -> None:
        in_turn = isinstance(checkpoint, Checkpoint)
        point = (
            checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        )
        point.given = True
        self._faults.append(
            Fault(
                kind=kind,
                agent=self._name_of(agent),
                event_type=check_event_type(event_type),
                point=point,
                in_turn=in_turn,
                times=times,
                error=error,
                seconds=seconds,
            )
        )

    def _name_of(self, agent: object) -> str:
        """Return the name of an agent that the router knows.

        Raises:
            ValueError: It knows no such agent.
        """
        handlers = [route.handler for route in self.router.routes]
        for handler in handlers:
            if agent == handler.name or handler.agent is agent:
                return handler.name
            if isinstance(agent, type) and type(handler.agent) is agent:
                return handler.name
        names = ", ".join(dict.fromkeys(handler.name for handler in handlers)) or "none"
        raise ValueError(
            f"no route leads to {agent!r}; the agents of this session are: {names}"
        )

    # -- running ----------------------------------------------------------------------

    def _call_for(self, handler: Handler) -> Call:
        inner = super()._call_for(handler)

        async def call(event: Event) -> object:
            delivery = current_delivery.get()
            assert delivery is not None
            key = (event.id or "", delivery.target.name)
            done = partial(self._done, key)
            flow = delivery.root.flow
            strike = Strike(
                next((f for f in self._faults if f.is_for(handler.name, event)), None),
                partial(self._engine.cut, flow, "cancelled"),
                lambda: flow.status == "open",
            )
            await strike.start()
            made = self._at_work[key] = inner(event)
            try:
                result = await strike.step(made)
            except BaseException as error:
                done(error)
                raise
            done()
            if isinstance(result, AsyncGenerator):
                stream = cast("AsyncGenerator[object, None]", result)
                self._at_work[key] = stream
                return WatchedStream(stream, strike, done)
            return result

        return call

    def _done(self, key: tuple[str, str], error: BaseException | None = None) -> None:
        """Note that a handler has ended, and where if something cut it off."""
        self._at_work.pop(key, None)
        if error is not None and (at := where_raised(error)):
            self._standing[key] = at

    def _flow_of(self, state: FlowState) -> Flow:
        flow = _AskedFlow(self._engine, state, partial(self._join, state))
        flow.asked = self._asked
        return flow

    @asynccontextmanager
    async def _open_flow(
        self, event: Event, *, is_left: bool = False
    ) -> AsyncGenerator[Flow]:
        with bare_assertions():
            async with super()._open_flow(event, is_left=is_left) as flow:
                yield flow

    async def wait_for_empty_queue(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 -- as in the base class
        correlation_id: str | None = None,
    ) -> bool:
        """See `AsyncDispatcher.wait_for_empty_queue`.

        Returns:
            True when idle, False when time is up.

        Cancellation:
            Leaves the work as it is.
        """
        with bare_assertions():
            return await super().wait_for_empty_queue(timeout, correlation_id)

    async def stop(self, grace: float | None = None) -> StopReport:
        """See `AsyncDispatcher.stop`.

        Returns:
            What was not delivered.

        Cancellation:
            The session takes nothing new.
        """
        with bare_assertions():
            return await super().stop(grace)

    # -- the end ----------------------------------------------------------------------

    @property
    def failure(self) -> BaseException | None:
        """What the test has failed with, out of sight of the session's block."""
        return self._failure

    @property
    def tracer_error(self) -> Exception | None:
        """What the test's own tracer raised."""
        return self._watch.tracer_error

    def test_failed(self, error: BaseException) -> None:
        """Learn that the test has failed, where this is not seen from its block."""
        self._failure = error
        self.freeze()

    def freeze(self) -> None:
        """Note where each handler stands now, for the picture."""
        for key, made in self._at_work.items():
            self._standing.setdefault(key, where(made))

    def picture(self) -> str:
        """Return what happened, drawn."""
        return picture(self.trace, self._standing)

    def stuck(self) -> str:
        """Say where each handler stood, as the end of a sentence."""
        lines = [
            f"\n  {name} stood at {self._standing.get((event_id, name)) or 'its start'}"
            for event_id, name in self._cut_off()
        ]
        return ":" + "".join(lines) if lines else "; no handler was at work"

    def _cut_off(self) -> list[tuple[str, str]]:
        cancelled = self.trace.records(HandlerCancelled)
        return [(r.event.id or "", r.agent) for r in cancelled]

    def unrouted(self) -> list[Event]:
        """Return the events that no route took and nobody asked for."""
        asked = tuple(self._asked)
        return [e for e in self._watch.unrouted() if not isinstance(e, asked)]

    def threads_left(self) -> list[str]:
        """Return the agents whose threads go on."""
        if not self.statistics().threads_abandoned:
            return []
        return [r.agent for r in self.trace.records(ThreadAbandoned)]

    def faults_left(self) -> list[str]:
        """Return what is wrong with the faults that never struck."""
        said = [fault.never_struck() for fault in self._faults]
        return [problem for problem in said if problem is not None]
