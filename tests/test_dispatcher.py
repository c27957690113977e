"""Entering a session and getting events into it (D1, D7, D8)."""

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from agentflow import (
    AgentStatistics,
    AsyncDispatcher,
    DispatcherStatistics,
    EventTypeError,
    FlowFailed,
    QueueFull,
    Router,
    SessionError,
)
from tests.fakes import (
    Boom,
    Collector,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    fail,
    forever,
    router_of,
    takes,
)


async def test_what_is_dispatched_is_delivered_before_the_block_ends() -> None:
    """(D1) async with delivers everything, and the dispatcher says how it is."""
    agent = Sleeper(0.1)
    dispatcher = AsyncDispatcher(router_of((Ping, agent)))
    assert repr(dispatcher) == "<AsyncDispatcher new, 0 flows>"
    async with dispatcher as entered:
        assert entered is dispatcher
        dispatcher.dispatch(Ping(source="x", n=1))
        assert repr(dispatcher) == "<AsyncDispatcher open, 1 flows>"
    assert agent.ended == [1]
    assert repr(dispatcher) == "<AsyncDispatcher closed, 0 flows>"
    assert_nothing_left(dispatcher)


async def test_a_session_is_entered_once() -> None:
    """(D1) Entering it twice, at once or later, is an error."""
    dispatcher = AsyncDispatcher(Router())
    async with dispatcher:
        with pytest.raises(SessionError, match="this dispatcher is open; each one is"):
            await dispatcher.__aenter__()
    with pytest.raises(SessionError, match="this dispatcher is closed"):
        await dispatcher.__aenter__()
    async with anyio.create_task_group() as tasks:
        with pytest.raises(SessionError, match="entered once"):
            await tasks.start(dispatcher._host)


async def test_what_is_dispatched_before_the_start_is_delivered_after_it() -> None:
    """(D1) In order, stamped at once, and counted as queued."""
    collector = Collector()
    dispatcher = AsyncDispatcher(router_of((Ping, collector)), capacity=3)
    early = [dispatcher.dispatch(Ping(source="x", n=n)) for n in range(3)]
    assert all(event.id and event.correlation_id for event in early)
    with pytest.raises(QueueFull):
        dispatcher.dispatch(Ping(source="x"))
    now = dispatcher.statistics()
    assert (now.queued, now.unfinished, now.workers) == (3, 3, 0)
    assert now.oldest is not None
    await anyio.sleep(0.1)
    assert collector.got == []
    async with dispatcher:
        assert await dispatcher.wait_for_empty_queue()
        assert collector.got == early


async def test_too_many_early_events_of_one_flow_are_no_trap() -> None:
    """(D1, D3) A flow over its budget before the start fails without breaking it."""
    collector = Collector()
    dispatcher = AsyncDispatcher(router_of((Ping, collector)), max_events_per_flow=1)
    outcome: list[BaseException] = []
    try:
        for _ in range(2):
            dispatcher.dispatch(Ping(source="x", correlation_id="a"))
        dispatcher.dispatch(Ping(source="x", n=1, correlation_id="b"))
        async with dispatcher:
            await dispatcher.wait_for_empty_queue(correlation_id="b")
    except Exception as error:  # noqa: BLE001 -- whichever way it is told
        outcome.append(error)
    assert len(outcome) == 1
    assert dispatcher.statistics().running == 0


async def test_after_the_end_dispatch_raises() -> None:
    """(D1) Whatever is offered to a closed session is refused."""
    dispatcher = AsyncDispatcher(Router())
    async with dispatcher:
        pass
    with pytest.raises(SessionError, match="takes no more events"):
        dispatcher.dispatch(Ping(source="x"))
    with pytest.raises(SessionError, match="takes no more events"):
        await dispatcher.send(Ping(source="x"))
    with pytest.raises(SessionError, match="takes no more events"):
        await dispatcher.run(Ping(source="x"), Pong)


async def test_before_the_start_there_is_nothing_to_wait_for() -> None:
    """(D1) What needs an open session says how to open one."""
    dispatcher = AsyncDispatcher(Router())
    for call in (
        dispatcher.wait_for_empty_queue(),
        dispatcher.stop(),
        dispatcher.run(Ping(source="x"), Pong),
    ):
        with pytest.raises(SessionError, match="the session is not open; write async"):
            await call


@pytest.mark.parametrize(
    "name", ["batch_size", "capacity", "max_events_per_flow", "max_concurrency"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_makes_no_sense_is_refused(name: str, value: int) -> None:
    """(D1) The error names the setting."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(SessionError, match=f"{name} must be 1 or more, not {value}"):
        AsyncDispatcher(Router(), **options)


async def test_start_and_stop_in_a_task_group() -> None:
    """(D1) The other way in and out: a nursery of one's own."""
    agent = Sleeper(0.1)
    dispatcher = AsyncDispatcher(router_of((Ping, agent)))
    async with anyio.create_task_group() as tasks:
        dispatcher.dispatch(Ping(source="x", n=1))
        await dispatcher.start(tasks)
        dispatcher.dispatch(Ping(source="x", n=2))
        report = await dispatcher.stop()
        assert report.undelivered == ()
    assert agent.ended == [1, 2]
    assert_nothing_left(dispatcher)


@pytest.mark.trio
async def test_start_and_stop_in_a_trio_nursery() -> None:
    """(D1) A plain trio nursery serves as well."""
    collector = Collector()
    dispatcher = AsyncDispatcher(router_of((Ping, collector)))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await dispatcher.start(nursery)
            dispatcher.dispatch(Ping(source="x"))
            await dispatcher.stop()
    assert len(collector.got) == 1


async def test_a_cancelled_nursery_ends_the_session_in_it() -> None:
    """(D1) Its handlers are cancelled, and nothing is left."""
    cleaned: list[str] = []

    async def careful(event: Ping) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("up")

    dispatcher = AsyncDispatcher(router_of((Ping, careful)))
    async with anyio.create_task_group() as tasks:
        await dispatcher.start(tasks)
        dispatcher.dispatch(Ping(source="x"))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert cleaned == ["up"]
    assert [u.started for u in dispatcher.stop_report.undelivered] == [True]
    assert_nothing_left(dispatcher)


async def test_a_failure_reaches_the_nursery_that_hosts_the_session() -> None:
    """(F3) When stop() did not raise it, the end of the session does."""
    dispatcher = AsyncDispatcher(router_of((Boom, fail)))
    with pytest.RaisesGroup(
        pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="boom"))
    ):
        async with anyio.create_task_group() as tasks:
            await dispatcher.start(tasks)
            dispatcher.dispatch(Boom(source="x"))
            await anyio.wait_all_tasks_blocked()
            dispatcher._stopped.set()


async def test_in_a_handler_dispatch_joins_its_flow() -> None:
    """(D1) As if the event had been returned; also in a task that the handler starts."""
    collector = Collector()

    async def deep(n: int) -> None:
        dispatcher.dispatch(Pong(source="x", n=n))

    async def handler(event: Ping) -> Pong:
        child = dispatcher.dispatch(Pong(source="x", n=1))
        assert (child.parent_id, child.correlation_id) == (
            event.id,
            event.correlation_id,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deep, 2)
        await dispatcher.send(Pong(source="x", n=3))
        return Pong(source="x", n=4)

    router = router_of((Ping, handler), (Pong, collector))
    async with AsyncDispatcher(router, capacity=1) as dispatcher:
        root = dispatcher.dispatch(Ping(source="x"))
    assert collector.numbers() == [1, 2, 3, 4]
    assert {e.correlation_id for e in collector.got} == {root.correlation_id}


async def test_a_task_that_outlives_its_handler_starts_flows_of_its_own() -> None:
    """(D1) What the application goes on with is no part of the handler's flow."""
    collector = Collector()

    async def later(event: Ping) -> None:
        await anyio.sleep(0.1)
        dispatcher.dispatch(Pong(source="x"))

    async def handler(event: Ping) -> None:
        tasks.start_soon(later, event)

    router = router_of((Ping, handler), (Pong, collector))
    async with (
        AsyncDispatcher(router) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        dispatcher.dispatch(Ping(source="x", correlation_id="handler"))
        await anyio.sleep(0.05)
    assert [e.parent_id for e in collector.got] == [None]
    assert collector.got[0].correlation_id != "handler"


async def test_one_session_inside_another() -> None:
    """(D1) A handler of one may open, or use, another; their flows stay apart."""
    collector = Collector()

    async def nest(event: Ping) -> Pong:
        outside.dispatch(Pong(source="x", n=1))
        async with AsyncDispatcher(router_of((Ping, Sleeper(0.1)))) as inner:
            inside = await inner.run(Ping(source="x", n=2), Pong)
        return Pong(source="x", n=inside.n)

    async with (
        AsyncDispatcher(router_of((Pong, collector))) as outside,
        AsyncDispatcher(router_of((Ping, nest))) as dispatcher,
    ):
        root = dispatcher.dispatch(Ping(source="x"))
        assert (await dispatcher.run(Ping(source="x"), Pong)).n == 2
    assert collector.numbers() == [1, 1]
    assert all(e.parent_id is None for e in collector.got)
    assert root.correlation_id not in {e.correlation_id for e in collector.got}


async def test_dispatch_from_a_worker_thread() -> None:
    """(D8) A thread that anyio started dispatches as the loop does, errors included."""
    collector = Collector()

    def work() -> Ping:
        with pytest.raises(EventTypeError):
            dispatcher.dispatch("no event")  # type: ignore[type-var]
        return dispatcher.dispatch(Ping(source="thread", n=7))

    router = router_of((Ping, collector))
    async with AsyncDispatcher(router, capacity=1) as dispatcher:
        event = await anyio.to_thread.run_sync(work)
        assert event.id is not None
        await dispatcher.wait_for_empty_queue()
    assert collector.numbers() == [7]
    with pytest.raises(SessionError, match="takes no more events"):
        await anyio.to_thread.run_sync(work)


async def test_a_full_queue_says_so_in_a_thread_too() -> None:
    """(D8) QueueFull crosses the border between threads as it is."""

    def work() -> None:
        dispatcher.dispatch(Ping(source="thread"))

    async with AsyncDispatcher(router_of((Ping, forever)), capacity=1) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        with pytest.raises(QueueFull):
            await anyio.to_thread.run_sync(work)
        await dispatcher.stop(grace=0)


async def test_dispatch_from_a_foreign_thread_says_what_to_use() -> None:
    """(D8) A thread that the loop did not start gets a clear error, before and after."""
    errors: list[Exception] = []

    def work() -> None:
        try:
            dispatcher.dispatch(Ping(source="thread"))
        except SessionError as error:
            errors.append(error)

    async with AsyncDispatcher(Router()) as dispatcher:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    (error,) = errors
    assert "dispatch(Ping) was called from a thread that the event loop did" in str(
        error
    )
    assert "blocking portal" in str(error)


async def test_statistics_are_a_snapshot_by_agent() -> None:
    """(D7) Queued and running per agent, flows, oldest delivery, totals."""
    agent, collector = Sleeper(0.2), Collector()
    router = router_of((Ping, agent), (Pong, collector), (Boom, fail))
    async with AsyncDispatcher(router) as dispatcher:
        for n in range(3):
            dispatcher.dispatch(Ping(source="x", n=n, correlation_id=f"{n % 2}"))
        await anyio.sleep(0.1)
        assert dispatcher.statistics() == DispatcherStatistics(
            queued=2,
            running=1,
            flows=2,
            agents={"Sleeper": AgentStatistics(queued=2, running=1)},
            oldest=pytest.approx(0, abs=60),  # type: ignore[arg-type]
            unfinished=3,
            workers=1,
            handled=0,
            failed=0,
            retried=0,
            dropped=0,
            unrouted=0,
            threads_abandoned=0,
        )
        await dispatcher.wait_for_empty_queue()
        dispatcher.dispatch(Boom(source="x"))
        with pytest.raises(FlowFailed):
            await dispatcher.wait_for_empty_queue()
        after = dispatcher.statistics()
        assert (after.queued, after.running, after.flows) == (0, 0, 0)
        assert after.oldest is None
        assert (after.handled, after.failed) == (7, 1)
        assert set(after.agents) == {"Sleeper", "Collector", "fail"}


async def test_one_flow_has_statistics_too() -> None:
    """(D7, F1) Only of its own deliveries, with its age on the loop's clock."""
    router = router_of((Ping, Sleeper(0.2)))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            flow.dispatch(Ping(source="x"))
            await anyio.sleep(0.3)
            now = flow.statistics()
            assert (now.queued, now.running, now.events) == (1, 1, 2)
            assert now.age == pytest.approx(0.3)
        now = flow.statistics()
        assert (now.queued, now.running, now.events) == (0, 0, 4)


async def test_a_quiet_session_needs_no_time() -> None:
    """(D1) Entering and leaving wait for nothing."""
    with takes(0):
        async with AsyncDispatcher(Router()):
            pass
