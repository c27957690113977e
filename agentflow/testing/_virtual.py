"""Virtual time on both event loops: an hour's wait takes no time and is an hour.

As soon as no task can run, the clock jumps to the next deadline. On trio that is trio's own
`MockClock`; asyncio gets a loop whose selector jumps instead of waiting.

What happens outside of the loop has no virtual time: worker threads, sockets, processes.
While something of the kind is awaited the clock passes at its real pace, or every timeout
around it would strike at once. Threads are found out by themselves; the block of
`real_time` says it of everything else.
"""

import asyncio
import math
import selectors
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import anyio.to_thread
import attrs
import trio
import trio.testing

from agentflow._writer import Writer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Backend = Literal["trio", "asyncio"]
"""An event loop that anyio knows."""


_END = 100 * 365 * 86400.0
"""Seconds of virtual time after which a loop has no more to wait for. asyncio sleeps for
at most a day at a time, also until a moment that never comes."""

_RESOLUTION = 1e-6
"""Seconds. asyncio's own is too fine to be added to the time of a year."""


class VirtualSelector(selectors.DefaultSelector):
    """With nothing ready and nothing awaited outside, time jumps; else it passes.

    Attributes:
        now: The time of the loop, in seconds.
        awaited: How much is awaited outside of the loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now: float = 0.0
        self.awaited: int = 0
        self._end = _END

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; the loop would wait so many seconds for it.

        Raises:
            RuntimeError: Nothing can ever become ready.
        """
        if self.awaited:
            start = time.perf_counter()
            ready = super().select(timeout)
            self.now += time.perf_counter() - start
            return ready
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None or self.now > self._end:
            self._end = math.inf  # the loop still has to cancel its tasks
            raise RuntimeError(
                "nothing can happen any more: every task waits, and none for a moment in "
                "time. What is awaited from outside belongs in `with real_time():`"
            )
        self.now += max(timeout, 0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop in virtual time."""

    def __init__(self) -> None:
        self.jumping: VirtualSelector = VirtualSelector()
        super().__init__(self.jumping)
        self._clock_resolution: float = _RESOLUTION

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self.jumping.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread, during which time passes."""
        self.jumping.awaited += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._arrived)
        return future

    async def shutdown_default_executor(self, *args: float | None) -> None:
        """Wait for the threads to end, during which time passes.

        Cancellation:
            They are not waited for.
        """
        self.jumping.awaited += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self.jumping.awaited -= 1

    def _arrived(self, _: object) -> None:
        self.jumping.awaited -= 1


@attrs.define
class _Held:
    """How a trio clock ran before something was awaited outside."""

    count: int
    rate: float
    threshold: float


_held: WeakKeyDictionary[trio.testing.MockClock, _Held] = WeakKeyDictionary()


@contextmanager
def real_time() -> Generator[None]:
    """Let time pass at its real pace for as long as the block lasts.

    ::

        with real_time():
            answer = await ask_a_real_server()

    For what virtual time knows nothing of: sockets, other processes. Worker threads of
    trio, anyio and asyncio, and those of journals, need no block. On a real clock it
    changes nothing.

    Yields:
        Nothing.
    """
    clock = current_virtual_clock()
    if isinstance(clock, VirtualLoop):
        clock.jumping.awaited += 1
    elif clock is not None:
        _hold(clock)
    try:
        yield
    finally:
        if isinstance(clock, VirtualLoop):
            clock.jumping.awaited -= 1
        elif clock is not None:
            _let_go(clock)


def _hold(clock: trio.testing.MockClock) -> None:
    held = _held.setdefault(clock, _Held(0, clock.rate, clock.autojump_threshold))
    held.count += 1
    clock.rate = max(held.rate, 1)
    clock.autojump_threshold = math.inf


def _let_go(clock: trio.testing.MockClock) -> None:
    held = _held[clock]
    held.count -= 1
    if not held.count:
        del _held[clock]
        clock.rate = held.rate
        clock.autojump_threshold = held.threshold


def current_virtual_clock() -> "trio.testing.MockClock | VirtualLoop | None":
    """Return what makes time virtual here; None in real time."""
    if trio.lowlevel.in_trio_run():
        clock = trio.lowlevel.current_clock()
        return clock if isinstance(clock, trio.testing.MockClock) else None
    loop = asyncio.get_running_loop()
    return loop if isinstance(loop, VirtualLoop) else None


_AsyncCall = Callable[..., Awaitable[Any]]
_Start = Callable[..., None]


class _Threads:
    """Makes clocks wait for worker threads while somebody wants that."""

    users = 0
    before: tuple[_AsyncCall, _AsyncCall, _Start] | None = None


@contextmanager
def threads_take_time() -> Generator[None]:
    """Have virtual clocks wait for worker threads, as they do not by themselves.

    The functions that start threads are replaced for as long as the block lasts, since
    neither loop tells anybody that it awaits one.

    Yields:
        Nothing.
    """
    # Known by these names at run time only: type checkers hold modules for constant.
    of_anyio: Any = anyio.to_thread
    of_trio: Any = trio.to_thread
    of_journals: Any = Writer
    if not _Threads.users:
        _Threads.before = of_anyio.run_sync, of_trio.run_sync, of_journals.start
        of_journals.start = _starting_real_time(of_journals.start)
        of_anyio.run_sync = _in_real_time(of_anyio.run_sync)
        of_trio.run_sync = _in_real_time(of_trio.run_sync)
    _Threads.users += 1
    try:
        yield
    finally:
        _Threads.users -= 1
        if not _Threads.users:
            assert _Threads.before is not None
            of_anyio.run_sync, of_trio.run_sync, of_journals.start = _Threads.before


def _in_real_time(call: _AsyncCall) -> _AsyncCall:
    async def run_sync(
        *args: Any,  # noqa: ANN401 -- whatever the original takes
        **options: Any,  # noqa: ANN401 -- likewise
    ) -> object:
        with real_time():
            return await call(*args, **options)

    return run_sync


def _starting_real_time(start: _Start) -> _Start:
    def start_in_real_time(
        writer: Writer,
        function: Callable[[], object],
        done: Callable[[Any], object],
    ) -> None:
        passing = ExitStack()
        passing.enter_context(real_time())

        def told(result: object) -> None:
            passing.close()
            done(result)

        start(writer, function, told)

    return start_in_real_time


def virtual_backend(backend: Backend = "trio") -> tuple[str, dict[str, Any]]:
    """Return what anyio needs to run an event loop in virtual time.

    With anyio's pytest plugin::

        @pytest.fixture(params=["trio", "asyncio"])
        def anyio_backend(request):
            return virtual_backend(request.param)

    Args:
        backend: The event loop.

    Returns:
        The loop's name and the ``backend_options`` for it, made anew for each run.

    Raises:
        ValueError: There is no such loop.
    """
    if backend == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    if backend == "asyncio":
        return "asyncio", {"loop_factory": VirtualLoop}
    raise ValueError(f'backend must be "trio" or "asyncio", not {backend!r}')
