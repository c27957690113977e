"""Virtual time, on both loops."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import anyio.to_thread
import pytest
import trio
import trio.testing

from agentflow.testing import Backend, real_time, run_virtual, virtual_backend
from agentflow.testing._virtual import current_virtual_clock, threads_take_time
from tests.conftest import BACKENDS
from tests.fakes import takes


async def test_seconds_pass_at_once() -> None:
    """And are seconds on the loop's clock."""
    start = time.perf_counter()
    with takes(4):
        await anyio.sleep(4)
    assert time.perf_counter() - start < 1


async def test_a_thread_takes_real_time() -> None:
    """A timeout around it does not strike before the thread is done."""
    go = threading.Event()

    async def let_go() -> None:
        await anyio.sleep(0.01)
        go.set()

    with anyio.fail_after(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(let_go)
            assert await anyio.to_thread.run_sync(go.wait, 2)
    with takes(1):
        await anyio.sleep(1)


@pytest.mark.parametrize(
    ("backend", "run_sync"),
    [("trio", trio.to_thread.run_sync), ("asyncio", asyncio.to_thread)],
)
def test_the_loops_own_threads_take_real_time(
    backend: Backend, run_sync: Callable[..., Awaitable[object]]
) -> None:
    """Whoever does without anyio has the same."""

    async def main() -> None:
        with anyio.fail_after(2):
            await (run_sync if backend == "asyncio" else trio.to_thread.run_sync)(
                time.sleep, 0.01
            )
        assert anyio.current_time() - start < 2

    start = 0.0
    run_virtual(main, backend=backend)


async def test_in_real_time_nothing_jumps() -> None:
    """And afterwards time jumps again, also when blocks overlap."""
    start = time.perf_counter()
    with real_time(), real_time():
        await anyio.sleep(0.02)
    assert time.perf_counter() - start > 0.015
    with takes(3):
        await anyio.sleep(3)


def test_a_clock_gets_its_own_pace_back() -> None:
    """A clock that was set by hand stays as it was set."""
    clock = trio.testing.MockClock(rate=1000, autojump_threshold=7)

    async def main() -> None:
        with real_time():
            assert clock.rate == 1000
            assert clock.autojump_threshold == float("inf")
            await trio.lowlevel.checkpoint()

    trio.run(main, clock=clock)
    assert (clock.rate, clock.autojump_threshold) == (1000, 7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_real_clock_is_left_alone(backend: str) -> None:
    """There is nothing virtual about it."""

    async def main() -> None:
        assert current_virtual_clock() is None
        with real_time():
            await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend)


def test_threads_are_as_before_when_the_last_user_is_done() -> None:
    """Nested uses share one replacement."""
    before = anyio.to_thread.run_sync, trio.to_thread.run_sync
    with threads_take_time():
        inside = anyio.to_thread.run_sync
        assert inside is not before[0]
        with threads_take_time():
            assert anyio.to_thread.run_sync is inside
        assert anyio.to_thread.run_sync is inside
    assert (anyio.to_thread.run_sync, trio.to_thread.run_sync) == before


def test_what_can_never_happen_is_an_error_on_asyncio() -> None:
    """A loop without a deadline says so, rather than to wait for good."""
    name, options = virtual_backend("asyncio")
    with pytest.raises(RuntimeError, match="nothing can happen any more"):
        anyio.run(anyio.sleep_forever, backend=name, backend_options=options)


def test_another_loop_is_refused() -> None:
    """The message says which there are."""
    with pytest.raises(ValueError, match='"trio" or "asyncio", not \'curio\''):
        virtual_backend(cast("Any", "curio"))


def test_what_has_arrived_is_read_before_time_jumps() -> None:
    """A socket that is readable comes before the next deadline."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        loop.call_soon_threadsafe(arrived.set)  # through the loop's own socket
        with takes(0), anyio.fail_after(1):
            await arrived.wait()
            await anyio.lowlevel.checkpoint()

    run_virtual(main, backend="asyncio")
