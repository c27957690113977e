"""Disks that fail, fill up and dawdle, under the real SQLite: nothing told is lost."""

import sqlite3
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest

from agentflow import AsyncDispatcher, JournalError, Router
from agentflow.journal import SQLiteJournal
from agentflow.journal._sqlite_store import SQLiteStore
from tests.fakes import Boom, Collector, Ping, Pong, fail, forever, router_of
from tests.journal.faulty_disk import Disk, Fault, What, Where, faulty_disk, why_not
from tests.journal.lives import Cut, answer, finish, named

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be")

FAILURES: dict[str, tuple[Where, What]] = {
    "fsync": ("fsync", "eio"),
    "write": ("write", "eio"),
    "full": ("write", "enospc"),
    "read": ("read", "eio"),
}


@pytest.fixture
def disk() -> Generator[Disk]:
    """Put a faulty disk under "run.db"."""
    with faulty_disk("run.db") as made:
        yield made


async def try_to_live(
    router: Router, journal: SQLiteJournal, numbers: range, told: list[int]
) -> bool:
    """Send some, note which sends returned; return whether the journal failed."""
    failed = False
    try:
        async with AsyncDispatcher(router, journal=journal) as dispatcher:
            for n in numbers:
                await dispatcher.send(Ping(source="x", n=n), key=f"ping {n}")
                told.append(n)
    except* JournalError:  # whatever else there is comes out
        failed = True
    return failed


@pytest.mark.parametrize("name", FAILURES)
async def test_whichever_call_of_the_disk_fails_nothing_told_is_lost(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """(J16) The opening, batches, upkeep, the end: each may fail, once, and says so."""
    monkeypatch.setattr("agentflow.journal._link.TIDY_EVERY", -1.0)
    where, what = FAILURES[name]
    journal = SQLiteJournal(tmp_path / "run.db", keep=0)
    collector, told, failed = Collector(), list[int](), 0
    router = router_of((Ping, answer), (Pong, collector))
    assert not await try_to_live(router, journal, range(3), told)
    calls = disk.calls[where]
    assert calls > 3
    for at in range(1, calls + 1, 1 + calls // 10):
        fault = Fault(where, what, at=at, once=True, forgets=where == "fsync")
        disk.set(fault)
        new = range(10 * at, 10 * at + 3)
        failed += await try_to_live(router, journal, new, told)
        disk.set(None)
        await finish(router, journal)
    assert set(told) <= set(collector.numbers())
    assert failed > calls // 100
    assert await journal.check() == []


@pytest.mark.parametrize("name", ["fsync", "write", "full"])
async def test_a_disk_that_fails_for_a_moment_ends_the_session_all_the_same(
    tmp_path: Path, disk: Disk, name: str
) -> None:
    """(J16) It may have forgotten something, so nothing is called durable after that."""
    where, what = FAILURES[name]
    journal = SQLiteJournal(tmp_path / "run.db")
    with pytest.RaisesGroup(KeyError, JournalError):
        async with AsyncDispatcher(
            router_of((Ping, forever)), journal=journal
        ) as dispatcher:
            await dispatcher.send(Ping(source="x", n=1))
            disk.set(Fault(where, what, once=True, forgets=where == "fsync"))
            await is_refused(partial(dispatcher.send, Ping(source="x", n=2)))
            await is_refused(partial(dispatcher.send, Ping(source="x", n=3)))
            await is_refused(dispatcher.wait_for_empty_queue)
            assert disk.hits == 1
            raise KeyError
    collector = named("forever")
    await finish(router_of((Ping, collector)), journal)
    assert collector.numbers() == [1]


async def test_a_slow_disk_slows_down_who_sends_and_fails_nobody(
    tmp_path: Path,
    disk: Disk,
) -> None:
    """(J16) Each send waits for its own fsync; those side by side share one."""
    journal = SQLiteJournal(tmp_path / "run.db")
    collector = Collector()
    async with AsyncDispatcher(
        router_of((Ping, collector)), journal=journal
    ) as dispatcher:
        disk.set(Fault("fsync", "slow", seconds=0.1))
        began = time.monotonic()
        await dispatcher.send(Ping(source="x", n=1))
        assert time.monotonic() - began >= 0.1
        async with anyio.create_task_group() as tasks:
            for n in range(2, 30):
                tasks.start_soon(dispatcher.send, Ping(source="x", n=n))
        assert await dispatcher.wait_for_empty_queue()
        assert time.monotonic() - began < 2.0  # thirty of them would take 3
        disk.set(None)
    assert sorted(collector.numbers()) == list(range(1, 30))


async def test_a_deadline_strikes_in_time_on_a_slow_disk(
    tmp_path: Path, disk: Disk
) -> None:
    """(J16) The owner waits no longer than for the fsync that runs; the flow has ended."""
    journal = SQLiteJournal(tmp_path / "run.db")
    with pytest.raises(Cut):
        async with AsyncDispatcher(
            router_of((Ping, forever)), journal=journal
        ) as dispatcher:
            disk.set(Fault("fsync", "slow", seconds=0.2))
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await own_a_flow(dispatcher, 0.3)
            assert time.monotonic() - began < 2.0
            await dispatcher.send(Ping(source="x", n=2))
            disk.set(None)
            raise Cut
    flows = await journal.flows()
    assert sorted(flow.status for flow in flows) == ["cancelled", "open"]


async def own_a_flow(dispatcher: AsyncDispatcher, seconds: float) -> None:
    """Wait for a flow no longer than so many seconds."""
    with anyio.fail_after(seconds):
        async with dispatcher.open_flow(Ping(source="x", n=1)):
            await dispatcher.wait_for_empty_queue()


async def test_cancelling_does_not_wait_for_a_slow_disk_more_than_it_must(
    tmp_path: Path,
    disk: Disk,
) -> None:
    """(J16) The batch that is being written, and what was queued behind it."""
    journal = SQLiteJournal(tmp_path / "run.db")
    told: list[int] = []
    began = time.monotonic()
    with anyio.move_on_after(0.5) as scope:
        async with AsyncDispatcher(
            router_of((Ping, forever)), journal=journal
        ) as dispatcher:
            disk.set(Fault("fsync", "slow", seconds=0.1))
            for n in range(100):
                await dispatcher.send(Ping(source="x", n=n))
                told.append(n)
    assert scope.cancelled_caught
    assert time.monotonic() - began < 4.0
    assert len(told) >= 2
    collector = named("forever")
    await finish(router_of((Ping, collector)), journal)
    assert set(told) <= set(collector.numbers())


@pytest.mark.parametrize("look", ["flows", "dead_letters", "check", "backup", "drop"])
async def test_who_looks_at_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, disk: Disk, look: str
) -> None:
    """(J16) With the journal's error, at whichever page it happens."""
    journal = SQLiteJournal(tmp_path / "run.db")
    await finish(router_of((Ping, Collector())), journal)
    looks: dict[str, Callable[[], Awaitable[object]]] = {
        "backup": partial(journal.backup, tmp_path / "copy.db"),
        "drop": partial(journal.drop, "f"),
    }
    ask = looks.get(look) or getattr(journal, look)
    disk.set(None)
    await ask()
    calls = disk.calls["read"]
    for at in range(1, calls + 1, 1 + calls // 5):
        disk.set(Fault("read", at=at))
        await is_refused(ask)
        assert disk.hits
        disk.hits = 0
        disk.set(None)
    assert await journal.check() == []


async def is_refused(ask: Callable[[], Awaitable[object]]) -> None:
    """Check that it ends with the journal's error, which says why."""
    with pytest.raises(JournalError, match=r"disk|damaged"):
        await ask()


async def test_a_flow_that_cannot_be_looked_up_is_an_error_of_the_journal(
    tmp_path: Path,
    disk: Disk,
) -> None:
    """(J16) And may be asked for again, when the disk works again."""
    path = tmp_path / "run.db"
    async with AsyncDispatcher(
        router_of((Ping, Collector())), journal=SQLiteJournal(path)
    ) as dispatcher:
        sent = await dispatcher.send(Ping(source="x", n=1))
        flow = sent.correlation_id
        assert await dispatcher.wait_for_empty_queue()
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE mine (n)")  # SQLite's cache is old now
        disk.set(Fault("read"))
        with pytest.raises(JournalError, match="disk"):
            async with dispatcher.open_flow(correlation_id=flow):
                pass
        disk.set(None)
        async with dispatcher.open_flow(correlation_id=flow):
            pass


async def test_upkeep_that_fails_ends_the_session_as_a_batch_does(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(J16) Who sends after that is told."""
    monkeypatch.setattr("agentflow.journal._link.TIDY_EVERY", -1.0)
    journal = SQLiteJournal(tmp_path / "run.db", keep=0)
    forget = SQLiteStore.forget
    with pytest.raises(JournalError, match="disk"):
        async with AsyncDispatcher(
            router_of((Ping, Collector())), journal=journal
        ) as dispatcher:

            def forget_badly(
                store: SQLiteStore, flows: Sequence[int], before: float
            ) -> int:
                disk.set(Fault("write"))
                try:
                    return forget(store, flows, before)
                finally:
                    disk.set(None)

            await dispatcher.send(Ping(source="x", n=1))
            assert await dispatcher.wait_for_empty_queue()
            monkeypatch.setattr(SQLiteStore, "forget", forget_badly)
            with pytest.raises(JournalError, match="disk"):
                await send_and_wait(dispatcher, range(2, 9))
            with pytest.raises(JournalError, match="disk"):
                await dispatcher.send(Ping(source="x", n=9))


async def send_and_wait(dispatcher: AsyncDispatcher, numbers: range) -> None:
    """Send one event after another, each when the one before is finished."""
    for n in numbers:
        await dispatcher.send(Ping(source="x", n=n))
        await dispatcher.wait_for_empty_queue()


async def test_a_flow_does_not_fail_when_that_cannot_be_noted(
    tmp_path: Path, disk: Disk
) -> None:
    """(J16) A handler that raises after the disk has failed runs again, the next time."""
    journal = SQLiteJournal(tmp_path / "run.db")
    broken = anyio.Event()

    async def handler(event: Ping) -> None:
        with anyio.CancelScope(shield=True):
            await broken.wait()
        raise ValueError

    with pytest.raises(JournalError, match="disk"):
        async with AsyncDispatcher(
            router_of((Ping, handler)), journal=journal
        ) as dispatcher:
            await dispatcher.send(Ping(source="x", n=1))
            disk.set(Fault("write"))
            await is_refused(partial(dispatcher.send, Ping(source="x", n=2)))
            disk.set(None)
            broken.set()
    collector = named("handler")
    await finish(router_of((Ping, collector)), journal)
    assert collector.numbers() == [1]


async def test_a_failed_flow_does_not_hide_that_the_disk_has_failed(
    tmp_path: Path, disk: Disk
) -> None:
    """(J16) The session ends with both."""
    journal = SQLiteJournal(tmp_path / "run.db")
    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError), JournalError):
        async with AsyncDispatcher(
            router_of((Boom, fail), (Ping, Collector())), journal=journal
        ) as dispatcher:
            await dispatcher.send(Boom(source="x"))
            await anyio.sleep(0.1)
            disk.set(Fault("write"))
            await is_refused(partial(dispatcher.send, Ping(source="x", n=2)))
            disk.set(None)
    assert [letter.reason for letter in await journal.dead_letters()]
