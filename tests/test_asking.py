"""Ask-and-answer on the bus: a handler waits for an event of its own flow."""

from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    EventTypeError,
    FlowFailed,
    FlowStalled,
    Router,
    SessionError,
    wait_for,
)
from tests.fakes import (
    Boom,
    Collector,
    Other,
    Ping,
    Pong,
    assert_nothing_left,
    router_of,
    takes,
)


class LoudPong(Pong):
    pass


class Asker(BaseAsyncAgent):
    """Asks by a Ping, waits for the Pong of the same number, and says what it got."""

    def __init__(self) -> None:
        self.order: list[str] = []

    async def receive_event_async(self, event: Other) -> AsyncIterator[Event]:
        self.order.append(f"ask {event.n}")
        yield Ping(source=type(self), n=event.n)
        answer = await wait_for(Pong, where=lambda pong: pong.n == event.n)
        self.order.append(f"got {answer.n}")
        await anyio.sleep(0.1)
        self.order.append(f"end {event.n}")
        yield Boom(source=type(self), text=str(answer.n))


class Answerer(BaseAsyncAgent):
    """Answers after a while."""

    max_concurrency = None

    async def receive_event_async(self, event: Ping) -> Pong:
        await anyio.sleep(0.5)
        return Pong(source=type(self), n=event.n)


async def test_a_handler_asks_and_gets_the_answer() -> None:
    """In the middle of its work, from another agent."""
    asker = Asker()
    async with AsyncDispatcher(router_of((Other, asker), (Ping, Answerer()))) as d:
        with takes(0.6):
            assert (await d.run(Other(source="x", n=3), Boom)).text == "3"
        assert_nothing_left(d)
        assert d.statistics().unrouted == 1
    assert asker.order == ["ask 3", "got 3", "end 3"]


async def test_while_it_waits_its_agent_takes_other_events() -> None:
    """The wait does not hold a serial agent's turn, nor a place of the session's limit."""
    asker = Asker()
    router = router_of((Other, asker), (Ping, Answerer()))
    async with AsyncDispatcher(router, max_concurrency=4) as dispatcher:
        with takes(0.5 + 3 * 0.1):
            for n in range(3):
                dispatcher.dispatch(Other(source="x", n=n))
            assert await dispatcher.wait_for_empty_queue()
    assert asker.order[:3] == ["ask 0", "ask 1", "ask 2"]
    rest = asker.order[3:]
    assert [s.split()[0] for s in rest] == ["got", "end"] * 3
    assert all(
        a.split()[1] == b.split()[1] for a, b in zip(rest[::2], rest[1::2], strict=True)
    )


async def test_a_handler_that_has_its_answer_goes_on_before_others_begin() -> None:
    """It gets its agent back before what is queued for it."""
    order: list[str] = []

    class Serial(BaseAsyncAgent):
        async def receive_event_async(self, event: Other) -> None:
            order.append(f"begin {event.n}")
            if event.n == 0:
                await wait_for(Pong)
                order.append("answered")
            await anyio.sleep(0.2)

    async def answer(event: Ping) -> Pong:
        await anyio.sleep(0.1)
        return Pong(source="x")

    async with AsyncDispatcher(router_of((Other, Serial()), (Ping, answer))) as d:
        d.dispatch(Other(source="x", n=0, correlation_id="a"))
        d.dispatch(Ping(source="x", correlation_id="a"))
        for n in range(1, 4):
            d.dispatch(Other(source="x", n=n))
    assert order == ["begin 0", "begin 1", "answered", "begin 2", "begin 3"]


async def test_only_what_comes_from_now_on_counts() -> None:
    """The first that satisfies the question; agents that are routed get it, too."""
    got: list[int] = []
    collector = Collector()

    class Patient(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> AsyncIterator[Event]:
            yield Pong(source="x", n=1)
            got.append((await wait_for(Pong)).n)

    async def later(event: Ping) -> AsyncIterator[Event]:
        await anyio.sleep(0.1)
        yield Other(source="x")
        yield LoudPong(source="x", n=2)
        yield Pong(source="x", n=3)

    router = router_of((Ping, Patient()), (Ping, later), (Pong, collector))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    assert got == [2]
    assert collector.numbers() == [1, 2, 3]


async def test_a_task_of_a_handler_may_ask() -> None:
    """Then the handler keeps its turn."""
    got: list[int] = []

    async def ask(n: int) -> None:
        got.append((await wait_for(Pong, where=lambda pong: pong.n == n)).n)

    async def handler(event: Other) -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(3):
                tasks.start_soon(ask, n)
            await anyio.wait_all_tasks_blocked()
            for n in range(3):
                dispatcher.dispatch(Ping(source="x", n=n))

    router = router_of((Other, handler), (Ping, Answerer()))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Other(source="x"))
        assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().unrouted == 0
    assert sorted(got) == [0, 1, 2]


async def test_a_question_that_raises_fails_the_handler_that_asked() -> None:
    """Not the one whose event it looked at."""

    async def ask(event: Other) -> None:
        await wait_for(Pong, where=lambda pong: 1 / pong.n > 0)

    async def answer(event: Other) -> Pong:
        await anyio.sleep(0.1)
        return Pong(source="x")

    async with AsyncDispatcher(router_of((Other, ask), (Other, answer))) as dispatcher:
        with pytest.raises(FlowFailed) as caught:
            async with dispatcher.open_flow(Other(source="x")):
                pass
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    assert caught.value.failures[0].agent == "ask"


async def test_only_a_handler_can_ask() -> None:
    """Outside of one the error says what to use; the type is checked."""
    with pytest.raises(SessionError, match=r"use flow.result\(\)"):
        await wait_for(Pong)
    with pytest.raises(EventTypeError):
        await wait_for(int)  # type: ignore[type-var]


async def test_an_answer_may_come_from_outside() -> None:
    """Somebody dispatches it into the flow; the handler said that it may."""
    got: list[int] = []

    async def ask(event: Ping) -> None:
        got.append((await wait_for(Pong, from_outside=True)).n)

    async with AsyncDispatcher(router_of((Ping, ask))) as dispatcher:
        root = dispatcher.dispatch(Ping(source="x"))
        await anyio.sleep(0.2)
        assert dispatcher.statistics().running == 1
        dispatcher.dispatch(
            Pong(source="person", n=8, correlation_id=root.correlation_id)
        )
        assert await dispatcher.wait_for_empty_queue()
    assert got == [8]


async def test_a_stopping_session_ends_the_wait_for_outside() -> None:
    """(D5) Nothing can come any more, so stop() does not hang over it."""

    async def ask(event: Ping) -> None:
        await wait_for(Pong, from_outside=True)

    async with AsyncDispatcher(router_of((Ping, ask))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        await anyio.sleep(0.1)
        with takes(0), pytest.raises(FlowFailed) as caught:
            await dispatcher.stop()
    assert caught.group_contains(FlowStalled)


async def test_a_flow_that_ends_cancels_the_question() -> None:
    """(F1) While it waits, and while it waits for its turn; lanes are right after."""
    cleaned: list[int] = []

    class Careful(BaseAsyncAgent):
        async def receive_event_async(self, event: Other) -> None:
            if event.n == 9:
                await anyio.sleep(0.1)
                return
            try:
                await wait_for(Pong)
            finally:
                cleaned.append(event.n)

    agent = Careful()
    async with AsyncDispatcher(router_of((Other, agent))) as dispatcher:
        async with dispatcher.open_flow(Other(source="x", n=1)) as flow:
            await anyio.sleep(0.1)
            flow.cancel()
        async with dispatcher.open_flow(Other(source="x", n=2)) as flow:
            await anyio.sleep(0.1)
            dispatcher.dispatch(Other(source="x", n=9))
            await anyio.sleep(0.05)
            flow.dispatch(Pong(source="x"))
            await checkpoint()
            flow.cancel()
        assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
        lane = dispatcher._engine.switchboard.lanes()["Careful"]
        assert (lane.running, len(lane.returning)) == (0, 0)
        with takes(0.2):
            for _ in range(2):
                dispatcher.dispatch(Other(source="x", n=9))
            assert await dispatcher.wait_for_empty_queue()
    assert cleaned == [1, 2]


async def test_the_owner_may_answer_as_long_as_it_is_in_its_block() -> None:
    """(F1) Only when it has left, the question has no answer any more."""
    got: list[int] = []

    async def ask(event: Ping) -> None:
        got.append((await wait_for(Pong)).n)

    async with AsyncDispatcher(router_of((Ping, ask))) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            await anyio.sleep(0.2)
            flow.dispatch(Pong(source="owner", n=4))
        with takes(0), pytest.raises(FlowFailed) as caught:
            async with dispatcher.open_flow(Ping(source="x")):
                pass
        assert caught.group_contains(FlowStalled)
        with takes(0), pytest.raises(FlowFailed):
            await dispatcher.run(Ping(source="x"), Pong)
    assert got == [4]


async def test_a_question_in_a_session_without_routes_for_the_answer() -> None:
    """(R4) An event that somebody waited for was not unrouted."""

    async def ask(event: Ping) -> None:
        await wait_for(Pong)

    async def answer(event: Ping) -> Pong:
        await anyio.sleep(0.1)
        return Pong(source="x")

    async with AsyncDispatcher(Router({Ping: [ask, answer]})) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().unrouted == 0
