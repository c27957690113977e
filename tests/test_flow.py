"""Flows and their owners (F1, F4, F6, D6)."""

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    Event,
    EventTypeError,
    FlowCancelled,
    FlowFailed,
    NoResult,
    Router,
    SessionError,
)
from agentflow._records import DeliveryDropped, HandlerCancelled
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Other,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    forever,
    router_of,
    takes,
)


class LoudPong(Pong):
    pass


async def both(event: Ping) -> list[Event]:
    """Answer with a subclass first."""
    return [LoudPong(source="both", n=1), Pong(source="both", n=2)]


async def test_run_returns_the_first_result_after_the_flow_has_ended() -> None:
    """(F4) Subclasses count, and the flow is seen to its end."""
    slow = Sleeper(0.3)
    router = router_of((Ping, both), (Ping, slow))
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0.3):
            assert (await dispatcher.run(Ping(source="x"), Pong)).n == 1
        assert slow.ended == [0]
        assert_nothing_left(dispatcher)


async def test_run_bounded_by_its_caller_cancels_the_flow() -> None:
    """(F4) fail_after around run() is the way to bound it."""
    cleaned: list[str] = []

    async def stuck(event: Ping) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("up")

    async with AsyncDispatcher(router_of((Ping, stuck))) as dispatcher:
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            await dispatcher.run(Ping(source="x"), Pong)
        assert cleaned == ["up"]
        assert_nothing_left(dispatcher)


async def test_a_flow_without_the_result_says_so() -> None:
    """(F1) NoResult names the flow and the type, from run() and from result()."""
    async with AsyncDispatcher(router_of((Ping, both))) as dispatcher:
        with pytest.raises(NoResult, match="ended without Other"):
            await dispatcher.run(Ping(source="x"), Other)
        with pytest.raises(NoResult):
            await dispatcher.run(Other(source="x"), Other)
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            with pytest.raises(NoResult, match=flow.correlation_id):
                await flow.result(Boom)


async def test_a_result_may_be_asked_for_at_any_time_and_often() -> None:
    """(F1) Before it comes, after it came, and after the block."""
    results: list[int] = []

    async def ask() -> None:
        results.append((await flow.result(Pong)).n)

    async with AsyncDispatcher(router_of((Ping, Sleeper(0.1)))) as dispatcher:
        async with (
            dispatcher.open_flow(Ping(source="x", n=4)) as flow,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await anyio.sleep(0.2)
            await ask()
        await ask()
    assert results == [4] * 4


async def test_the_root_events_of_the_owner_are_no_results() -> None:
    """(F1) Only what an agent emits is; also for an owner that is a handler itself."""

    async def nested(event: Boom) -> Other:
        async with dispatcher.open_flow(Pong(source="owner")) as flow:
            flow.dispatch(Pong(source="owner"))
            with pytest.raises(NoResult):
                await flow.result(Pong)
        return Other(source="nested")

    router = router_of((Boom, nested), (Ping, Collector()))
    async with AsyncDispatcher(router) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            flow.dispatch(Pong(source="owner"))
            with pytest.raises(NoResult):
                await flow.result(Pong)
        await dispatcher.run(Boom(source="x"), Other)


async def test_the_events_of_a_flow_can_be_followed_live() -> None:
    """(F1) Typed, in order, as they are accepted, until the flow is idle."""
    async with (
        AsyncDispatcher(router_of((Ping, both))) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
        flow.events() as events,
        flow.events(LoudPong) as loud_ones,
    ):
        seen = [type(event) async for event in events]
        loud = [event.n async for event in loud_ones]
        assert seen == [LoudPong, Pong]
        assert loud == [1]


async def test_following_may_stop_before_the_flow_does() -> None:
    """(F1) A reader that has enough, or has closed its end, holds up nothing."""
    collector = Collector()

    async def many(event: Ping) -> list[Pong]:
        return [Pong(source="many", n=n) for n in range(5)]

    router = router_of((Ping, many), (Pong, collector))
    async with (
        AsyncDispatcher(router) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
    ):
        async with flow.events(Pong) as pongs:
            assert (await pongs.receive()).n == 0
        async with flow.events() as events:
            await events.aclose()
            flow.dispatch(Ping(source="x"))
            await dispatcher.wait_for_empty_queue()
        assert not flow._state.on_idle
    assert len(collector.got) == 10


async def test_the_events_of_an_idle_flow_are_over() -> None:
    """(F1) A stream that is opened too late ends at once; types are checked."""
    async with (
        AsyncDispatcher(Router()) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
    ):
        async with flow.events() as events:
            assert [event async for event in events] == []
        with pytest.raises(EventTypeError):
            flow.events(int)  # type: ignore[type-var]
        with pytest.raises(EventTypeError):
            await flow.result(int)  # type: ignore[type-var]


async def test_a_stream_ends_with_the_first_idle_moment() -> None:
    """(F1) What the owner dispatches after that is for the next stream."""
    async with (
        AsyncDispatcher(router_of((Ping, both))) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
        flow.events() as events,
    ):
        await dispatcher.wait_for_empty_queue()
        flow.dispatch(Ping(source="x"))
        await dispatcher.wait_for_empty_queue()
        assert [type(event) async for event in events] == [LoudPong, Pong]


async def test_leaving_the_block_waits_until_the_flow_is_idle() -> None:
    """(F1) Everything that came of it included."""
    slow = Sleeper(0.2)
    async with AsyncDispatcher(router_of((Ping, slow))) as dispatcher:
        with takes(0.4):
            async with dispatcher.open_flow(Ping(source="x", n=1)) as flow:
                flow.dispatch(Ping(source="x", n=2))
        assert slow.ended == [1, 2]
        assert_nothing_left(dispatcher)
    assert repr(flow) == f"<Flow {flow.correlation_id} open>"


async def test_the_owner_may_join_events_to_its_flow_only() -> None:
    """(F1) An event of another flow, or after the block, is refused."""
    collector = Collector()
    async with AsyncDispatcher(router_of((Ping, collector))) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x", n=1)) as flow:
            mine = flow.dispatch(
                Ping(source="x", n=2, correlation_id=flow.correlation_id)
            )
            assert mine.correlation_id == flow.correlation_id
            with pytest.raises(SessionError, match="belongs to flow other, not to"):
                flow.dispatch(Ping(source="x", correlation_id="other"))
        with pytest.raises(SessionError, match=r"the block of flow .* is over"):
            flow.dispatch(Ping(source="x"))
    assert collector.numbers() == [1, 2]


async def test_a_flow_has_one_owner() -> None:
    """(F1) A correlation id that is in use cannot be opened, but joined."""
    collector = Collector()
    router = router_of((Ping, Sleeper(0.1)), (Pong, collector))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", correlation_id="a"))
        with pytest.raises(SessionError, match="flow a is open already; dispatch into"):
            await dispatcher.run(Ping(source="x", correlation_id="a"), Pong)
        await dispatcher.wait_for_empty_queue()
        async with dispatcher.open_flow(Ping(source="x", correlation_id="a")) as flow:
            dispatcher.dispatch(Pong(source="x", n=7, correlation_id="a"))
            assert flow.correlation_id == "a"
    assert 7 in collector.numbers()


async def test_an_error_in_the_block_cancels_the_flow_and_leaves_bare() -> None:
    """(F1, F3) Running handlers are cancelled, queued ones dropped, at once."""
    log = Log()
    async with AsyncDispatcher(router_of((Ping, Sleeper(1))), tracer=log) as dispatcher:
        with takes(0.1), pytest.raises(KeyError, match="mine"):
            async with dispatcher.open_flow(Ping(source="x", n=1)) as flow:
                flow.dispatch(Ping(source="x", n=2))
                await anyio.sleep(0.1)
                raise KeyError("mine")
        assert_nothing_left(dispatcher)
    reason = "its owner's block ended with KeyError('mine')"
    assert [r.reason for r in log.of(HandlerCancelled)] == [reason]
    assert [r.reason for r in log.of(DeliveryDropped)] == [reason]


async def test_a_cancellation_from_outside_cancels_the_flow() -> None:
    """(F1) At once, and with it what its handlers wait for, however deep."""
    cleaned: list[str] = []

    async def deep() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("deep")

    async def handler(event: Ping) -> None:
        with anyio.move_on_after(4):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(deep)
                tasks.start_soon(deep)

    async with AsyncDispatcher(router_of((Ping, handler))) as dispatcher:
        with takes(0.2), anyio.move_on_after(0.2) as scope:
            async with dispatcher.open_flow(Ping(source="x")):
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert cleaned == ["deep", "deep"]
        assert_nothing_left(dispatcher)


async def test_cancel_scopes_of_a_handler_are_its_own() -> None:
    """(F6) A handler's timeout ends what it bounds, and nothing else."""
    times: list[float] = []

    async def handler(event: Ping) -> Pong:
        start = anyio.current_time()
        with anyio.move_on_after(0.1), anyio.CancelScope():
            await anyio.sleep_forever()
        times.append(anyio.current_time() - start)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        return Pong(source="x", n=event.n)

    async with AsyncDispatcher(router_of((Ping, handler))) as dispatcher:
        for n in range(3):
            assert (await dispatcher.run(Ping(source="x", n=n), Pong)).n == n
    assert times == pytest.approx([0.1] * 3)


async def test_a_flow_can_be_cancelled_with_a_reason() -> None:
    """(F1) It goes into the records and to who waits for a result; the block goes on."""
    log = Log()
    async with AsyncDispatcher(router_of((Ping, forever)), tracer=log) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            await anyio.sleep(0.1)
            flow.cancel("changed my mind")
            flow.cancel("too late")
            with pytest.raises(NoResult, match=r"was cancelled \(changed my mind\)"):
                await flow.result(Pong)
            with pytest.raises(SessionError, match="changed my mind"):
                flow.dispatch(Ping(source="x"))
        assert_nothing_left(dispatcher)
    assert [r.reason for r in log.of(HandlerCancelled)] == ["changed my mind"]
    assert repr(flow).endswith("cancelled>")


async def test_who_else_cancels_a_flow_is_named_to_its_owner() -> None:
    """(F1) When the session ends, the block is cancelled and raises the reason."""
    reached: list[str] = []

    async def own() -> None:
        with pytest.raises(FlowCancelled) as caught:
            async with dispatcher.open_flow(Ping(source="x")):
                await anyio.sleep_forever()
        reached.append(caught.value.reason)
        assert caught.value.reason in str(caught.value)

    async with (
        AsyncDispatcher(router_of((Ping, forever))) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(own)
        await anyio.sleep(0.1)
        report = await dispatcher.stop(grace=0.1)
        assert [u.started for u in report.undelivered] == [True]
    assert reached == ["the session ended: its grace was over"]


async def test_a_stuck_flow_does_not_delay_another() -> None:
    """(F6) Nor does a cancelled one; its worker is back at work at once."""
    quick = Sleeper(0.1, max_concurrency=None)
    router = router_of((Boom, forever), (Ping, quick))
    async with (
        AsyncDispatcher(router, max_concurrency=2) as dispatcher,
        dispatcher.open_flow(Boom(source="x")) as stuck,
    ):
        await anyio.sleep(0.05)
        with takes(0.1):
            await dispatcher.run(Ping(source="x"), Pong)
        stuck.cancel()
        with takes(0.1):
            for _ in range(2):
                dispatcher.dispatch(Ping(source="x", n=1))
            await dispatcher.wait_for_empty_queue()


async def test_a_result_of_a_cancelled_flow_that_fails_in_its_clean_up() -> None:
    """(F1, F3) There is no result, and the block reports the failure."""

    async def messy(event: Ping) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async def own() -> None:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            await anyio.wait_all_tasks_blocked()
            flow.cancel("enough")
            with pytest.raises(NoResult, match="enough"):
                await flow.result(Pong)

    async with AsyncDispatcher(router_of((Ping, messy))) as dispatcher:
        with pytest.raises(FlowFailed, match="failed in 'messy'"):
            await own()
