"""The pool: fairness, growth and shrinking, isolation (D2, F6, A2)."""

import contextvars

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    Router,
    SessionError,
    _workers as workers,
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


async def turns_of_others(batch_size: int, events: int) -> int:
    """Count how often another task runs while so many events are handled."""
    turns = 0
    agent = Collector()

    async def other() -> None:
        nonlocal turns
        while len(agent.got) < events:
            turns += 1
            await checkpoint()

    router = router_of((Ping, agent))
    async with AsyncDispatcher(router, batch_size=batch_size) as dispatcher:
        for n in range(events):
            dispatcher.dispatch(Ping(source="x", n=n))
        await other()
    assert agent.numbers() == list(range(events))
    return turns


async def test_a_worker_lets_others_run_after_its_batch() -> None:
    """(D2) A smaller batch gives other tasks more turns, and loses nothing."""
    assert await turns_of_others(1, 100) >= 100
    assert 10 <= await turns_of_others(8, 100) < 100
    assert await turns_of_others(1000, 100) < 20


async def test_a_chain_of_follow_ups_lets_others_run_too() -> None:
    """(D2) A worker that goes on with its own output yields all the same."""
    turns = 0
    left = 50

    class Chain(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> Ping | None:
            nonlocal left
            left -= 1
            return event if left else None

    async with AsyncDispatcher(router_of((Ping, Chain())), batch_size=5) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        while left:
            turns += 1
            await checkpoint()
    assert turns >= 10


async def test_the_batch_size_may_be_changed_while_running() -> None:
    """(D2) The new one counts from the next batch on; nonsense is refused."""
    agent = Collector()
    dispatcher = AsyncDispatcher(router_of((Ping, agent)), batch_size=1000)
    assert dispatcher.batch_size == 1000
    dispatcher.batch_size = 500
    async with dispatcher:
        dispatcher.batch_size = 1
        for n in range(100):
            dispatcher.dispatch(Ping(source="x", n=n))
        await checkpoint()
        await checkpoint()
        assert len(agent.got) < 50
        with pytest.raises(SessionError, match="batch_size must be 1 or more, not 0"):
            dispatcher.batch_size = 0
        assert dispatcher.batch_size == 1
    assert agent.numbers() == list(range(100))


async def test_a_slow_synchronous_handler_does_not_starve_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """(D2) After a millisecond a worker yields, however large its batch."""
    monkeypatch.setattr(workers, "_LONGEST_SHIFT", -1.0)
    assert await turns_of_others(1000, 100) >= 100


async def test_one_flow_with_much_to_do_does_not_keep_another_waiting() -> None:
    """(D2) Work that is ready is taken in turn, not flow by flow."""
    order: list[str] = []

    class Chain(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> Ping | None:
            order.append("long")
            return Ping(source="x", n=event.n - 1) if event.n else None

    async def quick(event: Pong) -> None:
        order.append("quick")

    router = router_of((Ping, Chain()), (Pong, quick))
    async with AsyncDispatcher(router, batch_size=10, max_concurrency=1) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=200))
        dispatcher.dispatch(Pong(source="x"))
    assert order.index("quick") <= 10


async def test_idle_workers_stay_up_to_a_bound() -> None:
    """(D2) A burst of handlers leaves a few parked workers, and no more."""
    agent = Sleeper(0.1, max_concurrency=None)
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        for n in range(9 * workers.MAX_PARKED):
            dispatcher.dispatch(Ping(source="x", n=n))
            if n % (3 * workers.MAX_PARKED):
                continue
            with takes(0.1):
                assert await dispatcher.wait_for_empty_queue()
            await anyio.wait_all_tasks_blocked()
            assert 1 <= dispatcher.statistics().workers <= workers.MAX_PARKED
    assert dispatcher.statistics().workers == 0


async def test_a_chain_needs_one_worker() -> None:
    """(D2) Follow-ups are handled by the worker that emitted them."""

    async def count(event: Ping) -> Ping | None:
        return Ping(source="x", n=event.n - 1) if event.n else None

    async with AsyncDispatcher(router_of((Ping, count))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=100))
        await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().workers == 1


async def test_a_limited_pool_goes_on_after_workers_have_ended() -> None:
    """(F6) A worker that has to end makes place for another."""
    variable = contextvars.ContextVar("variable", default=0)
    agent = Collector()

    async def soil(event: Ping) -> Pong:
        variable.set(event.n)
        return Pong(source="x", n=event.n)

    router = router_of((Ping, soil), (Pong, agent))
    async with AsyncDispatcher(router, max_concurrency=1) as dispatcher:
        for n in range(1, 20):
            dispatcher.dispatch(Ping(source="x", n=n))
        assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().workers <= 1
        assert_nothing_left(dispatcher)
    assert sorted(agent.numbers()) == list(range(1, 20))


async def test_values_that_cannot_be_compared_are_no_trap() -> None:
    """(A2) A context variable may hold anything, arrays included."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("the truth value is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    variable = contextvars.ContextVar[Odd]("variable")
    variable.set(Odd())
    seen: list[bool] = []

    async def replace(event: Ping) -> None:
        seen.append(variable.get() is mine)
        variable.set(Odd())

    mine = variable.get()
    async with AsyncDispatcher(router_of((Ping, replace))) as dispatcher:
        for _ in range(5):
            dispatcher.dispatch(Ping(source="x"))
    assert seen == [True] * 5


async def test_cancelled_deliveries_leave_no_trace_in_a_lane() -> None:
    """(F6) Dead entries of cancelled flows are swept; the others keep their order."""
    agent = Sleeper(0.01)
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        for n in range(400):
            flow = "keep" if n % 4 == 0 else "drop"
            dispatcher.dispatch(Ping(source="x", n=n, correlation_id=flow))
        async with dispatcher.open_flow(Ping(source="x", n=1000)) as other:
            for _ in range(100):
                other.dispatch(Ping(source="x", n=1000))
            await anyio.sleep(0.025)
            other.cancel()
        flows = dispatcher._engine.ledger.flows
        dispatcher._engine.cut(flows["drop"], "cancelled", "enough")
        lane = dispatcher._engine.switchboard.lanes()["Sleeper"]
        assert len(lane.backlog) <= 2 * 100 + 64
        assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
        assert lane.running == 0
        assert lane.dead == 0
    kept = [n for n in agent.ended if n % 4 == 0 and n < 1000]
    assert kept == list(range(0, 400, 4))


async def test_a_worker_is_back_at_work_right_after_a_cancellation() -> None:
    """(F6) With one worker, the next flow begins in the same instant."""
    router = router_of((Boom, forever), (Ping, Sleeper(0.1)))
    async with AsyncDispatcher(router, max_concurrency=1) as dispatcher:
        for _ in range(5):
            async with dispatcher.open_flow(Boom(source="x")) as flow:
                await anyio.sleep(0.1)
                flow.cancel()
            with takes(0.1):
                await dispatcher.run(Ping(source="x"), Pong)


async def test_a_handler_that_swallows_its_cancellation_ends_in_peace() -> None:
    """(F6) The next delivery of its worker is not cancelled by what was left over."""
    agent = Sleeper(0.1)

    async def deaf(event: Boom) -> None:
        with anyio.move_on_after(0.2, shield=True):
            await anyio.sleep_forever()

    router = router_of((Boom, deaf), (Ping, agent))
    async with AsyncDispatcher(router, max_concurrency=1) as dispatcher:
        async with dispatcher.open_flow(Boom(source="x")) as flow:
            await anyio.sleep(0.1)
            flow.cancel()
        with takes(0.1):
            await dispatcher.run(Ping(source="x", n=1), Pong)
    assert agent.ended == [1]


async def test_a_base_exception_of_a_handler_ends_the_session() -> None:
    """(F2) What is no Exception is no failure: it goes through, as in a nursery."""

    class Abort(BaseException):
        pass

    async def abort(event: Boom) -> None:
        raise Abort

    async def own() -> None:
        async with dispatcher.open_flow(Boom(source="x")):
            await anyio.sleep_forever()

    dispatcher = AsyncDispatcher(router_of((Boom, abort), (Ping, forever)))
    with pytest.RaisesGroup(Abort, flatten_subgroups=True), anyio.CancelScope():
        async with dispatcher:
            dispatcher.dispatch(Ping(source="x"))
            await own()
    assert_nothing_left(dispatcher)


async def test_many_flows_at_once_end_well() -> None:
    """(F6) Two thousand flows, each with two parallel handlers and an output."""
    agents = [Sleeper(0.05, max_concurrency=None) for _ in range(2)]
    collector = Collector()
    router = Router({Ping: agents, Pong: [collector], Boom: [fail]})
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0.05):
            for n in range(2000):
                dispatcher.dispatch(Ping(source="x", n=n))
            assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    assert sorted(collector.numbers()) == sorted([*range(2000), *range(2000)])


async def test_a_base_exception_in_a_handlers_nursery_ends_the_session() -> None:
    """(F2) Together with a cancellation, too."""

    class Abort(BaseException):
        pass

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Abort

    async def parent(event: Boom) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.sleep_forever()

    dispatcher = AsyncDispatcher(router_of((Boom, parent)))
    with pytest.RaisesGroup(Abort, flatten_subgroups=True), anyio.move_on_after(0.1):
        async with dispatcher:
            dispatcher.dispatch(Boom(source="x"))
    assert_nothing_left(dispatcher)


async def test_a_bug_of_the_session_itself_is_not_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """(D4) No handler is to blame, so it ends the session, and nothing hangs."""

    async def broken(pool: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(workers.Workers, "_await_work", broken)
    dispatcher = AsyncDispatcher(router_of((Ping, Collector())))
    with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
        async with dispatcher:
            dispatcher.dispatch(Ping(source="x"))
            await anyio.sleep_forever()
    assert_nothing_left(dispatcher)


async def test_a_follow_up_is_dropped_with_its_flow() -> None:
    """(F6) Also when its worker has it in hand, and has just let others run."""
    agent = Collector()

    async def chain(event: Ping) -> Ping:
        agent.got.append(event)
        return Ping(source="x", n=event.n + 1)

    async def cancel_after(steps: int) -> None:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            for _ in range(steps):
                await checkpoint()
            flow.cancel()
            seen = len(agent.got)
        assert len(agent.got) == seen

    async with AsyncDispatcher(router_of((Ping, chain)), batch_size=1) as dispatcher:
        for steps in range(1, 6):
            await cancel_after(steps)
            await anyio.wait_all_tasks_blocked()
            assert_nothing_left(dispatcher)
            lane = dispatcher._engine.switchboard.lanes()["chain"]
            assert (lane.running, lane.dead) == (0, 0)
        assert dispatcher.statistics().dropped == 5
