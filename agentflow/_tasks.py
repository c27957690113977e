"""What the kernel needs of the event loop that runs: tasks, cancel scopes, time.

anyio serves both loops, but looks up at each call which one runs, and wraps what it finds.
What is needed for every event or every worker is therefore taken once for each session,
from trio itself where that runs. On trio the task group is a nursery: anyio wraps each task
of its groups in a handle with a cancel scope of its own, which was measured to make a
worker nearly twice as large and three times as dear to start.
"""

import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, Self, cast

import anyio
import anyio.lowlevel
import attrs


class Tasks(Protocol):
    """A task group, as far as the workers need it."""

    def start_soon(
        self,
        func: Callable[..., Awaitable[object]],
        *args: Any,  # noqa: ANN401 -- whatever the function takes
    ) -> object:
        """Start a task."""
        ...


class Scope(Protocol):
    """A cancel scope, as far as the workers need it."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        """End, and take a cancellation of its own out."""
        ...

    def cancel(self, reason: str | None = None) -> object:
        """Cancel what is in it."""
        ...


@attrs.frozen(kw_only=True)
class Loop:
    """The event loop that runs.

    Attributes:
        open_tasks: Makes a task group.
        new_scope: Makes a cancel scope.
        checkpoint: Lets other tasks run.
        now: The time in seconds.
    """

    open_tasks: Callable[[], AbstractAsyncContextManager[Tasks]]
    new_scope: Callable[[], Scope]
    checkpoint: Callable[[], Awaitable[object]]
    now: Callable[[], float]


def running_loop() -> Loop:
    """Return the event loop that runs this code."""
    # Whoever runs on a loop has imported it; trio is most of what others would wait for.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return Loop(
            open_tasks=trio.open_nursery,
            new_scope=trio.CancelScope,
            checkpoint=trio.lowlevel.checkpoint,
            now=trio.current_time,
        )
    return Loop(
        open_tasks=cast("Any", anyio.create_task_group),
        new_scope=anyio.CancelScope,
        checkpoint=anyio.lowlevel.checkpoint,
        now=sys.modules["asyncio"].get_running_loop().time,
    )
