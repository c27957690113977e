"""Steps that are not made again do not shift what the code around them does."""

import anyio
import pytest

from agentflow import AsyncDispatcher, wait_for
from agentflow.journal import once
from agentflow.llm import ToolCall
from agentflow.testing import ScriptedGateway
from tests.fakes import Collector, Other, Ping, Pong, router_of
from tests.journal.lives import MakeJournal, finish, live_shortly


@pytest.mark.parametrize("kind", ["once", "tool"])
async def test_an_event_behind_a_step_is_not_taken_for_one_of_the_step(
    kind: str, make: MakeJournal
) -> None:
    """(J8) Each arrives, and each once."""
    runs: list[int] = []
    sink = Collector()
    call = ToolCall(id="1", name="inner")
    llm = ScriptedGateway([[call], "done"]).broker()

    async def inner() -> str:
        """Emit from inside."""
        dispatcher.dispatch(Pong(source="inner", n=1))
        return "made"

    async def handler(event: Ping) -> list[Pong]:
        if kind == "once":
            await once("inner", inner)
        else:
            await llm.generate("Go", tools=[inner])
        runs.append(1)
        if len(runs) == 1:
            await anyio.sleep_forever()
        dispatcher.dispatch(Pong(source="outer", n=2))
        return [Pong(source="outer", n=3)]

    router = router_of((Ping, handler), (Pong, sink))
    dispatcher = AsyncDispatcher(router, journal=make())
    with anyio.move_on_after(1):
        async with dispatcher:
            await dispatcher.send(Ping(source="x"))
            await anyio.sleep_forever()
    dispatcher = AsyncDispatcher(router, journal=make())
    async with dispatcher:
        assert await dispatcher.wait_for_empty_queue()
    assert len(runs) == 2
    assert sorted(event.n for event in sink.got) == [1, 2, 3]


async def test_tools_side_by_side_emit_the_same_events_again(make: MakeJournal) -> None:
    """(J8) The one that is called again emits what it had emitted, and not the other's."""
    sink = Collector()
    called: list[str] = []
    calls = [ToolCall(id=n, name="emit", arguments=f'{{"n": {n}}}') for n in "12"]
    llm = ScriptedGateway([calls, "done"]).broker()

    async def emit(n: int) -> str:
        """Emit."""
        called.append(str(n))
        if len(called) < 3:
            await anyio.sleep(0.1 * (3 - n))  # the second first, then the first
            dispatcher.dispatch(Pong(source="emit", n=n))
            if n == 1:
                await anyio.sleep_forever()
        else:
            dispatcher.dispatch(Pong(source="emit", n=n))
        return "emitted"

    async def handler(event: Ping) -> None:
        await llm.generate("Go", tools=[emit])

    router = router_of((Ping, handler), (Pong, sink))
    dispatcher = AsyncDispatcher(router, journal=make())
    with anyio.move_on_after(1):
        async with dispatcher:
            await dispatcher.send(Ping(source="x"))
            await anyio.sleep_forever()
    dispatcher = AsyncDispatcher(router, journal=make())
    async with dispatcher:
        assert await dispatcher.wait_for_empty_queue()
    assert sorted(called[:2]) == ["1", "2"]
    assert called[2:] == ["1"]
    assert sorted(event.n for event in sink.got) == [1, 2]


async def test_a_change_of_the_memory_behind_a_step_is_made(make: MakeJournal) -> None:
    """(J8) Though the step, which changed it first, is not made again."""
    runs: list[int] = []

    async def handler(event: Ping) -> None:
        memory = dispatcher.shared_working_memory

        async def inner() -> None:
            memory.merge_to_working_memory({"inner": 1})

        await once("inner", inner)
        runs.append(1)
        if len(runs) == 1:
            await anyio.sleep_forever()
        memory.merge_to_working_memory({"outer": 2})

    router = router_of((Ping, handler))
    dispatcher = AsyncDispatcher(router, journal=make())
    with anyio.move_on_after(1):
        async with dispatcher:
            await dispatcher.send(Ping(source="x"))
            await anyio.sleep_forever()
    dispatcher = AsyncDispatcher(router, journal=make())
    async with dispatcher:
        assert await dispatcher.wait_for_empty_queue()
        facts = dispatcher.shared_working_memory.get_working_memory()
    assert facts == {"inner": 1, "outer": 2}


async def test_a_wait_behind_a_step_that_waited_waits_for_its_own(
    make: MakeJournal,
) -> None:
    """(J8) It does not take the answer that the step has heard."""
    heard: list[int] = []
    runs: list[int] = []
    flow: str | None = None

    async def handler(event: Ping) -> None:
        async def inner() -> int:
            return (await wait_for(Other, from_outside=True)).n

        heard.append(await once("inner", inner))
        runs.append(1)
        if len(runs) == 1:
            await anyio.sleep_forever()
        heard.append((await wait_for(Other, from_outside=True)).n)

    router = router_of((Ping, handler))
    with anyio.move_on_after(1):
        async with AsyncDispatcher(router, journal=make()) as dispatcher:
            root = await dispatcher.send(Ping(source="x"))
            flow = root.correlation_id
            await anyio.sleep(0.1)
            await dispatcher.send(Other(source="y", n=1, correlation_id=flow))
            await anyio.sleep_forever()
    assert heard == [1]
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        await anyio.sleep(0.1)
        await dispatcher.send(Other(source="y", n=2, correlation_id=flow))
    assert heard == [1, 1, 2]


async def test_a_step_of_a_tool_is_its_own_in_each_call(make: MakeJournal) -> None:
    """(J8) Two calls of the tool make it twice, a handler that runs again not once more."""
    charged: list[int] = []
    runs: list[int] = []
    calls = [ToolCall(id=n, name="charge", arguments=f'{{"n": {n}}}') for n in "12"]
    llm = ScriptedGateway([calls, "done"]).broker()

    async def charge(n: int) -> str:
        """Charge."""

        async def make_it() -> int:
            charged.append(n)
            return n

        await anyio.sleep(0.1 * n)  # the first is kept when the second comes
        step = await once("charge", make_it)
        assert step == n
        if len(runs) == 0:
            await anyio.sleep_forever()
        return "charged"

    async def handler(event: Ping) -> None:
        await llm.generate("Go", tools=[charge])

    router = router_of((Ping, handler))
    await live_shortly(router, make(), Ping(source="x"))
    runs.append(1)
    await finish(router, make())
    assert sorted(charged) == [1, 2]


async def test_an_answer_within_a_step_is_none_of_the_code_around_it(
    make: MakeJournal,
) -> None:
    """(J18) The same question gets another answer there, each time the handler runs."""
    model = ScriptedGateway(["inside", "outside"])
    llm = model.broker()
    said: list[tuple[str, str]] = []

    async def ask() -> str:
        return str(await llm.generate("What?"))

    async def handler(event: Ping) -> None:
        said.append((await once("inner", ask), await ask()))
        if len(said) == 1:
            await anyio.sleep_forever()

    router = router_of((Ping, handler))
    await live_shortly(router, make(), Ping(source="x"))
    await finish(router, make())
    assert said == [("inside", "outside")] * 2
    assert len(model.requests) == 2
