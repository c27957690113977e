"""Moments that seldom come: a journal that fails early, flows cut off, other owners."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    Event,
    FlowFailed,
    JournalError,
    Router,
    SessionError,
    wait_for,
)
from agentflow._records import DeliveryDropped, HandlerFailed, OutputDropped
from agentflow._steps import Append, Entry
from agentflow.journal import MemoryJournal, once
from tests.fakes import Boom, Collector, Log, Ping, Pong, fail, forever, router_of
from tests.journal.lives import MakeJournal, finish, live_shortly, named


async def five() -> int:
    """Return five."""
    return 5


def no_disk(*_: object) -> None:
    """Fail as a disk does."""
    raise JournalError("no disk")


async def test_a_journal_that_fails_at_once_is_told_at_the_end() -> None:
    """(J16) Before anything has been taken in; and all is there the next time."""
    journal = MemoryJournal()
    await live_shortly(router_of((Ping, forever)), journal, Ping(source="x", n=1))
    apply = journal.store.apply

    broken: Any = no_disk

    journal.store.apply = broken  # type: ignore[method-assign]
    with pytest.raises(JournalError, match="no disk"):
        async with AsyncDispatcher(router_of((Ping, forever)), journal=journal):
            await anyio.sleep(1)
    journal.store.apply = apply  # type: ignore[method-assign]
    collector = named("forever")
    await finish(router_of((Ping, collector)), journal)
    assert collector.numbers() == [1]


async def test_a_handler_learns_that_the_journal_has_failed() -> None:
    """(J16) From `once`; what it emits then goes nowhere, and is there the next time."""
    journal = MemoryJournal()
    apply = journal.store.apply
    learned: list[Exception] = []

    broken: Any = no_disk

    async def handler(event: Ping) -> AsyncGenerator[Event, None]:
        journal.store.apply = broken  # type: ignore[method-assign]
        yield Pong(source="handler")
        with anyio.CancelScope(shield=True):
            try:
                await once("five", five)
            except JournalError as error:
                learned.append(error)

    with pytest.raises(JournalError):
        async with AsyncDispatcher(
            router_of((Ping, handler)), journal=journal
        ) as dispatcher:
            await dispatcher.send(Ping(source="x"))
            await anyio.sleep(1)
    assert len(learned) == 1
    journal.store.apply = apply  # type: ignore[method-assign]
    collector = named("handler")
    await finish(router_of((Ping, collector)), journal)
    assert len(collector.got) == 1


async def test_a_handler_of_a_cancelled_flow_keeps_nothing(make: MakeJournal) -> None:
    """(J8) The event is not its own any more."""
    refused: list[Exception] = []
    log = Log()

    async def stubborn(event: Ping) -> AsyncGenerator[Event, None]:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.2)
        yield Pong(source="stubborn")
        with anyio.CancelScope(shield=True):
            await dispatcher.send(Pong(source="stubborn"))
            try:
                await once("five", five)
            except SessionError as error:
                refused.append(error)

    router = router_of((Ping, stubborn))
    async with (
        AsyncDispatcher(router, journal=make(), tracer=log) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
    ):
        await anyio.sleep(0.1)
        flow.cancel()
    assert len(refused) == 1


async def test_a_task_that_outlives_its_handler_makes_its_steps(
    make: MakeJournal,
) -> None:
    """(J8) They are not kept: the event is done."""
    values: list[int] = []

    async def later() -> None:
        await anyio.sleep(0.5)
        values.append(await once("five", five))

    async def handler(event: Ping) -> None:
        tasks.start_soon(later)

    async with (
        anyio.create_task_group() as tasks,
        AsyncDispatcher(router_of((Ping, handler)), journal=make()) as dispatcher,
    ):
        await dispatcher.send(Ping(source="x"))
        await anyio.sleep(1)
    assert values == [5]


async def test_records_tell_what_happens_in_a_durable_session(
    make: MakeJournal,
) -> None:
    """(J1) As in any other: failures, what was dropped, what came too late."""
    log, seen = Log(), Collector()

    async def late(event: Ping) -> Pong:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.2)
        return Pong(source="late")

    router = router_of((Boom, fail), (Ping, late), (Ping, forever), (Event, seen))
    with pytest.raises(FlowFailed):
        async with AsyncDispatcher(router, journal=make(), tracer=log) as dispatcher:
            dispatcher.dispatch(Ping(source="x", correlation_id="f"))
            await anyio.sleep(0.1)
            dispatcher.dispatch(Boom(source="x", correlation_id="f"))
            dispatcher.dispatch(Ping(source="x", correlation_id="f"))
    assert len(log.of(HandlerFailed)) == 1
    assert log.of(DeliveryDropped)
    assert log.of(OutputDropped)
    assert AgentFailed in {type(event) for event in seen.got}


async def test_what_another_owner_has_is_left_to_it() -> None:
    """(J13) A session that finds nothing to claim is idle."""
    journal = MemoryJournal()
    other = journal.store.open(0.0, lease=1e12).owner
    entry = Entry(id="e", flow="f", parent=None, kind="K@1", body="{}", agents=("a",))
    journal.store.apply(other, [Append(entries=(entry,))], 0.0)
    journal.store.books.owners[other] = 1e12
    journal.store.open = lease(journal.store.open)  # type: ignore[method-assign]
    journal.events.check = lambda *_: None  # type: ignore[method-assign]
    async with AsyncDispatcher(
        router_of((Ping, named("a"))), journal=journal
    ) as dispatcher:
        assert await dispatcher.wait_for_empty_queue()
    assert journal.store.books.deliveries


def lease(open_store: Any) -> Any:
    """Open a store as one of several owners."""

    def opened(now: float, _: float | None = None) -> Any:
        return open_store(now, 1e12)

    return opened


async def test_one_flow_is_taken_in_before_its_turn(
    make: MakeJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(J13) When somebody waits for it, while the session has no room for more."""
    monkeypatch.setattr("agentflow._durable_feed.CHUNK", 1)
    await live_shortly(
        router_of((Ping, forever)),
        make(),
        *(Ping(source="x", n=n, correlation_id=str(n)) for n in range(5)),
    )
    order: list[int] = []

    async def slow(event: Ping) -> None:
        await anyio.sleep(0.5)
        order.append(event.n)

    slow.__name__ = "forever"
    router = Router({Ping: [slow]})
    async with AsyncDispatcher(router, journal=make(), capacity=1) as dispatcher:
        await anyio.sleep(0.1)
        assert await dispatcher.wait_for_empty_queue(correlation_id="4")
        assert order.index(4) < 4
        assert await dispatcher.wait_for_empty_queue()
    assert sorted(order) == [0, 1, 2, 3, 4]


async def test_what_was_emitted_as_the_flow_ended_is_dropped(make: MakeJournal) -> None:
    """(J7) It is on disk by then, and gone from there with its flow."""
    returned = anyio.Event()
    collector, log = Collector(), Log()

    async def quick(event: Ping) -> Pong:
        returned.set()
        return Pong(source="quick")

    router = router_of((Ping, quick), (Pong, collector))
    async with (
        AsyncDispatcher(router, journal=make(), tracer=log) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
    ):
        await returned.wait()
        flow.cancel()
    assert collector.got == []
    (row,) = await make().flows()
    assert (row.status, row.open) == ("cancelled", 0)


async def test_a_flow_in_memory_can_be_dropped_with_its_letters() -> None:
    """(J5) From the journal in memory as from a file."""
    journal = MemoryJournal()
    with pytest.raises(FlowFailed):
        async with AsyncDispatcher(router_of((Boom, fail)), journal=journal) as session:
            await session.send(Boom(source="x", correlation_id="f"))
    assert await journal.drop("f") == 1
    assert await journal.flows() == []


async def test_an_answer_that_does_not_fit_is_passed_over_again(
    make: MakeJournal,
) -> None:
    """(J11) What had come and was not the answer is looked at, and waiting goes on."""
    got: list[int] = []

    async def waits(event: Ping) -> None:
        got.append(
            (await wait_for(Pong, where=lambda p: p.n == 5, from_outside=True)).n
        )

    router = router_of((Ping, waits))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        await dispatcher.send(Ping(source="x", correlation_id="f"))
        await anyio.sleep(0.3)
        await dispatcher.send(Pong(source="x", correlation_id="f", n=1))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        await anyio.sleep(0.3)
        await dispatcher.send(Pong(source="x", correlation_id="f", n=5))
        assert await dispatcher.wait_for_empty_queue()
    assert got == [5]
