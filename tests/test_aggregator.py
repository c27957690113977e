"""Aggregators in a session (A4)."""

from typing import Any, ClassVar

import anyio
import pytest

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    Event,
    FlowFailed,
    Router,
    RoutingError,
)
from agentflow._records import SetIncomplete
from tests.fakes import (
    Collector,
    Log,
    Other,
    Ping,
    Pong,
    assert_nothing_left,
    router_of,
    takes,
)


class Done(Event):
    text: str


class Combiner(AsyncAggregatorAgent):
    """Joins a Ping and a Pong, and takes its time over it."""

    event_types_needed: ClassVar = [Ping, Pong]

    def __init__(self, *args: Any, seconds: float = 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seconds = seconds
        self.sets: list[list[Event]] = []
        self.late: list[list[Event]] = []

    async def process_events(self, events: list[Event]) -> Done:
        self.sets.append(events)
        await anyio.sleep(self.seconds)
        return Done(source="combiner", text=" ".join(text_of(e) for e in events))

    async def on_timeout(self, events: list[Event]) -> Done:
        await super().on_timeout(events)
        self.late.append(events)
        return Done(source="combiner", text=f"only {text_of(events[0])}")


def text_of(event: Any) -> str:
    """Return class and number of an event."""
    return f"{type(event).__name__}{event.n}"


def joining(agent: AsyncAggregatorAgent, *more: tuple[type[Event], object]) -> Router:
    """Return a router that sends an aggregator all of its types."""
    types: list[type[Event]] = [Ping, Pong, Other]
    return router_of(*((t, agent) for t in types), *more)


def ping(n: int = 0, flow: str | None = None) -> Ping:
    """Make a Ping of a flow."""
    return Ping(source="t", n=n, correlation_id=flow)


def pong(n: int = 0, flow: str | None = None) -> Pong:
    """Make a Pong of a flow."""
    return Pong(source="t", n=n, correlation_id=flow)


async def test_a_set_is_processed_once_in_the_order_of_the_types() -> None:
    """(A4) Events come in any order, and process_events gets them in that of the list."""
    agent, collector = Combiner(), Collector()
    async with AsyncDispatcher(joining(agent, (Done, collector))) as dispatcher:
        async with dispatcher.open_flow(pong(1)) as flow:
            flow.dispatch(ping(2))
            assert (await flow.result(Done)).text == "Ping2 Pong1"
        assert_nothing_left(dispatcher)
    assert [done.text for done in collector.got] == ["Ping2 Pong1"]
    assert not agent._collected


async def test_ids_do_not_mix() -> None:
    """(A4) Each correlation id has a set of its own."""
    agent = Combiner(seconds=0.1)
    async with AsyncDispatcher(joining(agent)) as dispatcher:
        with takes(0.1):
            for n in range(3):
                dispatcher.dispatch(ping(n, f"flow {n}"))
            for n in (2, 0, 1):
                dispatcher.dispatch(pong(n, f"flow {n}"))
            await dispatcher.wait_for_empty_queue()
    for first, second in agent.sets:
        assert isinstance(first, Ping)
        assert isinstance(second, Pong)
        assert first.n == second.n
        assert first.correlation_id == second.correlation_id
    assert len(agent.sets) == 3


async def test_sets_of_one_id_are_processed_one_at_a_time() -> None:
    """(A4) A second set of the same id waits for the first; other ids do not."""
    agent = Combiner(seconds=0.1)
    async with AsyncDispatcher(joining(agent)) as dispatcher:
        with takes(0.2):
            for event in (
                ping(1, "one"),
                pong(1, "one"),
                pong(2, "one"),
                ping(2, "one"),
            ):
                dispatcher.dispatch(event)
            dispatcher.dispatch(ping(3, "other"))
            dispatcher.dispatch(pong(3, "other"))
            await dispatcher.wait_for_empty_queue()
    flows = [str(s[0].correlation_id) for s in agent.sets]
    assert sorted(flows[:2]) == ["one", "other"]
    assert flows[2] == "one"


async def test_a_set_of_an_ended_flow_is_freed_and_recorded() -> None:
    """(A4) What an ended flow left incomplete is a record, and takes no memory."""
    agent, log = Combiner(), Log()
    async with AsyncDispatcher(joining(agent), tracer=log) as dispatcher:
        root = dispatcher.dispatch(ping(1))
        dispatcher.dispatch(Other(source="x"))
        await dispatcher.wait_for_empty_queue()
        assert not agent._collected
    records = log.of(SetIncomplete)
    assert [(r.agent, r.missing) for r in records] == [
        ("Combiner", ("Pong",)),
        ("Combiner", ("Ping", "Pong")),
    ]
    assert records[0].events == (root,)
    assert records[0].correlation_id == root.correlation_id


async def test_what_comes_after_the_flow_is_another_set() -> None:
    """(A4) A late event of an ended flow does not meet the events that were freed."""
    agent = Combiner()
    async with AsyncDispatcher(joining(agent)) as dispatcher:
        dispatcher.dispatch(ping(1, "a"))
        await dispatcher.wait_for_empty_queue()
        dispatcher.dispatch(pong(1, "a"))
        await dispatcher.wait_for_empty_queue()
    assert agent.sets == []


async def test_the_owner_may_join_late_events_to_a_flow() -> None:
    """(A4) As long as the owner's block is open, an idle flow keeps its events."""
    agent = Combiner()
    async with (
        AsyncDispatcher(joining(agent)) as dispatcher,
        dispatcher.open_flow(ping(1)) as flow,
    ):
        await dispatcher.wait_for_empty_queue()
        flow.dispatch(pong(1))
        await flow.result(Done)
        flow.dispatch(pong(2))
        flow.dispatch(ping(2))
    assert [[text_of(e) for e in s] for s in agent.sets] == [
        ["Ping1", "Pong1"],
        ["Ping2", "Pong2"],
    ]


async def test_after_the_timeout_on_timeout_gets_what_is_there() -> None:
    """(A4) Seconds count from the first event of the set."""
    agent, collector = Combiner(timeout=0.3), Collector()
    async with AsyncDispatcher(joining(agent, (Done, collector))) as dispatcher:
        with takes(0.3):
            dispatcher.dispatch(ping(1))
            await dispatcher.wait_for_empty_queue()
    assert [done.text for done in collector.got] == ["only Ping1"]
    assert agent.sets == []


async def test_a_set_in_time_ends_the_wait() -> None:
    """(A4) Nothing waits for the timeout of a set that is complete."""
    agent = Combiner(timeout=3)
    async with AsyncDispatcher(joining(agent)) as dispatcher:
        with takes(0.1):
            dispatcher.dispatch(ping(1, "a"))
            await anyio.sleep(0.1)
            dispatcher.dispatch(pong(1, "a"))
            await dispatcher.wait_for_empty_queue()
    assert len(agent.sets) == 1
    assert agent.late == []


async def test_leftovers_have_their_own_deadline() -> None:
    """(A4) The next set is timed from its own first event; then comes a third."""
    agent = Combiner(timeout=0.3)
    async with AsyncDispatcher(joining(agent)) as dispatcher:
        with takes(0.75):
            dispatcher.dispatch(ping(1, "a"))
            await anyio.sleep(0.1)
            dispatcher.dispatch(ping(2, "a"))
            dispatcher.dispatch(pong(1, "a"))
            await anyio.sleep(0.25)
            assert agent.late == []
            await anyio.sleep(0.1)
            dispatcher.dispatch(pong(3, "a"))
            await dispatcher.wait_for_empty_queue()
    assert [[text_of(e) for e in s] for s in agent.sets] == [["Ping1", "Pong1"]]
    assert [[text_of(e) for e in s] for s in agent.late] == [["Ping2"], ["Pong3"]]


async def test_without_on_timeout_an_overdue_set_is_dropped() -> None:
    """(A4) By default it is given up, and the flow ends."""

    class Patient(AsyncAggregatorAgent):
        async def process_events(self, events: list[Event]) -> None: ...

    agent = Patient([Ping, Pong], timeout=0.1)
    async with AsyncDispatcher(joining(agent)) as dispatcher:
        with takes(0.1):
            dispatcher.dispatch(ping(1))
            await dispatcher.wait_for_empty_queue()
    assert not agent._collected


async def test_a_quorum_is_enough() -> None:
    """(A4) Two of three events make a set; the third begins the next one."""
    agent = Combiner([Ping, Pong, Other], quorum=2)
    async with (
        AsyncDispatcher(joining(agent)) as dispatcher,
        dispatcher.open_flow(pong(1)) as flow,
    ):
        flow.dispatch(ping(1))
        await flow.result(Done)
        flow.dispatch(Other(source="x", n=1))
    assert [[text_of(e) for e in s] for s in agent.sets] == [["Ping1", "Pong1"]]


async def test_waiting_for_the_events_of_a_flow() -> None:
    """(A4) wait_for_events returns the complete set, as often as asked."""
    agent = Combiner()
    results: list[list[Event]] = []

    async def wait() -> None:
        results.append(await agent.wait_for_events("a"))

    async with (
        AsyncDispatcher(joining(agent)) as dispatcher,
        dispatcher.open_flow(ping(1, "a")) as flow,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert results == []
        flow.dispatch(pong(1))
        await flow.result(Done)
        again = await agent.wait_for_events("a", timeout=0)
        again.clear()
        results.append(await agent.wait_for_events("a"))
    assert [[text_of(e) for e in r] for r in results] == [["Ping1", "Pong1"]] * 3


async def test_waiting_for_events_gives_what_is_there_when_time_is_up() -> None:
    """(A4) Or when the flow ends first; and what is only asked for leaves nothing."""
    agent = Combiner()
    results: list[list[Event]] = []

    async def wait() -> None:
        results.append(await agent.wait_for_events("a"))

    async with AsyncDispatcher(joining(agent)) as dispatcher:
        with takes(0.2):
            assert await agent.wait_for_events("unknown", timeout=0.2) == []
        assert not agent._collected
        async with (
            anyio.create_task_group() as tasks,
            dispatcher.open_flow(ping(1, "a")),
        ):
            tasks.start_soon(wait)
            with takes(0.2):
                results.append(await agent.wait_for_events("a", timeout=0.2))
    assert [[text_of(e) for e in r] for r in results] == [["Ping1"], ["Ping1"]]
    assert not agent._collected


async def test_one_may_wait_for_a_flow_before_it_starts() -> None:
    """(A4) And several may wait, of whom some give up."""
    agent = Combiner()
    results: list[list[Event]] = []

    async def wait(seconds: float | None) -> None:
        results.append(await agent.wait_for_events("a", timeout=seconds))

    async with (
        AsyncDispatcher(joining(agent)) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(wait, None)
        tasks.start_soon(wait, 0.1)
        await anyio.sleep(0.2)
        dispatcher.dispatch(ping(1, "a"))
        dispatcher.dispatch(pong(1, "a"))
    assert [len(r) for r in results] == [0, 2]
    assert not agent._collected


async def test_a_set_that_cannot_be_processed_is_gone() -> None:
    """(A4) The error fails the flow, and the next flow begins anew."""

    class Broken(Combiner):
        async def process_events(self, events: list[Event]) -> Done:
            raise ValueError("no")

    agent = Broken()
    async with AsyncDispatcher(joining(agent)) as dispatcher:
        with pytest.raises(FlowFailed):
            async with dispatcher.open_flow(ping(1)) as flow:
                flow.dispatch(pong(1))
        assert not agent._collected


@pytest.mark.parametrize(
    ("types", "options", "message"),
    [
        ([], {}, r"needs no event types; pass event_types_needed=\[...\]"),
        ([Ping], {"quorum": 0}, "quorum must be from 1 to 1, not 0"),
        ([Ping, Pong], {"quorum": 3}, "quorum must be from 1 to 2, not 3"),
        ([Ping], {"timeout": 0}, "timeout must be above 0 s, not 0"),
        ([int], {}, "int is no event class"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    types: list[Any], options: dict[str, Any], message: str
) -> None:
    """(R2) The constructor says what is wrong."""
    with pytest.raises(TypeError, match=message) as caught:
        Combiner(types, **options)
    if types != [int]:
        assert isinstance(caught.value, RoutingError)
        assert "Combiner" in str(caught.value)


@pytest.mark.parametrize("cleans_up", [True, False])
async def test_sets_that_wait_for_their_turn_are_cancelled_with_their_flow(
    cleans_up: bool,
) -> None:
    """(A4) Whichever of them cleans up first; the next flow of the id is not held up."""

    class Slow(Combiner):
        async def process_events(self, events: list[Event]) -> Done:
            try:
                return await super().process_events(events)
            finally:
                if cleans_up:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.1)

    agent = Slow(seconds=0.5)

    async def cancel_it() -> None:
        async with dispatcher.open_flow(ping(1, "a")) as flow:
            for event in (pong(1), ping(2), pong(2), ping(3), pong(3)):
                flow.dispatch(event)
            await anyio.sleep(0.1)
            flow.cancel()

    async with AsyncDispatcher(joining(agent)) as dispatcher:
        for _ in range(10):
            await cancel_it()
            assert not agent._collected
            assert_nothing_left(dispatcher)
    assert len(agent.sets) == 10


async def test_flows_that_never_reach_the_aggregator_leave_nothing_there() -> None:
    """(A4) It is told of their end, too, and has nothing to free."""
    agent, log = Combiner(), Log()
    async with AsyncDispatcher(joining(agent), tracer=log) as dispatcher:
        dispatcher.dispatch(ping(1))
        await dispatcher.wait_for_empty_queue()
        dispatcher.dispatch(Done(source="x", text=""))
    assert len(log.of(SetIncomplete)) == 1
