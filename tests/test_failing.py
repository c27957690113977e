"""Failing agents: what becomes of the failure, and who gets to know (F2, F3, F5)."""

import anyio
import pytest

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    FlowBudgetExceeded,
    FlowFailed,
    NoResult,
    TerminateEvent,
)
from agentflow._records import FlowEnded
from agentflow._unclaimed import KEPT_FAILURES
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    fail,
    forever,
    router_of,
    takes,
)


async def test_a_failure_names_agent_and_event_and_other_flows_finish() -> None:
    """(F2) FlowFailed is a group of the agents' own exceptions, each with a note."""
    slow = Sleeper(0.3)
    router = router_of((Boom, fail), (Ping, slow))
    flow_id = "mine"
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Boom(source="x", correlation_id=flow_id), Pong)
        assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    assert slow.ended == [1]
    (error,) = caught.value.exceptions
    assert isinstance(error, ValueError)
    (failure,) = caught.value.failures
    assert (failure.agent, failure.error, failure.attempts) == ("fail", error, 1)
    assert (failure.correlation_id, failure.parent_id) == (flow_id, failure.event.id)
    (note,) = error.__notes__
    event_id = failure.event.id
    assert (
        note == f"raised by agent 'fail' while it handled Boom {event_id} of flow mine"
    )
    assert str(caught.value).startswith(f"flow {flow_id} failed in 'fail'")


async def test_a_failure_cancels_the_rest_of_its_flow_and_the_owners_block() -> None:
    """(F1, F2) As a nursery does: running and queued handlers, and the body."""
    log, cleaned = Log(), Collector()

    async def careful(event: Boom) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.got.append(event)

    async def late(event: Boom) -> None:
        await anyio.sleep(0.1)
        raise ValueError(event.text)

    router = router_of((Boom, careful), (Boom, late))

    async def own() -> None:
        async with dispatcher.open_flow(Boom(source="x")):
            try:
                await anyio.sleep_forever()
            finally:
                cleaned.got.append("body")

    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        with takes(0.1), pytest.raises(FlowFailed):
            await own()
        assert_nothing_left(dispatcher)
    assert len(cleaned.got) == 2
    assert [r.outcome for r in log.of(FlowEnded)] == ["failed"]
    assert log.of(FlowEnded)[0].reason == "late raised ValueError: boom"


async def test_several_failures_of_a_flow_come_in_one_group() -> None:
    """(F2) Those that handlers raise when they are cancelled included."""

    class Messy(BaseAsyncAgent):
        async def receive_event_async(self, event: Boom) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("messy")

    router = router_of((Boom, Messy()), (Boom, fail))
    async with AsyncDispatcher(router) as dispatcher:
        with pytest.RaisesGroup(ValueError, KeyError) as caught:
            await dispatcher.run(Boom(source="x"), Pong)
        assert await dispatcher.wait_for_empty_queue()
    failed = caught.value
    assert isinstance(failed, FlowFailed)
    assert [f.agent for f in failed.failures] == ["fail", "Messy"]


async def test_parts_of_the_group_keep_their_failures() -> None:
    """(F2) except* splits a FlowFailed into FlowFaileds."""

    async def other(event: Boom) -> None:
        raise KeyError("other")

    async with AsyncDispatcher(router_of((Boom, fail), (Ping, other))) as dispatcher:
        dispatcher.dispatch(Boom(source="x"))
        dispatcher.dispatch(Ping(source="x"))
        caught: list[BaseException] = []
        try:
            await dispatcher.wait_for_empty_queue()
        except* ValueError as part:
            caught.append(part)
        except* KeyError as part:
            caught.append(part)
    parts = [part for part in caught if isinstance(part, FlowFailed)]
    assert [[f.agent for f in part.failures] for part in parts] == [["fail"], ["other"]]
    assert "2 flows failed in" in str(caught[0])


async def test_an_error_from_a_handlers_own_nursery_is_its_failure() -> None:
    """(F2) Also when it comes together with the cancellation of its flow."""
    quick = Sleeper(0.2)

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async def parent(event: Boom) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.sleep_forever()

    router = router_of((Boom, parent), (Ping, quick))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        with pytest.raises(FlowFailed) as caught:
            async with dispatcher.open_flow(Boom(source="x")) as flow:
                await anyio.sleep(0.1)
                flow.cancel()
        assert caught.group_contains(ValueError, match="clean-up")
        assert_nothing_left_but(dispatcher, flows=1)
    assert quick.ended == [1]


def assert_nothing_left_but(dispatcher: AsyncDispatcher, flows: int) -> None:
    """Check how many flows there still are."""
    assert len(dispatcher._engine.ledger.flows) == flows


async def test_an_error_while_the_session_is_cancelled_is_not_lost() -> None:
    """(F2, F3) It leaves together with the cancellation."""

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async def parent(event: Boom) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.sleep_forever()

    with (
        pytest.RaisesGroup(pytest.RaisesExc(FlowFailed)),
        anyio.move_on_after(0.1),
    ):
        async with AsyncDispatcher(router_of((Boom, parent))) as dispatcher:
            dispatcher.dispatch(Boom(source="x"))
            await anyio.sleep_forever()


async def test_a_cancellation_out_of_nowhere_is_a_failure(backend: str) -> None:
    """(F2) asyncio lets a handler raise CancelledError though nobody cancelled it."""
    raised: type[BaseException] = anyio.get_cancelled_exc_class()
    if backend == "trio":
        raised = ValueError  # a Cancelled of trio cannot be made

    async def stray(event: Boom) -> None:
        raise raised

    router = router_of((Boom, stray), (Ping, Sleeper(0)))
    async with AsyncDispatcher(router, max_concurrency=1) as dispatcher:
        for _ in range(3):
            dispatcher.dispatch(Boom(source="x"))
            with pytest.raises(FlowFailed):
                await dispatcher.wait_for_empty_queue()
        await dispatcher.run(Ping(source="x"), Pong)


async def test_when_the_block_raises_and_the_flow_fails_one_group_holds_both() -> None:
    """(F3) Neither hides the other."""

    async def own() -> None:
        async with dispatcher.open_flow(Boom(source="x")):
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("body")

    async with AsyncDispatcher(router_of((Boom, fail))) as dispatcher:
        with pytest.RaisesGroup(KeyError, pytest.RaisesGroup(ValueError)) as caught:
            await own()
        assert isinstance(caught.value.exceptions[1], FlowFailed)
        assert await dispatcher.wait_for_empty_queue()


async def test_a_cancelled_owner_gets_the_failures_of_its_flow() -> None:
    """(F3) The cancellation is taken out by its scope, the failure goes on."""

    async def messy(event: Boom) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async with AsyncDispatcher(router_of((Boom, messy))) as dispatcher:
        with (
            pytest.RaisesGroup(pytest.RaisesGroup(ValueError)),
            anyio.move_on_after(0.1),
        ):
            async with dispatcher.open_flow(Boom(source="x")):
                await anyio.sleep_forever()
        assert_nothing_left(dispatcher)


async def test_who_waits_for_a_result_of_a_failing_flow_gets_the_failure() -> None:
    """(F1) Not NoResult: the block is cancelled with the flow."""
    async with AsyncDispatcher(router_of((Boom, fail))) as dispatcher:
        with pytest.raises(FlowFailed):
            async with dispatcher.open_flow(Boom(source="x")) as flow:
                await flow.result(Pong)


async def test_a_route_for_agent_failed_handles_the_failure() -> None:
    """(F2) The flow goes on; the event names agent, event and error."""
    collector, slow = Collector(), Sleeper(0.2)

    async def recover(event: AgentFailed) -> Pong:
        collector.got.append(event)
        return Pong(source="recover", n=5)

    router = router_of((Boom, fail), (Boom, slow), (AgentFailed, recover))
    async with AsyncDispatcher(router) as dispatcher:
        root = Boom(source="x", correlation_id="a")
        assert (await dispatcher.run(root, Pong)).n == 5
        assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)
    failure = collector.got[0]
    assert (failure.source, failure.agent) == ("fail", "fail")
    assert str(failure.error) == "boom"
    assert failure.correlation_id == "a"
    assert failure.parent_id == failure.event.id


@pytest.mark.parametrize("handlers", [1, None], ids=["queued", "begun"])
async def test_a_failure_whose_handler_is_cut_off_is_not_lost(
    handlers: int | None,
) -> None:
    """(F2, F3) Nobody has handled it, so it is raised though its flow was cancelled."""
    busy = anyio.Event()

    class Doctor(BaseAsyncAgent):
        max_concurrency = handlers

        async def receive_event_async(self, event: Event) -> None:
            busy.set()
            await anyio.sleep(1)

    doctor = Doctor()
    router = router_of(
        (Boom, fail), (AgentFailed, doctor), (Ping, doctor), (Event, Collector())
    )
    async with AsyncDispatcher(router) as dispatcher:
        with pytest.raises(FlowFailed) as caught:
            async with dispatcher.open_flow(Ping(source="x")) as flow:
                await busy.wait()
                flow.dispatch(Boom(source="x"))
                await anyio.sleep(0.1)
                flow.cancel("enough")
        assert_nothing_left(dispatcher)
    assert [failure.agent for failure in caught.value.failures] == ["fail"]


async def test_a_log_that_is_cut_off_does_not_undo_what_was_handled() -> None:
    """(F2) A route on `Event` only sees the failure; another one has handled it."""
    doctor = Collector()
    router = router_of((Boom, fail), (AgentFailed, doctor), (Event, forever))
    async with AsyncDispatcher(router) as dispatcher:
        async with dispatcher.open_flow(Boom(source="x")) as flow:
            await anyio.sleep(0.1)
            flow.cancel("enough")
        assert_nothing_left(dispatcher)
    assert [type(event) for event in doctor.got] == [AgentFailed]


async def test_a_route_may_handle_some_failures() -> None:
    """(F2) Its predicate sees the stamped event, and is asked once."""
    asked: list[AgentFailed] = []

    def is_no(failure: AgentFailed) -> bool:
        asked.append(failure)
        return failure.correlation_id == "a" and str(failure.error) == "no"

    collector, router = Collector(), router_of((Boom, fail))
    router.add_route(AgentFailed, collector, when=is_no)
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Boom(source="x", text="no", correlation_id="a"))
        assert await dispatcher.wait_for_empty_queue()
        dispatcher.dispatch(Boom(source="x", text="yes", correlation_id="a"))
        with pytest.raises(FlowFailed):
            await dispatcher.wait_for_empty_queue()
    assert len(collector.got) == 1
    assert len(asked) == 2


async def test_a_predicate_of_failures_that_raises_handles_nothing() -> None:
    """(F2) The first failure still fails its flow."""
    router = router_of((Boom, fail))
    router.add_route(AgentFailed, Collector(), when=lambda failure: 1 / 0 > 0)
    async with AsyncDispatcher(router) as dispatcher:
        with pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Boom(source="x"), Pong)
    assert any(isinstance(e, ValueError) for e in caught.value.exceptions)


async def test_a_failure_in_a_handler_of_failures_fails_the_flow() -> None:
    """(F2) Both are in the group, since the first was not handled after all."""

    async def clumsy(event: AgentFailed) -> None:
        raise KeyError("clumsy")

    async with AsyncDispatcher(router_of((Boom, fail), (AgentFailed, clumsy))) as d:
        with pytest.RaisesGroup(ValueError, KeyError):
            await d.run(Boom(source="x"), Pong)
        assert_nothing_left(d)


async def test_a_catch_all_route_sees_a_failure_without_handling_it() -> None:
    """(F2) Else every logger would swallow every error; each failure is seen once."""
    seen: list[str] = []

    class Logger(BaseAsyncAgent):
        async def receive_event_async(self, event: Event) -> Pong | None:
            await anyio.sleep(0.05)
            if not isinstance(event, AgentFailed):
                return None
            seen.append(str(event.error))
            return Pong(source="too late")

    async def messy(event: Boom) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async def late(event: Boom) -> None:
        await anyio.sleep(0.1)
        raise ValueError(event.text)

    collector = Collector()
    router = router_of(
        (Boom, late), (Boom, messy), (Event, Logger()), (Pong, collector)
    )
    async with AsyncDispatcher(router) as dispatcher:
        with pytest.RaisesGroup(ValueError, ValueError):
            await dispatcher.run(Boom(source="x"), Pong)
        assert_nothing_left(dispatcher)
    assert sorted(seen) == ["boom", "clean-up"]
    assert collector.got == []


async def test_a_failing_catch_all_is_in_the_group_too() -> None:
    """(F2) A logger that raises on a failure adds its own, and goes round no further."""

    async def broken(event: Event) -> None:
        if isinstance(event, AgentFailed):
            raise KeyError("logger")

    async with AsyncDispatcher(router_of((Boom, fail), (Event, broken))) as dispatcher:
        with pytest.RaisesGroup(ValueError, KeyError):
            await dispatcher.run(Boom(source="x"), Pong)
        assert_nothing_left(dispatcher)


async def test_a_failure_beyond_the_budget_does_not_hang() -> None:
    """(F2, D3) Handing a failure over ends well even when the flow may emit nothing."""
    collector = Collector()
    async with AsyncDispatcher(
        router_of((Boom, fail), (AgentFailed, collector)), max_events_per_flow=1
    ) as dispatcher:
        with pytest.raises((FlowFailed, NoResult)):
            await dispatcher.run(Boom(source="x"), Pong)
        assert_nothing_left(dispatcher)


async def test_exceeding_the_budget_fails_the_flow_whoever_takes_failures() -> None:
    """(D3) Handling that failure would only go on emitting."""
    collector = Collector()

    async def again(event: Ping) -> Ping:
        return event

    router = router_of((Ping, again), (AgentFailed, collector))
    async with AsyncDispatcher(router, max_events_per_flow=10) as dispatcher:
        with pytest.raises(FlowFailed) as caught:
            await dispatcher.run(Ping(source="x"), Pong)
    assert caught.group_contains(FlowBudgetExceeded)


async def test_a_failure_after_the_flow_was_terminated_is_not_lost() -> None:
    """(D6, F3) What a handler raises in its clean-up still reaches the owner."""

    async def ender(event: Ping) -> TerminateEvent:
        await anyio.sleep(0.1)
        return TerminateEvent(source="ender")

    class Messy(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("clean-up")

    async with AsyncDispatcher(router_of((Ping, ender), (Ping, Messy()))) as dispatcher:
        with pytest.raises(FlowFailed):
            async with dispatcher.open_flow(Ping(source="x")):
                pass
        dispatcher.dispatch(Ping(source="x"))
        with pytest.raises(FlowFailed):
            await dispatcher.wait_for_empty_queue()


async def test_a_failure_nobody_asks_for_is_raised_at_the_end() -> None:
    """(F3) Once: from the block's end, when nothing else has raised it."""
    dispatcher = AsyncDispatcher(router_of((Boom, fail), (Ping, Sleeper(0.1))))
    with pytest.RaisesGroup(ValueError) as caught:
        async with dispatcher:
            dispatcher.dispatch(Boom(source="x"))
            dispatcher.dispatch(Ping(source="x"))
    assert isinstance(caught.value, FlowFailed)
    assert_nothing_left(dispatcher)


async def test_a_session_keeps_the_first_failures_and_counts_the_rest() -> None:
    """(F3) One that runs for weeks does not fill memory with errors nobody reads."""
    async with AsyncDispatcher(router_of((Boom, fail))) as dispatcher:
        for n in range(KEPT_FAILURES + 50):
            dispatcher.dispatch(Boom(source="x", text=str(n)))
        with pytest.raises(FlowFailed, match="and 50 more failures") as caught:
            await dispatcher.wait_for_empty_queue()
        assert len(caught.value.exceptions) >= KEPT_FAILURES
        assert await dispatcher.wait_for_empty_queue()


async def test_failures_that_were_only_counted_are_not_forgotten() -> None:
    """(F3, D4) Though the kept ones have been claimed flow by flow."""
    async with AsyncDispatcher(router_of((Boom, fail))) as dispatcher:
        for n in range(KEPT_FAILURES + 1):
            dispatcher.dispatch(Boom(source="x", correlation_id=str(n)))
        await anyio.wait_all_tasks_blocked()
        claimed = 0
        for n in range(KEPT_FAILURES + 1):
            try:
                await dispatcher.wait_for_empty_queue(correlation_id=str(n))
            except FlowFailed:
                claimed += 1
        assert claimed == KEPT_FAILURES
        with pytest.raises(FlowFailed, match="1 more failure"):
            await dispatcher.wait_for_empty_queue()
        assert await dispatcher.wait_for_empty_queue()
