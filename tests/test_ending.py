"""TerminateEvent ends its flow, and nested flows (D6, F1, F2)."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    FlowFailed,
    NoResult,
    TerminateEvent,
)
from agentflow._records import DeliveryDropped, HandlerCancelled, OutputDropped
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Other,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    fail,
    forever,
    router_of,
    takes,
)


async def test_a_terminate_event_ends_its_own_flow_only() -> None:
    """(D6) Running handlers are cancelled, queued ones dropped, other flows go on."""
    log, slow = Log(), Sleeper(0.3)

    async def ender(event: Boom) -> list[Event]:
        await anyio.sleep(0.1)
        return [Other(source="x", n=1), TerminateEvent(source="ender")]

    router = router_of((Ping, slow), (Boom, ender), (Other, Collector()))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1, correlation_id="a"))
        dispatcher.dispatch(Ping(source="x", n=2, correlation_id="a"))
        dispatcher.dispatch(Ping(source="x", n=3, correlation_id="b"))
        dispatcher.dispatch(Boom(source="x", correlation_id="a"))
        with takes(0.1):
            assert await dispatcher.wait_for_empty_queue(correlation_id="a")
        assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    assert slow.ended == [3]
    reason = "TerminateEvent from ender"
    assert [r.reason for r in log.of(HandlerCancelled)] == [reason]
    assert [type(r.event) for r in log.of(DeliveryDropped)] == [Ping, Other]


async def test_a_terminate_event_may_be_dispatched() -> None:
    """(D6) From outside by its correlation id, by the owner, or in a handler."""
    reached: list[str] = []

    async def suicidal(event: Boom) -> Pong:
        dispatcher.dispatch(TerminateEvent(source="me"))
        reached.append("still here")
        await checkpoint()
        reached.append("not here")
        return Pong(source="x")

    router = router_of((Ping, forever), (Boom, suicidal))
    async with AsyncDispatcher(router) as dispatcher:
        root = dispatcher.dispatch(Ping(source="x"))
        dispatcher.dispatch(
            TerminateEvent(source="main", correlation_id=root.correlation_id)
        )
        assert await dispatcher.wait_for_empty_queue()
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            flow.dispatch(TerminateEvent(source="owner"))
            with pytest.raises(NoResult, match="it was terminated"):
                await flow.result(Pong)
        dispatcher.dispatch(Boom(source="x"))
        dispatcher.dispatch(TerminateEvent(source="nobody"))
    assert reached == ["still here"]
    assert_nothing_left(dispatcher)


async def test_what_comes_after_the_end_of_a_flow_is_dropped_and_recorded() -> None:
    """(D6) What a handler returns along with, or after, the end is not delivered."""
    log, collector = Log(), Collector()

    async def ender(event: Ping) -> list[Event]:
        return [TerminateEvent(source="ender"), Pong(source="ender")]

    class Stubborn(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> Other:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)
            return Other(source=type(self))

    router = router_of(
        (Ping, Stubborn()), (Ping, ender), (Pong, collector), (Other, collector)
    )
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    assert collector.got == []
    dropped = [(r.agent, type(r.event)) for r in log.of(OutputDropped)]
    assert dropped == [("ender", Pong), ("Stubborn", Other)]


async def test_a_run_that_is_terminated_returns_what_had_come() -> None:
    """(D6, F4) The usual end of a flow: a result, then a TerminateEvent."""

    async def answer(event: Ping) -> list[Event]:
        return [Pong(source="x", n=9), TerminateEvent(source="x")]

    router = router_of((Ping, answer), (Ping, forever))
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0):
            assert (await dispatcher.run(Ping(source="x"), Pong)).n == 9


async def test_flows_nest() -> None:
    """(F1) A handler may own a flow, which takes no room at the door."""
    slow = Sleeper(0.1)

    async def outer(event: Boom) -> Other:
        inner = await dispatcher.run(
            Ping(source="outer", n=event.text.count("!")), Pong
        )
        return Other(source="outer", n=inner.n)

    router = router_of((Boom, outer), (Ping, slow))
    async with AsyncDispatcher(router, capacity=1) as dispatcher:
        with takes(0.1):
            assert (await dispatcher.run(Boom(source="x", text="!!"), Other)).n == 2
        assert_nothing_left(dispatcher)


async def test_a_nested_flow_is_cancelled_with_its_owner() -> None:
    """(F1) Cancelling the outer flow reaches the inner one's handlers."""
    cleaned: list[str] = []

    async def inner(event: Pong) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("inner")

    async def outer(event: Ping) -> None:
        await dispatcher.run(Pong(source="outer"), Other)

    async with AsyncDispatcher(router_of((Ping, outer), (Pong, inner))) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            await anyio.sleep(0.1)
            flow.cancel()
        assert cleaned == ["inner"]
        assert_nothing_left(dispatcher)


async def test_the_failure_of_a_nested_flow_is_its_owners() -> None:
    """(F2) The outer handler fails with it, unless it handles it itself."""

    async def careful(event: Ping) -> Pong:
        with pytest.raises(FlowFailed):
            await dispatcher.run(Boom(source="careful"), Pong)
        return Pong(source="careful")

    async def careless(event: Other) -> None:
        await dispatcher.run(Boom(source="careless"), Pong)

    router = router_of((Ping, careful), (Other, careless), (Boom, fail))
    async with AsyncDispatcher(router) as dispatcher:
        await dispatcher.run(Ping(source="x"), Pong)
        with pytest.raises(FlowFailed) as failed:
            await dispatcher.run(Other(source="x"), Pong)
        assert isinstance(failed.value.exceptions[0], FlowFailed)
        assert await dispatcher.wait_for_empty_queue()
