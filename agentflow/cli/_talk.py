"""A conversation as a session: each question is a flow, so it can be stopped and traced.

The terminal belongs to the main thread, where Python's line editing and Ctrl-C work; the
event loop runs in a thread beside it. `Talk` is the half on the loop.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import attrs
import trio

from agentflow._agents import BaseAsyncAgent
from agentflow._dispatcher import AsyncDispatcher
from agentflow._events import Event
from agentflow._records import (
    Record,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallStarted,
)
from agentflow._routing import Router
from agentflow.abc import Observer
from agentflow.cli._words import describe, one_line, seconds
from agentflow.llm import (
    ChatSession,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)

_SHOWN = 200
"""Characters of a tool's arguments or result that are shown."""


class Listener(Protocol):
    """Hears a conversation."""

    def piece(self, text: str, *, is_thought: bool = False) -> None:
        """A piece of the answer, or of the thoughts before it."""
        ...

    def aside(self, text: str) -> None:
        """A line that is not the model's."""
        ...


class Question(Event):
    """The user asks.

    Attributes:
        text: What.
    """

    text: str


class Answer(Event):
    """The model has answered.

    Attributes:
        text: What it said.
        usage: Tokens used for it, tool calls included.
    """

    text: str
    usage: Usage


class Answerer(BaseAsyncAgent):
    """Asks the model, and lets the listener hear the answer as it comes.

    Args:
        chat: The conversation so far.
        listener: Who hears it.
    """

    def __init__(self, chat: ChatSession, listener: Listener) -> None:
        super().__init__()
        self.chat = chat
        self.listener = listener

    async def receive_event_async(self, event: Question) -> list[Answer]:
        """Answer a question.

        Args:
            event: The question.

        Returns:
            The answer.

        Cancellation:
            The exchange in flight is closed; the conversation is as before.
        """
        async with self.chat.stream(event.text) as answer:
            async for item in answer:
                if isinstance(item, TextDelta | RefusalDelta):
                    self.listener.piece(item.text)
                elif isinstance(item, ReasoningDelta):
                    self.listener.piece(item.text, is_thought=True)
            text = str((await answer.finish()).reply)
            return [Answer(source="Answerer", text=text, usage=answer.usage)]


class ToolTeller:
    """Tells of the tools that a model calls; an observer.

    Args:
        listener: Whom to tell.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def record(self, record: Record, /) -> None:
        """Take one record."""
        if isinstance(record, ToolCallStarted):
            call = record.request
            arguments = call.arguments if isinstance(call, ToolCall) else ""
            words = one_line(arguments, _SHOWN)
            self._listener.aside(f"calls {record.tool} {words}")
        elif isinstance(record, ToolCallFinished):
            result = record.result
            text = result.text if isinstance(result, ToolResult) else ""
            took = seconds(record.duration)
            self._listener.aside(f"{record.tool} -> {one_line(text, _SHOWN)} ({took})")
        elif isinstance(record, ToolCallFailed):
            self._listener.aside(f"{record.tool} failed: {describe(record.error)}")


@attrs.define(kw_only=True)
class Talk:
    """A conversation in a session.

    Attributes:
        dispatcher: The session.
        token: Of the event loop it is on.
        usage: Tokens used so far.
        asked: Questions answered so far.
    """

    dispatcher: AsyncDispatcher
    token: trio.lowlevel.TrioToken
    usage: Usage = attrs.field(init=False, factory=Usage)
    asked: int = attrs.field(init=False, default=0)

    async def ask(self, question: str, scope: trio.CancelScope) -> Answer | None:
        """Ask, and wait for the answer.

        Args:
            question: The question.
            scope: Cancelling it stops the answer.

        Returns:
            The answer; None if it was stopped.

        Raises:
            FlowFailed: There is none.

        Cancellation:
            The exchange in flight is closed.
        """
        answer: Answer | None = None
        root = Question(source="agentflow chat", text=question)
        with scope:
            async with (
                self.dispatcher.open_flow(root) as flow,
                flow.events(Answer) as events,
            ):
                async for answer in events:
                    self.usage += answer.usage
                    self.asked += 1
        return answer


@asynccontextmanager
async def open_talk(
    chat: ChatSession, listener: Listener, observers: Sequence[Observer] = ()
) -> AsyncGenerator[Talk]:
    """Open a session for a conversation.

    Args:
        chat: The conversation.
        listener: Who hears it.
        observers: Get every record, too.

    Yields:
        The conversation in it.

    Cancellation:
        An answer on its way is stopped.
    """
    router = Router({Question: [Answerer(chat, listener)]})
    async with (
        chat.llm,
        AsyncDispatcher(
            router, tracer=[ToolTeller(listener), *observers]
        ) as dispatcher,
    ):
        token = trio.lowlevel.current_trio_token()
        yield Talk(dispatcher=dispatcher, token=token)
