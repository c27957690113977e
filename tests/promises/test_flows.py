"""What users of flows are promised (promises 33 to 45)."""

import asyncio
from typing import cast

import anyio
import attrs
import pytest
import trio

from agentflow import (
    AgentFailed,
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    FlowFailed,
    Retry,
    Router,
    TerminateEvent,
)
from agentflow.llm import BaseAsyncLLMAgent, LLMBroker
from agentflow.testing import ScriptedGateway
from agentflow.tracing import Tracer
from tests.fakes import (
    Boom,
    Collector,
    Other,
    Ping,
    Pong,
    Sleeper,
    fail,
    forever,
    router_of,
    takes,
)


async def test_an_exception_is_contained_in_its_flow() -> None:
    """(F2) Other flows, and later ones, do not notice."""
    slow = Sleeper(0.2)
    async with AsyncDispatcher(router_of((Boom, fail), (Ping, slow))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with pytest.raises(FlowFailed):
            await dispatcher.run(Boom(source="x"), Pong)
        assert (await dispatcher.run(Ping(source="x", n=2), Pong)).n == 2
    assert slow.ended == [1, 2]


async def test_an_exception_is_visible() -> None:
    """(F3) As it was raised, with agent and event named; nobody has to look for it."""
    with pytest.raises(FlowFailed) as failed:
        async with AsyncDispatcher(router_of((Boom, fail))) as dispatcher:
            dispatcher.dispatch(Boom(source="x", text="the disk is full"))
    (error,) = failed.value.exceptions
    assert isinstance(error, ValueError)
    assert str(error) == "the disk is full"
    assert "raised by agent 'fail' while it handled Boom" in error.__notes__[0]


async def test_an_agent_may_take_care_of_the_failures_of_others() -> None:
    """(F2) A route for AgentFailed; then the flow goes on."""
    mended: list[str] = []

    async def mend(event: AgentFailed) -> Pong:
        mended.append(f"{event.agent}: {event.error}")
        return Pong(source="mend", n=7)

    router = router_of((Boom, fail), (AgentFailed, mend))
    async with AsyncDispatcher(router) as dispatcher:
        assert (await dispatcher.run(Boom(source="x", text="oh"), Pong)).n == 7
    assert mended == ["fail: oh"]


async def test_a_flaky_agent_is_tried_again() -> None:
    """(F5) As the route says, with pauses; nobody else notices."""
    attempts: list[float] = []

    async def flaky(event: Ping) -> Pong:
        attempts.append(anyio.current_time())
        if len(attempts) < 3:
            raise OSError("not yet")
        return Pong(source="flaky")

    router = Router()
    router.add_route(Ping, flaky, retry=Retry(attempts=3, initial=0.1, jitter=0))
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0.1 + 0.2):
            await dispatcher.run(Ping(source="x"), Pong)
    assert len(attempts) == 3


async def test_run_returns_the_answer_to_a_question() -> None:
    """(F4) One call: dispatch, see the flow to its end, return the result."""
    router = router_of((Ping, Sleeper(0.1)))
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0.1):
            answer = await dispatcher.run(Ping(source="x", n=5), Pong)
    assert (type(answer), answer.n) == (Pong, 5)


async def test_a_flow_can_be_followed_live() -> None:
    """(F1) Each event as it is accepted, until the flow is done."""
    seen: list[tuple[str, float]] = []

    async def steps(event: Ping) -> list[Event]:
        await anyio.sleep(1)
        return [Pong(source="x", n=1)] if event.n == 0 else []

    async def next_step(event: Pong) -> Other:
        await anyio.sleep(1)
        return Other(source="x")

    router = router_of((Ping, steps), (Pong, next_step))
    async with AsyncDispatcher(router) as dispatcher:
        start = anyio.current_time()
        opened = dispatcher.open_flow(Ping(source="x"))
        async with opened as flow, flow.events() as events:
            async for event in events:
                at = round(anyio.current_time() - start, 3)
                seen.append((type(event).__name__, at))
    assert seen == [("Pong", 1), ("Other", 2)]


async def test_one_flow_can_be_cancelled_and_the_others_go_on() -> None:
    """(F6) What it was doing stops at once; it costs the others nothing."""
    slow = Sleeper(0.3, max_concurrency=None)
    async with AsyncDispatcher(router_of((Ping, slow))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with takes(0.1):
            async with dispatcher.open_flow(Ping(source="x", n=2)) as flow:
                await anyio.sleep(0.1)
                flow.cancel("changed my mind")
        with takes(0.2):
            assert await dispatcher.wait_for_empty_queue()
    assert slow.ended == [1]


async def test_several_flows_each_end_with_a_terminate_event() -> None:
    """(D6) Each ends itself, when it is done, and no other."""
    ended: list[int] = []

    async def work(event: Ping) -> list[Event]:
        await anyio.sleep(event.n / 10)
        return [Pong(source="work", n=event.n), TerminateEvent(source="work")]

    async def ask(n: int) -> None:
        assert (await dispatcher.run(Ping(source="x", n=n), Pong)).n == n
        ended.append(n)

    router = router_of((Ping, work), (Ping, forever))
    async with AsyncDispatcher(router) as dispatcher, anyio.create_task_group() as asks:
        with takes(0.3):
            for n in (3, 1, 2):
                asks.start_soon(ask, n)
            await anyio.sleep(0.05)
            assert await dispatcher.wait_for_empty_queue()
    assert ended == [1, 2, 3]


class Pair(AsyncAggregatorAgent):
    """Joins a Ping and a Pong."""

    event_types_needed = (Ping, Pong)

    def __init__(self) -> None:
        super().__init__()
        self.sets: list[tuple[int, int]] = []

    async def process_events(self, events: list[Event]) -> Other:
        ping, pong = cast("Ping", events[0]), cast("Pong", events[1])
        self.sets.append((ping.n, pong.n))
        return Other(source="pair", n=ping.n)


async def test_an_aggregator_joins_the_events_of_one_correlation_id() -> None:
    """(A4) In any order, and never those of two."""
    pair = Pair()

    async def halves(event: Boom) -> list[Event]:
        n = int(event.text)
        await anyio.sleep(n % 3 / 10)
        both: list[Event] = [Ping(source="x", n=n), Pong(source="x", n=n)]
        return both if n % 2 else both[::-1]

    router = router_of((Boom, halves), (Ping, pair), (Pong, pair))
    async with AsyncDispatcher(router) as dispatcher:
        for n in range(20):
            dispatcher.dispatch(Boom(source="x", text=str(n)))
    assert sorted(pair.sets) == [(n, n) for n in range(20)]


async def test_events_that_are_late_for_an_aggregator_are_no_trap() -> None:
    """(A4) While the flow is owned they complete its set; after its end they meet none."""
    pair = Pair()
    async with AsyncDispatcher(router_of((Ping, pair), (Pong, pair))) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x", n=1)) as flow:
            assert await dispatcher.wait_for_empty_queue()
            flow.dispatch(Pong(source="x", n=2))
        assert pair.sets == [(1, 2)]
        dispatcher.dispatch(Ping(source="x", n=3, correlation_id="gone"))
        assert await dispatcher.wait_for_empty_queue()
        dispatcher.dispatch(Pong(source="x", n=4, correlation_id="gone"))
        assert await dispatcher.wait_for_empty_queue()
        assert pair.sets == [(1, 2)]
        assert await pair.wait_for_events("gone", timeout=0) == []


@attrs.frozen
class Mood:
    good: bool


class Judge(BaseAsyncLLMAgent[Mood]):
    """Asks a model how a text feels."""

    async def receive_event_async(self, event: Boom) -> Ping:
        mood = await self.generate_response(event.text)
        return Ping(source=type(self), n=int(mood.good))


async def test_agents_that_ask_a_model_answer_with_objects() -> None:
    """(A1, F4) An LLM agent is an agent like any other, typed all the way."""
    broker = LLMBroker("m", gateway=ScriptedGateway(['{"good": true}']))
    judge = Judge(broker, "Judge.", response_model=Mood)
    async with AsyncDispatcher(router_of((Boom, judge))) as dispatcher:
        assert (await dispatcher.run(Boom(source="x", text="fine!"), Ping)).n == 1


async def test_a_tracer_makes_every_flow_visible() -> None:
    """(T3) What led to what, by which agent, and what failed."""
    tracer = Tracer()

    async def first(event: Ping) -> list[Event]:
        return [Pong(source="first"), Boom(source="first", text="oh")]

    router = router_of((Ping, first), (Pong, Collector()), (Boom, fail))
    with pytest.raises(FlowFailed):
        async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
            dispatcher.dispatch(Ping(source="x"))
    (flow,) = tracer.flows()
    assert str(tracer.tree(flow)).splitlines()[1:] == [
        "  Ping → first 0.000 s",
        "    Pong → Collector 0.000 s",
        "    Boom → fail raised ValueError (fail flow)",
        "      AgentFailed (nobody took it)",
        "  failed after 0.000 s: fail raised ValueError: oh",
    ]


class Double(BaseAsyncAgent):
    """Answers with twice as much."""

    async def receive_event_async(self, event: Ping) -> Pong:
        return Pong(source=type(self), n=2 * event.n)


async def application() -> int:
    """Be somebody's application, with a session in it."""
    async with AsyncDispatcher(router_of((Ping, Double()))) as dispatcher:
        return (await dispatcher.run(Ping(source="x", n=4), Pong)).n


def test_it_runs_in_trio_anyio_and_asyncio_applications() -> None:
    """(D1) The same code, whoever runs the loop."""
    assert trio.run(application) == 8
    assert anyio.run(application, backend="trio") == 8
    assert anyio.run(application, backend="asyncio") == 8
    assert asyncio.run(application()) == 8
