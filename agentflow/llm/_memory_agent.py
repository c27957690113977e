"""An agent that asks a language model and shares a memory with others."""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Generic, cast

import attrs
from typing_extensions import TypeVar

from agentflow._memory import SharedWorkingMemory
from agentflow.llm._agent import BaseAsyncLLMAgent
from agentflow.llm._broker import LLMBroker, Messages
from agentflow.llm._kept import settled
from agentflow.llm._messages import LLMMessage, Role, as_conversation
from agentflow.llm._objects import ObjectModel
from agentflow.llm._tools import ToolLike

R = TypeVar("R", default=str)

_NOTE = "Put what you newly learn, and others should know, under 'learned'."


@attrs.frozen(kw_only=True)
class _Fact:
    """Something to remember.

    A dict would say it in fewer words, but several providers hold their models to schemas
    whose objects must be closed.
    """

    path: Annotated[
        list[str], "Names that lead to the fact, as in ['user', 'pets', 'cat']."
    ]
    value: str | int | float | bool | list[str] | None


class BaseAsyncLLMAgentWithMemory(BaseAsyncLLMAgent[R], Generic[R]):
    """Base of agents that ask a language model, and remember together.

    The model is told what is remembered, and what it has newly learned is merged into the
    memory in one step: what other agents have added meanwhile stays.

    Args:
        llm: The model to ask.
        memory: What is remembered; by default the session's ``shared_working_memory``.
        behaviour: How the agent is to behave, told to the model first.
        instructions: What it is to do, told after what is remembered.
        response_model: The class its answers are instances of; None for text.
        tools: Functions the model may call.

    Raises:
        SchemaError: The response model or a tool cannot be expressed as JSON Schema.
    """

    def __init__(  # noqa: PLR0917 -- in the order that its users know
        self,
        llm: LLMBroker,
        memory: SharedWorkingMemory | None = None,
        behaviour: str = "You are a helpful assistant.",
        instructions: str = "",
        response_model: type[R] | None = None,
        *,
        tools: Iterable[ToolLike] = (),
    ) -> None:
        super().__init__(llm, behaviour, response_model, tools=tools)
        self.memory = memory
        self.instructions = instructions
        self._with_memory = _with_memory(response_model)
        ObjectModel.of(self._with_memory)

    async def generate_response(self, prompt: Messages) -> R:
        """Ask the model with what is remembered, and remember what it learned.

        Args:
            prompt: What to ask: a text, or messages.

        Returns:
            An instance of the response model, or the text if there is none.

        Raises:
            LLMError: There is no answer that fits, after one repair; nothing new is
                remembered.
            SessionError: There is no memory: none was given, and no session runs this.

        Cancellation: the exchange in flight is closed and running tools are cancelled;
            nothing new is remembered.
        """
        memory = self.shared_working_memory if self.memory is None else self.memory
        told = LLMMessage(role=Role.SYSTEM, content=self.behaviour)
        question = as_conversation(prompt)
        # A handler that runs again may have changed what is remembered, and must not ask
        # another question for that.
        known = await settled("memory", (told, *question), lambda: _as_text(memory))
        words = f"This is what you remember:\n{known}\n\n{_NOTE}"
        if self.instructions:
            words += f"\n\n{self.instructions}"
        messages = (
            told,
            LLMMessage(content=words),
            *question,
        )
        given = await self.llm.generate_object(
            messages, self._with_memory, tools=self.tools
        )
        facts = _merged(given.learned)
        if facts:
            memory.merge_to_working_memory(facts)
        return cast("R", given.answer)


def _as_text(memory: SharedWorkingMemory) -> str:
    """Return what is remembered as text."""
    facts = memory.get_working_memory()
    return json.dumps(facts, indent=1, ensure_ascii=False, default=str)


def _with_memory(response_model: type[object] | None) -> type[Any]:
    """Make a class that holds an answer and what was learned."""
    answer: type[object] = str if response_model is None else response_model
    name = getattr(answer, "__name__", "Answer")
    return attrs.make_class(
        f"{name}WithMemory",
        {
            "answer": attrs.field(type=answer),
            "learned": attrs.field(type=list[_Fact]),
        },
        frozen=True,
        kw_only=True,
    )


def _merged(learned: Iterable[_Fact]) -> Mapping[str, object]:
    """Put facts into one nested mapping, as the memory has them."""
    facts: dict[str, object] = {}
    for fact in learned:
        node = facts
        for name in fact.path[:-1]:
            inner = node.get(name)
            if not isinstance(inner, dict):
                inner = node[name] = {}
            node = cast("dict[str, object]", inner)
        if fact.path:
            node[fact.path[-1]] = fact.value
    return facts
