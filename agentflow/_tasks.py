"""The task group that a session's workers live in.

On trio it is a nursery: anyio wraps each task of its groups in a handle with a cancel scope
of its own, which was measured to make a worker nearly twice as large and three times as
dear to start. A session needs neither. On asyncio it is anyio's task group.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import anyio
import trio


class Tasks(Protocol):
    """What the workers need of it."""

    def start_soon(
        self,
        func: Callable[..., Awaitable[object]],
        *args: Any,  # noqa: ANN401 -- whatever the function takes
    ) -> object:
        """Start a task."""
        ...


def open_tasks() -> AbstractAsyncContextManager[Tasks]:
    """Return a task group for the event loop that runs."""
    if trio.lowlevel.in_trio_run():
        return cast("AbstractAsyncContextManager[Tasks]", trio.open_nursery())
    return cast("AbstractAsyncContextManager[Tasks]", anyio.create_task_group())
