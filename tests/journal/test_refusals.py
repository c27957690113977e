"""What a durable session refuses, and how it begins, with what is not as it should be."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    EncodingError,
    Event,
    EventTypeError,
    FlowBudgetExceeded,
    FlowFailed,
    HandlerReturnError,
    JournalInUse,
    Router,
    SessionError,
    TerminateEvent,
)
from agentflow.encoding import EventRegistry
from agentflow.journal import (
    MemoryJournal,
    SQLiteJournal,
)
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Other,
    Ping,
    Pong,
    Sleeper,
    forever,
    router_of,
)
from tests.journal.lives import (
    Combine,
    Cut,
    MakeJournal,
    answer,
    finish,
    live_shortly,
    named,
)


async def test_what_a_durable_session_could_not_keep_is_refused(
    make: MakeJournal,
) -> None:
    """(J12) At the start, with what to do instead."""

    class Odd(Combine):
        async def receive_event_async(self, event: Event, /) -> None:
            pass

    with pytest.raises(SessionError, match="of its own"):
        async with AsyncDispatcher(router_of((Ping, Odd())), journal=make()):
            pass
    with pytest.raises(SessionError, match="two agents are called"):
        async with AsyncDispatcher(
            router_of((Ping, Collector()), (Pong, Collector())), journal=make()
        ):
            pass


async def test_a_journal_whose_agents_or_types_are_missing_is_not_begun(
    make: MakeJournal,
) -> None:
    """(J12) Nothing is lost; the right program goes on with it."""
    registry = EventRegistry()
    registry.add(Ping, version=2, upcast=lambda _, fields: fields)
    await live_shortly(router_of((Ping, forever)), make(), Ping(source="x"))
    with pytest.raises(SessionError, match="no route names"):
        async with AsyncDispatcher(Router(), journal=make()):
            pass
    await finish(router_of((Ping, named("forever"))), make())


async def test_a_type_that_has_changed_is_an_error_at_the_start(tmp_path: Path) -> None:
    """(J12) Unless the registry says how to read what was written before."""
    path = tmp_path / "run.db"
    router = router_of((Ping, forever))
    newer = EventRegistry()
    newer.add(Ping, version=2)
    await live_shortly(router, SQLiteJournal(path), Ping(source="x", n=3))
    with pytest.raises(EncodingError, match="version 1"):
        async with AsyncDispatcher(router, journal=SQLiteJournal(path, events=newer)):
            pass
    newer = EventRegistry()
    newer.add(
        Ping, version=2, upcast=lambda _, fields: {"n": int(str(fields["n"])) + 1}
    )
    collector = named("forever")
    await finish(router_of((Ping, collector)), SQLiteJournal(path, events=newer))
    assert collector.numbers() == [4]


async def test_an_event_that_cannot_be_written_is_not_accepted(
    make: MakeJournal,
) -> None:
    """(J12) From outside it raises; from a handler it is the handler's failure."""

    class Local(Event):
        what: object

    async def emits(event: Ping) -> Local:
        return Local(source="emits", what=object())

    async with AsyncDispatcher(router_of((Ping, emits)), journal=make()) as dispatcher:
        with pytest.raises(EncodingError, match="what"):
            await dispatcher.send(Local(source="x", what=1))
        with pytest.raises(FlowFailed):
            await dispatcher.run(Ping(source="x"), Pong)


async def test_wrong_outputs_and_spent_budgets_fail_as_in_any_session(
    make: MakeJournal,
) -> None:
    """(J12) Nothing of what the handler returned is accepted."""

    async def wrong(event: Ping) -> list[Any]:
        return [Pong(source="wrong"), "no event"]

    async def circle(event: Boom) -> list[Boom]:
        return [Boom(source="circle")] * 2

    async def fails(event: Event, error: type[Exception]) -> None:
        with pytest.raises(FlowFailed) as failed:
            await dispatcher.run(event, Other)
        assert isinstance(failed.value.exceptions[0], error)

    async with AsyncDispatcher(
        router_of((Ping, wrong), (Boom, circle)), journal=make(), max_events_per_flow=20
    ) as dispatcher:
        await fails(Ping(source="x"), HandlerReturnError)
        await fails(Boom(source="x"), FlowBudgetExceeded)
        async with dispatcher.open_flow(Other(source="x")) as flow:
            for _ in range(19):
                flow.dispatch(Other(source="x"))
            with pytest.raises(FlowBudgetExceeded):
                flow.dispatch(Other(source="x"))


@pytest.mark.parametrize("tracer", [None, Log()])
async def test_another_flow_may_be_started_or_joined_by_an_output(
    make: MakeJournal, tracer: Log | None
) -> None:
    """(J1) Unless that flow has been ended."""
    collector = Collector()

    async def starts(event: Ping) -> list[Event]:
        return [Pong(source="starts", correlation_id="other", n=event.n)]

    router = router_of((Ping, starts), (Pong, collector), (Boom, Stubborn()))
    async with AsyncDispatcher(router, journal=make(), tracer=tracer) as dispatcher:
        await dispatcher.send(Ping(source="x", n=1))
        assert await dispatcher.wait_for_empty_queue()
        boom = Boom(source="x", correlation_id="other")
        sent = await dispatcher.send(boom, key="boom")
        await anyio.sleep(0.1)
        dispatcher.dispatch(TerminateEvent(source="x", correlation_id="other"))
        assert await dispatcher.send(boom, key="boom") == sent
        await dispatcher.send(Ping(source="x", n=2))
        with pytest.raises(SessionError, match="terminated"):
            await dispatcher.send(Pong(source="x", correlation_id="other"))
        await anyio.sleep(0.1)
    assert collector.numbers() == [1]


class Stubborn(BaseAsyncAgent):
    """Goes on for a while when it is cancelled, and emits all the same."""

    async def receive_event_async(self, event: Event) -> list[Event]:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.3)
        return [Pong(source="stubborn", n=9)]


async def test_a_type_error_in_a_stream_fails_the_flow(make: MakeJournal) -> None:
    """(J12) What a generator yields must be an event."""

    async def odd(event: Ping) -> AsyncGenerator[Any, None]:
        yield 1

    async with AsyncDispatcher(router_of((Ping, odd)), journal=make()) as dispatcher:
        with pytest.raises(FlowFailed):
            await dispatcher.run(Ping(source="x"), Pong)
        with pytest.raises(EventTypeError):
            await dispatcher.send(1)  # type: ignore[type-var]


async def test_a_resumed_session_takes_in_no_more_than_it_has_room_for(
    make: MakeJournal,
) -> None:
    """(J13) The rest waits in the journal, and one flow can be asked for."""
    await live_shortly(
        router_of((Ping, forever)),
        make(),
        *(Ping(source="x", n=n, correlation_id=str(n)) for n in range(7)),
    )
    slow = Sleeper(0.1)
    slow.name = "forever"
    async with AsyncDispatcher(
        router_of((Ping, slow)), journal=make(), capacity=2
    ) as dispatcher:
        await anyio.sleep(0.05)
        assert dispatcher.statistics().unfinished <= 500
        assert await dispatcher.wait_for_empty_queue(correlation_id="6")
        assert 6 in slow.ended
    assert sorted(slow.ended) == list(range(7))


async def test_a_second_session_on_one_file_is_refused(tmp_path: Path) -> None:
    """(J14) With a clear error, and the first goes on unharmed."""
    journal = SQLiteJournal(tmp_path / "run.db")
    async with AsyncDispatcher(router_of((Ping, answer)), journal=journal) as first:
        with pytest.raises(JournalInUse, match=r"run\.db"):
            async with AsyncDispatcher(Router(), journal=journal):
                pass
        assert (await first.run(Ping(source="x", n=1), Pong)).n == 1
        assert len(await journal.flows()) == 1
    async with AsyncDispatcher(Router(), journal=journal):
        pass


async def test_a_poison_is_dead_after_three_crashes_alone(make: MakeJournal) -> None:
    """(J15) And those that ran beside it are not blamed."""
    journal = MemoryJournal()
    beside = Collector()
    lives: list[Event] = []

    async def poison(event: Boom) -> None:
        lives.append(event)
        raise Cut

    router = router_of((Boom, poison), (Ping, beside))
    for _ in range(5):
        await crash(router, journal)
    await finish(router, journal)
    (letter,) = await journal.dead_letters()
    assert letter.key.agent == "poison"
    assert "3 times while it ran alone" in letter.reason
    assert sorted(set(beside.numbers())) == [0, 1, 2]


async def crash(router: Router, journal: MemoryJournal) -> None:
    """Run a session that ends with its store as a crash leaves it."""
    store = journal.store
    store.close = lambda owner: None  # type: ignore[method-assign]
    try:
        async with AsyncDispatcher(router, journal=journal) as dispatcher:
            for n in range(3):
                await dispatcher.send(Ping(source="x", n=n), key=f"beside {n}")
            await dispatcher.send(Boom(source="x"), key="poison")
            await anyio.sleep_forever()
    except* Cut:
        pass
