"""A conversation with a model that remembers what was said."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Unpack

import anyio
import anyio.to_thread

from agentflow.llm._broker import LLMBroker
from agentflow.llm._errors import ContextTooLong
from agentflow.llm._images import ImageLike, image
from agentflow.llm._json import dumps
from agentflow.llm._messages import ImagePart, LLMMessage, Part, Role, TextPart
from agentflow.llm._request import Options
from agentflow.llm._stream import ReplyStream
from agentflow.llm._tools import AnyTool, ToolLike, as_tools
from agentflow.llm._window import Window, estimate

_SHARE = 8
"""Part of the context window that is kept free for the answer."""


class ChatSession:
    """A conversation: each question is asked together with what was said before.

    ::

        chat = ChatSession(LLMBroker("qwen3:8b"), "You are a pirate.")
        print(await chat.send("Who are you?"))
        print(await chat.send("Say that again."))

    When the conversation outgrows the context window, its oldest rounds are left out. The
    questions of one session are asked one after the other.

    Args:
        llm: The model.
        system_prompt: How it is to behave, told first; empty for nothing.
        tools: Functions it may call.
        max_context: Tokens of the model's context window, as its provider counts them.
        reserve: How many of them are kept free for the answer; by default the broker's
            ``max_tokens``, else an eighth.

    Raises:
        SchemaError: A tool cannot be expressed as JSON Schema.
        ValueError: Nothing is left beside the reserve.
    """

    def __init__(
        self,
        llm: LLMBroker,
        system_prompt: str = "You are a helpful assistant.",
        *,
        tools: Iterable[ToolLike] = (),
        max_context: int = 32768,
        reserve: int | None = None,
    ) -> None:
        if reserve is None:
            reserve = llm.options.get("max_tokens", max_context // _SHARE)
        if not 0 <= reserve < max_context:
            raise ValueError(
                f"ChatSession: of max_context={max_context} tokens, reserve={reserve} for "
                "the answer leaves none for the question"
            )
        self.llm = llm
        self.tools: tuple[AnyTool, ...] = as_tools(tools)
        self._told: tuple[LLMMessage, ...] = ()
        if system_prompt:
            self._told = (LLMMessage(role=Role.SYSTEM, content=system_prompt),)
        specs = "".join(
            t.spec.name + t.spec.description + dumps(t.spec.parameters)
            for t in self.tools
        )
        fixed = estimate((*self._told, LLMMessage(content=specs)))
        self._window = Window(size=max_context, reserve=reserve, fixed=fixed)
        self._asking = anyio.Lock()

    @property
    def messages(self) -> tuple[LLMMessage, ...]:
        """What the model gets to see with the next question."""
        return (*self._told, *self._window.messages)

    @property
    def tokens(self) -> int:
        """How many tokens that is: as the provider counted them, where it has."""
        return self._window.tokens

    def insert_message(self, message: LLMMessage) -> None:
        """Add a message to the conversation without asking for an answer.

        Args:
            message: The message.
        """
        self._window.make_room([message])
        self._window.rounds.append(self._window.guess([message]))

    def clear(self) -> None:
        """Forget all that was said."""
        self._window.rounds.clear()

    async def send(
        self,
        query: str,
        *,
        images: Iterable[ImageLike] = (),
        **options: Unpack[Options],
    ) -> str:
        """Ask, and wait for the answer.

        Args:
            query: The question.
            images: Images that go with it: files, their bytes, or parts of messages.
            options: Settings for this question; they go over the broker's own.

        Returns:
            The answer's text.

        Raises:
            LLMError: There is no answer; the conversation is as before.
            ValueError: An image is none.

        Cancellation: the conversation is as before.
        """
        question = await _question(query, images)
        async with self._asking:
            answer = await self._answer(question, options)
            while answer is None:
                answer = await self._answer(question, options)
            return answer

    async def _answer(self, question: LLMMessage, options: Options) -> str | None:
        """Ask once; return None if the conversation was too long and is shorter now."""
        try:
            async with self._ask(question, options) as answer:
                return str((await answer.finish()).reply)
        except ContextTooLong:
            # The window is smaller than we were told, or counted otherwise.
            if not self._window.rounds:
                raise
        del self._window.rounds[0]
        return None  # noqa: ASYNC910 -- the question was asked

    @asynccontextmanager
    async def stream(
        self,
        query: str,
        *,
        images: Iterable[ImageLike] = (),
        **options: Unpack[Options],
    ) -> AsyncGenerator[ReplyStream, None]:
        """Ask, and see the answer come in.

        Args:
            query: The question.
            images: See ``send``.
            options: See ``send``.

        Yields:
            An iterator of deltas that ends in the whole reply. The conversation has the
            answer once it was read to its end.

        Raises:
            LLMError: Reading found that there is no answer.
            ValueError: An image is none.

        Cancellation: the conversation is as before.
        """
        question = await _question(query, images)
        async with self._asking, self._ask(question, options) as answer:
            yield answer

    @asynccontextmanager
    async def _ask(
        self, question: LLMMessage, options: Options
    ) -> AsyncGenerator[ReplyStream, None]:
        """Ask with what fits of the conversation, and add what comes of it."""
        window = self._window
        window.make_room([question])
        sent = (*self.messages, question)
        async with self.llm.stream(sent, tools=self.tools, **options) as answer:
            yield answer  # noqa: RUF075 -- an answer that failed is not remembered
            if answer.is_finished:
                new = answer.messages[len(sent) :]
                window.add((question, *new), answer.last_usage)


async def _question(query: str, images: Iterable[ImageLike]) -> LLMMessage:
    """Put a question and its images into a message."""
    sources = tuple(images)
    parts: list[Part] = [TextPart(query)] if query or not sources else []
    if sources:
        parts += await anyio.to_thread.run_sync(_load, sources)
    return LLMMessage(content=parts)  # noqa: ASYNC910 -- without images nothing blocks


def _load(sources: tuple[ImageLike, ...]) -> list[ImagePart]:
    """Read images; called in a thread."""
    return [image(source) for source in sources]
