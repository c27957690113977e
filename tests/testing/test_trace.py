"""Asserting on what happened."""

import random

import anyio
import attrs
import pytest

from agentflow import (
    AsyncAggregatorAgent,
    Event,
    FlowFailed,
    Retry,
    Router,
    TerminateEvent,
)
from agentflow.llm import BaseAsyncLLMAgent, LLMBroker, RateLimited, ToolCall
from agentflow.testing import FlowTrace, Scripted, ScriptedGateway, open_test_session
from tests.fakes import Boom, Other, Ping, Pong, fail, forever, router_of


@attrs.frozen
class Point:
    x: int
    y: int


class Rich(Event):
    """Carries whatever a field may hold."""

    point: Point
    names: tuple[str, ...]
    table: dict[str, object]
    cause: Event
    kind: type
    thing: object


class Joined(Event):
    pass


async def answer(event: Ping) -> list[Event]:
    """Answer a Ping with a Pong and another."""
    await anyio.sleep(random.random() / 10)
    return [Pong(source="answer", n=event.n), Other(source="answer")]


async def slow(event: Ping) -> Pong:
    """Answer a Ping after a second."""
    await anyio.sleep(1)
    return Pong(source="slow", n=event.n)


class Join(AsyncAggregatorAgent):
    event_types_needed = (Pong, Pong)

    async def process_events(self, events: list[Event]) -> list[Event]:
        return [Joined(source="Join")]


def routes() -> Router:
    """Two agents answer at their own pace, and one joins what they say."""
    return router_of((Ping, answer), (Ping, slow), (Pong, Join()))


async def traced(n: int = 0) -> FlowTrace:
    """Return the trace of one such flow."""
    async with open_test_session(routes(), allow_unrouted=[Other]) as session:
        await session.run(Ping(source="test", n=n), Joined)
    return session.trace


async def test_events_are_found_by_class() -> None:
    """All of them, or the only one."""
    trace = await traced(7)
    assert [e.n for e in trace.events(Pong)] == [7, 7]
    assert trace.one(Ping).n == 7
    flow = trace.one(Ping).correlation_id
    assert trace.one(Ping, correlation_id=flow).n == 7
    assert trace.events(Ping, correlation_id="another") == []
    with pytest.raises(AssertionError, match=r"expected one Pong, got 2\nflow "):
        trace.one(Pong)


async def test_a_sequence_may_have_gaps_unless_told_otherwise() -> None:
    """Classes or values, in the order in which they were accepted."""
    trace = await traced()
    trace.assert_sequence()
    trace.assert_sequence(Ping, Pong, Joined)
    trace.assert_sequence(Event, Event)
    trace.assert_sequence(Ping, trace.one(Other), Pong, Joined)
    trace.assert_sequence(
        Ping, Pong, Other, Pong, Joined, exactly=True, correlation_id=None
    )


async def test_a_wrong_sequence_shows_both() -> None:
    """With a line for each event that is missing or too much."""
    trace = await traced()
    with pytest.raises(AssertionError) as caught:
        trace.assert_sequence(Ping, Joined, Pong)
    said = str(caught.value)
    assert said.startswith(
        "there was no Pong after Ping, Joined; expected (-) and what came (+):\n"
        "    Ping\n  + Pong\n"
    )
    with pytest.raises(AssertionError, match="there was no Boom at all"):
        trace.assert_sequence(Boom)
    with pytest.raises(AssertionError, match="there was no nothing after Ping"):
        trace.assert_sequence(Ping, "nothing")
    with pytest.raises(AssertionError, match="other events came, too; expected"):
        trace.assert_sequence(Ping, Joined, exactly=True)


async def test_causes_and_effects_follow_the_handlers() -> None:
    """An event was caused by what its handler was handling."""
    trace = await traced()
    ping, joined = trace.one(Ping), trace.one(Joined)
    assert [type(e) for e in trace.causes(joined)] == [Pong, Ping]
    assert trace.causes(ping) == []
    assert [type(e) for e in trace.effects(ping)] == [Pong, Other, Pong, Joined]
    assert trace.effects(joined) == []
    trace.assert_caused(Ping, Joined)
    with pytest.raises(AssertionError, match="there was no Boom at all"):
        trace.assert_caused(Ping, Boom)
    with pytest.raises(
        AssertionError,
        match="Joined from Join did not come of a Other, but of Pong, then",
    ):
        trace.assert_caused(Other, Joined)
    with pytest.raises(AssertionError, match="but of nothing else"):
        trace.assert_caused(Other, Ping)


async def test_a_snapshot_is_the_same_each_time() -> None:
    """Whatever the ids and the order in which agents got ready."""
    first, second = await traced(), await traced()
    assert first.snapshot(times=False) == second.snapshot(times=False)
    assert first.snapshot(times=False) == [
        {
            "event": "Ping",
            "id": "#1",
            "source": "test",
            "fields": {"n": 0},
            "handled": [
                {"agent": "answer", "outcome": "finished"},
                {"agent": "slow", "outcome": "finished"},
            ],
            "effects": [
                {"event": "Other", "id": "#2", "source": "answer", "fields": {"n": 0}},
                {
                    "event": "Pong",
                    "id": "#3",
                    "source": "answer",
                    "fields": {"n": 0},
                    "handled": [{"agent": "Join", "outcome": "finished"}],
                },
                {
                    "event": "Pong",
                    "id": "#4",
                    "source": "slow",
                    "fields": {"n": 0},
                    "handled": [{"agent": "Join", "outcome": "finished"}],
                    "effects": [{"event": "Joined", "id": "#5", "source": "Join"}],
                },
            ],
        }
    ]


async def test_times_count_from_the_start_of_the_flow() -> None:
    """In virtual time they are exact."""
    await anyio.sleep(2)
    async with open_test_session(router_of((Ping, slow))) as session:
        await anyio.sleep(0.5)
        await session.run(Ping(source="test"), Pong)
    (ping,) = session.trace.snapshot()
    (pong,) = ping.get("effects", [])
    assert (ping.get("at"), pong.get("at")) == (0, 1)
    assert ping.get("handled") == [{"agent": "slow", "outcome": "finished", "took": 1}]


async def test_fields_become_plain_values() -> None:
    """Events in them become their numbers, ids and addresses vanish."""

    async def collect(event: Ping) -> Rich:
        return Rich(
            source=Rich,
            point=Point(1, 2),
            names=("a", f"id {event.id}"),
            table={"n": 1.5, "none": None, "flow": "0123456789abcdef-0123456789abcdef"},
            cause=event,
            kind=Ping,
            thing=object(),
        )

    async with open_test_session(router_of((Ping, collect))) as session:
        await session.run(Ping(source="test"), Rich)
    (ping,) = session.trace.snapshot(times=False)
    assert ping.get("effects") == [
        {
            "event": "Rich",
            "id": "#2",
            "source": "Rich",
            "fields": {
                "point": {"x": 1, "y": 2},
                "names": ["a", "id #1"],
                "table": {"n": 1.5, "none": None, "flow": "#other"},
                "cause": "Ping #1",
                "kind": "Ping",
                "thing": "<object object>",
            },
        }
    ]


async def test_each_way_to_end_is_in_snapshot_and_picture() -> None:
    """Failed, tried again, cancelled and dropped."""
    router = Router()
    router.add_route(Boom, fail, retry=Retry(attempts=2, initial=1))
    router.add_route(Ping, forever)
    router.add_route(Other, slow)
    async with open_test_session(router, max_concurrency=1) as session:
        with pytest.raises(FlowFailed):
            await session.run(Boom(source="test"), Pong)
        async with session.open_flow(Ping(source="test")) as flow:
            flow.dispatch(Other(source="test"))
            await anyio.sleep(0.1)
            assert "forever is at it since" in str(session.trace)
            assert "slow has not got it yet" in str(session.trace)
            flow.cancel("enough")
    boom, other, ping = sorted(session.trace.snapshot(times=False), key=str)
    assert [h["outcome"] for h in boom.get("handled", [])] == [
        "raised ValueError: boom; tried again",
        "raised ValueError: boom",
    ]
    assert other.get("handled") == [{"agent": "slow", "outcome": "dropped: enough"}]
    assert ping.get("handled") == [{"agent": "forever", "outcome": "cancelled: enough"}]
    picture = str(session.trace)
    assert "fail raised ValueError: boom after 0.000 s; tried again" in picture
    assert "forever was cancelled after 0.100 s: enough" in picture
    assert "slow never got it: enough" in picture


async def test_models_and_tools_are_in_the_picture() -> None:
    """What an agent asked, and what came of it."""

    def look(thing: str) -> str:
        """Look at a thing."""
        if thing == "sun":
            raise ValueError("too bright")
        return "nice"

    class Asker(BaseAsyncLLMAgent[str]):
        async def receive_event_async(self, event: Ping) -> TerminateEvent:
            await self.generate_response("What is it?")
            return TerminateEvent(source="Asker")

    script: list[Scripted] = [
        [
            ToolCall(id="1", name="look", arguments='{"thing": "sun"}'),
            ToolCall(id="2", name="look", arguments='{"thing": "moon"}'),
        ],
        "a moon",
        RateLimited("later"),
    ]
    llm = LLMBroker("m", gateway=ScriptedGateway(script))
    asker = Asker(llm, tools=[look])
    async with open_test_session(router_of((Ping, asker))) as session:
        session.dispatch(Ping(source="test"))
        await session.wait_for_empty_queue()
        with pytest.raises(FlowFailed):
            await session.run(Ping(source="test"), Pong)
    picture = str(session.trace)
    assert "Asker asked scripted:m: end" in picture
    assert "Asker called the tool look: too bright" in picture
    assert picture.count("called the tool look") == 2
    assert "Asker asked scripted:m: later" in picture


async def test_a_picture_of_nothing_says_so() -> None:
    """And one of long fields is cut."""
    async with open_test_session(Router(), allow_unrouted=[Boom]) as session:
        assert str(session.trace) == "nothing has been dispatched"
        session.dispatch(Boom(source=Boom, text="x" * 1000))
    lines = str(session.trace).splitlines()
    assert all(len(line) < 150 for line in lines)
    assert lines[1].endswith("…) from Boom")
