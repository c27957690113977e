"""Loops whose order a seed decides: the same seed runs the same tasks in the same order.

Both run in virtual time, as `conftest.run_on` does. On trio, which shuffles the tasks that
are ready anyway, the seed goes into its shuffle; Hypothesis' plugin for trio, active as
soon as Hypothesis is imported, makes the rest of it deterministic. On asyncio, which
promises the order in which callbacks were scheduled, they are shuffled before each turn of
the loop. What is correct in a hundred such orders does not lean on one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import anyio
import trio
from trio._core import _run as trio_run

from agentflow.testing._virtual import VirtualLoop, threads_take_time
from tests.conftest import LIMIT


class _ShufflingLoop(VirtualLoop):
    """Runs what is ready in a random order, and tells of each turn.

    Args:
        seed: Of the order; None keeps the usual one.
        on_turn: Called after each turn.
    """

    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int | None, on_turn: Callable[[], None] | None) -> None:
        self._order = None if seed is None else Random(seed)
        self._on_turn = on_turn
        super().__init__()

    def _run_once(self) -> None:
        if self._order is not None and len(self._ready) > 1:
            shuffled = list(self._ready)
            self._order.shuffle(shuffled)
            self._ready.clear()
            self._ready.extend(shuffled)
        run_once: Any = super()._run_once  # type: ignore[misc]
        run_once()
        if self._on_turn is not None:
            self._on_turn()


class _Turns(trio.abc.Instrument):
    """Tells of each turn of trio's loop: when all that was ready has run."""

    def __init__(self, on_turn: Callable[[], None]) -> None:
        self._on_turn = on_turn
        self._has_run = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._has_run = True

    def before_io_wait(self, timeout: float) -> None:
        if self._has_run:
            self._has_run = False
            self._on_turn()


def run_seeded(
    backend: str,
    function: Callable[[], Awaitable[object]],
    seed: int | None,
    *,
    on_turn: Callable[[], None] | None = None,
) -> None:
    """Run an async function on one of the loops, in the order of a seed.

    Args:
        backend: The loop.
        function: What to run; it has the usual limit of virtual seconds.
        seed: Of the order in which tasks run.
        on_turn: Called after each turn of the loop, outside of every task.
    """

    async def bounded() -> None:
        with anyio.fail_after(LIMIT):
            await function()

    if backend == "trio":
        assert trio_run._ALLOW_DETERMINISTIC_SCHEDULING
        trio_run._r.seed(seed)
        options: dict[str, Any] = {
            "clock": trio.testing.MockClock(autojump_threshold=0),
            "instruments": [] if on_turn is None else [_Turns(on_turn)],
        }
    else:
        options = {"loop_factory": lambda: _ShufflingLoop(seed, on_turn)}
    with threads_take_time():
        anyio.run(bounded, backend=backend, backend_options=options)


class CancelAt:
    """Cancels a scope after so many turns of the loop, wherever its tasks are then.

    Args:
        turn: The number of the turn; the first is 1.
    """

    def __init__(self, turn: int) -> None:
        self.turns_left: int = turn
        """Still above 0 at the end if the scope's tasks were done before."""
        self._scope: anyio.CancelScope | None = None

    def scope(self) -> anyio.CancelScope:
        """Return the scope; from now on turns count."""
        self._scope = anyio.CancelScope()
        return self._scope

    def on_turn(self) -> None:
        """Count one."""
        if self._scope is not None:
            self.turns_left -= 1
            if self.turns_left == 0:
                self._scope.cancel("cut short")
