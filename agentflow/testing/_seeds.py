"""Seeded scheduling: what runs first is drawn, and drawn again the same way.

trio shuffles the tasks that can run on purpose, and has a switch that makes its shuffling
repeatable. asyncio runs tasks in the order in which they became ready; here that order is
shuffled, too, for tasks only: callbacks of transports rely on theirs.
"""

import asyncio
import random
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from trio._core import _run as trio_scheduler

from agentflow.testing._virtual import VirtualLoop


class _Handle(Protocol):
    """A callback that an asyncio loop is about to run."""

    _callback: object


class SeededLoop(VirtualLoop):
    """An asyncio event loop in virtual time that shuffles the tasks that can run.

    Args:
        seed: What the order comes of.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._draw = random.Random(seed)

    def _run_once(self) -> None:
        # The base class's own names: no public hook lies between two turns of the loop.
        ready = cast("deque[_Handle]", cast("Any", self)._ready)
        places = [i for i, handle in enumerate(ready) if _is_task_step(handle)]
        handles = [ready[i] for i in places]
        self._draw.shuffle(handles)
        for place, handle in zip(places, handles, strict=True):
            ready[place] = handle
        cast("Any", super())._run_once()


def _is_task_step(handle: _Handle) -> bool:
    # asyncio's own debugger tells the steps of tasks this way.
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


@contextmanager
def seeded(seed: int | None, how: str = "") -> Generator[None]:
    """Make trio's scheduler, and the module `random`, follow a seed in this block.

    What a failing block raises gets a note that says the seed.

    Args:
        seed: Any whole number; None changes nothing.
        how: How that order is brought back, for the note.

    Yields:
        Nothing.
    """
    if seed is None:
        yield
        return
    scheduler: Any = trio_scheduler
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    states = scheduler._r.getstate(), random.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    random.seed(seed)
    try:
        yield
    except BaseException as error:
        how = how or "that seed brings it back"
        error.add_note(f"the tasks ran in the order of seed {seed}; {how}")
        raise
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before
        scheduler._r.setstate(states[0])
        random.setstate(states[1])
