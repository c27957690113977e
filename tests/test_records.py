"""Records: everything that happens, in one vocabulary (T1, T2)."""

import logging

import anyio
import attrs
import pytest

from agentflow import (
    AgentFailed,
    AsyncAggregatorAgent,
    AsyncDispatcher,
    Event,
    Router,
    TerminateEvent,
)
from agentflow._context import current_delivery
from agentflow._records import (
    DeliveryRecord,
    EventAccepted,
    FlowEnded,
    FlowStarted,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    Record,
    SetCompleted,
)
from agentflow.abc import Observer
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Ping,
    Pong,
    Sleeper,
    fail,
    forever,
    router_of,
)


async def test_the_records_of_a_flow_tell_its_story() -> None:
    """(T1) In order, with ids, agent, time and duration."""
    log = Log()
    router = router_of((Ping, Sleeper(0.2)), (Pong, Collector()))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        start = anyio.current_time()
        root = dispatcher.dispatch(Ping(source="x", n=3))
    assert [type(r) for r in log.records] == [
        FlowStarted,
        EventAccepted,
        HandlerStarted,
        EventAccepted,
        HandlerFinished,
        HandlerStarted,
        HandlerFinished,
        FlowEnded,
    ]
    assert {r.correlation_id for r in log.records} == {root.correlation_id}
    times = [r.time - start for r in log.records]
    assert times == pytest.approx([0, 0, 0, 0.2, 0.2, 0.2, 0.2, 0.2], abs=1e-6)
    first, second = log.of(EventAccepted)
    assert (first.event, first.agents) == (root, ("Sleeper",))
    assert (second.event.parent_id, second.agents) == (root.id, ("Collector",))
    finished = log.of(HandlerFinished)
    assert [(r.agent, r.event) for r in finished] == [
        ("Sleeper", root),
        ("Collector", second.event),
    ]
    assert [r.duration for r in finished] == pytest.approx([0.2, 0], abs=1e-6)
    (ended,) = log.of(FlowEnded)
    assert (ended.outcome, ended.reason, ended.events) == ("finished", "", 2)
    assert ended.duration == pytest.approx(0.2)


async def test_records_are_frozen_values() -> None:
    """(T1) Nobody who gets one can change it."""
    log = Log()
    async with AsyncDispatcher(Router(), tracer=log) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    record = log.records[0]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.time = 0.0  # type: ignore[misc]
    assert isinstance(log, Observer)


async def test_what_happens_before_the_start_is_recorded() -> None:
    """(D1, T1) Early events are accepted like any other."""
    log = Log()
    dispatcher = AsyncDispatcher(router_of((Ping, Collector())), tracer=log)
    root = dispatcher.dispatch(Ping(source="x"))
    async with dispatcher:
        pass
    assert [r.event for r in log.of(EventAccepted)] == [root]
    assert [r.outcome for r in log.of(FlowEnded)] == ["finished"]
    assert log.of(FlowEnded)[0].duration == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("event", "outcome", "reason"),
    [
        (Ping(source="x"), "cancelled", "enough"),
        (TerminateEvent(source="x"), "terminated", "TerminateEvent from x"),
        (Boom(source="x"), "failed", "fail raised ValueError: boom"),
    ],
)
async def test_the_end_of_a_flow_says_how_and_why(
    event: Event, outcome: str, reason: str
) -> None:
    """(T1) Cancelled, terminated or failed, with the reason."""
    log = Log()
    router = router_of((Ping, forever), (Boom, fail))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        try:
            async with dispatcher.open_flow(event) as flow:
                await anyio.wait_all_tasks_blocked()
                flow.cancel("enough")
        except ExceptionGroup:
            assert outcome == "failed"
    (ended,) = log.of(FlowEnded)
    assert (ended.outcome, ended.reason) == (outcome, reason)


async def test_a_failure_is_recorded_with_what_comes_of_it() -> None:
    """(T1) Handed over or failing its flow; the AgentFailed event is accepted, too."""
    log, collector = Log(), Collector()
    router = router_of((Boom, fail), (AgentFailed, collector))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        dispatcher.dispatch(Boom(source="x"))
    (record,) = log.of(HandlerFailed)
    assert (record.consequence, record.retry_in, record.attempt) == (
        "hand over",
        None,
        1,
    )
    assert isinstance(record.error, ValueError)
    accepted = log.of(EventAccepted)[1]
    assert (type(accepted.event), accepted.agents) == (AgentFailed, ("Collector",))
    assert log.of(FlowEnded)[0].outcome == "finished"


async def test_a_cancellation_says_why_and_how_long_it_took() -> None:
    """(T1) The reason that was given to cancel() comes through."""
    log = Log()
    async with (
        AsyncDispatcher(router_of((Ping, forever)), tracer=log) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
    ):
        await anyio.sleep(0.3)
        flow.cancel("too slow")
    (record,) = log.of(HandlerCancelled)
    assert (record.agent, record.reason) == ("forever", "too slow")
    assert record.duration == pytest.approx(0.3)


async def test_a_cancelled_session_is_the_reason_when_there_is_no_better() -> None:
    """(T1) Nobody gave one."""
    log = Log()
    with anyio.move_on_after(0.1):
        async with AsyncDispatcher(
            router_of((Ping, forever)), tracer=log
        ) as dispatcher:
            dispatcher.dispatch(Ping(source="x"))
    (record,) = log.of(HandlerCancelled)
    assert "cancelled" in record.reason.lower()


async def test_the_handlers_context_carries_its_delivery() -> None:
    """(T1) So what a handler calls joins its flow's records by itself."""
    seen: list[tuple[str, object]] = []

    async def deep() -> None:
        delivery = current_delivery.get()
        assert delivery is not None
        seen.append((delivery.target.name, delivery.event))

    async def handler(event: Ping) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deep)

    async with AsyncDispatcher(router_of((Ping, handler))) as dispatcher:
        root = dispatcher.dispatch(Ping(source="x"))
    assert seen == [("handler", root)]
    assert current_delivery.get() is None


class Faulty(Log):
    """An observer that raises on its third record."""

    def record(self, record: Record, /) -> None:
        super().record(record)
        if len(self.records) == 3:
            raise OSError("disk full")


async def test_an_observer_that_raises_is_reported_once_and_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """(T2) The flows do not notice."""
    observer, agent = Faulty(), Sleeper(0.1)
    with caplog.at_level(logging.ERROR, logger="agentflow"):
        async with AsyncDispatcher(router_of((Ping, agent)), tracer=observer) as d:
            for n in range(3):
                d.dispatch(Ping(source="x", n=n))
    assert agent.ended == [0, 1, 2]
    assert len(observer.records) == 3
    (report,) = caplog.records
    assert "the tracer raised on" in report.getMessage()
    assert report.exc_info


async def test_agents_with_records_of_deliveries_are_named() -> None:
    """(T1) Every delivery record names its agent and event."""
    log = Log()
    router = router_of((Ping, Sleeper(0)), (Ping, Collector()), (Pong, Collector()))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    agents = {r.agent for r in log.of(DeliveryRecord)}
    assert agents == {"Sleeper", "Collector", "Collector-2"}


async def test_a_set_is_recorded_when_it_is_processed() -> None:
    """(A4) With the event that completed it, or whose time was up."""

    class Combiner(AsyncAggregatorAgent):
        async def process_events(self, events: list[Event]) -> None:
            await anyio.sleep(0.1)

    log = Log()
    combiner = Combiner([Ping, Pong], timeout=1)
    router = router_of((Ping, combiner), (Pong, combiner))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        one = dispatcher.dispatch(Ping(source="x", correlation_id="c"))
        two = dispatcher.dispatch(Pong(source="x", correlation_id="c"))
        await anyio.sleep(1)
        late = dispatcher.dispatch(Ping(source="x", correlation_id="d"))
    full, overdue = log.of(SetCompleted)
    assert (full.event, full.events, full.agent) == (two, (one, two), "Combiner")
    assert full.correlation_id == "c"
    assert (overdue.event, overdue.events) == (late, (late,))
