"""Calling a handler: one awaitable call, whatever kind of agent stands behind it."""

import inspect
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from typing import cast

import anyio
import anyio.to_thread

from agentflow._context import current_delivery
from agentflow._events import Event
from agentflow._handlers import Handler
from agentflow._ledger import Delivery

Call = Callable[[Event], Awaitable[object]]

_MAX_THREADS = 40
"""Synchronous handlers at a time in one session; trio's and anyio's own default."""


def async_call(handler: Handler) -> Call:
    """Return what to await for each event of an asynchronous handler."""
    if inspect.iscoroutinefunction(handler.call):
        return handler.call

    async def call(event: Event) -> object:
        result = handler.call(event)
        # Decorators hide what they wrap, so it is only known now what this is.
        if inspect.isawaitable(result) and not isinstance(result, AsyncIterable):
            return await result
        return result  # noqa: ASYNC910 -- an async generator, read elsewhere

    return call


class Threads:
    """Runs blocking handlers in worker threads, never on the loop (rule A3).

    A cancelled handler leaves its thread behind, since a thread cannot be stopped. When
    the thread ends after all, its outcome is dropped.

    Args:
        on_abandoned: Told of each delivery whose thread was left behind.
    """

    def __init__(self, on_abandoned: Callable[[Delivery], None]) -> None:
        self.abandoned: int = 0
        """Threads of cancelled handlers that still run."""
        self._on_abandoned = on_abandoned
        self._limiter = anyio.CapacityLimiter(_MAX_THREADS)
        self._lock = threading.Lock()

    def call_for(self, handler: Handler) -> Call:
        """Return what to await for each event of a blocking handler."""

        async def call(event: Event) -> object:
            thread = _Thread()
            try:
                return await anyio.to_thread.run_sync(
                    self._run,
                    thread,
                    handler,
                    event,
                    abandon_on_cancel=True,
                    limiter=self._limiter,
                )
            except anyio.get_cancelled_exc_class():
                self._leave_behind(thread)
                raise

        return call

    def _run(self, thread: "_Thread", handler: Handler, event: Event) -> object:
        with self._lock:
            if thread.is_over:  # cancelled before the thread got to it
                return None
            thread.is_running = True
        try:
            result = handler.call(event)
            if isinstance(result, Iterator):
                # A generator's body belongs in the thread, too.
                return list(cast("Iterator[object]", result))
            return result
        finally:
            with self._lock:
                self.abandoned -= thread.is_left_behind
                thread.is_over = True

    def _leave_behind(self, thread: "_Thread") -> None:
        with self._lock:
            if thread.is_over or not thread.is_running:
                thread.is_over = True
                return
            thread.is_left_behind = True
            self.abandoned += 1
        delivery = current_delivery.get()
        assert delivery is not None
        self._on_abandoned(delivery)


class _Thread:
    """Where one call in a worker thread stands."""

    def __init__(self) -> None:
        self.is_running: bool = False
        self.is_left_behind: bool = False
        self.is_over: bool = False
