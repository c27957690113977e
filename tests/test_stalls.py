"""The stall detector: what can never end says so, with the chain, instead of hanging."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    FlowFailed,
    FlowStalled,
    Retry,
    Router,
    wait_for,
)
from agentflow._records import FlowEnded, FlowStarted
from tests.conftest import BACKENDS
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Other,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    router_of,
    takes,
)
from tests.seeded import run_seeded


def stalled_in(failed: FlowFailed) -> FlowStalled:
    """Return the FlowStalled that is in a failure, however deep."""
    for error in failed.exceptions:
        if isinstance(error, FlowStalled):
            return error
        if isinstance(error, FlowFailed):
            return stalled_in(error)
    raise AssertionError(f"no FlowStalled in {failed!r}")


async def test_a_question_that_nobody_can_answer_any_more() -> None:
    """All other deliveries of the flow have ended; the error says who waits for what."""

    async def ask(event: Ping) -> None:
        await wait_for(Pong)

    router = router_of((Ping, ask), (Ping, Collector()))
    async with AsyncDispatcher(router) as dispatcher:
        root = dispatcher.dispatch(Ping(source="x"))
        with takes(0), pytest.raises(FlowFailed) as caught:
            await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    stalled = stalled_in(caught.value)
    who = f"ask, handling Ping {root.id} of flow {root.correlation_id}"
    assert stalled.chain == (f"{who}, waits for a Pong in its own flow",)
    assert stalled.chain[0] in str(stalled)


async def test_as_long_as_somebody_works_an_answer_may_come() -> None:
    """Only the end of the last one that could answer makes it a stall."""

    async def ask(event: Ping) -> None:
        await wait_for(Boom)

    router = router_of((Ping, ask), (Ping, Sleeper(0.3)))
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0.3), pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Ping(source="x"), Boom)
    assert isinstance(stalled_in(caught.value), FlowStalled)


async def test_two_handlers_that_wait_for_each_others_events() -> None:
    """One of them is told, with both in the chain; its failure ends the flow."""

    class First(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> Pong:
            await wait_for(Other)
            return Pong(source="x")

    class Second(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> Other:
            await wait_for(Pong)
            return Other(source="x")

    async with AsyncDispatcher(Router({Ping: [First(), Second()]})) as dispatcher:
        with takes(0), pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Ping(source="x"), Other)
        assert_nothing_left(dispatcher)
    chain = stalled_in(caught.value).chain
    assert sorted(link.split(",")[0] for link in chain) == ["First", "Second"]


async def test_a_stall_may_be_handled() -> None:
    """(F2) Then the others may go on; a route for AgentFailed sees it."""
    answered = Collector()

    async def ask(event: Ping) -> None:
        await wait_for(Pong)

    async def help_out(event: AgentFailed) -> Pong:
        assert isinstance(event.error, FlowStalled)
        return Pong(source="x")

    router = router_of((Ping, ask), (AgentFailed, help_out), (Pong, answered))
    async with AsyncDispatcher(router) as dispatcher:
        await dispatcher.run(Ping(source="x"), Pong)
    assert len(answered.got) == 1


async def test_a_serial_agent_that_runs_a_flow_through_itself() -> None:
    """Its lane is full with itself, so the inner flow can never begin."""

    class Recursive(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> Pong:
            if event.n:
                await dispatcher.run(Ping(source="x", n=event.n - 1), Pong)
            return Pong(source="x")

    async with AsyncDispatcher(router_of((Ping, Recursive()))) as dispatcher:
        await dispatcher.run(Ping(source="x", n=0), Pong)
        with takes(0), pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Ping(source="x", n=1), Pong)
        assert_nothing_left(dispatcher)
    (link,) = stalled_in(caught.value).chain
    assert link.startswith("Recursive, handling Ping")


async def test_a_concurrent_agent_may_run_flows_through_itself() -> None:
    """As deep as it likes; nothing is stuck there."""

    class Recursive(BaseAsyncAgent):
        max_concurrency = None

        async def receive_event_async(self, event: Ping) -> Pong:
            await anyio.sleep(0.01)
            if not event.n:
                return Pong(source="x", n=1)
            inner = await dispatcher.run(Ping(source="x", n=event.n - 1), Pong)
            return Pong(source="x", n=inner.n + 1)

    async with AsyncDispatcher(router_of((Ping, Recursive()))) as dispatcher:
        assert (await dispatcher.run(Ping(source="x", n=20), Pong)).n == 21


async def test_two_serial_agents_that_call_each_other_crosswise() -> None:
    """Each holds what the other needs; the chain names both, and both flows end."""

    class Caller(BaseAsyncAgent):
        def __init__(self, calls: type[Event]) -> None:
            self.calls = calls

        async def receive_event_async(self, event: Event) -> Boom:
            await anyio.sleep(0.1)
            if event.source == "outside":
                await dispatcher.run(self.calls(source="inside"), Boom)
            return Boom(source="x")

    router = router_of((Ping, Caller(Pong)), (Pong, Caller(Ping)))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="outside"))
        dispatcher.dispatch(Pong(source="outside"))
        with pytest.raises(FlowFailed) as caught:
            await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    chain = stalled_in(caught.value).chain
    assert {link.split(",")[0] for link in chain} == {"Caller", "Caller-2"}


async def test_a_session_whose_only_worker_waits_for_a_flow() -> None:
    """With max_concurrency=1, an agent that runs a nested flow waits for itself."""

    async def outer(event: Ping) -> None:
        await dispatcher.run(Pong(source="x"), Other)

    async def inner(event: Pong) -> Other:
        return Other(source="x")

    router = router_of((Ping, outer), (Pong, inner))
    async with AsyncDispatcher(router, max_concurrency=1) as dispatcher:
        with takes(0), pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Ping(source="x"), Boom)
        assert isinstance(stalled_in(caught.value), FlowStalled)
    async with AsyncDispatcher(router, max_concurrency=2) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        assert await dispatcher.wait_for_empty_queue()


async def test_waiting_for_the_flow_of_somebody_who_waits_for_mine() -> None:
    """wait_for_empty_queue in two handlers about each other's flow."""

    async def wait_for_other(event: Ping) -> None:
        await anyio.sleep(0.1)
        other = "b" if event.correlation_id == "a" else "a"
        await dispatcher.wait_for_empty_queue(correlation_id=other)

    async with AsyncDispatcher(router_of((Ping, wait_for_other))) as dispatcher:
        dispatcher.dispatch(Ping(source="x", correlation_id="a"))
        dispatcher.dispatch(Ping(source="x", correlation_id="b"))
        with takes(0.1), pytest.raises(FlowFailed) as caught:
            await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    assert len(stalled_in(caught.value).chain) == 2


async def test_a_bounded_wait_is_ended_by_the_stall_not_by_the_clock() -> None:
    """The handler may have a timeout; it is told at once nevertheless."""

    async def ask(event: Ping) -> None:
        with anyio.move_on_after(3):
            await wait_for(Pong)

    async with AsyncDispatcher(router_of((Ping, ask))) as dispatcher:
        with takes(0), pytest.raises(FlowFailed):
            await dispatcher.run(Ping(source="x"), Other)


async def test_a_handler_with_tasks_of_its_own_is_not_stuck() -> None:
    """What they do may bring the answer, so nobody can say that it never comes."""
    got: list[int] = []

    async def send_later() -> None:
        await anyio.sleep(0.2)
        dispatcher.dispatch(Pong(source="x", n=6))

    async def ask(event: Ping) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_later)
            await checkpoint()
            got.append((await wait_for(Pong)).n)

    async with AsyncDispatcher(router_of((Ping, ask))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        assert await dispatcher.wait_for_empty_queue()
    assert got == [6]


async def test_who_has_its_answer_but_not_its_turn_may_be_stuck_too() -> None:
    """The agent is held by a handler that waits for the very flow that needs it."""

    class Serial(BaseAsyncAgent):
        async def receive_event_async(self, event: Event) -> None:
            if isinstance(event, Ping):
                await wait_for(Pong)
            else:
                await dispatcher.wait_for_empty_queue(correlation_id="asking")

    async def answer(event: Ping) -> Pong:
        await anyio.sleep(0.2)
        return Pong(source="x")

    serial = Serial()
    router = router_of((Ping, serial), (Ping, answer), (Other, serial))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", correlation_id="asking"))
        await anyio.sleep(0.1)
        dispatcher.dispatch(Other(source="x"))
        with takes(0.1), pytest.raises(FlowFailed) as caught:
            await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
        lane = dispatcher._engine.switchboard.lanes()["Serial"]
        assert (lane.running, len(lane.returning)) == (0, 0)
    assert any("Serial to be free again" in c for c in stalled_in(caught.value).chain)


async def test_a_delivery_that_queues_up_behind_a_waiting_holder() -> None:
    """The stall may come to be only when an event arrives."""

    class Holder(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> None:
            if event.source == "outside":
                async with dispatcher.open_flow(Pong(source="x")):
                    pass

    async def emit_later(event: Pong) -> Ping:
        await anyio.sleep(0.2)
        return Ping(source="inside")

    router = router_of((Ping, Holder()), (Pong, emit_later))
    async with AsyncDispatcher(router) as dispatcher:
        with takes(0.2), pytest.raises(FlowFailed) as caught:
            async with dispatcher.open_flow(Ping(source="outside")):
                pass
        assert isinstance(stalled_in(caught.value), FlowStalled)
        assert_nothing_left(dispatcher)


async def stall_and_clean_up() -> None:
    """Own a flow that stalls, and leave nothing of it."""
    log = Log()

    async def outer(event: Ping) -> None:
        async with dispatcher.open_flow(Pong(source="outer")):
            pass

    async def ask(event: Pong) -> None:
        await wait_for(Other)

    async def work(event: Pong) -> None:
        await anyio.sleep(0.1)

    router = router_of((Ping, outer), (Pong, ask), (Pong, work))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        with takes(0.1), pytest.raises(FlowFailed) as caught:
            await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    assert isinstance(stalled_in(caught.value), FlowStalled)
    assert len(log.of(FlowEnded)) == len(log.of(FlowStarted)) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_handler_that_is_being_cancelled_is_not_stuck(backend: str) -> None:
    """(F1) Who cleans up after a stall waits for it, in whichever order they run."""
    for order in range(10):
        run_seeded(backend, stall_and_clean_up, order)


class FailsOnce(BaseAsyncAgent):
    """Fails at first, and runs into a stall when it is tried again."""

    def __init__(self) -> None:
        self.attempts = 0

    async def receive_event_async(self, event: Event) -> None:
        if isinstance(event, Ping):
            self.attempts += 1
            if self.attempts == 1:
                raise OSError
        else:
            await dispatcher_of[0].wait_for_empty_queue(correlation_id="retried")


dispatcher_of: list[AsyncDispatcher] = []


@pytest.mark.parametrize("limit", [1, None])
async def test_an_attempt_that_comes_back_to_where_somebody_waits_for_it(
    limit: int | None,
) -> None:
    """The stall begins when the wait of a retry is over, for want of a lane or a worker."""
    agent = FailsOnce()
    agent.max_concurrency = 1 if limit is None else None
    router = Router({Other: [agent]})
    router.add_route(Ping, agent, retry=Retry(initial=0.2, jitter=0))
    async with AsyncDispatcher(router, max_concurrency=limit) as dispatcher:
        dispatcher_of[:] = [dispatcher]
        dispatcher.dispatch(Ping(source="x", correlation_id="retried"))
        await anyio.sleep(0.1)
        dispatcher.dispatch(Other(source="x", correlation_id="waiting"))
        with takes(0.1), pytest.raises(FlowFailed) as caught:
            await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    assert isinstance(stalled_in(caught.value), FlowStalled)
    assert agent.attempts == 2
