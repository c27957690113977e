"""What tools have answered is kept with the event."""

import anyio
import pytest

from agentflow._records import ToolCallFinished
from agentflow.llm import ToolCall, ToolFailed
from agentflow.testing import ScriptedGateway
from tests.fakes import Log, Ping, router_of
from tests.journal.lives import Cutting, MakeJournal, finish, live_shortly


async def test_a_tool_is_not_called_again(make: MakeJournal) -> None:
    """(J18) Nor one that failed: it may have acted. The model is told the same."""
    called: list[str] = []

    def weather(city: str) -> dict[str, str]:
        """Tell the weather."""
        called.append(city)
        return {city: "sunny"}

    async def travel(city: str) -> str:
        """Travel."""
        called.append(f"to {city}")
        raise ValueError("no train")

    calls = [
        ToolCall(id="1", name="weather", arguments='{"city": "Rome"}'),
        ToolCall(id="2", name="travel", arguments='{"city": "Rome"}'),
        ToolCall(id="3", name="unknown"),
    ]
    model = ScriptedGateway([calls, "Stay."])
    llm = model.broker()
    log = Log()
    given = await Cutting(
        lambda: llm.generate("Go?", tools=[weather, travel])
    ).run_twice(make(), tracer=log)
    assert [str(g) for g in given] == ["Stay.", "Stay."]
    assert sorted(called) == ["Rome", "to Rome"]
    assert len(model.requests) == 2
    assert [r.from_journal for r in log.of(ToolCallFinished)] == [True] * 3


async def test_of_the_tools_of_a_round_only_the_unfinished_are_called_again(
    make: MakeJournal,
) -> None:
    """(J18) Each result is kept by itself, as soon as it is there."""
    called: list[str] = []

    async def quick() -> str:
        """Be quick."""
        called.append("quick")
        return "quick"

    async def slow() -> str:
        """Be slow."""
        called.append("slow")
        if called.count("slow") == 1:
            await anyio.sleep_forever()
        return "slow"

    calls = [ToolCall(id="1", name="slow"), ToolCall(id="2", name="quick")]
    model = ScriptedGateway([calls, "Done."])
    llm = model.broker()
    said: list[str] = []

    async def handler(event: Ping) -> None:
        said.append(str(await llm.generate("Go", tools=[quick, slow])))

    router = router_of((Ping, handler))
    await live_shortly(router, make(), Ping(source="x"))
    await finish(router, make())
    assert said == ["Done."]
    assert sorted(called) == ["quick", "slow", "slow"]
    results = [r.text for r in model.requests[-1].messages[-1].content]  # type: ignore[union-attr]
    assert results == ["slow", "quick"]


async def test_a_tool_that_ends_the_turn_is_called_again(make: MakeJournal) -> None:
    """(J18) It has no result that the turn could go on with."""
    called: list[int] = []

    def pay() -> None:
        """Pay."""
        called.append(1)
        raise ToolFailed("the bank is closed")

    model = ScriptedGateway([[ToolCall(id="1", name="pay")]])
    llm = model.broker()

    async def work() -> str:
        with pytest.raises(ToolFailed) as caught:
            await llm.generate("Pay", tools=[pay])
        return str(caught.value)

    assert len(set(await Cutting(work).run_twice(make()))) == 1
    assert called == [1, 1]
    assert len(model.requests) == 1
