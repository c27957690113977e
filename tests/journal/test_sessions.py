"""What a durable session does from one life to the next, on both stores."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from agentflow import (
    AgentFailed,
    AsyncAggregatorAgent,
    AsyncDispatcher,
    Event,
    FlowFailed,
    NoResult,
    Retry,
    Router,
    SessionError,
    TerminateEvent,
)
from agentflow.journal import (
    this_delivery,
)
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
)
from tests.journal.lives import Combine, Cut, MakeJournal, answer, finish, live_shortly


async def test_a_flow_runs_as_in_any_session(make: MakeJournal) -> None:
    """(J1) With its result, and nothing left in memory or open in the journal."""
    collector = Collector()
    async with AsyncDispatcher(
        router_of((Ping, answer), (Pong, collector)), journal=make()
    ) as dispatcher:
        result = await dispatcher.run(Ping(source="x", n=3), Pong)
        assert result.n == 3
        assert_nothing_left(dispatcher)
    assert collector.numbers() == [3]
    (flow,) = await make().flows()
    assert (flow.status, flow.open, flow.events) == ("done", 0, 2)


async def test_what_was_not_finished_is_finished_by_the_next_session(
    make: MakeJournal,
) -> None:
    """(J1) Queued and running deliveries go on after the session has ended early."""
    await live_shortly(
        router_of((Ping, forever)), make(), *(Ping(source="x", n=n) for n in range(3))
    )
    collector = Collector()
    collector.name = "forever"
    await finish(router_of((Ping, collector)), make())
    assert collector.numbers() == [0, 1, 2]


async def test_what_was_dispatched_before_the_start_is_kept(make: MakeJournal) -> None:
    """(J1) It goes into the journal as soon as there is one."""
    collector = Collector()
    dispatcher = AsyncDispatcher(router_of((Ping, collector)), journal=make())
    dispatcher.dispatch(Ping(source="x", n=5))
    assert dispatcher.statistics().queued == 1
    async with dispatcher:
        pass
    assert collector.numbers() == [5]


async def test_an_event_with_a_key_is_accepted_once(make: MakeJournal) -> None:
    """(J2) However often it is sent, in whichever session; it has the same ids."""
    collector = Collector()
    sent: list[Ping] = []
    for _ in range(2):
        async with AsyncDispatcher(
            router_of((Ping, collector)), journal=make()
        ) as dispatcher:
            sent += [
                await dispatcher.send(Ping(source="x", n=n), key="one") for n in (1, 2)
            ]
    assert collector.numbers() == [1]
    assert len({event.id for event in sent}) == 1


async def test_a_key_needs_a_journal_and_comes_from_outside(make: MakeJournal) -> None:
    """(J2) Elsewhere it would promise what nobody keeps."""

    async def sends(event: Ping) -> None:
        with pytest.raises(SessionError, match="from outside"):
            await dispatcher.send(Pong(source="sends"), key="k")
        await dispatcher.send(Pong(source="sends", n=event.n))

    async with AsyncDispatcher(Router()) as dispatcher:
        with pytest.raises(SessionError, match="needs a journal"):
            await dispatcher.send(Ping(source="x"), key="k")
    collector = Collector()
    router = router_of((Ping, sends), (Pong, collector))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        await dispatcher.send(Ping(source="x", n=1))
    assert collector.numbers() == [1]


async def test_a_handler_that_runs_again_emits_the_same_events(
    make: MakeJournal,
) -> None:
    """(J2) What it had yielded before is known, and delivered once."""
    collector = Collector()
    ids: list[str | None] = []

    async def drip(event: Ping) -> AsyncGenerator[Pong, None]:
        for n in range(3):
            yield Pong(source="drip", n=n)
            if n == 1 and len(ids) < 1:
                ids.append(event.id)
                await anyio.sleep_forever()

    router = router_of((Ping, drip), (Pong, collector))
    await live_shortly(router, make(), Ping(source="x"))
    await finish(router, make())
    assert collector.numbers() == [0, 1, 2]


@pytest.mark.parametrize("seconds", [(3.0, 0.0), (0.0, 3.0)])
async def test_an_aggregator_keeps_its_set_over_a_restart(
    make: MakeJournal, seconds: tuple[float, float]
) -> None:
    """(J3) And processes a set again if it was cut off."""
    until_complete, to_process = seconds
    collector = Collector()

    async def later(event: Boom) -> Other:
        await anyio.sleep(until_complete)
        return Other(source="later")

    def routes(combine: Combine) -> Router:
        return router_of(
            (Ping, combine), (Other, combine), (Boom, later), (Pong, collector)
        )

    events = (
        Ping(source="x", correlation_id="f"),
        Boom(source="x", correlation_id="f"),
    )
    await live_shortly(routes(Combine(to_process)), make(), *events)
    assert collector.got == []
    await finish(routes(Combine()), make())
    assert collector.numbers() == [2]


async def test_sets_of_one_flow_are_processed_one_after_the_other(
    make: MakeJournal,
) -> None:
    """(J3) As in any session; and `wait_for_events` sees what is there."""
    running: list[int] = []

    class Pairs(AsyncAggregatorAgent):
        event_types_needed = (Ping, Ping)

        async def process_events(self, events: list[Event]) -> None:
            running.append(+1)
            await anyio.sleep(0.1)
            assert sum(running) == 1
            running.append(-1)

    pairs = Pairs()

    async def many(event: Boom) -> list[Ping]:
        return [Ping(source="many", n=n) for n in range(5)]

    log = Log()
    router = router_of((Boom, many), (Ping, pairs))
    async with AsyncDispatcher(router, journal=make(), tracer=log) as dispatcher:
        sent = await dispatcher.send(Boom(source="x"))
        assert sent.correlation_id is not None
        assert len(await pairs.wait_for_events(sent.correlation_id)) == 2
    assert len(running) == 4


async def test_retries_go_on_where_they_were(make: MakeJournal) -> None:
    """(J4) A restart costs no attempt, and the wait goes on."""
    attempts: list[int] = []

    async def shaky(event: Ping) -> None:
        attempts.append(this_delivery().attempt)
        if len(attempts) < 3:
            raise ValueError("not yet")

    router = Router()
    retry = Retry(attempts=3, initial=0.5, jitter=0, factor=1)
    router.add_route(Ping, shaky, retry=retry)
    await live_shortly(router, make(), Ping(source="x"))
    assert attempts == [1]
    await finish(router, make())
    assert attempts == [1, 2, 3]


async def test_a_failed_flow_leaves_dead_letters_with_their_history(
    make: MakeJournal,
) -> None:
    """(J5) The one that failed, and those that waited beside it; they can be retried."""
    router = router_of((Boom, fail), (Boom, forever))
    with pytest.raises(FlowFailed):
        async with AsyncDispatcher(router, journal=make()) as dispatcher:
            await dispatcher.run(Boom(source="x", text="no"), Pong)
    letters = await make().dead_letters()
    assert {letter.key.agent for letter in letters} == {"fail", "forever"}
    (failed,) = [letter for letter in letters if letter.key.agent == "fail"]
    assert [f.error for f in failed.history] == ["ValueError: no"] or (
        "ValueError: no" in failed.history[0].error
    )
    assert failed.reason == "fail raised ValueError: no"
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        with pytest.raises(SessionError, match="failed"):
            async with dispatcher.open_flow(correlation_id=failed.key.flow):
                pass
    assert await make().retry(failed.key.flow) == 2
    one, two = Collector(), Collector()
    one.name, two.name = "fail", "forever"
    await finish(router_of((Boom, one), (Boom, two)), make())
    assert len(one.got) == len(two.got) == 1
    assert await make().dead_letters() == []


async def test_a_failure_that_a_route_takes_is_an_event_like_any_other(
    make: MakeJournal,
) -> None:
    """(J5) Committed with the delivery, and the flow goes on."""
    seen = Collector()
    router = router_of((Boom, fail), (AgentFailed, seen))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        await dispatcher.send(Boom(source="x", text="oh"))
    (failure,) = seen.got
    assert str(failure.error) == "oh"
    assert await make().dead_letters() == []


async def test_a_failing_failure_handler_fails_the_flow(make: MakeJournal) -> None:
    """(J5) As in any session."""

    async def worse(event: AgentFailed) -> None:
        raise KeyError("worse")

    router = router_of((Boom, fail), (AgentFailed, worse))
    with pytest.raises(FlowFailed):
        async with AsyncDispatcher(router, journal=make()) as dispatcher:
            await dispatcher.send(Boom(source="x", text="oh"))
    (letter,) = await make().dead_letters()
    assert letter.key.agent == "worse"


async def test_a_terminated_flow_stays_terminated(make: MakeJournal) -> None:
    """(J6) Its queue is gone from the journal too."""
    slow = Sleeper(0.5)

    async def ender(event: Other) -> list[Event]:
        return [Pong(source="ender"), TerminateEvent(source="ender"), Pong(source="e")]

    router = router_of((Ping, slow), (Other, ender))
    log = Log()
    async with AsyncDispatcher(router, journal=make(), tracer=log) as dispatcher:
        for event in (Ping(source="x", correlation_id="f"), Ping(source="x")):
            await dispatcher.send(event)
        await dispatcher.send(Ping(source="x", correlation_id="f", n=1))
        await dispatcher.send(Other(source="x", correlation_id="f"))
    assert slow.ended == [0]
    flows = {flow.id: flow.status for flow in await make().flows()}
    assert flows.pop("f") == "terminated"
    assert list(flows.values()) == ["done"]
    await finish(router_of((Ping, Collector())), make())


async def test_a_terminate_event_may_be_emitted_while_a_handler_runs(
    make: MakeJournal,
) -> None:
    """(J6) It ends the flow at once, the handler's own included."""

    async def ender(event: Ping) -> AsyncGenerator[Event, None]:
        yield TerminateEvent(source="ender")
        await anyio.sleep_forever()

    router = router_of((Ping, ender))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        with pytest.raises(NoResult, match="terminated"):
            await dispatcher.run(Ping(source="x"), Pong)
        await dispatcher.send(TerminateEvent(source="x"))
    assert {flow.status for flow in await make().flows()} == {"terminated"}


async def test_a_cancelled_flow_is_cancelled_for_good(make: MakeJournal) -> None:
    """(J7) By its owner's word, or its owner's error."""
    router = router_of((Ping, forever))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            flow.cancel("enough")
        with pytest.raises(KeyError):
            async with dispatcher.open_flow(Ping(source="x")):
                raise KeyError
    assert [flow.status for flow in await make().flows()] == ["cancelled"] * 2


async def test_a_flow_whose_block_is_cancelled_goes_on_another_time(
    make: MakeJournal,
) -> None:
    """(J7) Its handlers stop with the block, and the journal keeps the rest."""
    stopped: list[int] = []

    async def slow(event: Ping) -> Pong:
        try:
            await anyio.sleep(1)
        finally:
            stopped.append(event.n)
        return Pong(source="slow", n=event.n)

    router = router_of((Ping, slow))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        with anyio.CancelScope() as scope:
            async with dispatcher.open_flow(Ping(source="x", n=1, correlation_id="f")):
                await anyio.sleep(0.1)
                scope.cancel()
        assert stopped == [1]
        async with dispatcher.open_flow(correlation_id="f") as again:
            assert (await again.result(Pong)).n == 1
    assert stopped == [1, 1]


async def test_a_flow_gets_what_is_left_of_its_time(make: MakeJournal) -> None:
    """(J7) A deadline around the owner's block holds in the next session too."""
    router = router_of((Ping, forever))
    with pytest.raises(Cut):
        async with AsyncDispatcher(router, journal=make()) as dispatcher:
            with anyio.fail_after(3):
                await cut_off(dispatcher)
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        start = anyio.current_time()
        assert await dispatcher.wait_for_empty_queue()
        assert 2 < anyio.current_time() - start < 3.1
    (flow,) = await make().flows()
    assert (flow.status, flow.reason) == ("cancelled", "its deadline has passed")


async def cut_off(dispatcher: AsyncDispatcher) -> None:
    """Leave a flow's block as Ctrl-C does."""
    async with dispatcher.open_flow(Ping(source="x")):
        raise Cut


async def test_a_flow_that_ran_out_of_time_is_over(make: MakeJournal) -> None:
    """(J7) Its own deadline ends it for good, unlike another cancellation."""
    router = router_of((Ping, forever))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        with anyio.move_on_after(1):
            await dispatcher.run(Ping(source="x"), Pong)
    (flow,) = await make().flows()
    assert flow.status == "cancelled"
