"""What users of a session are promised (promises 18 to 32)."""

import anyio
import pytest
import trio

from agentflow import AsyncDispatcher, BaseAsyncAgent, Event, FlowFailed, QueueFull
from agentflow._errors import FlowBudgetExceeded
from tests.fakes import (
    Boom,
    Collector,
    Other,
    Ping,
    Pong,
    Sleeper,
    forever,
    router_of,
    takes,
)


async def test_nothing_outlives_the_block_of_a_session() -> None:
    """(D1) When it is left, all work is done and no task is there any more."""
    slow = Sleeper(0.5)
    before = len(anyio.get_running_tasks())
    async with AsyncDispatcher(router_of((Ping, slow))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
    assert slow.ended == [1]
    assert len(anyio.get_running_tasks()) == before


async def test_a_session_may_live_in_a_nursery_of_mine(backend: str) -> None:
    """(D1) A trio nursery or an anyio task group; stop() lets it end."""
    collector = Collector()
    dispatcher = AsyncDispatcher(router_of((Ping, collector)))
    group = trio.open_nursery() if backend == "trio" else anyio.create_task_group()
    async with group as nursery:
        await dispatcher.start(nursery)
        dispatcher.dispatch(Ping(source="x", n=1))
        await dispatcher.stop()
    assert collector.numbers() == [1]


async def test_what_is_dispatched_before_the_start_is_delivered_after_it() -> None:
    """(D1) In the order in which it was dispatched."""
    collector = Collector()
    dispatcher = AsyncDispatcher(router_of((Ping, collector)))
    for n in range(3):
        dispatcher.dispatch(Ping(source="x", n=n))
    assert dispatcher.statistics().queued == 3
    async with dispatcher:
        assert await dispatcher.wait_for_empty_queue()
        assert collector.numbers() == [0, 1, 2]


async def test_threads_may_dispatch() -> None:
    """(D8) A worker thread dispatches as the loop itself does."""
    collector = Collector()

    def in_thread() -> None:
        for n in range(3):
            dispatcher.dispatch(Ping(source="thread", n=n))

    async with AsyncDispatcher(router_of((Ping, collector))) as dispatcher:
        await anyio.to_thread.run_sync(in_thread)
    assert collector.numbers() == [0, 1, 2]


async def test_the_batch_size_can_be_tuned_while_running() -> None:
    """(D2) Nothing is lost by it, whatever it is set to."""
    collector = Collector()

    async def tune(event: Pong) -> None:
        dispatcher.batch_size = event.n

    router = router_of((Ping, collector), (Pong, tune))
    async with AsyncDispatcher(router, batch_size=10) as dispatcher:
        assert dispatcher.batch_size == 10
        for n in range(60):
            dispatcher.dispatch(Ping(source="x", n=n))
            if n % 20 == 0:
                dispatcher.dispatch(Pong(source="x", n=n // 20 + 1))
        assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.batch_size == 3
    assert collector.numbers() == list(range(60))


async def test_the_size_of_the_queue_can_be_seen() -> None:
    """(D7) What waits and what runs, in all and by agent, at any time."""
    slow = Sleeper(0.1)
    async with AsyncDispatcher(router_of((Ping, slow))) as dispatcher:
        for n in range(5):
            dispatcher.dispatch(Ping(source="x", n=n))
        await anyio.sleep(0.25)
        now = dispatcher.statistics()
        assert (now.queued, now.running, now.handled) == (2, 1, 2)
        assert (now.agents["Sleeper"].queued, now.agents["Sleeper"].running) == (2, 1)
        assert await dispatcher.wait_for_empty_queue()
        now = dispatcher.statistics()
        assert (now.queued, now.running, now.handled) == (0, 0, 5)


async def test_wait_for_empty_queue_knows_exactly_when_the_work_is_done() -> None:
    """(D4) At the instant at which the last handler ends, follow-ups included."""
    second = Sleeper(0.3)

    async def first(event: Other) -> Ping:
        await anyio.sleep(0.2)
        return Ping(source="first", n=1)

    async with AsyncDispatcher(router_of((Other, first), (Ping, second))) as dispatcher:
        with takes(0):
            assert await dispatcher.wait_for_empty_queue()
        dispatcher.dispatch(Other(source="x"))
        with takes(0.5):
            assert await dispatcher.wait_for_empty_queue()
        assert second.ended == [1]


async def test_wait_for_empty_queue_says_false_when_its_time_is_up() -> None:
    """(D4) The work goes on, and may be waited for again."""
    slow = Sleeper(0.5)
    async with AsyncDispatcher(router_of((Ping, slow))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with takes(0.2):
            assert not await dispatcher.wait_for_empty_queue(timeout=0.2)
        with takes(0.3):
            assert await dispatcher.wait_for_empty_queue(timeout=1)
    assert slow.ended == [1]


async def test_wait_for_empty_queue_obeys_an_outer_cancel_scope() -> None:
    """(D4) It is cancelled like any other wait, and the work goes on."""
    slow = Sleeper(0.5)
    async with AsyncDispatcher(router_of((Ping, slow))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with takes(0.2), anyio.move_on_after(0.2) as scope:
            await dispatcher.wait_for_empty_queue(timeout=10)
        assert scope.cancelled_caught
        assert slow.ended == []
        assert await dispatcher.wait_for_empty_queue()
    assert slow.ended == [1]


async def test_a_runaway_producer_is_told_that_the_queue_is_full() -> None:
    """(D3) Before it fills the memory; send() waits for room instead."""
    slow = Sleeper(0.1)
    async with AsyncDispatcher(router_of((Ping, slow)), capacity=2) as dispatcher:
        for n in range(2):
            dispatcher.dispatch(Ping(source="x", n=n))
        with pytest.raises(QueueFull):
            dispatcher.dispatch(Ping(source="x", n=2))
        with takes(0.1):
            await dispatcher.send(Ping(source="x", n=3))
    assert slow.ended == [0, 1, 3]


@pytest.mark.parametrize("capacity", [1, 2, None])
async def test_agents_that_feed_each_other_do_not_deadlock(
    capacity: int | None,
) -> None:
    """(D3) A circle that doubles its events ends in the flow's budget, at any capacity."""

    class Breeder(BaseAsyncAgent):
        async def receive_event_async(self, event: Event) -> list[Event]:
            kind = Pong if isinstance(event, Ping) else Ping
            return [kind(source="x"), kind(source="x")]

    router = router_of((Ping, Breeder()), (Pong, Breeder()))
    async with AsyncDispatcher(
        router, capacity=capacity, max_events_per_flow=100
    ) as dispatcher:
        await dispatcher.send(Ping(source="x"))
        with takes(0), pytest.raises(FlowFailed) as failed:
            await dispatcher.wait_for_empty_queue()
    assert failed.group_contains(FlowBudgetExceeded)


async def test_stop_finishes_what_has_been_accepted() -> None:
    """(D5) And reports nothing undelivered, since nothing is."""
    slow = Sleeper(0.1)
    async with AsyncDispatcher(router_of((Ping, slow))) as dispatcher:
        for n in range(3):
            dispatcher.dispatch(Ping(source="x", n=n))
        assert (await dispatcher.stop()).undelivered == ()
        assert slow.ended == [0, 1, 2]


async def test_stop_reports_what_there_was_no_time_for() -> None:
    """(D5) Each event that an agent did not get, or did not finish, by name."""
    async with AsyncDispatcher(router_of((Ping, Sleeper(1)))) as dispatcher:
        for n in range(3):
            dispatcher.dispatch(Ping(source="x", n=n))
        with takes(0.5):
            report = await dispatcher.stop(grace=0.5)
    left = [(u.agent, u.event.n, u.started) for u in report.undelivered]  # type: ignore[attr-defined]
    assert left == [("Sleeper", n, n == 0) for n in range(3)]


async def test_cancelling_the_session_cancels_everything_in_it() -> None:
    """(D5) Handlers clean up, nobody is left waiting, and no task remains."""
    cleaned: list[str] = []

    class Careful(BaseAsyncAgent):
        async def receive_event_async(self, event: Event) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                cleaned.append(type(event).__name__)

    before = len(anyio.get_running_tasks())
    dispatcher = AsyncDispatcher(router_of((Ping, Careful())))
    with takes(0.2), anyio.move_on_after(0.2):
        async with dispatcher:
            dispatcher.dispatch(Ping(source="x"))
            await dispatcher.wait_for_empty_queue()
    assert cleaned == ["Ping"]
    assert len(anyio.get_running_tasks()) == before
    assert dispatcher.statistics().running == 0


async def test_a_session_lets_other_tasks_run() -> None:
    """(D2) An application's own tasks get their turns beside a busy session."""
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def again(event: Boom) -> Boom | None:
        left = int(event.text) - 1
        return Boom(source="x", text=str(left)) if left else None

    async with (
        AsyncDispatcher(router_of((Boom, again), (Ping, forever))) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(other_work)
        dispatcher.dispatch(Boom(source="x", text="500"))
        assert await dispatcher.wait_for_empty_queue()
        tasks.cancel_scope.cancel()
    assert turns >= 500 // dispatcher.batch_size
