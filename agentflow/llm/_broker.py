"""The broker: what a program asks its language model through.

``_stream.ReplyStream`` runs a turn; ``generate`` and ``generate_object`` read it to its
end. Which way leads to the model is in its name, see ``_providers``.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, Unpack, cast

import anyio

from agentflow.llm._endpoint import HttpSettings
from agentflow.llm._errors import ConfigurationError
from agentflow.llm._gateway import Gateway
from agentflow.llm._http import HttpClient
from agentflow.llm._limits import Price
from agentflow.llm._messages import LLMMessage, as_conversation
from agentflow.llm._objects import ObjectModel
from agentflow.llm._providers import find_provider, open_gateway
from agentflow.llm._reply import Reply
from agentflow.llm._request import Options, OutputMode, Request
from agentflow.llm._stream import Means, ReplyStream, ToolSettings
from agentflow.llm._tools import AnyTool, ToolLike, as_tools
from agentflow.llm._turn import TurnLimits

T = TypeVar("T")

_CLOSE = 5.0
"""Seconds that closing the gateway may take."""

Messages: TypeAlias = str | LLMMessage | Iterable[LLMMessage]
"""A conversation; a plain string is one message of the user's."""


class LLMBroker:
    """Asks one model.

    ::

        llm = LLMBroker("anthropic:claude-sonnet-4-5")
        llm = LLMBroker("qwen3:8b")  # of the Ollama on this machine
        llm = LLMBroker("compatible:my-model", base_url="http://10.0.0.5:8000/v1")

    Entered as a context manager it keeps its connections between calls and closes them at
    the end; it works without, too.

    In a session with a journal, what a handler was answered is kept with its event: when it
    runs again after a crash, the same questions get the same answers, and nobody is asked.

    Args:
        model: "PROVIDER:MODEL", as in "openai:…", "anthropic:…", "gemini:…", "groq:…"; a
            plain name is a model of the Ollama at http://localhost:11434. With
            ``gateway`` it is the model's name alone, as the provider knows it.
        gateway: The way to the provider; by default what the name says.
        base_url: Another URL than the provider's own.
        api_key: The key; by default that of the provider's environment variable.
        http_client: A client of your own, with the proxy, certificates or transport you
            need. It stays yours to close.
        http_settings: Timeouts, connections, retries.
        output_mode: How the model is brought to answer with an object; by default what
            the provider is best at.
        limits: How much one turn may take: rounds, calls, mistakes.
        tools: How tools are called.
        price: What the model costs, for ``UsageLimit(cost=...)``.
        records_content: True if records of a session refer to the messages, too.
        options: Settings for every request, such as ``temperature=0``; see ``Options``.

    Raises:
        MissingKey: The provider wants a key, and there is none.
        ConfigurationError: There is no such provider, or a setting does not go with
            ``gateway``.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, all but one optional
        self,
        model: str,
        *,
        gateway: Gateway | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        http_client: HttpClient | None = None,
        http_settings: HttpSettings | None = None,
        output_mode: OutputMode | None = None,
        limits: TurnLimits | None = None,
        tools: ToolSettings | None = None,
        price: Price | None = None,
        records_content: bool = False,
        **options: Unpack[Options],
    ) -> None:
        if gateway is None:
            name, model = find_provider(model)
            gateway = open_gateway(
                name,
                base_url=base_url,
                api_key=api_key,
                http_client=http_client,
                settings=http_settings,
            )
        elif (base_url, api_key, http_client, http_settings) != (None,) * 4:
            raise ConfigurationError(
                "LLMBroker(gateway=...) takes no base_url, api_key, http_client or "
                "http_settings beside it; give them to the gateway"
            )
        self.model = model
        self.gateway = gateway
        self.limits: TurnLimits = limits or TurnLimits()
        self.tool_settings: ToolSettings = tools or ToolSettings()
        self.output_mode = output_mode
        self.price = price
        self.records_content = records_content
        self.options = options

    def __repr__(self) -> str:
        """Name the model and the way to it."""
        return f"LLMBroker({self.model!r}, gateway={self.gateway!r})"

    async def __aenter__(self) -> Self:
        """Keep connections open until the block ends.

        Returns:
            The broker itself.

        Cancellation: nothing is open yet.
        """
        await self.gateway.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the connections.

        Cancellation: they are closed all the same.
        """
        with anyio.move_on_after(_CLOSE, shield=True):
            await self.gateway.__aexit__(exc_type, exc, traceback)

    async def generate(
        self,
        messages: Messages,
        *,
        tools: Iterable[ToolLike] = (),
        **options: Unpack[Options],
    ) -> Reply:
        """Ask the model, and call the tools it asks for, until it answers.

        Args:
            messages: The conversation.
            tools: Functions the model may call; none by default.
            options: Settings for this turn; they go over the broker's own.

        Returns:
            The answer; ``str(reply)`` is its text. Its usage is that of the whole turn.

        Raises:
            LLMError: There is no answer.

        Cancellation: the exchange in flight is closed and running tools are cancelled.
        """
        async with self.stream(messages, tools=tools, **options) as answer:
            return (await answer.finish()).reply

    async def generate_object(
        self,
        messages: Messages,
        object_model: type[T],
        *,
        tools: Iterable[ToolLike] = (),
        **options: Unpack[Options],
    ) -> T:
        """Ask the model for an answer of a given type.

        Args:
            messages: The conversation.
            object_model: An attrs class, dataclass, TypedDict or pydantic model.
            tools: Functions the model may call; none by default.
            options: Settings for this turn; they go over the broker's own.

        Returns:
            An instance of the class.

        Raises:
            LLMError: There is no answer that fits, after one repair.

        Cancellation: the exchange in flight is closed and running tools are cancelled.
        """
        model = ObjectModel.of(object_model)
        made = as_tools(tools)
        request = self._request(messages, made, options)
        async with self._open(request, made, model) as answer:
            return cast("T", (await answer.finish()).value)

    @asynccontextmanager
    async def stream(
        self,
        messages: Messages,
        *,
        tools: Iterable[ToolLike] = (),
        **options: Unpack[Options],
    ) -> AsyncGenerator["ReplyStream", None]:
        """Ask the model and see the answer come in.

        Args:
            messages: The conversation.
            tools: Functions the model may call; none by default.
            options: Settings for this turn; they go over the broker's own.

        Yields:
            An iterator of deltas that ends in the whole reply.

        Raises:
            LLMError: Reading found that there is no answer.

        Cancellation: the exchange in flight is closed and running tools are cancelled.
            Leaving the block early does the same.
        """
        made = as_tools(tools)
        request = self._request(messages, made, options)
        async with self._open(request, made, None) as answer:
            yield answer

    def _request(
        self, messages: Messages, tools: Iterable[AnyTool], options: Options
    ) -> Request:
        """Write the first request of a turn."""
        return Request(
            model=self.model,
            messages=as_conversation(messages),
            tools=[t.spec for t in tools],
            **cast("Options", {**self.options, **options}),
        )

    @asynccontextmanager
    async def _open(
        self,
        request: Request,
        tools: Iterable[AnyTool],
        model: ObjectModel[Any] | None,
    ) -> AsyncGenerator["ReplyStream", None]:
        """Begin a turn."""
        goal = None
        if model is not None:
            mode = self.output_mode or self.gateway.output_mode
            request, goal = model.ask(request, mode), model.goal(mode)
        means = Means(
            gateway=self.gateway,
            limits=self.limits,
            tools=self.tool_settings,
            price=self.price,
            records_content=self.records_content,
        )
        async with self.gateway, AsyncExitStack() as stack:
            yield ReplyStream(means, request, tools=tools, goal=goal, stack=stack)
