"""Backpressure at the door, and the budget of a flow (D3)."""

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    FlowBudgetExceeded,
    FlowFailed,
    QueueFull,
    Router,
    SessionError,
)
from tests.fakes import (
    Collector,
    Other,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    forever,
    router_of,
    takes,
)


async def test_beyond_its_capacity_dispatch_raises() -> None:
    """(D3) Unfinished roots count, and room comes back when they are finished."""
    agent = Sleeper(0.1, max_concurrency=None)
    async with AsyncDispatcher(router_of((Ping, agent)), capacity=2) as dispatcher:
        for n in range(2):
            dispatcher.dispatch(Ping(source="x", n=n))
        with pytest.raises(QueueFull, match="2 root events are unfinished"):
            dispatcher.dispatch(Ping(source="x", n=2))
        assert dispatcher.statistics().unfinished == 2
        await dispatcher.wait_for_empty_queue()
        dispatcher.dispatch(Ping(source="x", n=3))
    assert sorted(agent.ended) == [0, 1, 3]


async def test_a_root_is_unfinished_until_everything_that_came_of_it_is() -> None:
    """(D3) Its descendants are part of it."""

    async def relay(event: Ping) -> Pong:
        return Pong(source="x")

    async def slow(event: Pong) -> None:
        await anyio.sleep(0.2)

    router = router_of((Ping, relay), (Pong, slow))
    async with AsyncDispatcher(router, capacity=1) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        await anyio.sleep(0.1)
        with pytest.raises(QueueFull):
            dispatcher.dispatch(Ping(source="x"))
        with takes(0.1):
            await dispatcher.send(Ping(source="x"))


async def send_in_order(dispatcher: AsyncDispatcher, count: int) -> None:
    """Let so many senders come one shortly after the other, and wait for all."""
    async with anyio.create_task_group() as tasks:
        for n in range(count):
            tasks.start_soon(dispatcher.send, Ping(source="x", n=n))
            await anyio.sleep(0.001)


async def test_senders_wait_first_in_first_out() -> None:
    """(D3) send() waits for room in the order of the calls."""
    agent = Sleeper(0.1)
    router = router_of((Ping, agent))
    async with AsyncDispatcher(router, capacity=1) as dispatcher:
        with takes(0.5):
            await send_in_order(dispatcher, 6)
    assert agent.started == [0, 1, 2, 3, 4, 5]


async def test_runs_wait_for_room_too() -> None:
    """(D3) run() and open_flow() queue up with send(), in order."""
    agent = Sleeper(0.1)
    results: list[int] = []

    async def run(n: int) -> None:
        results.append((await dispatcher.run(Ping(source="x", n=n), Pong)).n)

    async with (
        AsyncDispatcher(router_of((Ping, agent)), capacity=2) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        for n in range(6):
            tasks.start_soon(run, n)
            await anyio.sleep(0.001)
    assert results == [0, 1, 2, 3, 4, 5]


async def test_nobody_gets_in_before_who_waits_already() -> None:
    """(D3) Room that has come is for the first who waits, not for who asks just then."""
    agent = Sleeper(0.1)
    async with AsyncDispatcher(router_of((Ping, agent)), capacity=1) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.send, Ping(source="x", n=1))
            await anyio.wait_all_tasks_blocked()
            await anyio.sleep(0.1)  # room comes at this very moment
            tasks.start_soon(dispatcher.send, Ping(source="x", n=2))
    assert agent.started == [0, 1, 2]


async def test_a_cancelled_sender_passes_its_place_on() -> None:
    """(D3) Its event is not accepted, and who waited behind it gets in."""
    agent = Sleeper(0.2)
    async with AsyncDispatcher(router_of((Ping, agent)), capacity=1) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=0))

        async def give_up() -> None:
            with anyio.move_on_after(0.1):
                await dispatcher.send(Ping(source="x", n=1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(give_up)
            await anyio.sleep(0.05)
            with takes(0.15):
                await dispatcher.send(Ping(source="x", n=2))
        assert not dispatcher._door._line
    assert agent.started == [0, 2]


async def test_a_sender_cancelled_just_when_room_came_does_not_lose_it() -> None:
    """(D3) The room goes to the next who waits."""
    agent = Sleeper(0.1)
    async with AsyncDispatcher(router_of((Ping, agent)), capacity=1) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=0))
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await dispatcher.send(Ping(source="x", n=1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancelled)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(dispatcher.send, Ping(source="x", n=2))
            await anyio.wait_all_tasks_blocked()
            dispatcher._door.call_next()
            scope.cancel()
    assert 2 in agent.started


async def test_with_room_send_accepts_at_once() -> None:
    """(D3) No time passes, and the stamped copy comes back."""
    async with AsyncDispatcher(Router(), capacity=1) as dispatcher:
        with takes(0):
            event = await dispatcher.send(Ping(source="x", n=3))
    assert (event.n, event.parent_id) == (3, None)
    assert event.id


async def test_capacity_none_takes_any_number() -> None:
    """(D3) Without a bound nothing is refused."""
    async with AsyncDispatcher(router_of((Ping, forever)), capacity=None) as dispatcher:
        for _ in range(1000):
            dispatcher.dispatch(Ping(source="x"))
        assert dispatcher.statistics().unfinished == 1000
        await dispatcher.stop(grace=0)


async def test_who_waits_for_room_when_the_session_ends_is_told() -> None:
    """(D3, D5) send() does not hang over a session that is stopped."""
    errors: list[SessionError] = []

    async def send() -> None:
        try:
            await dispatcher.send(Ping(source="x"))
        except SessionError as error:
            errors.append(error)

    router = router_of((Ping, forever))
    async with AsyncDispatcher(router, capacity=1) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            await dispatcher.stop(grace=0.1)
    assert len(errors) == 3


async def test_what_agents_emit_never_waits() -> None:
    """(D3) One root may become any number of events, at a capacity of one."""
    collector = Collector()

    async def multiply(event: Ping) -> list[Pong]:
        return [Pong(source="x", n=n) for n in range(500)]

    async def back(event: Pong) -> Other:
        return Other(source="x", n=event.n)

    router = router_of((Ping, multiply), (Pong, back), (Other, collector))
    async with AsyncDispatcher(router, capacity=1) as dispatcher:
        await dispatcher.send(Ping(source="x"))
        assert await dispatcher.wait_for_empty_queue()
    assert len(collector.got) == 500


class Breeder(BaseAsyncAgent):
    """Answers each event with two of the same."""

    def __init__(self, max_concurrency: int | None) -> None:
        self.max_concurrency = max_concurrency

    async def receive_event_async(self, event: Ping) -> list[Ping]:
        return [Ping(source="x"), Ping(source="x")]


@pytest.mark.parametrize("capacity", [1, 2, None])
@pytest.mark.parametrize("limit", [1, None])
async def test_agents_that_run_in_a_circle_end_in_their_budget(
    capacity: int | None, limit: int | None
) -> None:
    """(D3) Not in a deadlock, at any capacity; and other flows are untouched."""
    collector = Collector()
    router = router_of((Ping, Breeder(limit)), (Pong, collector))
    async with AsyncDispatcher(
        router, capacity=capacity, max_events_per_flow=300
    ) as dispatcher:
        with pytest.raises(FlowFailed) as failed:
            await dispatcher.run(Ping(source="x"), Pong)
        await dispatcher.send(Pong(source="x", n=1))
        assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    (error,) = failed.value.exceptions
    assert isinstance(error, FlowBudgetExceeded)
    assert "has accepted 300 events, all it may" in str(error)
    assert collector.numbers() == [1]


async def test_the_budget_counts_for_roots_and_for_dispatch_in_a_handler() -> None:
    """(D3) Whoever exceeds it is told where it happens."""

    async def greedy(event: Pong) -> None:
        with pytest.raises(FlowBudgetExceeded):
            dispatcher.dispatch(Other(source="x"))

    router = router_of((Ping, forever), (Pong, greedy))
    async with AsyncDispatcher(router, max_events_per_flow=2) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            flow.dispatch(Pong(source="x"))
            with pytest.raises(FlowBudgetExceeded):
                flow.dispatch(Pong(source="x"))
            with pytest.raises(FlowBudgetExceeded):
                dispatcher.dispatch(
                    Pong(source="x", correlation_id=flow.correlation_id)
                )
            await anyio.wait_all_tasks_blocked()
            flow.cancel()
        assert_nothing_left(dispatcher)


async def test_without_a_budget_a_flow_may_go_on() -> None:
    """(D3) None allows any number of events."""
    count = 0

    async def again(event: Ping) -> Ping | None:
        nonlocal count
        count += 1
        return Ping(source="x") if count < 2000 else None

    async with AsyncDispatcher(
        router_of((Ping, again)), max_events_per_flow=None
    ) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    assert count == 2000
