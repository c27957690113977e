"""SQLite as the journal's disk: files that cannot be used, faults, upkeep."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import attrs
import pytest

from agentflow import AsyncDispatcher, JournalError, JournalInUse
from agentflow._steps import Append, Commit, Done, Entry, Key, Memo, Row
from agentflow.journal import SQLiteJournal
from agentflow.journal._schema import VERSION
from agentflow.journal._sqlite_store import SQLiteStore
from agentflow.journal._sqlite_visit import visiting
from agentflow.journal._tidying import Tidying
from tests.fakes import Collector, Ping, forever, router_of
from tests.journal.lives import finish, finish_one, live_shortly, named


def entry(flow: str, *agents: str, size: int = 0) -> Entry:
    """Return an event of a flow of its own."""
    return Entry(
        id=flow, flow=flow, parent=None, kind="K@1", body="x" * size, agents=agents
    )


def test_a_second_owner_of_a_file_is_refused(tmp_path: Path) -> None:
    """(J14) Until the first has let go of it."""
    path = str(tmp_path / "run.db")
    first = SQLiteStore(path)
    with pytest.raises(JournalInUse, match="one at a time"):
        SQLiteStore(path)
    with visiting(path) as looking:
        assert looking.flows() == []
    first.shut()
    SQLiteStore(path).shut()


def test_what_a_delivery_has_kept_goes_with_it() -> None:
    """(J8) The file does not grow with each step that is made once."""
    store = SQLiteStore(":memory:")
    owner = store.open(0.0).owner
    key = Key("f", "f", "a")
    store.apply(owner, [Append(entries=(entry("f", "a"),), fresh=True)], 0.0)
    store.apply(owner, [Memo(key=key, name="once:n", value="1")], 0.0)
    store.apply(owner, [Commit(key=key, fresh=True)], 0.0)
    assert store.db.execute("SELECT * FROM agentflow_memos").fetchall() == []
    store.shut()


def test_a_commit_with_thousands_of_outputs_is_one(tmp_path: Path) -> None:
    """(J2) More rows than one statement takes are still written together, or not at all."""
    path = str(tmp_path / "run.db")
    store = SQLiteStore(path)
    owner = store.open(0.0).owner
    names = [f"{n:032x}" for n in range(5000)]
    many = tuple(
        Entry(id=name, flow="f", parent="e", kind="K@1", body="", agents=("a",))
        for name in names
    )
    store.apply(owner, [Append(entries=(entry("f", "a"),))], 0.0)
    commit = Commit(key=Key("f", "f", "a"), entries=many, fresh=True)
    (answer,) = store.apply(owner, [commit], 1.0)
    assert answer == Done(new=(True,) * 5000)
    store.db.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON main.agentflow_events "
        "WHEN new.id = '9' BEGIN SELECT RAISE (ABORT, 'no room'); END"
    )
    last = attrs.evolve(many[0], id="9")
    again = tuple(attrs.evolve(entry, id=f"{entry.id}2") for entry in many)
    key = Key("f", names[0], "a")
    with pytest.raises(JournalError, match="no room"):
        store.apply(owner, [Commit(key=key, entries=(*again, last))], 2.0)
    store.shut()
    after = SQLiteStore(path)
    assert [e.id for e in after.events("f")] == ["f", *names]
    assert after.open(3.0).open == 5000
    assert after.check() == []
    after.shut()


def test_what_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    """(J14) A file of another kind, a folder that is not there, another format."""
    text = tmp_path / "notes.txt"
    text.write_text("This is no database, but quite a long text. " * 100)
    with pytest.raises(JournalError, match=r"notes\.txt"):
        SQLiteStore(str(text))
    assert text.read_text().startswith("This is no database")
    with pytest.raises(JournalError, match="missing"):
        SQLiteStore(str(tmp_path / "missing" / "run.db"))
    newer = tmp_path / "newer.db"
    with closing(sqlite3.connect(newer)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(JournalError, match="newer agentflow"):
        SQLiteStore(str(newer))
    older = tmp_path / "older.db"
    with closing(sqlite3.connect(older)) as db:
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(JournalError, match="older agentflow"):
        SQLiteStore(str(older))
    with pytest.raises(JournalError, match=r"refused\.db"):
        SQLiteStore(str(tmp_path / "refused.db"), schema="CREATE TABLE oh no")


def test_an_old_sqlite_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(J14) With the version it takes."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 0))
    with pytest.raises(JournalError, match=r"3\.38"):
        SQLiteStore(str(tmp_path / "run.db"))


def test_settings_that_make_no_sense_are_refused() -> None:
    """(J14) When they are made."""
    with pytest.raises(JournalError, match="synchronous"):
        SQLiteJournal("run.db", synchronous="off")  # type: ignore[arg-type]
    for name in ("keep", "max_size"):
        with pytest.raises(JournalError, match=name):
            SQLiteJournal("run.db", **{name: -1})  # type: ignore[arg-type]
    assert repr(SQLiteJournal("run.db")) == "SQLiteJournal('run.db')"


def test_a_damaged_file_is_refused_at_the_start(tmp_path: Path) -> None:
    """(J16) Rather than found out in the middle; a backup of it goes on."""
    path = str(tmp_path / "run.db")
    store = SQLiteStore(path)
    owner = store.open(0).owner
    steps = [Append(entries=(entry(f"f{n}", "a", size=300),)) for n in range(300)]
    store.apply(owner, steps, 0)
    store.backup(str(tmp_path / "copy.db"))
    store.shut()
    size = Path(path).stat().st_size
    with Path(path).open("r+b") as file:  # a page that was torn in the middle
        file.seek(size // 2)
        file.write(b"\xff" * 4096)
    with pytest.raises(JournalError, match=r"damaged|malformed"):
        SQLiteStore(path)
    copy = SQLiteStore(str(tmp_path / "copy.db"))
    assert copy.open(1).open == 300
    assert copy.check() == []
    copy.shut()


def test_the_check_finds_counters_that_are_wrong(tmp_path: Path) -> None:
    """(J16) And says of which flow."""
    store = SQLiteStore(str(tmp_path / "run.db"))
    store.apply(store.open(0).owner, [Append(entries=(entry("f", "a"),))], 0)
    store.db.execute("UPDATE agentflow_flows SET open = 2")
    assert store.check() == ["flow f counts 2 open deliveries and has 1"]
    store.shut()


def test_a_backup_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """(J16) It names the copy."""
    store = SQLiteStore(str(tmp_path / "run.db"))
    with pytest.raises(JournalError, match="nowhere"):
        store.backup(str(tmp_path / "nowhere" / "copy.db"))
    store.shut()


def test_old_flows_are_dropped_by_age_and_by_size(tmp_path: Path) -> None:
    """(J17) What is open, or a dead letter, stays."""
    store = SQLiteStore(str(tmp_path / "run.db"))
    owner = store.open(0).owner
    for n in range(60):
        agents = ("a",) if n == 0 else ()
        step = Append(entries=(entry(f"f{n:02}", *agents, size=4000),))
        store.apply(owner, [step], float(n))
    assert store.prune(10.0) == 9
    before = store.size()
    tidy(store, max_size=before // 2)
    assert store.size() <= before // 2
    left = [flow.id for flow in store.flows()]
    assert left[0] == "f00"
    assert left[-1] == "f59"
    assert len(left) > 10
    tidy(store, max_size=0)
    assert [flow.id for flow in store.flows()] == ["f00"]
    store.shut()


def tidy(
    store: SQLiteStore, *, keep: float | None = None, max_size: int | None = None
) -> list[int]:
    """Clear a store at the time 1; return how many flows it had after each piece."""
    tidying = Tidying(store, keep=keep, max_size=max_size, clock=lambda: 1.0)
    left = [len(store.flows())]
    while tidying():
        left.append(len(store.flows()))
    return left


def test_a_flow_that_goes_on_while_others_are_cleared_stays(tmp_path: Path) -> None:
    """(J17) It was over when the flows to drop were looked for."""
    store = SQLiteStore(str(tmp_path / "run.db"))
    owner = store.open(0).owner
    steps = [Append(entries=(entry(f"f{n:04}"),)) for n in range(400)]
    store.apply(owner, steps, 0.0)
    tidying = Tidying(store, keep=0, max_size=None, clock=lambda: 1.0)
    assert tidying()
    (*_, open_again, over_again) = [flow.id for flow in store.flows()]
    for flow, agents in ((open_again, ("a",)), (over_again, ())):
        again = attrs.evolve(entry(f"{flow}+", *agents), flow=flow)
        store.apply(owner, [Append(entries=(again,))], 2.0)
    assert tidying()
    assert not tidying()
    assert {flow.id for flow in store.flows()} == {open_again, over_again}
    store.shut()


def test_a_journal_is_cleared_a_little_at_a_time(tmp_path: Path) -> None:
    """(J17) So that nothing waits long, and the log stays small; the file shrinks too."""
    path = tmp_path / "run.db"
    store = SQLiteStore(str(path))
    owner = store.open(0).owner
    steps = [Append(entries=(entry(f"f{n:04}", size=2000),)) for n in range(1000)]
    store.apply(owner, steps, 0.0)
    assert tidy(store, keep=0) == [1000, 800, 600, 400, 200, 0]
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    full = path.stat().st_size
    assert set(tidy(store, max_size=0)) == {0}
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < full // 10
    store.shut()


async def test_a_session_clears_its_journal_while_it_works(tmp_path: Path) -> None:
    """(J17) Piece by piece, until nothing old is left."""
    path = tmp_path / "run.db"
    store = SQLiteStore(str(path))
    owner = store.open(0).owner
    steps = [Append(entries=(entry(f"f{n:04}"),)) for n in range(900)]
    store.apply(owner, steps, 0.0)
    store.close(owner)
    store.shut()
    journal = SQLiteJournal(path, keep=60)
    router = router_of((Ping, Collector()))
    async with AsyncDispatcher(router, journal=journal) as dispatcher:
        assert len(await journal.flows()) <= 700
        for _ in range(4):
            await dispatcher.send(Ping(source="x"))
    assert len(await journal.flows()) == 4


async def test_a_session_drops_old_flows_when_it_begins_and_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(J17) As its journal's `keep` and `max_size` say."""
    monkeypatch.setattr("agentflow.journal._link.TIDY_EVERY", -1.0)
    router = router_of((Ping, Collector()))
    path = tmp_path / "run.db"
    await finish_one(router, SQLiteJournal(path), Ping(source="x"))
    assert len(await SQLiteJournal(path).flows()) == 1
    brief = SQLiteJournal(path, keep=0, max_size=1)
    await finish_one(router, brief, Ping(source="x"))
    async with AsyncDispatcher(router, journal=brief):
        pass
    assert await brief.flows() == []
    forever_kept = SQLiteJournal(path, keep=None)
    await finish_one(router, forever_kept, Ping(source="x"))
    assert len(await forever_kept.flows()) == 1
    await brief.backup(tmp_path / "copy.db")
    assert await SQLiteJournal(tmp_path / "copy.db").check() == []
    (flow,) = await forever_kept.flows()
    assert await forever_kept.drop(flow.id) == 0
    assert await forever_kept.flows() == []


def test_a_full_database_is_an_error_of_the_journal_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """(J16) Even when it is the user's row that finds it full."""
    store = SQLiteStore(
        str(tmp_path / "run.db"), schema="CREATE TABLE IF NOT EXISTS big (text)"
    )
    owner = store.open(0).owner
    store.apply(owner, [Append(entries=(entry("f", "a"),))], 0)
    (pages,) = store.db.execute("PRAGMA page_count").fetchone()
    store.db.execute(f"PRAGMA max_page_count = {pages + 2}")
    row = Row(statement="INSERT INTO big VALUES (?)", parameters=("x" * 100_000,))
    full = Commit(key=Key("f", "f", "a"), rows=(row,))
    with pytest.raises(JournalError, match="full"):
        store.apply(owner, [full], 1)
    (flow,) = store.flows()
    assert (flow.status, flow.open) == ("open", 1)
    store.shut()


async def test_a_session_whose_disk_fails_says_so_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(J16) Senders, waiters and the session's end get the error; nothing is lost."""
    stores: list[SQLiteStore] = []

    class Seen(SQLiteStore):
        def __init__(self, path: str, **options: Any) -> None:
            super().__init__(path, **options)
            stores.append(self)

    monkeypatch.setattr("agentflow.journal._journals.SQLiteStore", Seen)
    journal = SQLiteJournal(tmp_path / "run.db")
    router = router_of((Ping, forever))
    with pytest.RaisesGroup(KeyError, JournalError):
        async with AsyncDispatcher(router, journal=journal) as dispatcher:
            await dispatcher.send(Ping(source="x", n=1))
            dispatcher.dispatch(Ping(source="x", n=2))
            await dispatcher.wait_for_empty_queue(timeout=0.1)
            stores[0].db.execute("PRAGMA max_page_count = 1")
            with pytest.raises(JournalError, match="full"):
                await dispatcher.send(Ping(source="x" * 1_000_000, n=3))
            with pytest.raises(JournalError, match="full"):
                await dispatcher.send(Ping(source="x", n=4))
            with pytest.raises(JournalError, match="full"):
                await dispatcher.wait_for_empty_queue()
            raise KeyError
    collector = named("forever")
    await finish(router_of((Ping, collector)), journal)
    assert collector.numbers() == [1, 2]


async def test_the_journal_waits_for_a_lock_and_gives_up_in_the_end(
    tmp_path: Path,
) -> None:
    """(J16) A program that locks the file holds up the session, and loses it nothing."""
    path = tmp_path / "run.db"
    journal = SQLiteJournal(path)
    collector = Collector()
    async with AsyncDispatcher(
        router_of((Ping, collector)), journal=journal
    ) as dispatcher:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            dispatcher.dispatch(Ping(source="x", n=1))
            assert not await dispatcher.wait_for_empty_queue(timeout=0.1)
            other.execute("COMMIT")
        assert await dispatcher.wait_for_empty_queue()
    assert collector.numbers() == [1]


LIMITED = """
import resource, signal, sys, trio
from agentflow import AsyncDispatcher, JournalError
from agentflow.journal import SQLiteJournal
from tests.fakes import Ping, router_of, Collector

async def main():
    sent = 0
    try:
        async with AsyncDispatcher(router_of((Ping, Collector())),
                                   journal=SQLiteJournal(sys.argv[1])) as dispatcher:
            resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            while True:
                await dispatcher.send(Ping(source="y" * 500, n=sent))
                sent += 1
    except* JournalError as error:
        print(sent, error.exceptions[0])

trio.run(main)
"""


def test_a_file_that_may_not_grow_stops_the_session_clean(tmp_path: Path) -> None:
    """(J16) A real limit of the operating system: all that was sent is there after it."""
    path = tmp_path / "run.db"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    sent, _, words = done.stdout.partition(" ")
    assert int(sent) > 10
    assert "cannot be used" in words
    store = SQLiteStore(str(path))
    assert len(store.flows()) >= int(sent)
    assert store.check() == []
    store.shut()


READ_ONLY = """
import os, sys
from agentflow import JournalError
from agentflow.journal._sqlite_store import SQLiteStore
from agentflow.journal._sqlite_visit import visiting
if os.getuid() == 0:
    os.setuid(65534)
try:
    SQLiteStore(sys.argv[1])
except JournalError as error:
    print(error)
"""


def test_a_file_that_may_not_be_written_is_refused() -> None:
    """(J16) At the start, by a user without the right to."""
    folder = Path(mkdtemp())  # not in pytest's, which others may not enter
    path = folder / "run.db"
    SQLiteStore(str(path)).shut()
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=Path(__file__).parents[2],
        )
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    assert "cannot be used" in done.stdout


async def test_dead_letters_and_drops_of_a_file(tmp_path: Path) -> None:
    """(J5) A flow that failed can be dropped with its letters."""
    journal = SQLiteJournal(tmp_path / "run.db")
    await live_shortly(router_of((Ping, forever)), journal, Ping(source="x"))
    (flow,) = await journal.flows()
    assert await journal.drop(flow.id) == 0  # it is open
    assert len(await journal.flows()) == 1


async def test_looking_at_a_journal_that_has_not_begun_makes_none(
    tmp_path: Path,
) -> None:
    """(J16) It is as if it were empty; there is nothing to check or to copy."""
    journal = SQLiteJournal(tmp_path / "run.db")
    assert await journal.flows() == []
    assert await journal.dead_letters() == []
    assert await journal.retry("f") == 0
    assert await journal.drop("f") == 0
    with pytest.raises(JournalError, match="no such file"):
        await journal.check()
    with pytest.raises(JournalError, match="no such file"):
        await journal.backup(tmp_path / "copy.db")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- it is quick


def test_a_torn_tail_of_the_log_is_what_never_happened(tmp_path: Path) -> None:
    """(J16) The write-ahead log, cut or overwritten at a hundred places."""
    source = tmp_path / "source.db"
    store = SQLiteStore(str(source))
    owner = store.open(0).owner
    store.db.execute("PRAGMA wal_autocheckpoint = 0")
    for n in range(40):
        batch = [
            Append(entries=(entry(f"f{n}.{m}", "a", size=50),))
            for m in range(1 + n % 4)
        ]
        store.apply(owner, batch, float(n))
        store.apply(owner, [Commit(key=Key(f"f{n}.0", f"f{n}.0", "a"))], float(n))
    wal = Path(f"{source}-wal").read_bytes()
    whole = source.read_bytes()
    store.shut()
    for cut in range(100):
        torn = tmp_path / f"torn{cut}.db"
        torn.write_bytes(whole)
        at = len(wal) * (cut + 1) // 101
        tail = b"" if cut % 2 else os.urandom(min(4096, len(wal) - at))
        Path(f"{torn}-wal").write_bytes(wal[:at] + tail)
        check_torn(SQLiteStore(str(torn)))
        for left in tmp_path.glob(f"torn{cut}.db*"):
            left.unlink()


def check_torn(store: SQLiteStore) -> None:
    """Check that batches are there in order, each as a whole or not at all."""
    assert store.check() == []
    flows = {flow.id: flow for flow in store.flows()}
    numbers = sorted({int(name[1:].partition(".")[0]) for name in flows})
    assert numbers == list(range(len(numbers)))
    for n in numbers:
        batch = [flows.get(f"f{n}.{m}") for m in range(1 + n % 4)]
        assert all(batch)
        first = batch[0]
        assert first is not None
        if n < len(numbers) - 1:
            assert first.status == "done"
    store.shut()
