"""Several sessions on one journal: who works on what, and when it is idle."""

from collections.abc import Generator

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    Event,
    FlowCancelled,
    FlowFailed,
    FlowStalled,
    JournalError,
    NoResult,
    Retry,
    Router,
    TerminateEvent,
    wait_for,
)
from agentflow.journal import MemoryJournal
from agentflow.journal._memory import MemoryStore
from agentflow.journal._sqlite_store import SQLiteStore
from tests.fakes import (
    Boom,
    Collector,
    Other,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    fail,
    forever,
    router_of,
)
from tests.journal.lives import Cut
from tests.journal.sharing import LEASE, SharedJournal


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest) -> Generator[SharedJournal]:
    """Return a journal for several sessions; one store tells them news, one cannot."""
    if request.param == "memory":
        yield SharedJournal(MemoryStore())
        return
    store = SQLiteStore(":memory:")
    yield SharedJournal(store)
    store.shut()


def named(name: str, seconds: float = 0.0) -> Sleeper:
    """Return an agent of another's name that does get done."""
    agent = Sleeper(seconds)
    agent.name = name
    return agent


async def test_a_session_goes_on_with_what_a_dead_one_had(
    journal: SharedJournal,
) -> None:
    """(J17) When its lease has run out, though nobody tells; and that counts as busy."""
    one, two = named("a"), named("a")

    async def dies() -> None:
        with anyio.CancelScope() as scope:
            async with AsyncDispatcher(
                router_of((Ping, named("a", 9))), journal=journal
            ) as dispatcher:
                journal.store.close = unheard  # type: ignore[method-assign]
                await dispatcher.send(Ping(source="x", n=1))
                scope.cancel()
        del journal.store.close

    async with AsyncDispatcher(router_of((Ping, one)), journal=journal) as dispatcher:
        await dies()
        assert journal.open_count() == 1
        assert not await dispatcher.wait_for_empty_queue(timeout=LEASE / 2)
        assert await dispatcher.wait_for_empty_queue()
        assert one.ended == [1]
        assert journal.open_count() == 0
        assert_nothing_left(dispatcher)
    assert two.ended == []


def unheard(owner: int) -> None:
    """Leave the store as a crash does."""


async def test_a_session_goes_on_with_what_another_leaves(
    journal: SharedJournal,
) -> None:
    """(J17) As soon as it hears of it."""
    rest = named("forever")
    async with AsyncDispatcher(router_of((Ping, rest)), journal=journal) as stays:  # noqa: PLR1702 -- one in another
        with pytest.raises(Cut):
            async with AsyncDispatcher(
                router_of((Ping, forever)), journal=journal
            ) as leaves:
                for n in range(3):
                    await leaves.send(Ping(source="x", n=n))
                raise Cut
        assert await stays.wait_for_empty_queue()
        assert rest.ended == [0, 1, 2]


async def test_idle_is_what_the_journal_counts(journal: SharedJournal) -> None:
    """(J17) A session that does nothing waits for one that does, for a flow or for all."""
    slow = named("slow", 0.5)
    router = router_of((Ping, slow))
    async with (
        AsyncDispatcher(router, journal=journal) as one,
        AsyncDispatcher(router, journal=journal) as two,
    ):
        await one.send(Ping(source="x", n=1, correlation_id="f"))
        assert not await two.wait_for_empty_queue(timeout=0.1)
        assert not await two.wait_for_empty_queue(timeout=0.1, correlation_id="f")
        assert await two.wait_for_empty_queue(correlation_id="f")
        assert slow.ended == [1]
        await one.send(Ping(source="x", n=2))
        assert await two.wait_for_empty_queue()
        assert slow.ended == [1, 2]


async def test_a_session_ends_when_its_flows_do_wherever_that_is(
    journal: SharedJournal,
) -> None:
    """(J17) One that sent into a flow waits for those who work on the rest of it."""
    slow, quick = named("slow", 0.5), named("quick")
    router = router_of((Ping, slow), (Other, quick))
    async with AsyncDispatcher(router, journal=journal) as one:
        await one.send(Ping(source="x", n=1, correlation_id="f"))
        async with AsyncDispatcher(router, journal=journal) as two:
            await two.send(Other(source="x", n=2, correlation_id="f"))
        assert slow.ended == [1]
        assert quick.ended == [2]


async def test_an_owner_hears_what_others_emit_in_its_flow(
    journal: SharedJournal,
) -> None:
    """(J17) Its result, and its end."""
    slow = named("slow", 0.5)
    collector = Collector()
    router = router_of((Ping, slow), (Pong, collector))
    async with (
        AsyncDispatcher(router, journal=journal) as one,
        AsyncDispatcher(router, journal=journal) as two,
    ):
        await one.send(Ping(source="x", n=1, correlation_id="f"))
        async with two.open_flow(correlation_id="f") as flow:
            assert (await flow.result(Pong)).n == 1
            with pytest.raises(NoResult):
                await flow.result(Boom)
        async with two.open_flow(correlation_id="f") as flow:
            assert (await flow.result(Pong)).n == 1
            async with flow.events(Pong) as events:
                assert [event async for event in events] == []
    assert collector.numbers() == [1]


async def test_an_event_goes_to_the_handler_that_waits_in_another_session(
    journal: SharedJournal,
) -> None:
    """(J17) From outside, as its handler has asked; what came before does not count."""
    heard: list[int] = []

    async def asks(event: Ping) -> Other:
        heard.append((await wait_for(Pong, from_outside=True)).n)
        heard.append((await wait_for(Pong, from_outside=True)).n)
        return Other(source="asks")

    router = router_of((Ping, asks))
    async with (
        AsyncDispatcher(router, journal=journal) as one,
        AsyncDispatcher(router, journal=journal) as two,
    ):
        await two.send(Pong(source="x", n=0, correlation_id="f"))
        await one.send(Ping(source="x", correlation_id="f"))
        async with two.open_flow(correlation_id="f") as flow:
            for n in (1, 2):
                await anyio.sleep(LEASE)
                flow.dispatch(Pong(source="x", n=n))
            await flow.result(Other)
    assert heard == [1, 2]


async def test_a_wait_is_stuck_only_if_nobody_else_can_end_it(
    journal: SharedJournal,
) -> None:
    """(J17) As long as another session works on the flow, the event may come."""
    heard: list[int] = []
    slow = named("slow", 0.5)

    async def waits(event: Boom) -> None:
        heard.append((await wait_for(Pong)).n)
        with pytest.raises(FlowStalled):
            await wait_for(Pong)
        heard.append(-1)

    router = router_of((Boom, waits), (Ping, slow))
    async with (
        AsyncDispatcher(router, journal=journal) as one,
        AsyncDispatcher(router, journal=journal) as two,
    ):
        await one.send(Ping(source="x", n=7, correlation_id="f"))
        await two.send(Boom(source="x", correlation_id="f"))
        assert await two.wait_for_empty_queue()
    assert heard == [7, -1]


@pytest.mark.parametrize("how", ["terminate", "cancel", "fail"])
async def test_a_flow_that_another_session_ends_is_over_everywhere(
    journal: SharedJournal, how: str
) -> None:
    """(J17) Its handlers are cancelled here, and its owner is told why."""
    stopped: list[int] = []

    async def hangs(event: Ping) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(event.n)

    router = router_of((Ping, hangs), (Boom, fail))
    expected: dict[str, type[Exception]] = {
        "terminate": NoResult,
        "cancel": FlowCancelled,
        "fail": FlowCancelled,
    }

    async def ends() -> None:
        await anyio.sleep(0.1)
        if how == "terminate":
            await two.send(TerminateEvent(source="x", correlation_id="f"))
        elif how == "cancel":
            async with two.open_flow(correlation_id="f") as flow:
                flow.cancel("enough")
        else:
            await two.send(Boom(source="x", text="no", correlation_id="f"))
            with pytest.raises(FlowFailed):
                await two.wait_for_empty_queue()

    async with (
        AsyncDispatcher(router, journal=journal) as one,
        AsyncDispatcher(router, journal=journal) as two,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ends)
        with pytest.raises(expected[how]):
            await one.run(Ping(source="x", n=1, correlation_id="f"), Pong)
        assert stopped == [1]
        assert_nothing_left(one)


async def test_a_session_that_is_taken_for_dead_ends_with_an_error(
    journal: SharedJournal,
) -> None:
    """(J17) Nothing that it does counts any more, and the others finish its work."""
    other = named("slow")
    stalls = SharedJournal(journal.store)
    ended: list[str] = []

    async def stalled() -> None:
        with pytest.raises(JournalError, match="takes this session for dead"):
            async with AsyncDispatcher(
                router_of((Ping, named("slow", 1))), journal=stalls
            ) as dispatcher:
                await dispatcher.send(Ping(source="x", n=1))
                stalls.stalled = True
                with pytest.raises(JournalError, match="takes this session for dead"):
                    await dispatcher.send(Ping(source="x", n=2))
        ended.append("stalled")

    async with (
        AsyncDispatcher(router_of((Ping, other)), journal=journal) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(stalled)
        await anyio.sleep(5 * LEASE)
        assert await dispatcher.wait_for_empty_queue()
        assert other.ended == [1]
    assert ended == ["stalled"]
    (flow,) = journal.store.flows()
    assert flow.events == 2


async def test_a_flow_whose_block_is_cancelled_goes_on_with_another_session(
    journal: SharedJournal,
) -> None:
    """(J17) Not with this one, unless it takes hold of it again."""
    mine, theirs = named("a", 1), named("a", 1)
    async with AsyncDispatcher(router_of((Ping, mine)), journal=journal) as one:  # noqa: PLR1702 -- one in another
        for n in (1, 2):
            with anyio.CancelScope() as scope:
                async with one.open_flow(Ping(source="x", n=n, correlation_id=f"f{n}")):
                    await anyio.sleep(0.1)
                    scope.cancel()
        await anyio.sleep(2 * LEASE)
        assert mine.started == [1, 2]
        assert await one.wait_for_empty_queue()
        async with one.open_flow(correlation_id="f1") as flow:
            assert (await flow.result(Pong)).n == 1
        assert mine.ended == [1]
        async with AsyncDispatcher(router_of((Ping, theirs)), journal=journal) as two:
            assert await two.wait_for_empty_queue()
    assert theirs.ended == [2]


async def test_retried_letters_are_taken_in_by_a_session_that_lives() -> None:
    """(J17) In memory, whoever has the journal hears of it at once."""
    shared = MemoryJournal()
    failing = [True]

    async def shaky(event: Ping) -> Pong:
        if failing:
            raise ValueError("not now")
        return Pong(source="shaky", n=event.n)

    async with AsyncDispatcher(router_of((Ping, shaky)), journal=shared) as dispatcher:
        with pytest.raises(FlowFailed):
            await dispatcher.run(Ping(source="x", n=3, correlation_id="f"), Pong)
        failing.clear()
        assert await dispatcher.wait_for_empty_queue()  # the failure is on disk
        assert await shared.retry("f") == 1
        async with dispatcher.open_flow(correlation_id="f") as flow:
            assert (await flow.result(Pong)).n == 3
        assert await dispatcher.wait_for_empty_queue()


async def test_retried_letters_wait_until_their_flow_is_over_here() -> None:
    """(J17) Its owner is still in its block, and has not seen the failure yet."""
    shared = MemoryJournal()
    collector = Collector()
    attempts: list[Event] = []

    async def shaky(event: Ping) -> Pong:
        attempts.append(event)
        if len(attempts) == 1:
            raise ValueError("not now")
        return Pong(source="shaky", n=event.n)

    router = router_of((Ping, shaky), (Pong, collector))
    async with AsyncDispatcher(router, journal=shared) as dispatcher:  # noqa: PLR1702 -- one in another
        with pytest.raises(FlowFailed):
            async with dispatcher.open_flow(Ping(source="x", n=3, correlation_id="f")):
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.1)
                    assert await shared.retry("f") == 1
                    await anyio.sleep(0.1)
                assert len(attempts) == 1
        assert await dispatcher.wait_for_empty_queue()
        assert collector.numbers() == [3]


async def test_a_lease_that_makes_no_sense_is_refused() -> None:
    """(J17) At once."""
    with pytest.raises(JournalError, match="lease"):
        MemoryJournal(lease=0)


async def test_sessions_share_a_journal_in_memory() -> None:
    """(J17) Through the class that users name; retries go on where they were."""
    shared = MemoryJournal(lease=30)
    attempts: list[int] = []

    async def shaky(event: Ping) -> Pong:
        attempts.append(event.n)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return Pong(source="shaky")

    router = Router()
    router.add_route(Ping, shaky, retry=Retry(attempts=3, initial=0.3))
    async with AsyncDispatcher(router, journal=shared) as stays:
        with pytest.raises(Cut):
            async with AsyncDispatcher(router, journal=shared) as leaves:
                await leaves.send(Ping(source="x", n=1))
                await anyio.sleep(1)
                raise Cut
        assert await stays.wait_for_empty_queue()
    assert attempts == [1, 1, 1]


async def test_a_flow_is_busy_again_for_its_owner_when_others_send_into_it(
    journal: SharedJournal,
) -> None:
    """(J17) Though nothing of it is here; what it emitted before is not told again."""
    slow = named("slow", 0.2)
    router = router_of((Ping, slow))
    async with (
        AsyncDispatcher(router, journal=journal) as one,
        AsyncDispatcher(router, journal=journal) as two,
    ):
        await one.send(Ping(source="x", n=1, correlation_id="f"))
        assert await two.wait_for_empty_queue()
        async with two.open_flow(Other(source="x", correlation_id="f")) as flow:
            await anyio.sleep(0.1)
            await one.send(Ping(source="x", n=2, correlation_id="f"))
            await anyio.sleep(LEASE / 2)
            assert (await flow.result(Pong)).n == 2
            assert flow.statistics().events == 5
        assert slow.ended == [1, 2]
        assert_nothing_left(one)
        assert_nothing_left(two)
        assert_nothing_kept(one)
        assert_nothing_kept(two)


def assert_nothing_kept(dispatcher: AsyncDispatcher) -> None:
    """Check that nothing is left of flows that others have had part in."""
    assert dispatcher._durability is not None
    others = dispatcher._durability.others
    assert others is not None
    left = (others._kept, others._read, others._ahead, others._unread, others._is_here)
    assert not any(left)


async def test_what_this_program_does_not_know_ends_its_session(
    journal: SharedJournal,
) -> None:
    """(J17) Another session has left an event for an agent that is not here."""
    with pytest.raises(JournalError, match="elsewhere"):  # noqa: PLR1702 -- one in another
        async with AsyncDispatcher(router_of((Ping, forever)), journal=journal):
            with pytest.raises(Cut):
                async with AsyncDispatcher(
                    router_of((Ping, named("elsewhere", 9))), journal=journal
                ) as leaves:
                    await leaves.send(Ping(source="x"))
                    raise Cut
            await anyio.sleep(2 * LEASE)
    assert journal.open_count() == 1


async def test_a_shared_journal_that_fails_ends_the_session(
    journal: SharedJournal,
) -> None:
    """(J17) At the latest when its lease is to be renewed."""

    def no_disk(*_: object) -> None:
        raise JournalError("no disk")

    with pytest.raises(JournalError, match="no disk"):
        async with AsyncDispatcher(router_of((Ping, forever)), journal=journal):
            journal.store.apply = no_disk  # type: ignore[method-assign,assignment]
            await anyio.sleep(LEASE)


async def test_a_suspect_of_a_flow_that_was_left_is_left_too() -> None:
    """(J17) The session looks at it when it has nothing else to do, and goes on."""
    store = MemoryStore()
    agent = named("a", 1)
    async with AsyncDispatcher(
        router_of((Ping, agent)), journal=SharedJournal(store)
    ) as dispatcher:
        with anyio.CancelScope() as scope:
            async with dispatcher.open_flow(Ping(source="x", correlation_id="f")):
                await anyio.sleep(0.1)
                scope.cancel()
        (delivery,) = store.books.deliveries.values()
        delivery.suspect = True
        await anyio.sleep(LEASE)
        assert await dispatcher.wait_for_empty_queue()
        await anyio.sleep(LEASE / 10)
        assert (delivery.owner, agent.started) == (None, [0])
