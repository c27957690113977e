"""How the tests run: every async test on trio and on asyncio, in virtual time.

Write ``async def test_x() -> None: ...`` and nothing else: the test becomes two,
``test_x[trio]`` and ``test_x[asyncio]``. It may take ordinary fixtures, and ``backend`` to
learn which loop it is on. It has no async fixtures; use ``async with`` in the test. Tests
marked ``trio`` or ``anyio`` belong to those plugins and are left to them.

Time is virtual: as soon as no task can run, the clock jumps to the next deadline, so
``anyio.sleep(0.2)`` takes no time and ``anyio.current_time()`` shows exactly what the code
under test waited for. While a worker thread is awaited (``anyio.to_thread.run_sync``, and
so every `BaseAgent`), time passes at its real pace. A test that talks to sockets or to
other processes is none of this kind: mark it ``anyio``.

Every test is bounded: after 5 seconds it fails with TimeoutError.

A test that is no coroutine, for Hypothesis say, may call ``run_on(backend, function)``
from here itself. Hypothesis looks at a few examples, always the same; with
``--hypothesis-profile=long`` at ten thousand, new ones each time.
"""

import asyncio
import inspect
import math
import selectors
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import anyio.to_thread
import hypothesis
import pytest
import trio
import trio.testing

hypothesis.settings.register_profile(
    "short", max_examples=40, deadline=None, derandomize=True
)
hypothesis.settings.register_profile("long", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile("short")

BACKENDS = ("trio", "asyncio")
LIMIT = 5.0

_real_run_sync = anyio.to_thread.run_sync


class _Threads:
    """How many worker threads somebody awaits; one loop runs at a time."""

    awaited = 0

    @classmethod
    def await_one(cls, change: int) -> None:
        """Count, and let trio's clock run as long as there is one."""
        cls.awaited += change
        try:
            clock = trio.lowlevel.current_clock()
        except RuntimeError:
            return  # asyncio's clock looks for itself
        if isinstance(clock, trio.testing.MockClock):
            clock.rate = 1 if cls.awaited else 0
            clock.autojump_threshold = math.inf if cls.awaited else 0


async def _counted_run_sync(*args: Any, **options: Any) -> Any:
    """Await a worker thread, and have the clock wait with us."""
    _Threads.await_one(+1)
    try:
        return await _real_run_sync(*args, **options)
    finally:
        _Threads.await_one(-1)


class _JumpingSelector(selectors.DefaultSelector):
    """With nothing ready and no thread awaited, the time jumps; else it passes."""

    now = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None and not _Threads.awaited:
            ready = super().select(0)
            assert ready, "a deadlock: nothing can happen any more"
            return ready
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if not _Threads.awaited:
            ready = super().select(0)
            self.now += 0 if ready else timeout
            return ready
        start = time.perf_counter()
        ready = super().select(timeout)
        self.now += time.perf_counter() - start
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_on(backend: str, function: Callable[[], Awaitable[object]]) -> None:
    """Run an async function on one of the loops, in virtual time, within the limit."""

    async def bounded() -> None:
        with anyio.fail_after(LIMIT):
            await function()

    options: dict[str, Any] = {"loop_factory": JumpingLoop}
    if backend == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    anyio.run(bounded, backend=backend, backend_options=options)


def _is_ours(function: object, node: Any) -> bool:
    return inspect.iscoroutinefunction(function) and not any(
        node.get_closest_marker(name) for name in ("trio", "anyio")
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make two tests of an async one."""
    if _is_ours(metafunc.function, metafunc.definition):
        if "backend" not in metafunc.fixturenames:
            metafunc.fixturenames.append("backend")
        metafunc.parametrize("backend", BACKENDS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test on its loop."""
    function = pyfuncitem.obj
    if not _is_ours(function, pyfuncitem):
        return None
    names = inspect.signature(function).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    backend = cast("str", pyfuncitem.callspec.params["backend"])
    run_on(backend, lambda: function(**arguments))
    return True


@pytest.fixture(autouse=True)
def _clocks_wait_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anyio.to_thread, "run_sync", _counted_run_sync)
