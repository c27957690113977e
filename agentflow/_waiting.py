"""Waiting for something of a session, from a handler or from outside.

A handler's wait is made known to the stall detector (`_waits`), and raises in the handler
when what it waits for cannot come any more. A handler that asks the bus (`wait_for`) stands
aside meanwhile: its agent takes other events, so that the answer may come through itself.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import anyio
import outcome
from anyio.lowlevel import checkpoint

from agentflow._context import current_delivery, current_recall
from agentflow._engine import Engine
from agentflow._errors import SessionError
from agentflow._events import Event, check_event_type
from agentflow._ledger import Delivery, FlowState
from agentflow._waits import Wait, WaitKind
from agentflow._workers import Worker, Workers

_E = TypeVar("_E", bound=Event)


async def until_idle(engine: Engine, flow: FlowState | None) -> None:
    """Wait until a flow, or every flow, is idle; a checkpoint even if it is already.

    Raises:
        FlowStalled: The caller is a handler, and the flow can never become idle.

    Cancellation:
        Leaves everything as it is.
    """
    await checkpoint()
    if flow is None:
        while engine.ledger.busy:
            idle = anyio.Event()
            engine.on_idle.append(idle.set)
            try:
                await idle.wait()
            finally:
                engine.on_idle.remove(idle.set)
        return
    while flow.unfinished:
        idle = anyio.Event()
        flow.when_idle(idle.set)
        try:
            what = f"flow {flow.correlation_id} to be idle"
            await _wait(engine, idle, "idle", flow=flow, what=what)
        finally:
            flow.not_when_idle(idle.set)


async def until_event(
    engine: Engine, flow: FlowState, found: Callable[[], bool], *, what: str
) -> None:
    """Wait until an event of a flow has been found, or the flow is idle.

    Args:
        engine: The session's engine.
        flow: The flow.
        found: Whether the event has come; asked now and after each event of the flow.
        what: The event in words.

    Raises:
        FlowStalled: The caller is a handler, and no such event can come any more.

    Cancellation:
        Leaves everything as it is.
    """
    await checkpoint()
    signal = anyio.Event()

    def listen(_event: Event, _outside: bool) -> None:
        if found():
            signal.set()

    flow.listen(listen)
    flow.when_idle(signal.set)
    try:
        if flow.unfinished and not found():
            await _wait(engine, signal, "event", flow=flow, what=what)
    finally:
        flow.unlisten(listen)
        flow.not_when_idle(signal.set)


async def _wait(
    engine: Engine, signal: anyio.Event, kind: WaitKind, *, flow: FlowState, what: str
) -> None:
    delivery = engine.current()
    wait = (
        None
        if delivery is None
        else _known_wait(delivery, kind, signal, flow=flow, what=what)
    )
    if wait is None:
        await signal.wait()
        return
    engine.stalls.begin(wait)
    try:
        await signal.wait()
    finally:
        engine.stalls.end(wait)
    if wait.error is not None:
        raise wait.error


async def _stand_aside(pool: Workers, wait: Wait, signal: anyio.Event) -> None:
    """Wait without holding a place in the agent's lane, and take it again after.

    A handler that is cancelled meanwhile cleans up although it has no place, beside what
    its agent is doing by then.
    """
    ledger, stalls = pool.engine.ledger, pool.engine.stalls
    lane = wait.delivery.target.lane
    place = _Place()
    wait.aside = True
    ledger.release(lane)
    pool.aside += 1
    pool.wake()
    try:
        stalls.begin(wait)
        try:
            await signal.wait()
        finally:
            stalls.end(wait)
        if lane.running < lane.limit:
            lane.running += 1
            place.give()
        else:
            await _back_in_line(pool, wait, place)
    finally:
        pool.aside -= 1
        if not place.is_given:
            lane.running += 1
    if wait.error is not None:
        raise wait.error


class _Place:
    """A place in a lane that a handler waits to get back."""

    def __init__(self) -> None:
        self.is_given: bool = False
        self.signal: anyio.Event = anyio.Event()

    def give(self) -> None:
        """Give the place back."""
        self.is_given = True
        self.signal.set()


async def _back_in_line(pool: Workers, before: Wait, place: _Place) -> None:
    delivery = before.delivery
    what = f"{delivery.target.name} to be free again"
    wait = _known_wait(delivery, "lane", place.signal, flow=before.flow, what=what)
    assert wait is not None
    wait.aside = True
    returning = delivery.target.lane.returning
    returning.append(place.give)
    pool.engine.stalls.begin(wait)
    try:
        await place.signal.wait()
    finally:
        pool.engine.stalls.end(wait)
        if not place.is_given:
            returning.remove(place.give)
    if wait.error is not None:
        raise wait.error


def _known_wait(
    delivery: Delivery,
    kind: WaitKind,
    signal: anyio.Event,
    *,
    flow: FlowState,
    what: str,
) -> Wait | None:
    """Describe the wait of a handler.

    Returns:
        The wait; None in a task that the handler has started, since that says nothing of
        the handler, which may go on meanwhile.
    """
    worker = delivery.runner
    task_id = anyio.get_current_task().id
    if not isinstance(worker, Worker) or worker.task_id != task_id:
        return None
    return Wait(
        delivery,
        kind,
        flow,
        signal=signal,
        has_tasks=lambda: _has_tasks(task_id),
        what=what,
    )


def _has_tasks(task_id: int) -> bool:
    return any(task.parent_id == task_id for task in anyio.get_running_tasks())


async def wait_for(
    event_type: type[_E],
    *,
    where: Callable[[_E], bool] | None = None,
    from_outside: bool = False,
) -> _E:
    """Wait, in a handler, for an event of the handler's own flow.

    ::

        async def receive_event_async(self, event):
            yield QuestionEvent(source=type(self), text="Sure?")
            answer = await wait_for(AnswerEvent)

    Only events that come from now on count; they go to the agents that routes name, too.
    While it waits, the handler holds up nobody: its agent takes other events, and when
    the answer comes the handler gets its place back before them.

    Args:
        event_type: The class of the event; subclasses count.
        where: Looks at the event; the first for which it is true is the one.
        from_outside: Whether the event may come from outside the session, from a person
            say. If not, and nothing in the flow can send it any more, that is an error
            rather than a wait without end.

    Returns:
        The event.

    Raises:
        EventTypeError: `event_type` is no event class.
        SessionError: The caller is no handler.
        FlowStalled: The event cannot come any more; the message says why.
        Exception: What `where` raised.

    Cancellation:
        Leaves the flow as it is.
    """
    checked = check_event_type(event_type)
    delivery = current_delivery.get()
    worker = None if delivery is None else delivery.runner
    if delivery is None or not isinstance(worker, Worker):
        raise SessionError(
            "wait_for() is for handlers; outside of one, use flow.result() or "
            "flow.events()"
        )
    answer = _Answer(checked, where)
    flow = delivery.root.flow
    what = f"a {checked.__name__} in its own flow"
    wait = _known_wait(delivery, "event", answer.signal, flow=flow, what=what)
    if (recall := current_recall.get()) is not None:
        await recall(delivery, answer.hear)
    flow.listen(answer.hear)
    try:
        if wait is None:
            await answer.signal.wait()
        else:
            wait.outside = from_outside
            await _stand_aside(worker.pool, wait, answer.signal)
    finally:
        flow.unlisten(answer.hear)
    return cast("_E", answer.get())


class _Answer:
    """The first event that satisfies a handler's question."""

    def __init__(
        self, event_type: type[Event], where: Callable[[Any], bool] | None
    ) -> None:
        self.signal: anyio.Event = anyio.Event()
        self._event_type = event_type
        self._where = where
        self._outcome: outcome.Outcome[Event] | None = None

    def hear(self, event: Event, _outside: bool) -> bool:
        """Look at an event of the flow; return whether it is the one."""
        if self._outcome is not None or not isinstance(event, self._event_type):
            return False
        try:
            if self._where is not None and not self._where(event):
                return False
        except Exception as error:  # noqa: BLE001 -- the question's, not the event's
            self._outcome = outcome.Error(error)
        else:
            self._outcome = outcome.Value(event)
        self.signal.set()
        return True

    def get(self) -> Event:
        """Return the event, or raise what the predicate raised."""
        assert self._outcome is not None
        return self._outcome.unwrap()
