"""wait_for_empty_queue: exact, bounded, and never a false True (D4)."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    FlowFailed,
    WouldDeadlock,
)
from tests.fakes import (
    Boom,
    Collector,
    Ping,
    Pong,
    Sleeper,
    fail,
    forever,
    router_of,
    takes,
)


async def test_it_is_true_when_all_is_done_and_false_when_time_is_up() -> None:
    """(D4) The work goes on in either case."""
    agent = Sleeper(0.3)
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with takes(0.1):
            assert await dispatcher.wait_for_empty_queue(timeout=0.1) is False
        assert agent.ended == []
        with takes(0.2):
            assert await dispatcher.wait_for_empty_queue(timeout=1) is True
        assert agent.ended == [1]


@pytest.mark.parametrize("flow", [None, "a"])
async def test_a_timeout_of_zero_looks_and_does_not_wait(flow: str | None) -> None:
    """(D4) True when idle, False when not."""
    async with AsyncDispatcher(router_of((Ping, Sleeper(0.1)))) as dispatcher:
        with takes(0):
            assert await dispatcher.wait_for_empty_queue(0, flow) is True
            dispatcher.dispatch(Ping(source="x", correlation_id="a"))
            assert await dispatcher.wait_for_empty_queue(0, flow) is False
        await anyio.sleep(0.2)
        assert await dispatcher.wait_for_empty_queue(0, flow) is True


async def test_it_may_wait_for_one_flow() -> None:
    """(D4) An id that is not known is idle."""
    router = router_of((Ping, Sleeper(0.1)), (Boom, forever))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", correlation_id="a"))
        dispatcher.dispatch(Boom(source="x", correlation_id="b"))
        with takes(0.1):
            assert await dispatcher.wait_for_empty_queue(correlation_id="a")
        with takes(0):
            assert await dispatcher.wait_for_empty_queue(correlation_id="unknown")
        with takes(0.2):
            assert not await dispatcher.wait_for_empty_queue(0.2, correlation_id="b")
        await dispatcher.stop(grace=0)


async def test_what_comes_meanwhile_is_waited_for_too() -> None:
    """(D4) Between a handler and its output the queue does not look empty."""
    ended: list[str] = []

    async def first(event: Ping) -> Pong:
        await anyio.sleep(0.1)
        return Pong(source="x")

    async def second(event: Pong) -> None:
        await anyio.sleep(0.1)
        dispatcher.dispatch(Boom(source="x"))

    async def third(event: Boom) -> None:
        await anyio.sleep(0.1)
        ended.append("third")

    router = router_of((Ping, first), (Pong, second), (Boom, third))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        with takes(0.3):
            assert await dispatcher.wait_for_empty_queue()
        assert ended == ["third"]


async def test_a_cancelled_wait_leaves_the_work_alone() -> None:
    """(D4) Under an outer cancel scope it raises, and forgets that it waited."""
    agent = Sleeper(0.2)
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1, correlation_id="a"))
        for flow in (None, "a"):
            with anyio.move_on_after(0.05) as scope:
                await dispatcher.wait_for_empty_queue(correlation_id=flow)
            assert scope.cancelled_caught
        assert not dispatcher._engine.on_idle
    assert agent.ended == [1]


async def test_an_outer_deadline_wins_over_its_own() -> None:
    """(D4) fail_after around it raises TimeoutError, not False."""
    async with AsyncDispatcher(router_of((Ping, forever))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await dispatcher.wait_for_empty_queue(timeout=1)
        await dispatcher.stop(grace=0)


async def test_a_failure_is_raised_instead_of_true() -> None:
    """(D4, F3) The first who asks gets it; then the queue is empty."""
    router = router_of((Boom, fail), (Ping, Sleeper(0.1)))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Boom(source="x"))
        dispatcher.dispatch(Ping(source="x"))
        with takes(0.1), pytest.raises(FlowFailed):
            await dispatcher.wait_for_empty_queue()
        assert await dispatcher.wait_for_empty_queue() is True


async def test_a_failure_of_another_flow_does_not_concern_this_one() -> None:
    """(D4, F3) Asked about one flow, it raises what failed in that flow."""
    router = router_of((Boom, fail), (Ping, Sleeper(0.1)))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Boom(source="x", correlation_id="bad"))
        dispatcher.dispatch(Ping(source="x", correlation_id="good"))
        assert await dispatcher.wait_for_empty_queue(correlation_id="good") is True
        with pytest.raises(FlowFailed, match="flow bad failed in 'fail'"):
            await dispatcher.wait_for_empty_queue(correlation_id="bad")
        assert await dispatcher.wait_for_empty_queue(correlation_id="bad") is True


async def test_several_may_wait_at_once() -> None:
    """(D4) All wake when the last delivery is done."""
    times: list[float] = []

    async def wait(flow: str | None) -> None:
        assert await dispatcher.wait_for_empty_queue(correlation_id=flow)
        times.append(anyio.current_time() - start)

    async with (
        AsyncDispatcher(router_of((Ping, Sleeper(0.1)))) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        start = anyio.current_time()
        for n in range(2):
            dispatcher.dispatch(Ping(source="x", correlation_id=str(n)))
        for flow in ("0", "1", None, None):
            tasks.start_soon(wait, flow)
    assert times == pytest.approx([0.1, 0.2, 0.2, 0.2])


async def test_a_handler_cannot_wait_for_itself() -> None:
    """(D4) About its own flow or all of them it is an error that names the handler."""
    errors: list[str] = []

    class Impatient(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> None:
            for flow in (None, event.correlation_id):
                try:
                    await dispatcher.wait_for_empty_queue(correlation_id=flow)
                except WouldDeadlock as error:
                    errors.append(str(error))

    async with AsyncDispatcher(router_of((Ping, Impatient()))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    assert len(errors) == 2
    assert all("Impatient called wait_for_empty_queue() while" in e for e in errors)


async def test_a_handler_may_wait_for_another_flow() -> None:
    """(D4) That can end."""
    slow, collector = Sleeper(0.1), Collector()

    async def patient(event: Boom) -> None:
        assert await dispatcher.wait_for_empty_queue(correlation_id="other")
        collector.got.append(slow.ended)

    async with AsyncDispatcher(router_of((Ping, slow), (Boom, patient))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1, correlation_id="other"))
        dispatcher.dispatch(Boom(source="x"))
    assert collector.got == [[1]]


async def test_a_flow_that_begins_just_now_is_waited_for() -> None:
    """(D4) An id that was unknown when it was asked about may have a flow by now."""
    async with AsyncDispatcher(router_of((Ping, Sleeper(0.1)))) as dispatcher:

        async def wait() -> None:
            assert await dispatcher.wait_for_empty_queue(correlation_id="a")
            assert dispatcher.statistics().flows == 0

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await checkpoint()
            dispatcher.dispatch(Ping(source="x", correlation_id="a"))


async def test_a_flow_that_begins_anew_is_waited_for() -> None:
    """(D4) When one flow is over and its id has another before the waiter runs."""
    async with AsyncDispatcher(router_of((Ping, Sleeper(0.1)))) as dispatcher:

        async def again() -> None:
            assert await dispatcher.wait_for_empty_queue(correlation_id="a")
            dispatcher.dispatch(Ping(source="x", n=2, correlation_id="a"))

        dispatcher.dispatch(Ping(source="x", n=1, correlation_id="a"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again)
            await checkpoint()
            assert await dispatcher.wait_for_empty_queue(correlation_id="a")
            assert dispatcher.statistics().flows == 0
