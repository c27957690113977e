"""The session that fails a test when work or an error is lost."""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from agentflow import (
    AgentFailed,
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAgent,
    Event,
    FlowFailed,
    Router,
    TerminateEvent,
    testing,
    wait_for,
)
from agentflow._records import Record
from agentflow.testing import (
    FlowCheckFailed,
    FlowSession,
    FlowTrace,
    run_virtual,
)
from agentflow.testing._case import running
from tests.conftest import BACKENDS
from tests.fakes import Boom, Other, Ping, Pong, fail, forever, router_of


@asynccontextmanager
async def open_test_session(
    router: Router, **options: Any
) -> AsyncGenerator[FlowSession]:
    """Open one as outside of pytest, so that errors themselves say what happened."""
    with running(None):
        async with testing.open_test_session(router, **options) as session:
            yield session


def ping() -> Ping:
    """Return what most tests begin with."""
    return Ping(source="test")


async def answer(event: Ping) -> Pong:
    """Answer a Ping."""
    await anyio.sleep(0.1)
    return Pong(source="answer")


async def refuse(event: Ping) -> None:
    """Assert what is not so."""
    await anyio.lowlevel.checkpoint()
    assert event.n == 7, "not my number"


@asynccontextmanager
async def failing(
    router: Router, **options: Any
) -> AsyncGenerator[tuple[FlowSession, list[str]]]:
    """Open a session that is to fail, and hand out what it says."""
    said: list[str] = []
    with pytest.raises(FlowCheckFailed) as caught:
        async with open_test_session(router, **options) as session:
            yield session, said
    said.extend(caught.value.problems)


async def test_a_session_in_order_says_nothing() -> None:
    """It is a dispatcher, and its trace is full."""
    async with open_test_session(router_of((Ping, answer))) as session:
        assert isinstance(session, AsyncDispatcher)
        assert (await session.run(ping(), Pong)).source == "answer"
        assert await session.wait_for_empty_queue(timeout=1)
        assert (await session.stop()).undelivered == ()
    session.trace.assert_sequence(Ping, Pong, exactly=True)


async def test_a_lost_error_is_named_with_its_agent_and_the_fix() -> None:
    """The original exception is the cause, so its traceback is shown."""
    with pytest.raises(FlowCheckFailed) as caught:
        async with open_test_session(router_of((Boom, fail))) as session:
            session.dispatch(Boom(source="test", text="out of paper"))
    assert str(caught.value) == (
        "a lost error: fail raised ValueError: out of paper, while it handled Boom from "
        "test, and nobody asked for it. Own the flow, as in `with pytest.raises("
        "FlowFailed): await session.run(event, Result)`, or route AgentFailed to an agent"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    (note,) = caught.value.__notes__
    assert "fail raised ValueError: out of paper after 0.000 s" in note


async def test_two_lost_errors_are_both_named() -> None:
    """And both are in the cause."""
    with pytest.raises(
        FlowCheckFailed, match=r"2 problems at the end:\n- a lost"
    ) as info:
        async with open_test_session(router_of((Boom, fail))) as session:
            session.dispatch(Boom(source="test", text="one"))
            session.dispatch(Boom(source="test", text="two"))
    assert isinstance(info.value.__cause__, FlowFailed)


async def test_an_error_that_was_asked_for_is_the_tests_own() -> None:
    """Whether it catches it or not, there is no second one at the end."""
    async with open_test_session(router_of((Boom, fail))) as session:
        with pytest.raises(FlowFailed):
            await session.run(Boom(source="test"), Pong)
    with pytest.raises(FlowFailed) as caught:
        async with open_test_session(router_of((Boom, fail))) as session:
            await session.run(Boom(source="test"), Pong)
    assert "what happened:\nflow" in caught.value.__notes__[-1]


async def stay_in_a_flow(session: FlowSession) -> None:
    """Open a flow and wait for its end in the block."""
    async with session.open_flow(ping()):
        await anyio.sleep_forever()


async def dispatch_and_leave(session: FlowSession) -> None:
    """Leave it to the end of the session."""
    session.dispatch(ping())


async def dispatch_and(
    then: Callable[[], Awaitable[object]], session: FlowSession
) -> None:
    """Dispatch, and call something."""
    session.dispatch(ping())
    await then()


@pytest.mark.parametrize("way", ["run", "dispatch", "wait", "stop", "flow"])
async def test_a_failed_assertion_in_a_handler_arrives_bare(way: str) -> None:
    """However the test comes to know of it."""
    ways: dict[str, Callable[[FlowSession], Awaitable[object]]] = {
        "run": lambda session: session.run(ping(), Pong),
        "flow": stay_in_a_flow,
        "dispatch": dispatch_and_leave,
        "wait": lambda session: dispatch_and(session.wait_for_empty_queue, session),
        "stop": lambda session: dispatch_and(session.stop, session),
    }
    with pytest.raises(AssertionError, match=r"^not my number") as caught:
        async with open_test_session(router_of((Ping, refuse))) as session:
            await ways[way](session)
    assert not isinstance(caught.value, FlowCheckFailed)
    assert "raised by agent 'refuse'" in caught.value.__notes__[0]


async def test_what_else_failed_stands_below_a_bare_assertion() -> None:
    """With its traceback, and the assertion keeps its own cause."""

    async def chained(event: Ping) -> None:
        raise AssertionError("second") from KeyError("first")

    with pytest.raises(AssertionError, match=r"^second") as caught:
        async with open_test_session(
            router_of((Ping, chained), (Boom, fail))
        ) as session:
            session.dispatch(ping())
            session.dispatch(Boom(source="test", text="third"))
    assert isinstance(caught.value.__cause__, KeyError)
    notes = "\n".join(caught.value.__notes__)
    assert "also raised in this session:\nTraceback" in notes
    assert "ValueError: third" in notes


async def test_pytests_own_failures_arrive_bare_too() -> None:
    """`pytest.fail` in a handler fails the test, and a skip skips it."""

    async def skip(event: Ping) -> None:
        pytest.skip("not today")

    with pytest.raises(pytest.skip.Exception, match="not today"):
        async with open_test_session(router_of((Ping, skip))) as session:
            session.dispatch(ping())


async def test_other_groups_are_left_as_they_are() -> None:
    """Nothing is taken out by guess."""
    with pytest.RaisesGroup(ValueError, KeyError):
        async with open_test_session(Router()):
            raise ExceptionGroup("mine", [ValueError(), KeyError()])


async def test_a_leaked_task_is_named_with_where_it_stands() -> None:
    """It was started by a handler in a nursery that is not its own."""

    async def leave(event: Ping) -> None:
        nursery.start_soon(linger)

    async def linger() -> None:
        await anyio.sleep_forever()

    said: list[str] = []
    async with anyio.create_task_group() as nursery:
        async with failing(router_of((Ping, leave))) as (session, said):
            nursery.start_soon(anyio.sleep_forever)  # the test's own, which may go on
            session.dispatch(ping())
            await anyio.sleep(0.1)
        nursery.cancel_scope.cancel()
    (problem,) = said
    assert problem.startswith(
        "a leaked task: leave started 'linger' while it handled Ping"
    )
    assert "it still runs, at " in problem
    assert "test_session.py:" in problem
    assert "Start it in a nursery that the handler itself opens" in problem


async def test_a_task_that_ended_is_no_leak() -> None:
    """Only what goes on is."""

    async def spawn(event: Ping) -> None:
        nursery.start_soon(anyio.lowlevel.checkpoint)

    async with (
        anyio.create_task_group() as nursery,
        open_test_session(router_of((Ping, spawn))) as session,
    ):
        session.dispatch(ping())
        await anyio.sleep(0.1)


async def test_a_leaked_thread_is_named() -> None:
    """A blocking agent was cancelled, and its thread cannot be."""
    go = threading.Event()

    begun = anyio.Event()

    class Blocker(BaseAgent):
        def receive_event(self, event: Ping) -> None:
            anyio.from_thread.run_sync(begun.set)
            go.wait(3)

    router = router_of((Ping, Blocker()))
    async with failing(router, allow_undelivered=True) as (session, said):
        session.dispatch(ping())
        await begun.wait()
        await session.stop(grace=0)
    go.set()
    assert said == [
        (
            "a leaked thread: Blocker was cancelled, but its thread still runs. A thread "
            "cannot be stopped: make the agent an async one, or bound what it waits for"
        )
    ]


async def test_an_undelivered_event_is_named_with_how_far_it_got() -> None:
    """The session was stopped before its work was done."""
    slow = router_of((Ping, forever))
    async with failing(slow) as (session, said):
        session.dispatch(ping())
        await anyio.sleep(0.1)
        await session.stop(grace=0)
    (problem,) = said
    assert problem.startswith(
        "an undelivered event: Ping from test for forever, which was still at it when the "
        "session was stopped. Give stop() more grace"
    )
    async with failing(slow, max_concurrency=1) as (session, said):
        session.dispatch(ping())
        session.dispatch(ping())
        await anyio.sleep(0.1)
        await session.stop(grace=0)
    said = said[1:]
    assert "which had not got it yet when" in said[0]
    async with open_test_session(slow, allow_undelivered=True) as session:
        session.dispatch(ping())
        await session.stop(grace=0)


async def test_an_unrouted_event_is_named_with_the_fix() -> None:
    """No route takes it, and nobody asked for it."""
    async with failing(router_of((Ping, answer))) as (session, said):
        session.dispatch(ping())
    assert said == [
        (
            "an unrouted event: Pong from answer. No route takes it and nobody asked for "
            "it. "
            "Add a route, ask for it with session.run(event, Pong), or expect it: "
            "open_test_session(..., allow_unrouted=[Pong])"
        )
    ]
    async with open_test_session(
        router_of((Ping, answer)), allow_unrouted=[Pong]
    ) as session:
        session.dispatch(ping())


async def test_a_result_that_somebody_asked_for_may_be_unrouted() -> None:
    """By run, by a flow's result, by its events, or over the bus."""

    async def ask(event: Other) -> AsyncIterator[Ping]:
        yield ping()
        await wait_for(Pong)

    router = router_of((Ping, answer), (Other, ask))
    async with open_test_session(router) as session:
        await session.run(ping(), Pong)
    async with (
        open_test_session(router) as session,
        session.open_flow(ping()) as flow,
    ):
        await flow.result(Pong)
    async with (
        open_test_session(router) as session,
        session.open_flow(ping()) as flow,
        flow.events(Pong) as events,
    ):
        assert [type(e) async for e in events] == [Pong]
    async with open_test_session(router) as session:
        session.dispatch(Other(source="test"))


async def test_terminating_a_flow_is_no_loss() -> None:
    """(D6) It is how a flow may end."""

    async def end(event: Ping) -> TerminateEvent:
        return TerminateEvent(source="end")

    async with open_test_session(router_of((Ping, end))) as session:
        session.dispatch(ping())
    assert "ends the flow" in str(session.trace)


class Joiner(AsyncAggregatorAgent):
    event_types_needed = (Ping, Other)

    async def process_events(self, events: list[Event]) -> list[Event]:
        return []


async def test_an_aggregator_that_lacks_something_is_named() -> None:
    """Its flow has ended well, so what it had got is lost."""
    joiner = Joiner()
    async with failing(router_of((Ping, joiner), (Other, joiner))) as (session, said):
        session.dispatch(ping())
    assert said == [
        (
            "undelivered events: Joiner had got Ping and still lacked Other when the flow "
            "ended. Emit that, or expect it: open_test_session(..., allow_incomplete=True)"
        )
    ]
    assert "Joiner still lacked Other" in str(session.trace)
    router = router_of((Ping, joiner), (Other, joiner))
    async with open_test_session(router, allow_incomplete=True) as session:
        session.dispatch(ping())


async def test_a_test_that_fails_is_told_of_its_own_failure_alone() -> None:
    """With what happened, and where handlers stood; nothing is judged on top."""
    with pytest.raises(AssertionError, match="mine") as caught:
        async with open_test_session(router_of((Ping, forever))) as session:
            session.dispatch(ping())
            await anyio.sleep(0.1)
            raise AssertionError("mine")
    (note,) = caught.value.__notes__
    assert note.startswith("what happened:\nflow ")
    assert "forever was cancelled after 0.100 s" in note
    assert "it stood at " in note
    assert "fakes.py:" in note


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_handler_that_never_ends_is_named_at_once(backend: str) -> None:
    """Virtual time runs out when nothing else can happen."""

    async def main() -> None:
        async with open_test_session(router_of((Ping, forever))) as session:
            session.dispatch(ping())

    with pytest.raises(TimeoutError) as caught:
        run_virtual(main, backend=backend)  # type: ignore[arg-type]
    assert str(caught.value).startswith(
        "not done, and nothing can happen any more:\n  forever stood at "
    )


async def test_a_limit_of_ones_own_is_said_in_seconds() -> None:
    """Also when it is the block that takes too long."""
    with pytest.raises(
        TimeoutError, match="not done within 2 seconds; no handler was at work"
    ):
        async with open_test_session(Router(), limit=2):
            await anyio.sleep_forever()


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_time_is_limited_too(backend: str) -> None:
    """To a minute, unless the test says otherwise."""

    async def main() -> None:
        async with open_test_session(router_of((Ping, answer))) as session:
            deadline = anyio.current_effective_deadline()
            assert 50 < deadline - anyio.current_time() <= 60
            await session.run(ping(), Pong)

    anyio.run(main, backend=backend)


async def test_a_tracer_of_ones_own_gets_the_records_until_it_raises() -> None:
    """And its error is not lost."""
    seen: list[Record] = []

    class Picky:
        def record(self, record: Record, /) -> None:
            seen.append(record)
            if len(seen) == 2:
                raise OSError("disk full")

    trace = FlowTrace()
    async with failing(router_of((Ping, answer)), trace=trace, tracer=Picky()) as (
        session,
        said,
    ):
        await session.run(ping(), Pong)
    assert said == ["a lost error: the tracer raised OSError: disk full"]
    assert len(seen) == 2
    assert session.trace is trace
    assert len(trace) > 4


async def test_what_else_was_set_up_is_checked() -> None:
    """Here a model: what nobody asked of it, and what it was not prepared for."""

    class Model:
        def __init__(self, unexpected: list[str], unused: list[str]) -> None:
            self.unexpected: Callable[[], list[str]] = lambda: unexpected
            self.unused: Callable[[], list[str]] = lambda: unused

    async with failing(Router(), checked=[Model(["who?"], ["left over"])]) as (_, said):
        pass
    assert said == ["who?", "left over"]
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_test_session(Router(), checked=[Model(["who?"], ["left"])]):
            raise ValueError("mine")
    assert caught.value.__notes__[0] == "also: who?"
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_test_session(Router(), checked=[Model(["mine"], [])]):
            raise ValueError("it is mine")
    assert caught.value.__notes__[0].startswith("what happened")


async def test_a_stream_of_events_is_watched_to_its_end() -> None:
    """Also when it fails half-way, or nobody reads on."""

    async def stream(event: Ping) -> AsyncIterator[Pong]:
        yield Pong(source="stream", n=1)
        await anyio.sleep(0.1)
        if event.n:
            raise ValueError("half-way")
        yield Pong(source="stream", n=2)

    router = router_of((Ping, stream))
    async with open_test_session(router) as session:
        async with session.open_flow(ping()) as flow, flow.events(Pong) as pongs:
            assert [pong.n async for pong in pongs] == [1, 2]
        assert not session._at_work
    async with open_test_session(router, allow_unrouted=[Pong]) as session:
        with pytest.raises(FlowFailed):
            await session.run(Ping(source="test", n=1), Other)
    async with (
        open_test_session(router, allow_unrouted=[Pong]) as session,
        session.open_flow(ping()) as flow,
    ):
        await anyio.sleep(0.05)
        flow.cancel()
    assert "it stood at" in session.picture()


async def test_failures_that_a_route_takes_are_shown_with_it() -> None:
    """(F2) They are handled, so nothing is lost."""
    seen: list[AgentFailed] = []

    async def mend(event: AgentFailed) -> None:
        seen.append(event)

    async with open_test_session(
        router_of((Boom, fail), (AgentFailed, mend))
    ) as session:
        session.dispatch(Boom(source="test"))
    assert len(seen) == 1
    assert "AgentFailed" in str(session.trace)
