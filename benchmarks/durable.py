"""`python -m benchmarks.durable`: what a durable hop costs, beside others and the disk.

One flow is a chain of hops; each system makes each hop durable before the next begins:

- *disk*: the floor. Plain sqlite3, one table, one transaction for all rows that have
  queued up while the one before was written, and the same bytes for each hop.
- *agentflow*: an agent for each hop, with ``journal=SQLiteJournal(...)``.
- *dbos*: one workflow, a step for each hop, its system database in SQLite.
- *langgraph*: one graph, a node for each hop, `AsyncSqliteSaver` with durability "sync".

Each runs in a process of its own, in turns; every hop is counted. The peers' requirements
stand in benchmarks/requirements-durable.txt; those that are not installed are left out.
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import trio

from agentflow import AsyncDispatcher, Event, Router
from agentflow.journal import SQLiteJournal

BODY = "x" * 300
"""As many bytes as an event of these chains takes in the journal."""


class Hop(Event):
    """A token on its way."""

    left: int
    seconds: float = 0.0


@attrs.frozen
class Load:
    """What a system is to do.

    Attributes:
        path: Its file.
        flows: How many chains, side by side.
        hops: How long each is.
        seconds: How long each hop takes besides.
    """

    path: str
    flows: int
    hops: int
    seconds: float


class Counted:
    """Counts hops, so that no system can skip work."""

    def __init__(self) -> None:
        self.hops = 0


def agentflow(load: Load, *, is_durable: bool = True) -> tuple[float, int]:
    """Run the chains on agentflow; return seconds and hops."""
    counted = Counted()
    router = Router()

    @router.on(Hop)
    async def hop(event: Hop) -> Hop | None:
        counted.hops += 1
        if event.seconds:
            await trio.sleep(event.seconds)
        left = event.left - 1
        return Hop(source="hop", left=left, seconds=event.seconds) if left else None

    async def main() -> float:
        journal = SQLiteJournal(load.path) if is_durable else None
        async with AsyncDispatcher(router, journal=journal) as dispatcher:
            start = time.perf_counter()
            for _ in range(load.flows):
                dispatcher.dispatch(
                    Hop(source="main", left=load.hops, seconds=load.seconds)
                )
            await dispatcher.wait_for_empty_queue()
            return time.perf_counter() - start

    return trio.run(main), counted.hops


class Log:
    """Rows that plain sqlite3 writes in groups."""

    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, body TEXT)")
        self.queue: list[trio.Event] = []
        self.more = trio.Event()

    def write(self, count: int) -> None:
        """Write so many rows in one transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT INTO log (body) VALUES (?)", [(BODY,)] * count)
        self.db.execute("COMMIT")

    async def writer(self) -> None:
        """Write what has queued up, again and again."""
        while True:
            await self.more.wait()
            self.more = trio.Event()
            batch, self.queue = self.queue, []
            await trio.to_thread.run_sync(self.write, len(batch))
            for told in batch:
                told.set()

    async def append(self) -> None:
        """Queue a row, and wait until it is on disk."""
        told = trio.Event()
        self.queue.append(told)
        self.more.set()
        await told.wait()


def disk(load: Load) -> tuple[float, int]:
    """Write the same bytes with plain sqlite3, in groups."""
    log, counted = Log(load.path), Counted()

    async def chain() -> None:
        for _ in range(load.hops):
            if load.seconds:
                await trio.sleep(load.seconds)
            await log.append()
            counted.hops += 1

    async def main() -> float:
        async with trio.open_nursery() as outer:
            outer.start_soon(log.writer)
            start = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(load.flows):
                    nursery.start_soon(chain)
            outer.cancel_scope.cancel()
        return time.perf_counter() - start

    return trio.run(main), counted.hops


def dbos(load: Load) -> tuple[float, int]:
    """Run the chains as workflows of DBOS."""
    from dbos import DBOS, DBOSConfig  # noqa: PLC0415 -- a peer that may be missing

    counted = Counted()
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{load.path}",
    }
    DBOS(config=config)

    @DBOS.step()
    async def step(left: int) -> int:
        counted.hops += 1
        if load.seconds:
            await asyncio.sleep(load.seconds)
        return left - 1

    @DBOS.workflow()
    async def chain(left: int) -> None:
        while left:
            left = await step(left)

    async def main() -> float:
        DBOS.launch()
        start = time.perf_counter()
        await asyncio.gather(*(chain(load.hops) for _ in range(load.flows)))
        taken = time.perf_counter() - start
        DBOS.destroy()
        return taken

    return asyncio.run(main()), counted.hops


def langgraph(load: Load) -> tuple[float, int]:
    """Run the chains as graphs of LangGraph."""
    from langgraph.checkpoint.sqlite.aio import (  # noqa: PLC0415 -- likewise
        AsyncSqliteSaver,
    )
    from langgraph.graph import END, START, StateGraph  # noqa: PLC0415

    counted = Counted()

    async def hop(state: dict[str, Any]) -> dict[str, Any]:
        counted.hops += 1
        if load.seconds:
            await asyncio.sleep(load.seconds)
        return {"left": state["left"] - 1}

    async def main() -> float:
        async with AsyncSqliteSaver.from_conn_string(load.path) as saver:
            await saver.conn.execute("PRAGMA synchronous = FULL")
            graph: Any = StateGraph(dict)
            graph.add_node("hop", hop)
            graph.add_edge(START, "hop")
            graph.add_conditional_edges("hop", lambda s: "hop" if s["left"] else END)
            app = graph.compile(checkpointer=saver)

            async def chain(n: int) -> None:
                options = {
                    "configurable": {"thread_id": str(n)},
                    "recursion_limit": load.hops + 5,
                }
                await app.ainvoke({"left": load.hops}, options, durability="sync")

            start = time.perf_counter()
            await asyncio.gather(*(chain(n) for n in range(load.flows)))
            return time.perf_counter() - start

    return asyncio.run(main()), counted.hops


Run = Callable[[Load], tuple[float, int]]
SYSTEMS: dict[str, Run] = {
    "disk": disk,
    "agentflow": agentflow,
    "agentflow in memory": partial(agentflow, is_durable=False),
    "dbos": dbos,
    "langgraph": langgraph,
}
CASES = {
    "one chain of 200": (1, 200, 0.0),
    "128 chains of 40": (128, 40, 0.0),
    "1000 chains of 10": (1000, 10, 0.0),
    "10 chains of 40, 10 ms a hop": (10, 40, 0.01),
    "100 chains of 20, 10 ms a hop": (100, 20, 0.01),
}
FEWER = {"dbos": 4, "langgraph": 4}
"""By how much a slow peer's chains are shortened."""


def child(system: str, case: str) -> None:
    """Measure in this process, and print seconds and hops."""
    flows, hops, seconds = CASES[case]
    hops = max(hops // FEWER.get(system, 1), 1)
    with tempfile.TemporaryDirectory() as folder:
        taken, done = SYSTEMS[system](Load(f"{folder}/run.db", flows, hops, seconds))
    assert done == flows * hops, f"{system} did {done} hops, not {flows * hops}"
    sys.stdout.write(json.dumps([taken, done]) + "\n")


def measured(system: str, case: str) -> float | None:
    """Return microseconds a hop, measured in a process of its own; None if it failed."""
    command = [sys.executable, "-m", "benchmarks.durable", "--child", system, case]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(f"{system}: {done.stderr[-500:]}\n")
        return None
    taken, hops = json.loads(done.stdout.splitlines()[-1])
    return float(taken) / int(hops) * 1e6


def resume(path: str, count: int) -> tuple[float, float]:
    """Return seconds to the first handler, and to the last, of so many open events."""

    async def begin(event: Hop) -> None:
        assert event.left
        await trio.sleep_forever()

    async def fill() -> None:
        with trio.CancelScope() as scope:
            async with AsyncDispatcher(
                Router({Hop: [begin]}), journal=SQLiteJournal(path)
            ) as dispatcher:
                for _ in range(count - 1):
                    dispatcher.dispatch(Hop(source="main", left=1))
                await dispatcher.send(Hop(source="main", left=1))
                scope.cancel()

    trio.run(fill)
    db = sqlite3.connect(path)  # as if the process had been killed
    db.execute("UPDATE agentflow_owners SET is_closed = 0")
    db.execute("UPDATE agentflow_deliveries SET owner = 1")
    db.commit()
    db.close()
    times: list[float] = []

    async def hop(event: Hop) -> None:
        assert event.left
        times.append(time.perf_counter())

    hop.__name__ = "begin"

    async def finish() -> float:
        start = time.perf_counter()
        async with AsyncDispatcher(Router({Hop: [hop]}), journal=SQLiteJournal(path)):
            pass
        assert len(times) == count
        return start

    start = trio.run(finish)
    return times[0] - start, times[-1] - start


def main() -> None:
    """Measure every system that is there, in turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=2, metavar=("SYSTEM", "CASE"))
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    there = [s for s in SYSTEMS if s not in FEWER or find_spec(s)]
    for case in CASES:
        report(case, medians_of(there, case, asked.rounds))
    with tempfile.TemporaryDirectory() as folder:
        first, last = resume(str(Path(folder, "run.db")), 20_000)
    print(f"20,000 open events: first handler after {first:.2f} s, last {last:.2f} s")


def medians_of(systems: list[str], case: str, rounds: int) -> dict[str, float]:
    """Measure systems in turns; return the median of each."""
    figures: dict[str, list[float]] = {system: [] for system in systems}
    for _ in range(rounds):
        for system in systems:
            figure = measured(system, case)
            figures[system] += [] if figure is None else [figure]
    return {s: statistics.median(f) for s, f in figures.items() if f}


def report(case: str, medians: dict[str, float]) -> None:
    """Print one case."""
    print(f"\n{case}")
    own = medians["agentflow"]
    for system, median in medians.items():
        print(
            f"  {system:20} {median:10.0f} us a hop {1e6 / median:10.0f} a second "
            f"{median / own:8.2f} of agentflow's time"
        )


if __name__ == "__main__":
    main()
