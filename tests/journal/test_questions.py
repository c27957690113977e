"""Asking somebody outside: questions that outlive their session, flows taken hold of."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    Event,
    Router,
    SessionError,
    wait_for,
)
from tests.fakes import (
    Boom,
    Collector,
    Other,
    Ping,
    Pong,
    Sleeper,
    forever,
    router_of,
)
from tests.journal.lives import Cut, MakeJournal, finish


async def test_a_question_outlives_the_session_that_asked_it(make: MakeJournal) -> None:
    """(J11) The session ends although a handler waits; the next one's answer reaches it."""
    asked: list[str] = []

    async def approve(event: Ping) -> AsyncGenerator[Event, None]:
        asked.append("asked")
        yield Boom(source="approve", text="sure?")
        reply = await wait_for(Other, from_outside=True)
        yield Pong(source="approve", n=reply.n)

    questions = Collector()
    router = router_of((Ping, approve), (Boom, questions))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        sent = await dispatcher.send(Ping(source="x", correlation_id="order"))
        await anyio.sleep(1)
    async with AsyncDispatcher(router, journal=make()):
        pass
    async with (
        AsyncDispatcher(router, journal=make()) as dispatcher,
        dispatcher.open_flow(correlation_id="order") as flow,
    ):
        flow.dispatch(Other(source="boss", n=7))
        assert (await flow.result(Pong)).n == 7
        assert (await flow.result(Boom)).text == "sure?"
    assert sent.correlation_id == "order"
    assert len(questions.got) == 1
    async with (
        AsyncDispatcher(router, journal=make()) as dispatcher,
        dispatcher.open_flow(correlation_id="order") as flow,
    ):
        assert (await flow.result(Pong)).n == 7


async def test_an_answer_that_came_before_the_crash_is_found_again(
    make: MakeJournal,
) -> None:
    """(J11) What the handler had missed, or heard and lost, it hears after the restart."""
    got: list[int] = []

    async def waits(event: Ping) -> None:
        first = await wait_for(Other, where=lambda o: o.n > 1, from_outside=True)
        second = await wait_for(Other, from_outside=True)
        got.append(first.n * 10 + second.n)
        if len(got) == 1:
            await anyio.sleep_forever()

    router = router_of((Ping, waits))
    with pytest.raises(Cut):
        async with AsyncDispatcher(router, journal=make()) as dispatcher:
            for event in (
                Ping(source="x", correlation_id="f"),
                *(Other(source="x", correlation_id="f", n=n) for n in range(4)),
            ):
                await dispatcher.send(event)
                await anyio.sleep(0.1)
            raise Cut
    await finish(router, make())
    assert got == [23, 23]


async def test_who_begins_to_wait_while_the_session_stops_is_parked(
    make: MakeJournal,
) -> None:
    """(J11) As who waits already."""

    async def waits(event: Ping) -> None:
        await anyio.sleep(0.5)
        await wait_for(Other, from_outside=True)

    router = router_of((Ping, waits))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        await dispatcher.send(Ping(source="x"))
    (flow,) = await make().flows()
    assert (flow.status, flow.open) == ("open", 1)
    (left,) = dispatcher.stop_report.undelivered
    assert left.started


async def test_a_handlers_own_flow_is_taken_hold_of_again(make: MakeJournal) -> None:
    """(J11) A handler that runs again finds the flow that it had opened."""
    inner = Sleeper(0.5)

    async def outer(event: Boom) -> Other:
        result = await dispatcher.run(Ping(source="outer", n=4), Pong)
        return Other(source="outer", n=result.n)

    router = router_of((Boom, outer), (Ping, inner))
    with pytest.raises(Cut):
        async with AsyncDispatcher(router, journal=make()) as dispatcher:
            await dispatcher.send(Boom(source="x"))
            await anyio.sleep(0.1)
            raise Cut
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        assert await dispatcher.wait_for_empty_queue()
    assert inner.ended == [4]
    assert len(await make().flows()) == 2


async def test_only_one_may_hold_a_flow_that_is_known(make: MakeJournal) -> None:
    """(J11) What cannot be taken hold of says why."""
    router = router_of((Ping, forever))
    async with AsyncDispatcher(Router()) as dispatcher:
        with pytest.raises(SessionError, match="journal"):
            async with dispatcher.open_flow(correlation_id="f"):
                pass
        with pytest.raises(SessionError, match="takes an event"):
            async with dispatcher.open_flow():
                pass
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        with pytest.raises(SessionError, match="not both"):
            async with dispatcher.open_flow(Ping(source="x"), correlation_id="f"):
                pass
        with pytest.raises(SessionError, match="knows no flow"):
            await hold(dispatcher, "f")
        await dispatcher.send(Ping(source="x", correlation_id="f"))
        async with dispatcher.open_flow(correlation_id="f") as flow:
            with pytest.raises(SessionError, match="owner already"):
                await hold(dispatcher, "f")
            flow.cancel()


async def hold(dispatcher: AsyncDispatcher, flow: str) -> None:
    """Take hold of a flow, and wait for it."""
    async with dispatcher.open_flow(correlation_id=flow):
        pass
