"""Sets with a time limit in durable sessions: in time, too late, and over restarts."""

import anyio
import pytest

from agentflow import AsyncAggregatorAgent, AsyncDispatcher, Event, Router
from agentflow.journal._memory import MemoryStore
from tests.fakes import Collector, Other, Ping, Pong, router_of
from tests.journal.lives import MakeJournal, finish, live_shortly
from tests.journal.sharing import SharedJournal


class Timed(AsyncAggregatorAgent):
    """Takes one of each, or after a second what there is."""

    event_types_needed = (Ping, Other)

    def __init__(self, seconds: float = 0.0, timeout: float = 1.0) -> None:
        super().__init__(timeout=timeout)
        self.seconds = seconds
        self.late: list[list[str]] = []

    async def process_events(self, events: list[Event]) -> Pong:
        await anyio.sleep(self.seconds)
        return Pong(source="timed", n=len(events))

    async def on_timeout(self, events: list[Event]) -> Pong:
        self.late.append([type(event).__name__ for event in events])
        await anyio.sleep(self.seconds)
        return Pong(source="timed", n=-len(events))


def routes(timed: Timed, collector: Collector) -> Router:
    """Return the routes of all these tests."""
    return router_of((Ping, timed), (Other, timed), (Pong, collector))


def ping(n: int = 0) -> Ping:
    """Return one half of a set."""
    return Ping(source="x", n=n, correlation_id="f")


def other() -> Other:
    """Return the other half."""
    return Other(source="x", correlation_id="f")


async def test_a_set_that_is_complete_in_time_ends_the_wait(make: MakeJournal) -> None:
    """(J18) The event that waited is done then, and the flow idle."""
    timed, collector = Timed(), Collector()
    async with AsyncDispatcher(routes(timed, collector), journal=make()) as dispatcher:
        await dispatcher.send(ping())
        await anyio.sleep(0.5)
        assert len(await timed.wait_for_events("f", timeout=0.1)) == 1
        await dispatcher.send(other())
        assert await dispatcher.wait_for_empty_queue(timeout=0.1)
    assert collector.numbers() == [2]
    assert timed.late == []
    (flow,) = await make().flows()
    assert (flow.status, flow.open) == ("done", 0)


async def test_what_is_there_when_time_is_up_is_used(make: MakeJournal) -> None:
    """(J18) And the next event begins the next set."""
    timed, collector = Timed(), Collector()
    async with AsyncDispatcher(routes(timed, collector), journal=make()) as dispatcher:
        await dispatcher.send(ping())
        await anyio.sleep(1.1)
        for event in (ping(1), other()):
            await dispatcher.send(event)
    assert collector.numbers() == [-1, 2]
    assert timed.late == [["Ping"]]


async def test_a_set_gets_what_is_left_of_its_time(make: MakeJournal) -> None:
    """(J18) A restart costs none; what was overdue meanwhile is used at once."""
    timed, collector = Timed(timeout=2.0), Collector()
    await live_shortly(routes(Timed(timeout=2.0), collector), make(), ping())
    begun = anyio.current_time()
    await finish(routes(timed, collector), make())
    assert 1 < anyio.current_time() - begun < 3
    assert collector.numbers() == [-1]


async def test_a_set_is_completed_after_a_restart(make: MakeJournal) -> None:
    """(J18) By an event of the next session, and both are done."""
    timed, collector = Timed(timeout=2.0), Collector()
    await live_shortly(routes(Timed(timeout=2.0), collector), make(), ping())
    async with AsyncDispatcher(routes(timed, collector), journal=make()) as dispatcher:
        await dispatcher.send(other())
        assert await dispatcher.wait_for_empty_queue(timeout=0.5)
    assert collector.numbers() == [2]
    assert timed.late == []


@pytest.mark.parametrize("is_whole", [False, True])
async def test_a_set_that_was_cut_off_is_processed_again(
    make: MakeJournal, is_whole: bool
) -> None:
    """(J18) The same one, as what it was: complete, or overdue."""
    timed, collector = Timed(timeout=0.1), Collector()
    events = [ping(), other()] if is_whole else [ping()]
    await live_shortly(routes(Timed(9, timeout=0.1), collector), make(), *events)
    assert collector.got == []
    await finish(routes(timed, collector), make())
    assert collector.numbers() == [2 if is_whole else -1]
    assert len(timed.late) == (not is_whole)


async def test_a_wait_ends_when_another_session_completes_the_set() -> None:
    """(J18) As soon as that is known, and only one of them processes it."""
    journal = SharedJournal(MemoryStore())
    ours, theirs, collector = Timed(timeout=4), Timed(timeout=4), Collector()
    async with (
        AsyncDispatcher(routes(ours, collector), journal=journal) as one,
        AsyncDispatcher(routes(theirs, collector), journal=journal) as two,
    ):
        await one.send(ping())
        await two.send(other())
        assert await one.wait_for_empty_queue(timeout=1)
    assert collector.numbers() == [2]


async def test_a_flow_that_is_cut_ends_the_wait(make: MakeJournal) -> None:
    """(J18) The set is gone with it."""
    timed, collector = Timed(), Collector()
    with pytest.raises(KeyError):
        async with (
            AsyncDispatcher(routes(timed, collector), journal=make()) as dispatcher,
            dispatcher.open_flow(ping()),
        ):
            await anyio.sleep(0.3)
            raise KeyError
    await finish(routes(timed, collector), make())
    assert (timed.late, collector.got) == ([], [])
