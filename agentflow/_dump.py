"""A dump of a session: which agent is at which line, how long, and for which flow."""

import sys
from collections.abc import Iterator
from time import time_ns
from types import CodeType
from typing import Any

import anyio
import attrs

from agentflow import _calls, _workers
from agentflow._engine import Engine
from agentflow._events import Event
from agentflow._frames import Place, places_in_stack, places_of
from agentflow._ids import age_of
from agentflow._ledger import Delivery

_OURS = {_calls.__file__, _workers.__file__}
"""What stands between a task and the handler it runs."""


@attrs.frozen(kw_only=True)
class RunningTask:
    """A task that a handler has started.

    Attributes:
        name: Its name.
        places: Where it stands, the outermost line first.
    """

    name: str
    places: tuple[Place, ...]


@attrs.frozen(kw_only=True)
class RunningHandler:
    """A handler that has begun and not ended.

    Attributes:
        agent: The agent's name.
        event: What it handles.
        attempt: Which attempt it is; the first is 1.
        age: Seconds since the event was accepted, by the wall clock.
        running: Seconds since the handler started; None if nobody observes the session.
        waits_for_retry: Whether it has failed and waits for its next attempt.
        places: Where it stands, the outermost line first, from the handler itself on.
        tasks: The tasks it has started.
    """

    agent: str
    event: Event
    attempt: int
    age: float
    running: float | None
    waits_for_retry: bool
    places: tuple[Place, ...]
    tasks: tuple[RunningTask, ...]

    def lines(self) -> Iterator[str]:
        """Yield the lines that say it."""
        how_long = f"accepted {self.age:.3f} s ago"
        if self.running is not None:
            how_long = f"for {self.running:.3f} s, {how_long}"
        doing = "waits to try again with" if self.waits_for_retry else "handles"
        yield (
            f"{self.agent} {doing} {type(self.event).__name__} {self.event.id} of flow "
            f"{self.event.correlation_id}, attempt {self.attempt}, {how_long}"
        )
        yield from (f"    {place}" for place in self.places)
        for task in self.tasks:
            yield f"    task {task.name}"
            yield from (f"        {place}" for place in task.places)


@attrs.frozen(kw_only=True)
class SessionDump:
    """What a session is doing at one moment; ``print`` it to read it.

    Attributes:
        handlers: The handlers that run or wait for another attempt, the oldest event
            first.
        queued: How many deliveries wait for each agent, by its name.
        flows: How many flows are not idle.
    """

    handlers: tuple[RunningHandler, ...]
    queued: dict[str, int]
    flows: int

    def __str__(self) -> str:
        """Return it as text, a handler with its lines at a time."""
        waiting = [f"{count} for {name}" for name, count in self.queued.items()]
        queued = ", ".join(waiting) or "nothing"
        lines = [
            f"{len(self.handlers)} handlers in {self.flows} flows; queued: {queued}"
        ]
        for handler in self.handlers:
            lines += handler.lines()
        return "\n".join(lines)


def dump(engine: Engine) -> SessionDump:
    """Look at every delivery of a session.

    Args:
        engine: The session's state; its event loop must run this code.

    Returns:
        What it is doing.
    """
    tasks = _Tasks(are_timed=engine.recorder is not None)
    queued: dict[str, int] = {}
    handlers: list[RunningHandler] = []
    for flow in engine.ledger.flows.values():
        for delivery in flow.pending:
            if delivery.runner is None:
                name = delivery.target.name
                queued[name] = queued.get(name, 0) + 1
            else:
                handlers.append(_running(delivery, delivery.runner, tasks))
    handlers.sort(key=lambda handler: handler.event.id or "")
    return SessionDump(
        handlers=tuple(handlers), queued=queued, flows=engine.ledger.busy
    )


def _running(delivery: Delivery, runner: Any, tasks: "_Tasks") -> RunningHandler:  # noqa: ANN401 -- a worker, or the wait for an attempt
    since: float = getattr(runner, "since", 0.0)
    is_timed = tasks.are_timed and runner.handling
    task_id: int | None = getattr(runner, "task_id", None)
    places = tasks.places(task_id)
    if delivery.target.handler.kind == "thread":
        places = _in_threads(delivery) or places
    return RunningHandler(
        agent=delivery.target.name,
        event=delivery.event,
        attempt=delivery.attempt,
        age=age_of(delivery.event.id or "0", time_ns()),
        running=anyio.current_time() - since if is_timed else None,
        waits_for_retry=not runner.handling,
        places=tuple(places),
        tasks=tuple(tasks.below(task_id)),
    )


def _in_threads(delivery: Delivery) -> list[Place]:
    """Find the thread that runs a blocking handler; with several, any of them."""
    function: object = delivery.target.handler.call
    function = getattr(function, "__func__", function)
    code: object = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return []
    for frame in sys._current_frames().values():
        if places := places_in_stack(frame, code):
            return places
    return []


class _Tasks:
    """The tasks of the event loop, and whether workers know since when they handle."""

    def __init__(self, *, are_timed: bool) -> None:
        self.are_timed: bool = are_timed
        self._tasks = {task.id: task for task in anyio.get_running_tasks()}

    def places(self, task_id: int | None) -> list[Place]:
        """Return where a task stands, from the user's own code on."""
        task = None if task_id is None else self._tasks.get(task_id)
        places = [] if task is None else places_of(task.coro)
        before = [n for n, place in enumerate(places) if place.file in _OURS]
        return places[before[-1] + 1 :] if before else places

    def below(self, task_id: int | None) -> Iterator[RunningTask]:
        """Yield the tasks that a task has started, and those that they have."""
        for task in self._tasks.values():
            if task_id is not None and task.parent_id == task_id:
                places = tuple(self.places(task.id))
                yield RunningTask(name=str(task.name), places=places)
                yield from self.below(task.id)
