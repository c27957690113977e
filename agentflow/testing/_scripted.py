"""A gateway that follows a script: the in-memory twin of the HTTP one."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeAlias

import anyio
import anyio.lowlevel

from agentflow.llm._errors import LLMError
from agentflow.llm._gateway import Answer
from agentflow.llm._messages import LLMMessage, Part, Role, TextPart, ToolCall
from agentflow.llm._reply import Delta, Reply, StopReason, TextDelta, ToolCallDelta
from agentflow.llm._request import OutputMode, Request

Scripted: TypeAlias = str | Part | Iterable[Part] | Reply | LLMError
"""One answer: text, parts, a whole reply, or an error to raise."""

Script: TypeAlias = Iterable[Scripted] | Callable[[Request], Awaitable[Scripted]]
"""Answers in order, or an async function that makes one of each request."""


class ScriptedGateway:
    """Answers requests by a script, and keeps them.

    Args:
        script: The answers in order, or an async function that makes one of a request; the
            function may wait, as a model would.
        output_mode: See ``Gateway.output_mode``.

    Attributes:
        requests: All requests so far.
        name: See ``Gateway.name``.
        output_mode: See ``Gateway.output_mode``.
        users: How many have entered the gateway and not left it.
    """

    def __init__(
        self, script: Script, *, output_mode: OutputMode = OutputMode.NATIVE
    ) -> None:
        self.requests: list[Request] = []
        self.name: str = "scripted"
        self.output_mode: OutputMode = output_mode
        self.users: int = 0
        self._script = script if callable(script) else None
        self._answers = iter(()) if callable(script) else iter(script)

    async def __aenter__(self) -> Self:
        """Count one more user.

        Returns:
            The gateway itself.

        Cancellation: nobody has entered.
        """
        await anyio.lowlevel.checkpoint()
        self.users += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Count one user less.

        Cancellation: the user is gone all the same.
        """
        self.users -= 1
        with anyio.move_on_after(1, shield=True):
            await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Answer, None]:
        """Answer by the script; see ``Gateway.stream``.

        Args:
            request: What is asked.

        Yields:
            The deltas of the answer, then the reply.

        Raises:
            LLMError: The script says so.
            AssertionError: The script has no answer left.

        Cancellation: the answer is used up.
        """
        self.requests.append(request)
        answer: Scripted | None
        if self._script is not None:
            answer = await self._script(request)
        else:
            answer = next(self._answers, None)
            await anyio.lowlevel.checkpoint()
        if answer is None:
            raise AssertionError(
                f"the script has no answer left for request {len(self.requests)}"
            )
        if isinstance(answer, LLMError):
            raise answer
        yield _Items(_reply(answer))


class _Items(AsyncIterator[Delta | Reply]):
    """The items of one answer."""

    def __init__(self, reply: Reply) -> None:
        self._items = iter([*_deltas(reply), reply])

    async def __anext__(self) -> Delta | Reply:
        await anyio.lowlevel.checkpoint()
        for item in self._items:
            return item
        raise StopAsyncIteration


def _reply(answer: str | Part | Iterable[Part] | Reply) -> Reply:
    """Make a reply of what the script says."""
    if isinstance(answer, Reply):
        return answer
    message = LLMMessage(role=Role.ASSISTANT, content=answer)
    stop = StopReason.TOOL_CALLS if message.tool_calls else StopReason.END
    return Reply(message=message, stop=stop)


def _deltas(reply: Reply) -> list[Delta]:
    """Cut a reply into deltas, text word by word."""
    deltas: list[Delta] = []
    calls = 0
    for part in reply.message.content:
        if isinstance(part, TextPart):
            words = part.text.split(" ")
            deltas += [TextDelta(w if i == 0 else f" {w}") for i, w in enumerate(words)]
        elif isinstance(part, ToolCall):
            deltas.append(
                ToolCallDelta(
                    index=calls, id=part.id, name=part.name, arguments=part.arguments
                )
            )
            calls += 1
    return deltas
