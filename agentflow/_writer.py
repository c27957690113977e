"""The thread that a journal's blocking calls are made in, one after another.

A thread of its own, rather than one borrowed for each call: an SQLite connection is used by
one at a time, and a call that goes straight to a thread that waits for it is told back a
tenth of a millisecond sooner, which is a third of what a small commit takes.
"""

import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar, cast

import anyio
import outcome
from anyio.lowlevel import checkpoint_if_cancelled

_T = TypeVar("_T")

Result: TypeAlias = outcome.Outcome[Any]
Post: TypeAlias = Callable[..., object]


class Writer:
    """Makes blocking calls in its thread, in order; see `open_writer`.

    Args:
        post: Calls a function on the event loop, from any thread.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._calls: SimpleQueue[
            tuple[Callable[[], Any], Callable[[Result], object]] | None
        ] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name="agentflow journal", daemon=True
        )
        self._thread.start()

    def start(
        self, function: Callable[[], Any], done: Callable[[Result], object]
    ) -> None:
        """Have a function called, and its outcome told on the event loop."""
        self._calls.put((function, done))

    async def call(self, function: Callable[[], _T]) -> _T:
        """Have a function called, and wait for it.

        Returns:
            What it returned.

        Raises:
            Exception: What it raised.

        Cancellation:
            The call is seen through.
        """
        results: list[Result] = []
        come = anyio.Event()

        def done(result: Result) -> None:
            results.append(result)
            come.set()

        await checkpoint_if_cancelled()
        self.start(function, done)
        with anyio.CancelScope(shield=True):
            await come.wait()
        (result,) = results
        return cast("_T", result.unwrap())

    def stop(self) -> None:
        """End the thread when it has made every call."""
        self._calls.put(None)

    def _run(self) -> None:
        # When the loop is gone nobody is there to be told.
        with suppress(RuntimeError):
            while (asked := self._calls.get()) is not None:
                function, done = asked
                self._post(done, outcome.capture(function))
                del asked, function, done  # what they hold is not kept until the next


@asynccontextmanager
async def open_writer() -> AsyncGenerator[Writer]:
    """Have a writer for the length of a block; its calls must have been waited for.

    Yields:
        The writer.

    Cancellation:
        The thread ends.
    """
    writer = Writer(_poster())
    try:
        yield writer
    finally:
        writer.stop()


def _poster() -> Post:
    """Return what calls a function on the running event loop, from any thread."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return cast("Post", trio.lowlevel.current_trio_token().run_sync_soon)
    loop = sys.modules["asyncio"].get_running_loop()
    return cast("Post", loop.call_soon_threadsafe)
