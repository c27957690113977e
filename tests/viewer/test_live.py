"""A session that is looked at while it runs, without a network and in virtual time."""

import json
from typing import Any

import anyio
import pytest

from agentflow import AsyncDispatcher, Router, UsageError
from agentflow._records import FlowStarted
from agentflow.viewer import LiveTrace
from agentflow.viewer._feed import END, STILL_HERE, LiveFeed
from tests.fakes import Collector, Ping


def started(number: int) -> FlowStarted:
    """Make a record that can be told from others."""
    return FlowStarted(time=float(number), correlation_id=f"flow-{number}")


class Reader:
    """A page that takes what a feed sends, as slowly as it is told to."""

    def __init__(self, *, pause: float = 0) -> None:
        self.messages: list[bytes] = []
        self.pause = pause

    async def take(self, data: bytes) -> None:
        """Take a message."""
        self.messages.append(data)
        await anyio.sleep(self.pause)

    @property
    def names(self) -> list[str]:
        """The kinds of the messages, those sent together one by one."""
        lines = b"".join(self.messages).decode().split("\n")
        return [line[7:] for line in lines if line.startswith("event: ")]

    @property
    def ids(self) -> list[str]:
        """The ids that a page would come back with."""
        lines = b"".join(self.messages).decode().split("\n")
        return [line[4:] for line in lines if line.startswith("id: ")]

    @property
    def flows(self) -> list[str]:
        """The flows of all records, in order."""
        lines = b"".join(self.messages).decode().split("\n")
        records: list[dict[str, Any]] = [
            json.loads(line[6:]) for line in lines if line.startswith("data: {")
        ]
        return [r["correlation_id"] for r in records if r.get("correlation_id")]


async def test_records_come_as_they_happen() -> None:
    """First what is kept, then each new one, and in the end that it is the end."""
    live, reader = LiveTrace(), Reader()
    feed = LiveFeed(live, {})
    live.record(started(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.pour, "", reader.take)
        await anyio.sleep(1)
        assert reader.flows == ["flow-0"]
        live.record(started(1))
        live.record(started(2))
        await anyio.sleep(1)
        assert reader.flows == ["flow-0", "flow-1", "flow-2"]
        live.record(started(3))
        feed.end()
    assert reader.flows == ["flow-0", "flow-1", "flow-2", "flow-3"]
    assert reader.names == ["hello", "reset", *["records"] * 4, "end"]
    assert reader.messages[-1] == END


async def test_a_dispatcher_tells_a_live_trace_everything() -> None:
    """It serves as the tracer of a session, and its records are lines of a trace file."""
    live, reader = LiveTrace(), Reader()
    router = Router({Ping: [Collector()]})
    async with AsyncDispatcher(router, tracer=live) as dispatcher:
        dispatcher.dispatch(Ping(source="main", n=7, correlation_id="mine"))
    feed = LiveFeed(live, {})
    feed.end()
    await feed.pour("", reader.take)
    text = b"".join(reader.messages).decode()
    kinds = ["Header", "FlowStarted", "EventAccepted", "HandlerStarted"]
    places = [text.index(f'"record":"{kind}"') for kind in kinds]
    assert places == sorted(places)
    assert '"fields":{"n":7}' in text


async def test_the_header_relates_the_loops_clock_to_the_time_of_day() -> None:
    """As the first line of a trace file does."""
    reader = Reader()
    feed = LiveFeed(LiveTrace(), {})
    feed.end()
    await feed.pour("", reader.take)
    line = next(x for x in b"".join(reader.messages).split(b"\n") if b"Header" in x)
    header = json.loads(line.removeprefix(b"data: "))
    assert header["time"] == pytest.approx(anyio.current_time())
    assert header["wall"] > 1_700_000_000


async def test_the_oldest_records_fall_out() -> None:
    """At most a quarter more than the limit are kept."""
    live = LiveTrace(limit=100)
    for number in range(1000):
        live.record(started(number))
        assert len(live) <= 125
    assert len(live) >= 100
    assert live.end == 1000
    assert live.first + len(live) == 1000


async def test_a_slow_page_starts_over_when_it_is_overtaken() -> None:
    """It is told to forget what it has, and gets all that is still kept."""
    live, reader = LiveTrace(limit=300), Reader(pause=0.2)
    feed = LiveFeed(live, {})
    for number in range(300):
        live.record(started(number))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.pour, "", reader.take)
        await anyio.sleep(0.5)  # it has the first 200
        for number in range(300, 900):
            live.record(started(number))
        feed.end()
    assert reader.names.count("reset") == 2
    last = max(i for i, m in enumerate(reader.messages) if b"event: reset" in m)
    after = Reader()
    after.messages = reader.messages[last:]
    assert after.flows == [f"flow-{n}" for n in range(live.first, 900)]


async def test_a_page_that_was_cut_off_goes_on_where_it_was() -> None:
    """It names the last message it has, and nothing comes twice."""
    live, first, second = LiveTrace(), Reader(), Reader()
    feed = LiveFeed(live, {})
    live.record(started(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.pour, "", first.take)
        await anyio.sleep(1)
        tasks.cancel_scope.cancel("the connection is lost")
    live.record(started(1))
    feed.end()
    await feed.pour(first.ids[-1], second.take)
    assert second.flows == ["flow-1"]
    assert "reset" not in second.names


@pytest.mark.parametrize("after", ["", "other-1", "nonsense", "-", "other-x"])
async def test_a_page_of_another_session_starts_over(after: str) -> None:
    """What it has seen was something else."""
    live, reader = LiveTrace(), Reader()
    live.record(started(0))
    feed = LiveFeed(live, {})
    feed.end()
    await feed.pour(after, reader.take)
    assert reader.names[:2] == ["hello", "reset"]
    assert reader.flows == ["flow-0"]


async def test_a_silent_session_says_that_it_is_still_there() -> None:
    """So that a page which is gone is noticed."""
    reader = Reader()
    feed = LiveFeed(LiveTrace(), {}, silence=1.5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.pour, "", reader.take)
        await anyio.sleep(4)
        tasks.cancel_scope.cancel("enough")
    assert reader.messages.count(STILL_HERE) == 2


async def test_several_pages_all_see_everything() -> None:
    """Each at its own pace."""
    live = LiveTrace()
    feed = LiveFeed(live, {})
    readers = [Reader(), Reader(pause=0.2), Reader()]
    async with anyio.create_task_group() as tasks:
        for reader in readers:
            tasks.start_soon(feed.pour, "", reader.take)
        for number in range(20):
            live.record(started(number))
            await anyio.sleep(0.01)
        feed.end()
    for reader in readers:
        assert reader.flows == [f"flow-{n}" for n in range(20)]


def test_a_limit_of_nothing_is_refused() -> None:
    """It is a number from 1."""
    with pytest.raises(UsageError, match="limit must be 1 or more, not 0"):
        LiveTrace(limit=0)
