"""Running an async function in virtual time, for tests that no plugin runs."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple

import anyio

from agentflow.testing._seeds import SeededLoop, seeded
from agentflow.testing._virtual import Backend, threads_take_time, virtual_backend

Ts = TypeVarTuple("Ts")

YEAR = 365 * 86400.0
"""Seconds. Virtual time gets there at once when nothing else can happen."""


def run_virtual(
    function: Callable[[*Ts], Awaitable[object]],
    *args: *Ts,
    backend: Backend = "trio",
    seed: int | None = None,
    limit: float = YEAR,
) -> None:
    """Run an async function in virtual time, and the tasks in an order of your choice.

    ::

        @given(seed=st.integers(0, 2**32))
        def test_in_any_order(seed):
            run_virtual(check_it, seed=seed)

    Args:
        function: What to run.
        args: What to call it with.
        backend: The event loop.
        seed: Decides which of the tasks that can run goes first. A failure names it, and
            the same seed gives the same order. None leaves that to the loop.
        limit: Seconds of virtual time it may take. When nothing can happen any more, time
            jumps to this limit, so that a deadlock is a failure at once.

    Raises:
        TimeoutError: It takes longer.
        Exception: What the function raises.
    """
    name, options = virtual_backend(backend)
    if backend == "asyncio" and seed is not None:
        options = {"loop_factory": lambda: SeededLoop(seed)}

    async def bounded() -> None:
        with anyio.move_on_after(limit) as scope:
            await function(*args)
        if scope.cancelled_caught:
            raise TimeoutError(
                f"not done within {limit:g} seconds of virtual time: if it was not meant "
                "to take so long, it waits for something that cannot happen any more"
            )

    settings: dict[str, Any] = {"backend": name, "backend_options": options}
    with threads_take_time(), seeded(seed):
        anyio.run(bounded, **settings)
