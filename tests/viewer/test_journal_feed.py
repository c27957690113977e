"""A journal as the page gets it: real sessions on real files, without a browser."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from agentflow import AsyncDispatcher, JournalError
from agentflow._steps import Append, Commit, Cut, Entry, Fail, Key, Memo
from agentflow.journal import SQLiteJournal
from agentflow.journal._sqlite_store import SQLiteStore
from agentflow.journal._sqlite_visit import visiting
from agentflow.viewer._feed import END, STILL_HERE
from agentflow.viewer._journal_feed import JournalFeed, Watch
from agentflow.viewer._source import feed_of
from tests.cli.durable_shop import Answer, live, order, shop

Line = dict[str, Any]


class Reader:
    """A page that takes what comes.

    Attributes:
        messages: What has come.
    """

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def take(self, data: bytes) -> None:
        """Take a message."""
        self.messages.append(data)
        await anyio.lowlevel.checkpoint()

    @property
    def records(self) -> list[Line]:
        """All records, the header aside."""
        lines = b"".join(self.messages).decode().split("\n")
        told: list[Line] = [
            json.loads(line[6:]) for line in lines if line.startswith('data: {"record"')
        ]
        return told[1:]

    def of(self, flow: str) -> list[str]:
        """What was told of a flow: kinds, with the agent where there is one."""
        return [
            " ".join(filter(None, (one["record"], one.get("agent"))))
            for one in self.records
            if one["correlation_id"] == flow
        ]

    async def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something has come."""
        while not is_so():  # noqa: ASYNC110 -- a file tells nobody
            await anyio.sleep(0.05)


class Told:
    """What is told of a journal, look by look, without a session beside it."""

    def __init__(self, path: Path, most: int = 1000) -> None:
        self.store = SQLiteStore(str(path))
        self.owner = self.store.open(0).owner
        self.path = path
        self.most = most

    def do(self, step: Any, now: float = 10.0) -> None:
        """Take a step."""
        self.store.apply(self.owner, [step], now)

    def add(self, flow: str, *agents: str, now: float = 10.0, **more: Any) -> None:
        """Enter an event."""
        entry = Entry(
            id=flow, flow=flow, parent=None, kind="K@1", body="{}", agents=agents
        )
        self.do(Append(entries=(attrs.evolve(entry, **more),)), now=now)


def records(watch: Watch) -> list[Line]:
    """Return what is new."""
    return [json.loads(line) for line in watch.tell(watch.changed())]


def kinds(lines: list[Line]) -> list[str]:
    """Return what was told, in order."""
    return [line["record"] for line in lines]


async def test_every_flow_is_told_as_it_stands(tmp_path: Path, backend: str) -> None:
    """What is open waits, what failed says why, what is done is done."""
    path = str(tmp_path / "run.db")
    await live(path, "tent", "glass", "cash", "late", "nothing")
    feed, reader = feed_of(path, {}), Reader()
    assert isinstance(feed, JournalFeed)
    feed.end()
    await feed.pour("", reader.take)
    hello = json.loads(reader.messages[0].decode().split("\n")[1][6:])
    assert hello == {"name": "run.db", "live": True, "prices": {}, "tab": "graph"}
    assert reader.messages[-1] == END
    tent = ["FlowStarted", "EventAccepted", "EventAccepted", "DeliveryOpen sell"]
    assert reader.of("tent-1") == tent
    assert reader.of("cash-1")[-2:] == ["HandlerFinished sell", "FlowEnded"]
    assert set(reader.of("glass-1")[2:-1]) == {
        "HandlerFailed sell",
        "DeliveryDead sell",
        "DeliveryDead audit",
    }
    (first, last) = [one for one in reader.records if one["record"] == "HandlerFailed"][
        :2
    ]
    assert first["error"]["type"] in {"ValueError", "LookupError"}
    assert last["stored"] is True
    ends = {
        one["correlation_id"]: (one["outcome"], one["reason"])
        for one in reader.records
        if one["record"] == "FlowEnded"
    }
    assert ends["glass-1"] == ("failed", "sell raised ValueError: it broke")
    assert ends["cash-1"][0] == "finished"
    assert ends["nothing-1"][0] == "terminated"
    (kept,) = [
        one
        for one in reader.records
        if one["record"] == "DeliveryOpen" and one["agent"] == "sell"
    ]
    assert kept["reason"] == "kept charge = 310, came to its wait number 1"


async def test_a_running_session_is_followed(tmp_path: Path) -> None:
    """Its flows begin, go on and end on the page."""
    path, reader = tmp_path / "run.db", Reader()
    journal = SQLiteJournal(path)
    async with AsyncDispatcher(shop(), journal=journal) as dispatcher:
        feed = JournalFeed(path, {})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.pour, "", reader.take)
            await anyio.sleep(0.5)
            assert reader.records == []
            await dispatcher.send(order("tent"))
            await reader.wait_for(lambda: "DeliveryOpen sell" in reader.of("tent-1"))
            async with dispatcher.open_flow(correlation_id="tent-1") as flow:
                flow.dispatch(Answer(source="boss", yes=True))
            await reader.wait_for(lambda: "FlowEnded" in reader.of("tent-1"))
            feed.end()
    told = reader.of("tent-1")
    assert told.count("FlowStarted") == 1
    assert told.count("EventAccepted") == 4
    assert "HandlerFinished sell" in told
    assert reader.messages[-1] == END


async def test_a_silent_journal_says_that_it_is_still_there(tmp_path: Path) -> None:
    """So that no proxy gives the connection up."""
    reader, told = Reader(), Told(tmp_path / "run.db")
    told.add("f")
    feed = JournalFeed(told.path, {}, silence=1.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.pour, "", reader.take)
        await reader.wait_for(lambda: reader.of("f") != [])
        reader.messages.clear()
        told.store.db.execute("UPDATE agentflow_flows SET open = 7")  # not for a page
        await reader.wait_for(lambda: STILL_HERE in reader.messages)
        feed.end()
    assert reader.messages == [STILL_HERE, END]
    told.store.shut()


def test_what_is_no_journal_has_no_feed(tmp_path: Path) -> None:
    """A database of another program is refused before a page is served."""
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db, db:
        db.execute("CREATE TABLE things (name)")
    with pytest.raises(JournalError, match="is no journal"):
        feed_of(other, {})


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    """Nothing twice, and nothing at all while the file stays as it is."""
    told = Told(tmp_path / "run.db")
    told.add("f", "a")
    with visiting(str(told.path)) as visit:
        watch = Watch(visit)
        assert kinds(records(watch)) == ["FlowStarted", "EventAccepted"]
        assert records(watch) == []
        told.do(Memo(key=Key("f", "f", "a"), name="once:x", value='{"value": 1}'))
        (kept,) = records(watch)
        assert kept["reason"] == "kept x = 1"
        told.do(Fail(key=Key("f", "f", "a"), attempt=1, due=12.5, error="E: no\nnote"))
        failed, opened = records(watch)
        assert failed["error"] == {
            "type": "E",
            "message": "no",
            "notes": ["note"],
            "traceback": "",
        }
        assert (failed["consequence"], failed["retry_in"]) == ("retry", 2.5)
        assert opened["reason"].startswith("attempt 2 comes next, due at ")
        told.store.db.execute("UPDATE agentflow_flows SET open = 7")
        assert records(watch) == []
        told.add("g", "a")
        assert {line["correlation_id"] for line in records(watch)} == {"g"}
    told.store.shut()


def test_a_file_that_stays_as_it_is_is_not_read(tmp_path: Path) -> None:
    """A look asks for one number; that is what lets it look so often."""
    told = Told(tmp_path / "run.db")
    told.add("f", "a")
    asked: list[str] = []
    with visiting(str(told.path)) as visit:
        watch = Watch(visit)
        assert watch.changed() == ["f"]
        visit.db.set_trace_callback(asked.append)
        assert watch.changed() == []
        assert asked == ["PRAGMA data_version"]
        told.add("g")
        assert watch.changed() == ["g"]
    told.store.shut()


def test_dead_letters_that_are_retried_are_told(tmp_path: Path) -> None:
    """The flow goes on, and the delivery is open until it is finished."""
    told = Told(tmp_path / "run.db")
    told.add("f", "a", "b")
    key = Key("f", "f", "a")
    told.do(Cut(flow="f", status="failed", reason="why", by=key, error="oh no"))
    with visiting(str(told.path)) as visit:
        watch = Watch(visit)
        lines = records(watch)
        assert kinds(lines)[2:] == [
            "HandlerFailed",
            "DeliveryDead",
            "DeliveryDead",
            "FlowEnded",
        ]
        assert lines[2]["consequence"] == "fail flow"
        assert lines[2]["error"]["message"] == "oh no"
        told.store.db.execute("UPDATE agentflow_flows SET open = 2")
        assert records(watch) == []
        assert told.store.retry("f") == 2
        again = records(watch)
        assert kinds(again) == ["FlowStarted", "DeliveryOpen", "DeliveryOpen"]
        assert again[1]["reason"] == "it was a dead letter"
        told.do(Cut(flow="f", status="cancelled", reason="enough"), now=20)
        lines = records(watch)
        assert kinds(lines) == ["DeliveryDropped", "DeliveryDropped", "FlowEnded"]
        assert lines[0]["reason"] == "enough"
        assert records(watch) == []
    told.store.shut()


def test_a_failure_that_was_made_up_for_is_told(tmp_path: Path) -> None:
    """Also if the delivery is finished before anybody looks."""
    told = Told(tmp_path / "run.db")
    told.add("f", "a")
    key = Key("f", "f", "a")
    told.do(Fail(key=key, attempt=1, due=11.0, error="KeyError"))
    told.do(Commit(key=key))
    with visiting(str(told.path)) as visit:
        lines = records(Watch(visit))
    assert kinds(lines)[2:] == ["HandlerFailed", "HandlerFinished", "FlowEnded"]
    assert (lines[2]["error"]["type"], lines[2]["consequence"]) == ("KeyError", "retry")
    assert "retry_in" not in lines[2]
    told.store.shut()


def test_a_delivery_whose_process_died_is_told(tmp_path: Path) -> None:
    """When the next session has found it."""
    told = Told(tmp_path / "run.db")
    told.add("f", "a")
    with visiting(str(told.path)) as visit:
        watch = Watch(visit)
        assert kinds(records(watch)) == ["FlowStarted", "EventAccepted"]
        told.store.open(20)
        (line,) = records(watch)
        assert line["reason"] == "a process died that had it"
    told.store.shut()


def test_a_flow_that_is_forgotten_is_not_told(tmp_path: Path) -> None:
    """Nor if that happens between finding it and reading it."""
    told = Told(tmp_path / "run.db")
    told.add("f")
    with visiting(str(told.path)) as visit:
        watch = Watch(visit)
        flows = watch.changed()
        told.store.db.execute("DELETE FROM agentflow_flows")
        assert watch.tell(flows) == []
        assert watch.changed() == []
    told.store.shut()


def test_a_flow_whose_id_comes_again_is_told_from_its_beginning(
    tmp_path: Path,
) -> None:
    """What was told of the one that has been dropped does not count."""
    told = Told(tmp_path / "run.db")
    with visiting(str(told.path)) as visit:
        watch = Watch(visit)
        for now in (10.0, 20.0):
            told.add("f", "a", now=now)
            key = Key("f", "f", "a")
            told.do(Cut(flow="f", status="failed", reason="why", by=key), now=now)
            assert kinds(records(watch)) == [
                "FlowStarted",
                "EventAccepted",
                "HandlerFailed",
                "DeliveryDead",
                "FlowEnded",
            ]
            assert told.store.drop("f") == 1
    told.store.shut()


def test_of_a_large_journal_open_and_new_flows_are_told(tmp_path: Path) -> None:
    """Until there are events enough; what comes later is told all the same."""
    told = Told(tmp_path / "run.db")
    told.add("open", "a")
    for n in range(5):
        told.add(f"over{n}")
        told.store.db.execute(
            "UPDATE agentflow_flows SET status = 'done', started = ? WHERE id = ?",
            (100 + n, f"over{n}"),
        )
    for n in range(4):
        told.add("open", id=f"more{n}", parent="open")
    with visiting(str(told.path)) as visit:
        assert Watch(visit, most=6).changed() == ["over4", "open"]
        few = Watch(visit, most=3)
        lines = records(few)
        accepted = [one for one in lines if one["record"] == "EventAccepted"]
        assert [one["event"]["id"] for one in accepted] == ["more1", "more2", "more3"]
        told.add("new")
        assert {one["correlation_id"] for one in records(few)} == {"new"}
    told.store.shut()


async def test_pages_are_read_for_in_threads(tmp_path: Path) -> None:
    """Each has a connection of its own, and they do not disturb each other."""
    path = str(tmp_path / "run.db")
    await live(path, "cash")
    feed = JournalFeed(Path(path), {})
    readers = [Reader(), Reader()]
    feed.end()
    async with anyio.create_task_group() as tasks:
        for reader in readers:
            tasks.start_soon(partial(feed.pour, "", reader.take))
    assert readers[0].of("cash-1") == readers[1].of("cash-1") != []
