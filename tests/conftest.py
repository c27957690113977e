"""How the tests run: every async test on trio and on asyncio, in virtual time.

Write ``async def test_x() -> None: ...`` and nothing else: the test becomes two,
``test_x[trio]`` and ``test_x[asyncio]``. It may take ordinary fixtures, and ``backend`` to
learn which loop it is on. It has no async fixtures; use ``async with`` in the test. Tests
marked ``trio`` or ``anyio`` belong to those plugins and are left to them.

Time is virtual: as soon as no task can run, the clock jumps to the next deadline, so
``anyio.sleep(0.2)`` takes no time and ``anyio.current_time()`` shows exactly what the code
under test waited for. While a worker thread is awaited (so every `BaseAgent`), time passes
at its real pace. A test that talks to sockets or to other processes is none of this kind:
mark it ``anyio``. All of this is `agentflow.testing.run_virtual`.

Every test is bounded: after 5 seconds it fails with TimeoutError.

A test that is no coroutine, for Hypothesis say, may call ``run_on(backend, function)``
from here itself. Hypothesis looks at a few examples, always the same; with
``--hypothesis-profile=long`` at ten thousand, new ones each time.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

import hypothesis
import pytest

from agentflow.testing import Backend, run_virtual

hypothesis.settings.register_profile(
    "short", max_examples=40, deadline=None, derandomize=True
)
hypothesis.settings.register_profile("long", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile("short")

BACKENDS = ("trio", "asyncio")
LIMIT = 5.0


def run_on(backend: str, function: Callable[[], Awaitable[object]]) -> None:
    """Run an async function on one of the loops, in virtual time, within the limit."""
    run_virtual(function, backend=cast("Backend", backend), limit=LIMIT)


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
