"""Stopping a session, and what it reports (D5)."""

from typing import Any

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    FlowFailed,
    Retry,
    Router,
    SessionError,
    StopReport,
    Undelivered,
    WouldDeadlock,
)
from agentflow._records import FlowEnded, HandlerCancelled
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


async def test_stop_delivers_all_that_is_queued() -> None:
    """(D5) stop() with 100 queued events delivers all 100."""
    agent = Sleeper(0.01)
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        for n in range(100):
            dispatcher.dispatch(Ping(source="x", n=n))
        assert await dispatcher.stop() == StopReport()
        assert agent.ended == list(range(100))
        assert dispatcher.stop_report == StopReport()
        assert_nothing_left(dispatcher)


async def test_stop_without_grace_reports_exactly_what_it_did_not_deliver() -> None:
    """(D5) stop(grace=0) cancels at once; each event is handled or reported, once."""
    done = Collector()

    class Slow(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> None:
            await anyio.sleep(0.1)
            done.got.append(event)

    router = router_of((Ping, Slow()))
    async with AsyncDispatcher(router) as dispatcher:
        events = [dispatcher.dispatch(Ping(source="x", n=n)) for n in range(10)]
        await anyio.sleep(0.35)
        with takes(0):
            report = await dispatcher.stop(grace=0)
        assert_nothing_left(dispatcher)
    assert done.numbers() == [0, 1, 2]
    assert report.undelivered == tuple(
        Undelivered(event=event, agent="Slow", started=event.n == 3)
        for event in events[3:]
    )
    assert dispatcher.stop_report == report


async def test_stop_before_anything_ran_reports_everything() -> None:
    """(D5) Events, their copies for several agents, and early ones alike."""
    dispatcher = AsyncDispatcher(router_of((Ping, forever), (Ping, Sleeper())))
    early = dispatcher.dispatch(Ping(source="x", n=1))
    async with dispatcher:
        late = dispatcher.dispatch(Ping(source="x", n=2))
        report = await dispatcher.stop(grace=0)
    left = [(u.event, u.agent) for u in report.undelivered]
    assert [event for event, _ in left] == [early, early, late, late]
    assert {agent for _, agent in left} == {"forever", "Sleeper"}


async def test_what_is_cancelled_after_the_grace_is_reported() -> None:
    """(D5) What ends in time is delivered; the rest is cancelled and cleans up."""
    log = Log()
    cleaned: list[int] = []

    class Careful(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> None:
            try:
                await anyio.sleep(event.n)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.1)
                cleaned.append(event.n)

    agents = [Careful(), Careful()]
    async with AsyncDispatcher(Router({Ping: agents}), tracer=log) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=0))
        dispatcher.dispatch(Ping(source="x", n=2))
        with takes(1.1):
            report = await dispatcher.stop(grace=1)
        assert [(u.event.id, u.started) for u in report.undelivered] == [
            (log.of(HandlerCancelled)[0].event.id, True)
        ] * 2
    assert cleaned == [0, 0, 2, 2]
    assert {r.reason for r in log.of(HandlerCancelled)} == {
        "the session ended: its grace was over"
    }
    assert [r.outcome for r in log.of(FlowEnded)] == ["finished", "cancelled"]


async def test_a_delivery_that_waits_for_its_next_attempt_is_reported() -> None:
    """(D5, F5) It has not been delivered, and no handler was interrupted."""
    router = Router()
    router.add_route(Boom, fail, retry=Retry(initial=3, jitter=0))
    async with AsyncDispatcher(router) as dispatcher:
        event = dispatcher.dispatch(Boom(source="x"))
        await anyio.sleep(0.1)
        assert dispatcher.statistics().queued == 1
        with takes(0):
            report = await dispatcher.stop(grace=0)
        assert_nothing_left(dispatcher)
    assert report.undelivered == (
        Undelivered(event=event, agent="fail", started=False),
    )


async def test_while_stopping_nothing_new_is_taken_from_outside() -> None:
    """(D5) But what is being finished may emit, dispatch and own flows of its own."""
    collector = Collector()

    async def outer(event: Ping) -> Pong:
        await anyio.sleep(0.2)
        dispatcher.dispatch(Pong(source="x", n=1))
        inner = await dispatcher.run(Other(source="x", n=2), Pong)
        async with dispatcher.open_flow(Other(source="x", n=3)) as flow:
            flow.dispatch(Other(source="x", n=4))
        return Pong(source="x", n=10 + inner.n)

    async def answer(event: Other) -> Pong:
        return Pong(source="x", n=event.n)

    router = router_of((Ping, outer), (Other, answer), (Pong, collector))
    async with (
        AsyncDispatcher(router) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        dispatcher.dispatch(Ping(source="x"))
        tasks.start_soon(dispatcher.stop)
        await anyio.sleep(0.1)
        with pytest.raises(SessionError, match="takes no more events: it is being"):
            dispatcher.dispatch(Ping(source="x"))
        with pytest.raises(SessionError, match="takes no more events"):
            await dispatcher.run(Ping(source="x"), Pong)
    assert sorted(collector.numbers()) == [1, 2, 3, 4, 12]


async def test_an_owner_cannot_join_events_to_a_session_that_stops() -> None:
    """(D5) Its flow is finished with what it has."""
    async with (
        AsyncDispatcher(router_of((Ping, Sleeper(0.2)))) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(dispatcher.stop)
        await anyio.sleep(0.1)
        with pytest.raises(SessionError, match="takes no more events"):
            flow.dispatch(Ping(source="x"))
        await flow.result(Pong)


async def test_a_handler_cannot_stop_the_session_it_runs_in() -> None:
    """(D5) It would wait for itself; the error says so."""

    async def suicidal(event: Ping) -> None:
        with pytest.raises(WouldDeadlock, match=r"suicidal called stop\(\) while it"):
            await dispatcher.stop()

    async with AsyncDispatcher(router_of((Ping, suicidal))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))


async def test_stop_raises_what_nobody_has_asked_for() -> None:
    """(F3) Once; the report is in stop_report, and the block then ends quietly."""
    async with AsyncDispatcher(router_of((Boom, fail), (Ping, forever))) as dispatcher:
        dispatcher.dispatch(Boom(source="x"))
        dispatcher.dispatch(Ping(source="x"))
        await anyio.sleep(0.1)
        with pytest.raises(FlowFailed, match="failed in 'fail'"):
            await dispatcher.stop(grace=0)
        assert [u.agent for u in dispatcher.stop_report.undelivered] == ["forever"]
        assert (await dispatcher.stop()).undelivered


async def test_the_error_reaches_who_stops_a_hosted_session() -> None:
    """(F3) And not the nursery as well."""
    dispatcher = AsyncDispatcher(router_of((Boom, fail)))
    async with anyio.create_task_group() as tasks:
        await dispatcher.start(tasks)
        dispatcher.dispatch(Boom(source="x"))
        with pytest.raises(FlowFailed):
            await dispatcher.stop()
        assert (await dispatcher.stop()).undelivered == ()


async def test_a_cancelled_stop_loses_no_error() -> None:
    """(D5, F3) What is left is cancelled with the block, and what failed is raised."""
    dispatcher = AsyncDispatcher(router_of((Boom, fail), (Ping, forever)))
    with pytest.raises(FlowFailed, match="failed in 'fail'"):
        async with dispatcher:
            dispatcher.dispatch(Boom(source="x"))
            dispatcher.dispatch(Ping(source="x", correlation_id="a"))
            with anyio.move_on_after(0.1):
                await dispatcher.stop()
            with pytest.raises(SessionError):
                dispatcher.dispatch(Ping(source="x"))
            dispatcher._engine.cut(
                dispatcher._engine.ledger.flows["a"], "cancelled", ""
            )
    assert_nothing_left(dispatcher)


async def test_a_cancelled_stop_of_a_hosted_session_loses_no_error() -> None:
    """(D5, F3) It ends with the nursery that hosts it."""
    dispatcher = AsyncDispatcher(router_of((Boom, fail)))
    caught: list[BaseException] = []
    try:
        async with anyio.create_task_group() as tasks:
            await dispatcher.start(tasks)
            dispatcher.dispatch(Boom(source="x"))
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await dispatcher.stop()
            tasks.cancel_scope.cancel()
    except BaseException as error:  # noqa: ASYNC103 -- unless it is a cancellation
        caught.append(error)
        if not isinstance(error, (FlowFailed, BaseExceptionGroup)):
            raise
    assert len(caught) == 1


async def test_an_error_in_the_block_cancels_all_and_leaves_bare() -> None:
    """(D5, F3) What was left is in the report, with the error as the reason."""
    log = Log()
    dispatcher = AsyncDispatcher(router_of((Ping, Sleeper(1))), tracer=log)
    with takes(0.1), pytest.raises(KeyError, match="mine"):
        async with dispatcher:
            for n in range(3):
                dispatcher.dispatch(Ping(source="x", n=n))
            await anyio.sleep(0.1)
            raise KeyError("mine")
    left = [(u.started, n_of(u)) for u in dispatcher.stop_report.undelivered]
    assert left == [(True, 0), (False, 1), (False, 2)]
    assert [r.reason for r in log.of(HandlerCancelled)] == [
        "the session ended: KeyError('mine')"
    ]
    assert_nothing_left(dispatcher)


def n_of(undelivered: Undelivered) -> int:
    """Return the number of the event."""
    event: Any = undelivered.event
    return int(event.n)


async def test_a_cancelled_block_cancels_all() -> None:
    """(D5) From outside, in the body or while its end waits; nothing is left."""
    for seconds in (0.3, 0.05):
        dispatcher = AsyncDispatcher(router_of((Ping, Sleeper(1))))
        with takes(0.1), anyio.move_on_after(0.1) as scope:
            async with dispatcher:
                dispatcher.dispatch(Ping(source="x", n=0))
                await anyio.sleep(seconds)
        assert scope.cancelled_caught
        assert [u.started for u in dispatcher.stop_report.undelivered] == [True]
        assert_nothing_left(dispatcher)


async def test_a_body_that_raises_while_it_is_cancelled_keeps_its_error() -> None:
    """(F3) The error is not lost when the session's own clean-up is cancelled, too."""

    async def careful(event: Ping) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)

    with pytest.RaisesGroup(KeyError), anyio.CancelScope() as scope:
        async with AsyncDispatcher(router_of((Ping, careful))) as dispatcher:
            dispatcher.dispatch(Ping(source="x"))
            await anyio.sleep(0.1)
            scope.cancel()
            raise KeyError


async def test_when_the_block_and_flows_fail_one_group_holds_both() -> None:
    """(F3) The body's error and the failures nobody asked for."""
    with pytest.RaisesGroup(KeyError, pytest.RaisesGroup(ValueError)) as caught:
        async with AsyncDispatcher(router_of((Boom, fail))) as dispatcher:
            dispatcher.dispatch(Boom(source="x"))
            await anyio.wait_all_tasks_blocked()
            raise KeyError
    assert isinstance(caught.value.exceptions[1], FlowFailed)


async def test_a_cancelled_end_and_a_failed_flow_leave_together() -> None:
    """(F3) The cancellation is taken out by its scope, the failure goes on."""
    router = router_of((Boom, fail), (Ping, forever))
    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError)), anyio.move_on_after(0.1):
        async with AsyncDispatcher(router) as dispatcher:
            dispatcher.dispatch(Boom(source="x"))
            dispatcher.dispatch(Ping(source="x"))


async def test_stopping_twice_at_once_is_harmless() -> None:
    """(D5) Both wait for the same end."""
    agent = Sleeper(0.2)
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with takes(0.2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(dispatcher.stop)
                tasks.start_soon(dispatcher.stop)
    assert agent.ended == [1]
