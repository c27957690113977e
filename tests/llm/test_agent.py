"""Agents that ask a language model."""

import attrs
import pytest

from agentflow._events import Event
from agentflow.llm import (
    BaseAsyncLLMAgent,
    LLMBroker,
    LLMMessage,
    Role,
    SchemaError,
    ToolCall,
)
from agentflow.testing import ScriptedGateway


@attrs.frozen
class Mood:
    good: bool


class TextEvent(Event):
    text: str


class Teller(BaseAsyncLLMAgent):
    """Answers in text."""

    async def receive_event_async(self, event: TextEvent) -> None:
        """Take an event."""


class Judge(BaseAsyncLLMAgent[Mood]):
    """Answers with a mood."""

    async def receive_event_async(self, event: TextEvent) -> None:
        """Take an event."""


def llm(*script: str | ToolCall) -> tuple[LLMBroker, ScriptedGateway]:
    """Make a broker whose model follows a script."""
    gateway = ScriptedGateway(script)
    return LLMBroker("m", gateway=gateway), gateway


async def test_an_agent_answers_in_text() -> None:
    """Its behaviour is told to the model first."""
    broker, gateway = llm("hello")
    agent = Teller(broker, "Be brief.")
    assert await agent.generate_response("hi") == "hello"
    told, asked = gateway.requests[0].messages
    assert (told.role, told.text) == (Role.SYSTEM, "Be brief.")
    assert (asked.role, asked.text) == (Role.USER, "hi")


async def test_an_agent_answers_with_an_object() -> None:
    """Of its response model, mended once if need be."""
    broker, gateway = llm('{"good": "true"}', '{"good": true}')
    agent = Judge(llm=broker, behaviour="Judge.", response_model=Mood)
    response = await agent.generate_response("hi")
    assert response == Mood(good=True)
    assert response.good is True
    assert len(gateway.requests) == 2


async def test_an_agent_has_tools() -> None:
    """With and without a response model."""

    def now() -> str:
        """Tell the time."""
        return "noon"

    broker, gateway = llm(
        ToolCall(id="1", name="now"),
        "noon",
        ToolCall(id="2", name="now"),
        '{"good": true}',
    )
    assert await Teller(broker, tools=[now]).generate_response("when?") == "noon"
    judge = Judge(broker, "Judge.", Mood, tools=[now])
    assert await judge.generate_response([LLMMessage(content="x")]) == Mood(good=True)
    assert [t.name for t in gateway.requests[-1].tools] == ["now"]


def test_an_agent_takes_as_many_events_as_there_are() -> None:
    """It holds no state of its own."""
    assert Teller(llm()[0]).max_concurrency is None


def test_a_model_that_cannot_be_expressed_is_refused_when_the_agent_is_built() -> None:
    """Class and field are named; a tool's parameter, too."""

    @attrs.frozen
    class Odd:
        field: bytes

    def odd(a: bytes) -> None:
        """Take what JSON has not."""

    class OddJudge(BaseAsyncLLMAgent[Odd]):
        async def receive_event_async(self, event: TextEvent) -> None:
            """Take an event."""

    with pytest.raises(SchemaError, match=r"Odd\.field: bytes cannot be expressed"):
        OddJudge(llm()[0], "Judge.", Odd)
    with pytest.raises(SchemaError, match=r"odd\.a: bytes cannot be expressed"):
        Teller(llm()[0], tools=[odd])
