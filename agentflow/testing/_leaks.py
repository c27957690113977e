"""Tasks that handlers have started and left behind.

A task inherits the context of whoever started it, and what runs in a session has the
session's memory in its context. So a task that has it, and goes on when the session is
over, was started by a handler in somebody else's nursery, or in none.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, cast
from weakref import WeakKeyDictionary

import attrs
import trio

from agentflow._context import current_delivery, current_memory
from agentflow._memory import SharedWorkingMemory
from agentflow.testing._standing import where


@attrs.frozen(kw_only=True)
class Leak:
    """A task that goes on.

    Attributes:
        name: Its name.
        stands: Where, as file, line and function.
        agent: The agent whose handler started it.
        event: The name of the event's class that the agent was handling.
    """

    name: str
    stands: str
    agent: str
    event: str


class Leaks:
    """Knows the tasks of one session.

    Args:
        memory: The session's memory, by which its tasks are known.
    """

    def __init__(self, memory: SharedWorkingMemory) -> None:
        self._memory = memory
        self._contexts: WeakKeyDictionary[asyncio.Future[Any], Context] = (
            WeakKeyDictionary()
        )

    def note(self, task: asyncio.Future[Any]) -> None:
        """Note a task that asyncio has just made for the running code."""
        context = copy_context()
        if self._is_ours(context):
            self._contexts[task] = context

    def left(self) -> list[Leak]:
        """Return the tasks that go on; called when the session is over."""
        if trio.lowlevel.in_trio_run():
            return [
                _leak(task.name, task.coro, task.context)
                for task in _tasks_below(trio.lowlevel.current_root_task())
                if self._is_ours(task.context)
            ]
        return [
            _leak(task.get_name(), task.get_coro(), context)
            for task, context in self._contexts.items()
            if isinstance(task, asyncio.Task) and not task.done()
        ]

    def _is_ours(self, context: Context) -> bool:
        return context.get(current_memory) is self._memory


@contextmanager
def watch_tasks(memory: SharedWorkingMemory) -> Generator[Leaks]:
    """Keep an eye on the tasks of a session.

    Args:
        memory: The session's memory.

    Yields:
        What knows of those that were left behind.
    """
    leaks = Leaks(memory)
    if trio.lowlevel.in_trio_run():
        yield leaks
        return
    loop = asyncio.get_running_loop()
    before: Callable[..., asyncio.Future[Any]] = loop.get_task_factory() or _plain_task

    def make(
        of: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        **options: Any,  # noqa: ANN401 -- whatever this version of Python has
    ) -> asyncio.Future[Any]:
        task = before(of, coro, **options)
        leaks.note(task)
        return task

    factory = loop.get_task_factory()
    loop.set_task_factory(cast("Any", make))
    try:
        yield leaks
    finally:
        loop.set_task_factory(factory)


def _plain_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any],
    **options: Any,  # noqa: ANN401 -- whatever this version of Python has
) -> asyncio.Future[Any]:
    return asyncio.Task(coro, loop=loop, **options)


def _tasks_below(root: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    todo = [] if root is None else [root]
    while todo:
        task = todo.pop()
        yield task
        for nursery in task.child_nurseries:
            todo += nursery.child_tasks


def _leak(name: str, coro: object, context: Context) -> Leak:
    delivery = context.get(current_delivery)
    return Leak(
        name=name.rpartition(".")[2],
        stands=where(coro),
        agent=delivery.target.name if delivery else "a handler",
        event=type(delivery.event).__name__ if delivery else "an event",
    )
