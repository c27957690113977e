"""Kills real processes in the middle of durable sessions, and checks what is left.

``python tests/journal/crash_campaign.py FILE --kills 50 --seed 1`` forks a session on FILE,
kills it with SIGKILL after a random time, and begins again, until it has killed as often as
asked; then it lets a session finish, and checks the invariants. Exit status 1 and one line
for each broken one; the seed repeats the times, though not what the machine does in them.
"""

import argparse
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path

import anyio
import trio

from agentflow import AsyncAggregatorAgent, AsyncDispatcher, Event, Retry, Router
from agentflow.journal import SQLiteJournal, once, this_delivery

FLOWS = 40
SCHEMA = "CREATE TABLE IF NOT EXISTS effects (name TEXT, value INTEGER)"


class Order(Event):
    n: int


class Half(Event):
    n: int
    side: str


class Checked(Half):
    price: int


class Whole(Event):
    n: int
    price: int


def effect(name: str, value: int) -> None:
    """Note an effect in the transaction that finishes the event."""
    this_delivery().sql("INSERT INTO effects VALUES (?, ?)", name, value)


async def split(event: Order) -> list[Half]:
    """Make two halves, which are checked side by side."""
    effect(f"split {event.n}", event.n)
    return [Half(source="split", n=event.n, side=side) for side in ("left", "right")]


class Unsteady(Exception):
    """What the checker fails with now and then."""


async def check(event: Half) -> Checked:
    """Price a half, and fail now and then."""
    price = await once("price", lambda: price_of(event.n))
    if this_delivery().attempt == 1 and event.n % 5 == 0:
        raise Unsteady
    await anyio.sleep(0.001 * (event.n % 3))
    effect(f"{event.side} {event.n}", price)
    return Checked(source="check", n=event.n, side=event.side, price=price)


async def price_of(n: int) -> int:
    """Ask nobody."""
    return 10 * n


class Combine(AsyncAggregatorAgent):
    """Puts the halves together."""

    event_types_needed = (Checked, Checked)

    async def process_events(self, events: list[Event]) -> Whole:
        one, other = events
        assert isinstance(one, Checked)
        assert isinstance(other, Checked)
        effect(f"combine {one.n}", one.price + other.price)
        return Whole(source="combine", n=one.n, price=one.price + other.price)


async def archive(event: Whole) -> None:
    """Note the end of a flow."""
    effect(f"whole {event.n}", event.price)


def make_router() -> Router:
    """Return the routes of the workload."""
    router = Router({Order: [split], Whole: [archive]})
    router.add_route(
        Half,
        check,
        when=lambda half: type(half) is Half,
        retry=Retry(attempts=3, on=Unsteady, initial=0.002, maximum=0.01),
    )
    router.add_route(Checked, Combine())
    return router


async def live(path: str, rounds: int) -> None:
    """Send every order of so many rounds, once however often this runs; finish them."""
    journal = SQLiteJournal(path, schema=SCHEMA)
    async with (
        AsyncDispatcher(make_router(), journal=journal) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        for n in range(max(0, rounds - 2) * FLOWS, rounds * FLOWS):
            tasks.start_soon(send_one, dispatcher, n)


async def send_one(dispatcher: AsyncDispatcher, n: int) -> None:
    """Send an order; every tenth of them twice."""
    for _ in range(1 + (n % 10 == 0)):
        await dispatcher.send(Order(source="test", n=n), key=f"order {n}")


def fork_life(path: str, rounds: int) -> int:
    """Begin a session in a process of its own; return its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            trio.run(live, path, rounds)
            status = 0
        finally:
            os._exit(status)
    return child


def campaign(path: str, kills: int, rng: random.Random) -> int:
    """Kill so many sessions, then let one finish; return how many rounds that took."""
    rounds = 1
    while kills:
        child = fork_life(path, rounds)
        time.sleep(rng.uniform(0.0, 0.3))
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"a session ended with {status}"
            rounds += 1
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills -= 1
    _, status = os.waitpid(fork_life(path, rounds), 0)
    assert status == 0, f"the last session ended with {status}"
    return rounds


def broken(path: str, rounds: int) -> list[str]:
    """Return the invariants that do not hold."""
    problems: list[str] = []
    journal = SQLiteJournal(path, schema=SCHEMA)
    problems += trio.run(journal.check)
    flows = trio.run(journal.flows)
    problems += [f"flow {f.id} is {f.status}, {f.open} open" for f in flows if f.open]
    problems += [f"flow {f.id} is {f.status}" for f in flows if f.status != "done"]
    problems += [f"{letter} is dead" for letter in trio.run(journal.dead_letters)]
    with sqlite3.connect(path) as db:
        found = Counter(db.execute("SELECT name, value FROM effects").fetchall())
    db.close()
    expected = Counter(
        effect
        for n in range(rounds * FLOWS)
        for effect in (
            (f"split {n}", n),
            (f"left {n}", 10 * n),
            (f"right {n}", 10 * n),
            (f"combine {n}", 20 * n),
            (f"whole {n}", 20 * n),
        )
    )
    problems += [f"missing: {what}" for what in expected - found]
    problems += [f"too often: {what}" for what in found - expected]
    if len(flows) != rounds * FLOWS:
        problems.append(f"{len(flows)} flows instead of {rounds * FLOWS}")
    return problems


def main() -> None:
    """Run a campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    path = str(options.path)
    rounds = campaign(path, options.kills, random.Random(options.seed))
    problems = broken(path, rounds)
    summary = f"{options.kills} kills, {rounds * FLOWS} flows, {len(problems)} problems"
    sys.stdout.write("\n".join((summary, *problems, "")))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
