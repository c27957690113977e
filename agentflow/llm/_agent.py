"""An agent that asks a language model."""

from collections.abc import Iterable
from typing import Generic, cast

from typing_extensions import TypeVar

from agentflow._agents import BaseAsyncAgent
from agentflow.llm._broker import LLMBroker, Messages
from agentflow.llm._messages import LLMMessage, Role, as_conversation
from agentflow.llm._objects import ObjectModel
from agentflow.llm._tools import AnyTool, ToolLike, as_tools

R = TypeVar("R", default=str)


class BaseAsyncLLMAgent(BaseAsyncAgent, Generic[R]):
    """Base of agents that ask a language model.

    It holds no state of its own, so it takes as many events at the same time as the session
    allows. ``BaseAsyncLLMAgent[Analysis]`` says what ``generate_response`` returns.

    Args:
        llm: The model to ask.
        behaviour: How the agent is to behave, told to the model first.
        response_model: The class its answers are instances of; None for text.
        tools: Functions the model may call.

    Raises:
        SchemaError: The response model or a tool cannot be expressed as JSON Schema.
    """

    max_concurrency: int | None = None

    def __init__(
        self,
        llm: LLMBroker,
        behaviour: str = "You are a helpful assistant.",
        response_model: type[R] | None = None,
        *,
        tools: Iterable[ToolLike] = (),
    ) -> None:
        super().__init__()
        self.llm = llm
        self.behaviour = behaviour
        self.response_model = response_model
        self.tools: tuple[AnyTool, ...] = as_tools(tools)
        if response_model is not None:
            ObjectModel.of(response_model)

    async def generate_response(self, prompt: Messages) -> R:
        """Ask the model.

        Args:
            prompt: What to ask: a text, or messages.

        Returns:
            An instance of the response model, or the text if there is none.

        Raises:
            LLMError: There is no answer that fits, after one repair.

        Cancellation: the exchange in flight is closed and running tools are cancelled.
        """
        told = LLMMessage(role=Role.SYSTEM, content=self.behaviour)
        messages = (told, *as_conversation(prompt))
        if self.response_model is None:
            reply = await self.llm.generate(messages, tools=self.tools)
            return cast("R", reply.text)
        return await self.llm.generate_object(
            messages, self.response_model, tools=self.tools
        )
