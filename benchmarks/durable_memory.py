"""`python -m benchmarks.durable_memory`: what a durable session takes in the long run.

One session on one SQLite file handles a million events: chains of agents whose last one
makes a step once, pairs that an aggregator joins, and single events that nothing follows
from, some of which change the shared memory. At each tenth it prints what the process and
the files take:

- *resident*: memory of the process that is in RAM
- *file* and *WAL*: the journal and its log, on disk
- *held*: how many flows the session has in memory

``--keep`` is the journal's: ``--keep 0`` drops flows as soon as they are over, at the next
tidying; without it all of them stay in the file. Exit status 1 if the memory grew by more
than ``--most`` MB from the first tenth to the last.
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

import attrs
import trio

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    Router,
)
from agentflow.journal import SQLiteJournal, once

PAGE = 4096
MB = 1e6

LENGTH = 8
"""Events of a chain."""

PAIR = 3
"""Events of a pair, with the one it comes from."""

SINGLES = 2
"""Single events sent after each chain and pair."""


class Hop(Event):
    """A token on its way."""

    left: int


class Pair(Event):
    """Two events are to follow from it, and to be joined."""


class Left(Event):
    """One of them."""


class Right(Event):
    """The other."""


class Single(Event):
    """Something that nothing follows from."""

    n: int


@attrs.define
class Count:
    """Events that were handled, and how many somebody waits for."""

    handled: int = 0
    awaited: int = 0
    reached: trio.Event = attrs.field(factory=trio.Event)

    def add(self) -> None:
        """Count one."""
        self.handled += 1
        if self.handled == self.awaited:
            self.reached.set()

    async def reach(self, events: int) -> None:
        """Wait until so many have been handled."""
        self.awaited, self.reached = events, trio.Event()
        if self.handled < events:
            await self.reached.wait()


@attrs.frozen
class Taken:
    """What a session takes at one moment, sizes in MB."""

    seconds: float
    events: int
    resident: float
    file: float
    log: float
    held: int

    def __str__(self) -> str:
        return (
            f"{self.events:>10,} {self.seconds:>8.1f} {self.events / self.seconds:>9,.0f} "
            f"{self.resident:>9.1f} {self.file:>9.1f} {self.log:>8.1f} {self.held:>7,}"
        )


def resident() -> float:
    """Return the megabytes of this process that are in RAM."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE / MB


def size(path: Path) -> float:
    """Return the megabytes of a file; 0 if there is none."""
    return path.stat().st_size / MB if path.exists() else 0.0


@attrs.define(eq=False)
class Hopper(BaseAsyncAgent):
    """Passes a token on; its last hop is a step made once."""

    count: Count
    max_concurrency = None

    async def receive_event_async(self, event: Hop) -> Hop | None:
        """Count a hop, and make the next one."""
        self.count.add()
        if event.left == 1:
            await once("last", stamp)
            return None
        return Hop(source="hopper", left=event.left - 1)


class Joiner(AsyncAggregatorAgent):
    """Joins pairs.

    Args:
        count: Counts events.
    """

    event_types_needed = (Left, Right)

    def __init__(self, count: Count) -> None:
        super().__init__()
        self.count = count

    async def process_events(self, events: list[Event]) -> None:
        """Count the two."""
        for _ in events:
            self.count.add()


@attrs.define(eq=False)
class Rememberer(BaseAsyncAgent):
    """Takes single events, and remembers some."""

    count: Count
    max_concurrency = None

    async def receive_event_async(self, event: Single) -> None:
        """Count an event."""
        self.count.add()
        if event.n % 100 == 0:
            self.shared_working_memory.merge_to_working_memory({"last": event.n})


async def stamp() -> float:
    """Return the time."""
    return time.time()


async def run(path: Path, options: argparse.Namespace) -> list[Taken]:
    """Handle the events, and tell of each tenth."""
    count, taken = Count(), list[Taken]()
    joiner = Joiner(count)
    router = Router({
        Hop: [Hopper(count)],
        Single: [Rememberer(count)],
        Left: [joiner],
        Right: [joiner],
    })

    @router.on(Pair)
    async def split(_: Pair) -> list[Left | Right]:
        count.add()
        return [Left(source="split"), Right(source="split")]

    journal = SQLiteJournal(path, keep=options.keep, synchronous=options.synchronous)
    start = time.perf_counter()
    async with (
        AsyncDispatcher(
            router, journal=journal, capacity=options.capacity
        ) as dispatcher,
        trio.open_nursery() as producers,
    ):
        for _ in range(options.producers):
            share = options.events // options.producers
            producers.start_soon(produce, dispatcher, share)
        for tenth in range(1, 11):
            await count.reach(options.events * tenth // 10)
            seconds = time.perf_counter() - start
            taken.append(look(path, dispatcher, count, seconds=seconds))
            print(taken[-1], flush=True)
    return taken


def look(
    path: Path, dispatcher: AsyncDispatcher, count: Count, *, seconds: float
) -> Taken:
    """Look what the session takes now."""
    return Taken(
        seconds=seconds,
        events=count.handled,
        resident=resident(),
        file=size(path),
        log=size(Path(f"{path}-wal")),
        held=dispatcher.statistics().flows,
    )


async def produce(dispatcher: AsyncDispatcher, events: int) -> None:
    """Send chains, pairs and single events, so many events in all."""
    while events > 0:
        await dispatcher.send(Hop(source="main", left=min(LENGTH, events)))
        events -= LENGTH
        if events >= PAIR:
            await dispatcher.send(Pair(source="main"))
            events -= PAIR
        for _ in range(min(SINGLES, max(events, 0))):
            await dispatcher.send(Single(source="main", n=events))
            events -= 1


def main() -> int:
    """Run it.

    Returns:
        1 if the memory grew.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--producers", type=int, default=64)
    parser.add_argument("--capacity", type=int, default=256)
    parser.add_argument("--keep", type=float, default=None, help="seconds")
    parser.add_argument("--synchronous", default="full", choices=("normal", "full"))
    parser.add_argument("--most", type=float, default=10.0, help="MB it may grow by")
    options = parser.parse_args()
    options.events -= options.events % options.producers
    print(
        f"{'events':>10} {'seconds':>8} {'events/s':>9} {'resident':>9} {'file':>9} "
        f"{'WAL':>8} {'held':>7}   (sizes in MB)"
    )
    with tempfile.TemporaryDirectory() as folder:
        taken = trio.run(run, Path(folder, "run.db"), options)
    growth = taken[-1].resident - taken[0].resident
    print(f"the memory grew by {growth:.1f} MB")
    return int(growth > options.most)


if __name__ == "__main__":
    sys.exit(main())
