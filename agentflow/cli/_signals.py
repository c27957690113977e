"""Signals: what Ctrl-C means at the moment, and the task dump that SIGUSR1 asks for.

Ctrl-C and SIGTERM are taken off the interpreter's hands while a command runs, so that no
KeyboardInterrupt breaks in between two lines of code. What the next one does is set by
whoever knows; after the last it ends the process at once, whatever that is doing.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import trio

from agentflow.cli._exits import INTERRUPTED, TERMINATED
from agentflow.cli._words import clean

_STDERR = 2
"""The file descriptor."""

_PATIENCE = 0.5
"""Seconds that the event loop has to come round before a dump is written without it."""

_FRAMES = 5
"""How many lines of the call stack are shown where an agent holds up the event loop."""

_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


class Interrupts:
    """What the next interrupt does.

    Attributes:
        code: The exit code of the last one that came; 0 while there was none.
    """

    def __init__(self) -> None:
        self.code: int = 0
        self._act: Callable[[], object] = _nothing

    def then(self, act: Callable[[], object]) -> None:
        """Have the next interrupt call `act`; the one after that ends the process."""
        self._act = act

    def came(self, number: int) -> None:
        """Take an interrupt."""
        self.code = _CODES[signal.Signals(number)]
        act, self._act = self._act, _nothing
        act()
        if self._act is _nothing:
            for each in _CODES:
                signal.signal(each, signal.SIG_DFL)


def _nothing() -> None:
    """Do what there is to do after the last interrupt that somebody heeds."""


@asynccontextmanager
async def open_interrupts() -> AsyncGenerator[Interrupts]:
    """Take Ctrl-C and SIGTERM for the length of a block.

    Yields:
        Where to say what the next one does.

    Cancellation:
        The signals do what they did before.
    """
    interrupts = Interrupts()

    async def heed() -> None:
        with trio.open_signal_receiver(*_CODES) as signals:
            ready.set()
            async for number in signals:
                interrupts.came(number)

    ready = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heed)
        await ready.wait()
        try:
            yield interrupts
        finally:
            nursery.cancel_scope.cancel("the command has ended")


@contextmanager
def interrupts_stay_here() -> Generator[None]:
    """Keep signals from the threads that are started in this block, and from theirs.

    A signal comes to any thread that does not block it, and Python acts on it in the main
    thread: which goes on waiting, if it was not the one to be interrupted.

    Yields:
        Nothing.
    """
    if sys.platform == "win32":  # pragma: no cover -- it has no such masks
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def dumping(
    dump: Callable[[], object],
    write: Callable[[str], object],
    token: trio.lowlevel.TrioToken,
) -> Generator[None]:
    """Show a task dump whenever SIGUSR1 comes, for the length of a block.

    The event loop makes and shows it. Where an agent holds the loop up, the dump is made
    in the midst of that agent, and a thread writes it to standard error.

    Args:
        dump: Makes it, on the event loop.
        write: Shows it, on the event loop.
        token: Of the event loop.

    Yields:
        Nothing.
    """
    asked = getattr(signal, "SIGUSR1", None)
    if asked is None:  # pragma: no cover -- Windows has none
        yield
        return

    def heed(_number: int, frame: FrameType | None) -> None:
        timer: threading.Timer | None = None
        if trio.lowlevel.in_trio_task():
            timer = threading.Timer(_PATIENCE, _write_now, [_held_up(dump, frame)])
            timer.daemon = True
            timer.start()
        token.run_sync_soon(show, timer)

    def show(timer: threading.Timer | None) -> None:
        if timer is not None:
            timer.cancel()
        write(str(dump()))

    before = signal.signal(asked, heed)
    try:
        yield
    finally:
        signal.signal(asked, before)


def _held_up(dump: Callable[[], object], frame: FrameType | None) -> str:
    """Say what there is to say should the loop not come round."""
    stack = traceback.extract_stack(frame)[-_FRAMES:]
    where = "".join(traceback.format_list(stack))
    try:
        words = str(dump())
    except Exception as error:  # noqa: BLE001 -- it must not break into the agent
        words = f"there is no dump: {error!r}"
    return f"\n{words}\nthe event loop is held up at\n{where}"


def _write_now(text: str) -> None:
    """Write past all buffers: what was interrupted may hold their locks."""
    os.write(_STDERR, clean(text).encode(errors="backslashreplace"))
