"""A simulated machine for durable sessions: seeded, in virtual time, with crashes.

A `World` outlives the processes that are simulated in it: its store is the disk, its time
the wall clock. In a *life* the real session runs on the real link and store, but the worker
thread is replaced by a task, the scheduler draws from the seed, and at a moment that the
seed has chosen the power goes off: before a batch is written, in the middle of one, after
one is written and before anybody is told, or at any time. Then the next life begins. The
wall clock may jump meanwhile: an hour on, or an hour back.

The same seed gives the same trace.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from copy import deepcopy
from typing import Any, Literal, cast

import anyio
import attrs
import trio
import trio.testing

from agentflow._encoding import EventRegistry
from agentflow._errors import JournalError
from agentflow._steps import Answer, Claimed, Fenced, Key, Step
from agentflow.abc import Link
from agentflow.journal._link import Means, open_link
from agentflow.journal._memory import MemoryStore

Moment = Literal["before", "torn", "untold", "zombie", "time", "never"]

EVENTS = EventRegistry()
MAX_BATCHES = 2_000


@attrs.define
class Crash:
    """When the power goes off in a life."""

    moment: Moment
    batch: int = 0
    """Which batch of the life it happens at."""
    time: float = 0.0
    jump: float = 0.0
    """Seconds that the wall clock jumps by in this life."""
    jump_at: float = 0.0


@contextmanager
def suppress_without_power(world: World) -> Generator[None]:
    """Pass over errors of a life that has no power any more; any other is a problem."""
    try:
        yield
    except* Exception as group:  # noqa: BLE001 -- a problem like any other
        if world.is_on:
            world.problem(f"a session raised {group.exceptions!r}")


class World:
    """What lasts from life to life.

    Args:
        seed: Decides everything.
        store: The disk.
    """

    def __init__(self, seed: int, store: MemoryStore) -> None:
        self.rng = random.Random(seed)
        self.store = store
        self.wall = 1_000_000.0
        self.is_on = True
        self.trace: list[str] = []
        self.problems: list[str] = []
        self.scope = trio.CancelScope()
        self._crash = Crash("never")
        self._batches = 0
        self._late: list[tuple[int, Sequence[Step]]] = []
        self._started = 0.0
        self._holders: dict[Key, int] = {}
        """Who has claimed each delivery last."""

    @property
    def is_current(self) -> bool:
        """Whether the process that asks has its own deliveries to itself."""
        return True

    # -- lives

    def live(
        self, crash: Crash, session: Callable[[SimJournal], Awaitable[None]]
    ) -> bool:
        """Run a session until it ends or the power goes off; return whether it ended."""
        self.is_on, self._crash, self._batches = True, crash, 0
        self.trace.append(f"life {crash}")
        trio.run(
            self._life,
            session,
            clock=trio.testing.MockClock(autojump_threshold=0),
        )
        self.wall += 1.0
        return self.is_on

    async def _life(self, session: Callable[[SimJournal], Awaitable[None]]) -> None:
        self._started = trio.current_time()
        with trio.move_on_after(600) as bound, suppress_without_power(self):
            async with trio.open_nursery() as nursery:
                self.scope = nursery.cancel_scope
                if self._crash.moment == "time":
                    nursery.start_soon(self._power_fails_later)
                await session(SimJournal(self))
                nursery.cancel_scope.cancel()
        if bound.cancelled_caught:
            self.problem("a life did not end in 600 seconds")
            self.is_on = False
        self.wall = self.now()

    async def _power_fails_later(self) -> None:
        await anyio.sleep(self._crash.time)
        self.power_off()

    def power_off(self) -> None:
        """End the life at once."""
        if self.is_on:
            self.is_on = False
            self.trace.append("power off")
            self.scope.cancel()

    def now(self) -> float:
        """Return the wall clock's time."""
        age = trio.current_time() - self._started
        jump = self._crash.jump if age >= self._crash.jump_at else 0.0
        return self.wall + age + jump

    def problem(self, text: str) -> None:
        """Note an invariant that does not hold."""
        self.trace.append(f"problem: {text}")
        self.problems.append(text)

    # -- the disk

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call the store as a worker thread would: after a while, told after another."""
        await anyio.sleep(self.rng.random() * 0.002)
        self.check_power()
        result = function()
        await anyio.sleep(self.rng.random() * 0.002)
        return result

    def check_power(self) -> None:
        """Refuse to work without power."""
        if not self.is_on:
            raise JournalError("the power is off")

    def write(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        """Write a batch, unless the power fails just then."""
        self._late_write(now)
        self._batches += 1
        if self._batches > MAX_BATCHES:
            self.problem("a life goes round in circles")
            self.power_off()
            self.check_power()
        is_now = self._batches == self._crash.batch
        moment = self._crash.moment if is_now else "never"
        self.trace += [f"{owner} {step}" for step in steps]
        if moment == "torn":
            before = deepcopy(self.store.books)
            self.store.apply(owner, steps[: self.rng.randrange(len(steps) + 1)], now)
            self.store.books = before  # which is what rolling back is
        if moment in {"before", "torn", "zombie"}:
            if moment == "zombie":
                self._late.append((owner, steps))
            self.power_off()
            self.check_power()
        answers = self._apply(owner, steps, now)
        self.trace += [str(answer) for answer in answers]
        if moment == "untold":
            self.power_off()
            self.check_power()
        return answers

    def _late_write(self, now: float) -> None:
        """Let a batch of a dead owner arrive in the middle of another's."""
        if self._late and self.rng.random() < 0.3:
            owner, steps = self._late.pop()
            self.trace.append("a dead owner's batch arrives")
            self._apply(owner, steps, now)

    def _apply(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        """Write a batch, and see to it that nobody gets past the fence."""
        answers = self.store.apply(owner, steps, now)
        for step, answer in zip(steps, answers, strict=True):
            if isinstance(answer, Claimed):
                claimed = (delivery.key for delivery in answer.deliveries)
                self._holders.update(dict.fromkeys(claimed, owner))
            key = getattr(step, "key", None) or getattr(step, "by", None)
            if key is None or isinstance(answer, Fenced):
                continue
            if self._holders.get(key, owner) != owner:
                self.problem(f"{owner} changed {key}, which it has lost")
        return answers


class _PoweredStore:
    """The disk as a life sees it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.store, name)

    def apply(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        return self._world.write(owner, steps, now)


class SimJournal:
    """A journal on a simulated disk."""

    events = EVENTS

    def __init__(self, world: World) -> None:
        self._world = world

    def connect(self) -> AbstractAsyncContextManager[Link]:
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[Link]:
        means = Means(call=self._world.call, clock=self._world.now)
        async with open_link(cast("Any", _PoweredStore(self._world)), means) as link:
            yield link
