"""Signals: what Ctrl-C means at the moment, and the task dump that SIGUSR1 asks for.

Ctrl-C and SIGTERM are taken off the interpreter's hands while a command runs, so that no
KeyboardInterrupt breaks in between two lines of code. What the next one does is set by
whoever knows; after the last it ends the process at once, whatever that is doing.
"""

import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import trio

from agentflow.cli._exits import INTERRUPTED, TERMINATED

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
def dumping(dump: Callable[[], str], write: Callable[[str], object]) -> Generator[None]:
    """Print a task dump whenever SIGUSR1 comes, for the length of a block.

    It is printed from the signal handler, so an agent that holds up the event loop is
    shown at the line where it does.

    Args:
        dump: Makes it.
        write: Shows it.

    Yields:
        Nothing.
    """
    asked = getattr(signal, "SIGUSR1", None)
    if asked is None:  # pragma: no cover -- Windows has none
        yield
        return

    def show(_number: int, _frame: FrameType | None) -> None:
        write(dump())

    before = signal.signal(asked, show)
    try:
        yield
    finally:
        signal.signal(asked, before)
