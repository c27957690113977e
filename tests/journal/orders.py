"""What the real processes of the crash campaigns do, and what must have come of it.

Beside the journal a life writes a file of what it was *told*: which sends had returned, and
which effects must be on disk because a handler further on has begun. Whatever happens to
the process then, or to its disk, all of that must be there.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import anyio
import trio

from agentflow import AsyncAggregatorAgent, AsyncDispatcher, Event, Retry, Router
from agentflow.journal import SQLiteJournal, once, this_delivery

FLOWS = 40
"""In a round; a life sends those of its own round and of the one before."""

SENDERS = 8
"""How many send side by side, one order after another each: this makes many commits."""

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


class Unsteady(Exception):
    """What the checker fails with now and then."""


class Told:
    """The file of what a life was told.

    Args:
        path: Of the journal.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(f"{path}.told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, what: str) -> None:
        """Write a line; a process that is killed after this has written it."""
        os.write(self._file, f"{what}\n".encode())


def effect(name: str, value: int) -> None:
    """Note an effect in the transaction that finishes the event."""
    this_delivery().sql("INSERT INTO effects VALUES (?, ?)", name, value)


async def split(event: Order) -> list[Half]:
    """Make two halves, which are checked side by side."""
    effect(f"split {event.n}", event.n)
    return [Half(source="split", n=event.n, side=side) for side in ("left", "right")]


async def price_of(n: int) -> int:
    """Ask nobody."""
    return 10 * n


class Combine(AsyncAggregatorAgent):
    """Puts the halves together."""

    event_types_needed = (Checked, Checked)

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    async def process_events(self, events: list[Event]) -> Whole:
        one, other = events
        assert isinstance(one, Checked)
        assert isinstance(other, Checked)
        for half in (one, other):
            self._told(f"did {half.side} {half.n}")
        effect(f"combine {one.n}", one.price + other.price)
        return Whole(source="combine", n=one.n, price=one.price + other.price)


def make_router(told: Told) -> Router:
    """Return the routes of the workload."""

    async def check(event: Half) -> Checked:
        """Price a half, and fail now and then."""
        told(f"did split {event.n}")
        price = await once("price", lambda: price_of(event.n))
        if this_delivery().attempt == 1 and event.n % 5 == 0:
            raise Unsteady
        await anyio.sleep(0.001 * (event.n % 3))
        effect(f"{event.side} {event.n}", price)
        return Checked(source="check", n=event.n, side=event.side, price=price)

    async def archive(event: Whole) -> None:
        """Note the end of a flow."""
        told(f"did combine {event.n}")
        effect(f"whole {event.n}", event.price)

    router = Router({Order: [split], Whole: [archive]})
    router.add_route(
        Half,
        check,
        when=lambda half: type(half) is Half,
        retry=Retry(attempts=3, on=Unsteady, initial=0.01, maximum=0.03),
    )
    router.add_route(Checked, Combine(told))
    return router


def journal_of(path: str) -> SQLiteJournal:
    """Return the journal of a campaign."""
    # More than the clocks of a campaign jump: nothing may be dropped as too old.
    return SQLiteJournal(path, schema=SCHEMA, keep=5 * 3600.0)


async def live(path: str, rounds: int) -> None:
    """Send the orders of two rounds, each once however often this runs; finish them."""
    told = Told(path)
    orders = iter(range(max(0, rounds - 2) * FLOWS, rounds * FLOWS))

    async def send() -> None:
        for n in orders:
            for _ in range(1 + (n % 10 == 0)):  # every tenth of them twice
                order = Order(source="test", n=n)
                accepted = await dispatcher.send(order, key=f"order {n}")
                told(f"sent {accepted.correlation_id}")

    async with (
        AsyncDispatcher(make_router(told), journal=journal_of(path)) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(SENDERS):
            tasks.start_soon(send)


# -- what must have come of it


def effects(path: str) -> Counter[tuple[str, int]]:
    """Return what was done, and how often."""
    with closing(sqlite3.connect(path)) as db:
        return Counter(db.execute("SELECT name, value FROM effects").fetchall())


def lost(path: str) -> list[str]:
    """Return what was told to lives on this file and is not there."""
    told = Path(f"{path}.told")
    if not told.exists():
        return []
    lines = set(told.read_text(encoding="utf-8").splitlines())
    flows = {f"sent {flow.id}" for flow in trio.run(journal_of(path).flows)}
    done = {f"did {name}" for name, _ in effects(path)}
    return [f"lost: {line}" for line in sorted(lines - flows - done)]


def whole_flow(n: int) -> tuple[tuple[str, int], ...]:
    """Return the effects of an order."""
    return (
        (f"split {n}", n),
        (f"left {n}", 10 * n),
        (f"right {n}", 10 * n),
        (f"combine {n}", 20 * n),
        (f"whole {n}", 20 * n),
    )


def broken(
    path: str,
    orders: Iterable[int],
    *,
    of_order: Callable[[int], Iterable[tuple[str, int]]] = whole_flow,
    dead: int = 0,
) -> list[str]:
    """Return the invariants that do not hold when everything is finished.

    Args:
        path: Of the journal.
        orders: All that were sent.
        of_order: The effects of each.
        dead: How many flows must have failed.
    """
    journal = journal_of(path)
    problems = trio.run(journal.check)
    flows = trio.run(journal.flows)
    problems += [f"flow {f.id} is {f.status}, {f.open} open" for f in flows if f.open]
    status = Counter(flow.status for flow in flows)
    sent = list(orders)
    if status != +Counter({"done": len(sent) - dead, "failed": dead}):
        problems.append(f"{len(sent)} orders, {dead} to fail, came to {dict(status)}")
    letters = trio.run(journal.dead_letters)
    if len({letter.key.flow for letter in letters}) != dead:
        problems += [f"{letter.key} is dead: {letter.reason}" for letter in letters]
    expected = Counter(effect for n in sent for effect in of_order(n))
    found = effects(path)
    problems += [f"missing: {what}" for what in sorted(expected - found)]
    problems += [f"too often: {what}" for what in sorted(found - expected)]
    return problems
