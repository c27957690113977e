"""Declared retries in a session (F5)."""

import anyio
import pytest

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    BaseAsyncAgent,
    FlowFailed,
    Retry,
    Router,
)
from agentflow._records import HandlerFailed, HandlerStarted
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Ping,
    Pong,
    assert_nothing_left,
    fail,
    takes,
)


class Flaky(BaseAsyncAgent):
    """Fails as often as it is told to, for each number anew."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tried: list[int] = []

    async def receive_event_async(self, event: Ping) -> Pong:
        self.tried.append(event.n)
        if self.tried.count(event.n) <= self.failures:
            raise OSError(f"attempt {self.tried.count(event.n)}")
        return Pong(source=type(self), n=event.n)


def retrying(agent: object, retry: Retry) -> Router:
    """Return a router with one route that retries."""
    router = Router()
    router.add_route(Ping, agent, retry=retry)
    return router


async def test_a_handler_is_tried_again_after_a_wait_on_the_loops_clock() -> None:
    """(F5) 0.5 s and 1 s, without jitter; the record says each attempt."""
    agent, log = Flaky(2), Log()
    router = retrying(agent, Retry(attempts=3, on=OSError, initial=0.5, jitter=0))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        with takes(1.5):
            assert (await dispatcher.run(Ping(source="x", n=7), Pong)).n == 7
        assert dispatcher.statistics().retried == 2
        assert dispatcher.statistics().failed == 0
        assert_nothing_left(dispatcher)
    assert [r.attempt for r in log.of(HandlerStarted)] == [1, 2, 3]
    assert [
        (r.attempt, r.consequence, r.retry_in, str(r.error))
        for r in log.of(HandlerFailed)
    ] == [(1, "retry", 0.5, "attempt 1"), (2, "retry", 1.0, "attempt 2")]


async def test_when_the_attempts_are_used_up_the_flow_fails() -> None:
    """(F5) The failure says how often it was tried."""
    router = retrying(Flaky(9), Retry(attempts=2, initial=0.1))
    async with AsyncDispatcher(router) as dispatcher:
        with pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Ping(source="x"), Pong)
    assert [f.attempts for f in caught.value.failures] == [2]
    assert str(caught.value.exceptions[0]) == "attempt 2"


async def test_a_failure_that_was_retried_may_be_handled_in_the_end() -> None:
    """(F2, F5) After the last attempt it goes its ordinary way."""
    collector = Collector()
    router = retrying(Flaky(9), Retry(attempts=3, initial=0.1))
    router.add_route(AgentFailed, collector)
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        assert await dispatcher.wait_for_empty_queue()
    assert [failure.attempts for failure in collector.got] == [3]


async def test_a_retry_is_of_its_route_only() -> None:
    """(F5) Another route to the same agent may do without."""
    router = Router()
    agent = Collector()
    flaky = Flaky(1)
    router.add_route(
        Ping, flaky, when=lambda event: event.n > 0, retry=Retry(initial=0)
    )
    router.add_route(Ping, flaky)
    router.add_route(Pong, agent)
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        assert await dispatcher.wait_for_empty_queue()
        with pytest.raises(FlowFailed):
            await dispatcher.run(Ping(source="x", n=0), Pong)
    assert agent.numbers() == [1]


async def test_a_waiting_attempt_does_not_hold_its_agent() -> None:
    """(F5) Meanwhile a serial agent takes what comes after."""
    agent = Flaky(1)
    router = retrying(agent, Retry(initial=1, jitter=0))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        dispatcher.dispatch(Ping(source="x", n=2))
        await anyio.sleep(0.5)
        now = dispatcher.statistics()
        assert (now.queued, now.running, now.flows) == (2, 0, 2)
    assert agent.tried[:2] == [1, 2]
    assert sorted(agent.tried[2:]) == [1, 2]


async def test_a_retried_delivery_queues_up_behind_what_came_meanwhile() -> None:
    """(F5) A busy serial agent ends what it is at, and takes the others first."""
    tried: list[int] = []

    class Busy(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> None:
            tried.append(event.n)
            if tried == [0]:
                raise OSError
            await anyio.sleep(0.3)

    router = retrying(Busy(), Retry(initial=0.1, jitter=0))
    async with AsyncDispatcher(router) as dispatcher:
        for n in range(3):
            dispatcher.dispatch(Ping(source="x", n=n))
    assert tried == [0, 1, 2, 0]


async def test_cancelling_the_flow_ends_the_wait() -> None:
    """(F5) At once, and nothing is left of it."""
    router = Router()
    router.add_route(Boom, fail, retry=Retry(initial=3, jitter=0))
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0.1):
            async with dispatcher.open_flow(Boom(source="x")) as flow:
                await anyio.sleep(0.1)
                flow.cancel()
        assert_nothing_left(dispatcher)
        assert dispatcher.statistics().dropped == 1


async def test_cancelling_just_when_the_wait_is_over_is_no_trap() -> None:
    """(F5) Whichever comes first, the delivery is handled or dropped, once."""
    agent = Flaky(1)
    router = retrying(agent, Retry(initial=1, jitter=0))
    async with AsyncDispatcher(router) as dispatcher:

        async def one(n: int) -> None:
            async with dispatcher.open_flow(Ping(source="x", n=n)) as flow:
                await anyio.sleep(1)
                flow.cancel()

        async with anyio.create_task_group() as tasks:
            for n in range(30):
                tasks.start_soon(one, n)
        assert_nothing_left(dispatcher)
        now = dispatcher.statistics()
        assert now.handled + now.dropped == 30
    assert all(agent.tried.count(n) <= 2 for n in range(30))
