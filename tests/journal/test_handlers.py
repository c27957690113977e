"""What handlers of a durable session may ask for: steps, rows, the shared memory."""

import sqlite3
from contextlib import closing
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from agentflow import (
    AsyncDispatcher,
    EncodingError,
    FlowFailed,
    Retry,
    Router,
    SessionError,
    SharedWorkingMemory,
)
from agentflow.journal import (
    SQLiteJournal,
    once,
    this_delivery,
)
from tests.fakes import (
    Collector,
    Ping,
    Pong,
    router_of,
)
from tests.journal.lives import (
    Cut,
    MakeJournal,
    finish,
    finish_one,
    live_shortly,
)


async def test_a_step_made_once_is_not_made_again(make: MakeJournal) -> None:
    """(J8) Not by a retry, and not after a restart; its value is the same."""
    made: list[int] = []
    values: list[object] = []

    async def make_it() -> dict[str, int]:
        made.append(1)
        return {"n": len(made)}

    async def make_event() -> Pong:
        return Pong(source="x", n=9)

    async def handler(event: Ping) -> None:
        values.append(await once("it", make_it))
        event_made = await once("event", make_event)
        assert event_made.n == 9
        if len(values) == 1:
            raise ValueError("again")
        if len(values) == 2:
            await anyio.sleep_forever()

    router = Router()
    router.add_route(Ping, handler, retry=Retry(attempts=2, initial=0))
    await live_shortly(router, make(), Ping(source="x"))
    await finish(router, make())
    assert made == [1]
    assert values == [{"n": 1}] * 3


async def test_a_value_that_would_not_come_back_is_refused(make: MakeJournal) -> None:
    """(J8) Before it is lost, with what to return instead."""

    async def a_set() -> set[int]:
        return {1}

    async def a_tuple() -> tuple[int, ...]:
        return (1,)

    async def handler(event: Ping) -> None:
        for step in (a_set, a_tuple):
            with pytest.raises(EncodingError, match="plain data"):
                await once("it", step)

    await finish_one(router_of((Ping, handler)), make(), Ping(source="x"))


async def test_without_a_journal_a_step_is_just_made() -> None:
    """(J8) The same code runs in both kinds of session."""

    async def five() -> int:
        return 5

    async def handler(event: Ping) -> Pong:
        with pytest.raises(SessionError, match="with a journal"):
            this_delivery()
        return Pong(source="handler", n=await once("five", five))

    async with AsyncDispatcher(router_of((Ping, handler))) as dispatcher:
        assert (await dispatcher.run(Ping(source="x"), Pong)).n == 5
    assert await once("five", five) == 5


async def test_a_step_outside_of_a_handler_is_just_made(make: MakeJournal) -> None:
    """(J8) There is no event that it could be kept with."""

    async def five() -> int:
        return 5

    async def handler(event: Ping) -> None:
        values.append(await once("five", five))
        context = copy_context()
        send_out.append(context)

    values: list[int] = []
    send_out: list[Context] = []
    await finish_one(router_of((Ping, handler)), make(), Ping(source="x"))
    assert values == [5]
    outcome = send_out[0].run(lambda: once("five", five))
    assert await outcome == 5


async def test_the_key_of_a_delivery_is_the_same_at_each_attempt(
    make: MakeJournal,
) -> None:
    """(J8) And another for each event and agent."""
    keys: list[str] = []

    async def one(event: Ping) -> None:
        keys.append(this_delivery().key)
        if len(keys) == 1:
            await anyio.sleep_forever()

    router = router_of((Ping, one))
    await live_shortly(router, make(), Ping(source="x"))
    await finish(router, make())
    assert keys[0] == keys[1]
    assert keys[0].endswith("/one")


async def test_rows_are_written_with_the_end_of_the_event(tmp_path: Path) -> None:
    """(J9) In one transaction: once, or not at all."""
    schema = "CREATE TABLE IF NOT EXISTS orders (n INTEGER UNIQUE)"
    path = tmp_path / "run.db"
    tries: list[int] = []

    async def book(event: Ping) -> Pong:
        tries.append(event.n)
        this_delivery().sql("INSERT INTO orders VALUES (?)", event.n)
        if len(tries) == 1:
            await anyio.sleep_forever()
        return Pong(source="book")

    router = router_of((Ping, book))
    await live_shortly(router, SQLiteJournal(path, schema=schema), Ping(source="x"))
    assert await rows_of(path) == []
    await finish(router, SQLiteJournal(path, schema=schema))
    assert await rows_of(path) == [(0,)]


async def rows_of(path: Path) -> list[Any]:
    """Return the user's rows."""

    def read() -> list[Any]:
        with closing(sqlite3.connect(path)) as db:
            return db.execute("SELECT n FROM orders").fetchall()

    return await anyio.to_thread.run_sync(read)


async def test_a_row_in_error_is_the_handlers_error(tmp_path: Path) -> None:
    """(J9) Nothing of its event is committed, and a retry starts with no rows."""
    schema = "CREATE TABLE IF NOT EXISTS orders (n INTEGER UNIQUE)"
    collector = Collector()

    async def book(event: Ping) -> Pong:
        this_delivery().sql("INSERT INTO orders VALUES (?)", event.n)
        if this_delivery().attempt == 1:
            this_delivery().sql("INSERT INTO no_such_table VALUES (1)")
        return Pong(source="book", n=event.n)

    router = router_of((Pong, collector))
    router.add_route(Ping, book, retry=Retry(attempts=2, initial=0))
    journal = SQLiteJournal(tmp_path / "run.db", schema=schema)
    await finish_one(router, journal, Ping(source="x", n=4))
    assert await rows_of(tmp_path / "run.db") == [(4,)]
    assert collector.numbers() == [4]
    with pytest.raises(FlowFailed) as failed:
        await finish_one(router, journal, Ping(source="x", n=4))
    assert "UNIQUE" in str(failed.value.exceptions[0])


async def test_the_shared_memory_survives_and_changes_once(make: MakeJournal) -> None:
    """(J10) Merges and transactions, from handlers and from outside."""

    async def handler(event: Ping) -> None:
        memory = dispatcher.shared_working_memory
        memory.merge_to_working_memory({"seen": {event.source: True}})
        async with memory.transaction() as facts:
            facts["count"] = facts.get("count", 0) + 1
            facts.pop("old", None)
        tries.append(1)
        if len(tries) == 1:
            await anyio.sleep_forever()

    tries: list[int] = []
    router = router_of((Ping, handler))
    memory = SharedWorkingMemory({"old": 1, "kept": [1, 2]})
    with pytest.raises(Cut):
        async with AsyncDispatcher(
            router, journal=make(), shared_working_memory=memory
        ) as dispatcher:
            memory.merge_to_working_memory({"outside": None})
            await dispatcher.send(Ping(source="x"))
            await anyio.sleep(0.01)
            raise Cut
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.shared_working_memory.get_working_memory() == {
            "kept": [1, 2],
            "outside": None,
            "seen": {"x": True},
            "count": 1,
        }
    assert tries == [1, 1]


async def test_a_fact_that_would_not_come_back_is_refused(make: MakeJournal) -> None:
    """(J10) When it is merged, not when it is missed."""
    async with AsyncDispatcher(Router(), journal=make()) as dispatcher:
        memory = dispatcher.shared_working_memory
        for facts in ({"a": {1, 2}}, {"a": (1,)}, {1: "a"}):
            with pytest.raises(EncodingError, match="plain data"):
                memory.merge_to_working_memory(facts)  # type: ignore[arg-type]
        with pytest.raises(EncodingError, match="plain data"):
            async with memory.transaction() as draft:
                draft["a"] = object
        assert memory.get_working_memory() == {}
