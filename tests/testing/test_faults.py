"""Faults on purpose."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from agentflow import BaseAsyncAgent, FlowCancelled, FlowFailed, NoResult, Retry, Router
from agentflow.testing import (
    FlowCheckFailed,
    InjectedFault,
    every_checkpoint,
    open_test_session,
)
from agentflow.testing._faults import Strike, WatchedStream
from tests.fakes import Other, Ping, Pong, Sleeper, router_of, takes


def ping(n: int = 0) -> Ping:
    """Return what most tests begin with."""
    return Ping(source="test", n=n)


class Steps(BaseAsyncAgent):
    """Has three checkpoints, and notes how far it came."""

    def __init__(self) -> None:
        self.came: list[str] = []

    async def receive_event_async(self, event: Ping) -> Pong:
        try:
            await anyio.sleep(1)
            self.came.append("one")
            await anyio.lowlevel.checkpoint()
            self.came.append("two")
            await anyio.sleep(1)
            self.came.append("three")
        finally:
            self.came.append("clean")
        return Pong(source="Steps")


async def test_a_crash_is_what_the_owner_gets() -> None:
    """At its start, by name, class or instance; once, unless told otherwise."""
    steps = Steps()
    async with open_test_session(router_of((Ping, steps))) as session:
        for agent in ("Steps", Steps, steps):
            session.crash_at(agent)
            with pytest.raises(FlowFailed) as caught:
                await session.run(ping(), Pong)
            (error,) = caught.value.exceptions
            assert isinstance(error, InjectedFault)
            assert str(error) == "crash_at('Steps') of the test"
        await session.run(ping(), Pong)
    assert steps.came == ["one", "two", "three", "clean"]


async def test_a_crash_comes_after_the_wait_at_its_checkpoint() -> None:
    """The handler sees it raised from there, and cleans up."""
    steps = Steps()
    async with open_test_session(router_of((Ping, steps))) as session:
        session.crash_at(steps, 3, error=OSError("gone"))
        with takes(2), pytest.raises(FlowFailed) as caught:
            await session.run(ping(), Pong)
    assert caught.group_contains(OSError, match="gone")
    assert steps.came == ["one", "two", "clean"]


async def test_a_retry_is_tested_with_so_many_crashes() -> None:
    """The route tries three times, and the third goes well."""
    router = Router()
    router.add_route(Ping, Steps(), retry=Retry(attempts=3, initial=0.1))
    async with open_test_session(router) as session:
        session.crash_at("Steps", times=2)
        await session.run(ping(), Pong)
    assert str(session.trace).count("tried again") == 2
    with pytest.raises(FlowFailed):
        async with open_test_session(router) as session:
            session.crash_at("Steps", times=None)
            await session.run(ping(), Pong)


async def test_every_checkpoint_is_cancelled_in_turn() -> None:
    """Each time the handler cleans up, and the last time it comes to its end."""
    came: list[list[str]] = []
    for checkpoint in every_checkpoint():
        steps = Steps()
        async with open_test_session(router_of((Ping, steps))) as session:
            session.cancel_at(steps, checkpoint)
            with suppress(FlowCancelled):
                await session.run(ping(), Pong)
        came.append(steps.came)
    assert came == [
        ["clean"],
        ["one", "clean"],
        ["one", "two", "clean"],
        ["one", "two", "three", "clean"],
    ]


async def test_every_checkpoint_of_a_stream_is_cancelled_in_turn() -> None:
    """They are counted on over what it yields."""

    async def stream(event: Ping) -> AsyncIterator[Pong]:
        try:
            await anyio.sleep(1)
            yield Pong(source="stream", n=1)
            await anyio.sleep(1)
            yield Pong(source="stream", n=2)
        finally:
            cleaned.append(checkpoint.number)

    cleaned: list[int] = []
    came: list[int] = []
    for checkpoint in every_checkpoint():
        router = router_of((Ping, stream))
        async with open_test_session(router, allow_unrouted=[Pong]) as session:
            session.cancel_at("stream", checkpoint)
            with suppress(FlowCancelled, NoResult):
                await session.run(ping(), Other)
        came.append(len(session.trace.events(Pong)))
    assert came == [0, 1, 2]
    assert cleaned == [1, 2, 3]


async def test_a_cancellation_before_the_start_is_one_too() -> None:
    """The owner learns that it was no failure."""
    steps = Steps()
    async with open_test_session(router_of((Ping, steps))) as session:
        session.cancel_at(Steps, event_type=Ping)
        with pytest.raises(FlowCancelled, match="cancel_at"):
            await session.run(ping(), Pong)
    assert steps.came == []


async def test_a_delay_comes_before_the_work() -> None:
    """Every time, or so many times, for one kind of event or for all."""
    sleeper = Sleeper(1)
    async with open_test_session(router_of((Ping, sleeper))) as session:
        session.delay(sleeper, 0.5, times=1)
        with takes(1.5):
            await session.run(ping(), Pong)
        with takes(1):
            await session.run(ping(), Pong)


async def test_a_fault_that_never_struck_fails_the_test() -> None:
    """It would prove nothing, and says how far the handler came."""
    steps = Steps()
    with pytest.raises(FlowCheckFailed) as caught:
        async with open_test_session(
            router_of((Ping, steps), (Other, steps))
        ) as session:
            session.crash_at(steps, 7)
            session.delay(steps, 3, event_type=Other)
            session.cancel_at(steps, event_type=Other)
            await session.run(ping(), Pong)
    assert caught.value.problems == (
        "crash_at('Steps', 7) never struck: Steps got 1 Event, and came to 3 checkpoints",
        "delay('Steps', 3) never struck: Steps got 0 Other, and came to 0 checkpoints",
        "cancel_at('Steps', 0) never struck: Steps got 0 Other, and came to 0 checkpoints",
    )


async def test_an_unknown_agent_is_refused_at_once() -> None:
    """With the names of those there are."""
    async with open_test_session(router_of((Ping, Steps()))) as session:
        with pytest.raises(ValueError, match=r"no route leads to 'Step'.* are: Steps"):
            session.crash_at("Step")
    async with open_test_session(Router()) as session:
        with pytest.raises(ValueError, match="are: none"):
            session.delay(Steps, 1)


def test_checkpoints_that_nobody_uses_are_an_error() -> None:
    """Else the loop would not end, or would prove nothing."""
    with pytest.raises(AssertionError, match="nothing was told of this one"):
        list(every_checkpoint())


async def test_a_handler_without_checkpoints_is_an_error() -> None:
    """There is nothing to cancel in turn."""

    async def quick(event: Ping) -> Pong:
        return Pong(source="quick")

    with pytest.raises(AssertionError, match="never came to a checkpoint"):
        for checkpoint in every_checkpoint():
            async with open_test_session(router_of((Ping, quick))) as session:
                session.cancel_at("quick", checkpoint)
                await session.run(ping(), Pong)


async def test_a_stream_that_is_thrown_into_gets_it() -> None:
    """As a generator of its own does."""

    async def stream() -> AsyncGenerator[object, None]:
        try:
            yield 1
        except ValueError:
            yield 2

    watched = WatchedStream(stream(), Strike(None, print, bool), print)
    assert await anext(watched) == 1
    assert await watched.athrow(ValueError()) == 2
    await watched.aclose()


async def test_a_handler_cancelled_before_its_crash_is_just_cancelled() -> None:
    """The crash waits for the next delivery."""
    steps = Steps()
    async with open_test_session(router_of((Ping, steps))) as session:
        session.crash_at(steps, 1)
        async with session.open_flow(ping()) as flow:
            await anyio.sleep(0.5)
            flow.cancel()
    assert steps.came == ["clean"]
