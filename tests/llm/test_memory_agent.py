"""Agents that ask a language model and remember together."""

import json
from typing import Any

import anyio
import attrs
import pytest

from agentflow import AsyncDispatcher, Router, SessionError, SharedWorkingMemory
from agentflow._events import Event
from agentflow.llm import (
    BaseAsyncLLMAgentWithMemory,
    InvalidObject,
    LLMBroker,
    Request,
    SchemaError,
)
from agentflow.testing import ScriptedGateway


@attrs.frozen
class Mood:
    good: bool


class Said(Event):
    text: str


class Done(Event):
    text: str


class Listener(BaseAsyncLLMAgentWithMemory):
    """Answers in text."""

    async def receive_event_async(self, event: Said) -> Done:
        return Done(source=type(self), text=await self.generate_response(event.text))


class Judge(BaseAsyncLLMAgentWithMemory[Mood]):
    """Answers with a mood."""

    async def receive_event_async(self, event: Said) -> None:
        """Take an event."""


def answer(value: Any, *learned: tuple[list[str], Any]) -> str:
    """Write what a model answers."""
    facts = [{"path": path, "value": fact} for path, fact in learned]
    return json.dumps({"answer": value, "learned": facts})


def llm(*script: Any) -> tuple[LLMBroker, ScriptedGateway]:
    """Make a broker whose model follows a script."""
    gateway = ScriptedGateway(script)
    return LLMBroker("m", gateway=gateway), gateway


async def test_what_is_remembered_is_told_and_what_is_learned_is_merged() -> None:
    """Into nested facts, beside those that are there."""
    memory = SharedWorkingMemory({"user": {"name": "Ann"}})
    broker, gateway = llm(
        answer(
            "hello",
            (["user", "age"], 40),
            (["user", "pets"], ["cat"]),
            (["mood"], "good"),
            ([], "lost"),
        )
    )
    agent = Listener(broker, memory, "Be kind.", "Answer the user.")
    assert await agent.generate_response("hi") == "hello"
    told, known, asked = gateway.requests[0].messages
    assert told.text == "Be kind."
    assert '"name": "Ann"' in known.text
    assert known.text.endswith("Answer the user.")
    assert asked.text == "hi"
    assert memory.get_working_memory() == {
        "user": {"name": "Ann", "age": 40, "pets": ["cat"]},
        "mood": "good",
    }


async def test_it_answers_with_its_response_model() -> None:
    """Learning nothing changes nothing; a value may give way to names below it."""
    memory = SharedWorkingMemory()
    broker, _ = llm(
        answer({"good": True}),
        answer({"good": False}, (["a"], 1), (["a", "b"], None)),
    )
    judge = Judge(broker, memory=memory, response_model=Mood)
    assert await judge.generate_response("hi") == Mood(good=True)
    assert memory.get_working_memory() == {}
    assert await judge.generate_response("hi") == Mood(good=False)
    assert memory.get_working_memory() == {"a": {"b": None}}


async def test_the_session_s_memory_is_the_default() -> None:
    """All agents of the session share it."""
    broker, gateway = llm(answer("a", (["n"], 1)), answer("b"))
    router = Router({Said: [Listener(broker)]})
    async with AsyncDispatcher(router) as dispatcher:
        await dispatcher.run(Said(source="test", text="x"), Done)
        await dispatcher.run(Said(source="test", text="y"), Done)
        assert dispatcher.shared_working_memory.get_working_memory() == {"n": 1}
    assert '"n": 1' in gateway.requests[1].messages[1].text
    with pytest.raises(SessionError, match="shared_working_memory"):
        await Listener(broker).generate_response("x")


async def test_agents_at_the_same_time_both_keep_what_they_learn() -> None:
    """Under the same name, too."""
    memory = SharedWorkingMemory()

    async def script(request: Request) -> str:
        name = request.messages[-1].text
        await anyio.sleep(0.1)
        return answer("ok", (["seen", name], True))

    agent = Listener(LLMBroker("m", gateway=ScriptedGateway(script)), memory)
    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(agent.generate_response, name)
    assert memory.get_working_memory() == {"seen": {"a": True, "b": True, "c": True}}


async def test_an_answer_that_does_not_fit_is_not_remembered() -> None:
    """As a whole."""
    memory = SharedWorkingMemory()
    broken = answer(5, (["n"], 1))
    agent = Listener(llm(broken, broken)[0], memory)
    with pytest.raises(InvalidObject):
        await agent.generate_response("hi")
    assert memory.get_working_memory() == {}


def test_a_model_that_cannot_be_expressed_is_refused_when_the_agent_is_built() -> None:
    """Class and field are named."""

    @attrs.frozen
    class Odd:
        field: bytes

    class OddJudge(BaseAsyncLLMAgentWithMemory[Odd]):
        async def receive_event_async(self, event: Said) -> None:
            """Take an event."""

    with pytest.raises(SchemaError, match=r"Odd\.field: bytes cannot be expressed"):
        OddJudge(llm()[0], response_model=Odd)
