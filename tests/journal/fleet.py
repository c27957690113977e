"""Several simulated processes on one journal, of which some die while others live.

All of them share the simulated disk and the clock. Each has its own power, and its own
moment at which that goes off, or at which everything that it writes takes longer than its
lease; a process that has died begins again after a while. It is the workload of the other
simulation, and it is checked in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Literal, cast

import anyio
import attrs
import trio
import trio.testing

from agentflow import AsyncDispatcher, FlowFailed
from agentflow._packing import keyed_id
from agentflow._steps import Answer, Step
from agentflow.abc import Link
from agentflow.journal._link import Means, open_link
from agentflow.journal._memory import MemoryStore
from tests.journal.simulation import EVENTS, Crash, World
from tests.journal.workload import Run, router_of, send_all

LEASE = 0.5
LONGEST = 600.0
MAX_LIVES = 40

Fate = Literal["before", "torn", "untold", "zombie", "time", "stall", "never"]

FATES: tuple[Fate, ...] = (
    "before",
    "torn",
    "untold",
    "zombie",
    "time",
    "stall",
    "never",
)

_process: ContextVar[Process | None] = ContextVar("process", default=None)


@attrs.define(eq=False)
class Process:
    """One life of one process."""

    name: str
    fate: Fate
    batch: int
    """Which of its batches it happens at."""
    time: float
    is_on: bool = True
    is_stalled: bool = False
    batches: int = 0
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Fleet(World):
    """A world in which several processes live at a time.

    Args:
        seed: Decides everything.
        store: The disk.
    """

    def __init__(self, seed: int, store: MemoryStore) -> None:
        super().__init__(seed, store)
        self.idle: Counter[str | None] = Counter()
        """How often nothing has been open after a batch, of each flow and of all."""

    # -- power: each process has its own ------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether the process that asks has power."""
        process = _process.get()
        return process is None or process.is_on

    @is_on.setter
    def is_on(self, value: bool) -> None:
        """Pass over what the other simulation sets: here each process has its own."""

    @property
    def is_current(self) -> bool:
        """Whether the process that asks writes in time, so that nobody has its work."""
        process = _process.get()
        return process is None or not process.is_stalled

    def power_off(self) -> None:
        """End the process that asks, at once."""
        process = _process.get()
        assert process is not None
        if process.is_on:
            process.is_on = False
            self.trace.append(f"{process.name}: power off")
            process.scope.cancel()

    # -- the disk -----------------------------------------------------------------------

    def is_idle(self, flow: str | None) -> bool:
        """Return whether nothing of a flow, or of any, is open."""
        return not any(
            not delivery.is_dead and flow in {None, delivery.entry.flow}
            for delivery in self.store.books.deliveries.values()
        )

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call the store as a worker thread would; a stalled process takes its time."""
        process = _process.get()
        assert process is not None
        if process.is_stalled:
            await anyio.sleep(LEASE * (1 + self.rng.random()))
        return await super().call(function)

    def write(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        """Write a batch, unless the power of the process fails just then."""
        process = _process.get()
        assert process is not None
        process.batches += 1
        is_now = process.batches == process.batch
        process.is_stalled = process.is_stalled or (is_now and process.fate == "stall")
        moment = process.fate if is_now and process.fate != "stall" else "never"
        self._crash, self._batches = Crash(moment, batch=1), 0
        answers = super().write(owner, steps, now)
        for flow in (None, *self.store.books.flows):
            self.idle[flow] += self.is_idle(flow)
        return answers

    # -- lives --------------------------------------------------------------------------

    def run_all(self, run: Run, count: int) -> None:
        """Let so many processes live side by side until each has come to its end."""
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(self._all, run, count, clock=clock)

    async def _all(self, run: Run, count: int) -> None:
        self._started = trio.current_time()
        with trio.move_on_after(LONGEST) as bound:
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(self._lives, run, f"process {number}")
        if bound.cancelled_caught:
            self.problem(f"the processes did not end in {LONGEST} seconds")

    async def _lives(self, run: Run, name: str) -> None:
        rng = self.rng
        fates = [rng.choice(FATES) for _ in range(rng.randint(0, 2))]
        for fate in (*fates, *["never"] * MAX_LIVES):
            process = Process(
                name, cast("Fate", fate), rng.randint(1, 25), rng.random() * 0.3
            )
            self.trace.append(f"{name} begins, with {fate}")
            await self._life_of(process, run)
            if process.is_on and fate == "never":
                return
            await anyio.sleep(rng.random() * 2 * LEASE)
        self.problem(f"no life of {name} came to its end")

    async def _life_of(self, process: Process, run: Run) -> None:
        _process.set(process)
        try:
            async with trio.open_nursery() as nursery:
                process.scope = nursery.cancel_scope
                if process.fate == "time":
                    nursery.start_soon(self._dies_later, process)
                await self._session(process, run)
                nursery.cancel_scope.cancel()
        except* Exception as errors:  # noqa: BLE001 -- a problem like any other
            if process.is_on and not process.is_stalled:
                self.problem(f"{process.name} raised {errors.exceptions!r}")
            process.is_on = False

    async def _dies_later(self, process: Process) -> None:
        await anyio.sleep(process.time)
        self.power_off()

    async def _session(self, process: Process, run: Run) -> None:
        with suppress(FlowFailed):  # the flows that are meant to fail
            async with AsyncDispatcher(
                router_of(run), journal=FleetJournal(self)
            ) as dispatcher:
                await send_all(run, dispatcher)
                for flow in (*map(keyed_id, run.roots), None):
                    await self._wait_idle(process, dispatcher, flow)

    async def _wait_idle(
        self, process: Process, dispatcher: AsyncDispatcher, flow: str | None
    ) -> None:
        """Wait until it is idle; it must have been so at some moment of the wait."""
        before, was_idle = self.idle[flow], self.is_idle(flow)
        with suppress(FlowFailed):
            await dispatcher.wait_for_empty_queue(correlation_id=flow)
        is_true = was_idle or self.is_idle(flow) or self.idle[flow] > before
        if process.is_on and not is_true:
            self.problem(f"{process.name} reported {flow or 'all'} idle, which is open")


class _Powered:
    """The disk as a process sees it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fleet.store, name)

    def apply(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        return self._fleet.write(owner, steps, now)


class FleetJournal:
    """A journal that several simulated processes share."""

    events = EVENTS

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def connect(self) -> AbstractAsyncContextManager[Link]:
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[Link]:
        means = Means(call=self._fleet.call, clock=self._fleet.now)
        store = cast("Any", _Powered(self._fleet))
        async with open_link(store, means, LEASE) as link:
            yield link
