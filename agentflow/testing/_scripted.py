"""A gateway that follows a script: the in-memory twin of the HTTP one."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias

import anyio
import anyio.lowlevel

from agentflow.llm._broker import LLMBroker
from agentflow.llm._errors import ConnectionFailed, IncompleteStream, LLMError
from agentflow.llm._gateway import Answer
from agentflow.llm._reply import Delta, Reply
from agentflow.llm._request import OutputMode, Request
from agentflow.testing._script import (
    Line,
    Matcher,
    Scripted,
    unexpected_call,
    unused_reply,
)

Script: TypeAlias = Iterable[Scripted] | Callable[[Request], Awaitable[Scripted]]
"""Answers in order, or an async function that makes one of each request."""


class ScriptedGateway:
    """Answers requests by a script, and keeps them.

    ::

        model = ScriptedGateway(["Hello"])
        model.reply(Analysis(tone="sad"), when="What is the tone")
        model.reply(RateLimited("later"), delay=3600)
        agent = Analyzer(model.broker(), ...)

    The first reply that fits a request answers it, and no other. A request that none
    fits raises AssertionError where the agent asks. Both this, and a reply that nobody
    asked for, fail the test at its end: through the fixture ``scripted_llm``, or with
    ``open_test_session(router, checked=[model])``.

    Args:
        script: The answers in order, or an async function that makes one of a request; the
            function may wait, as a model would. `reply` adds more.
        output_mode: See ``Gateway.output_mode``.

    Attributes:
        requests: All requests so far.
        name: See ``Gateway.name``.
        output_mode: See ``Gateway.output_mode``.
        users: How many have entered the gateway and not left it.
    """

    def __init__(
        self, script: Script = (), *, output_mode: OutputMode = OutputMode.NATIVE
    ) -> None:
        self.requests: list[Request] = []
        self.name: str = "scripted"
        self.output_mode: OutputMode = output_mode
        self.users: int = 0
        self._make = script if callable(script) else None
        self._left: list[Line] = []
        self._scripted = 0
        self._unexpected: list[str] = []
        self._drops: list[int] = []
        for answer in () if callable(script) else script:
            self.reply(answer)

    def reply(
        self,
        answer: Scripted = "",
        *,
        when: Matcher | None = None,
        delay: float = 0.0,
        pace: float = 0.0,
        pieces: Sequence[str] | None = None,
    ) -> None:
        """Add a reply to the script.

        Args:
            answer: What the model says: text, parts such as a ``ToolCall``, a whole
                ``Reply``, an ``LLMError`` to raise, or an object that the agent's response
                model describes.
            when: Which requests it is for: a text or pattern in one of the messages, or a
                function of the request; None for any.
            delay: Seconds until the answer begins.
            pace: Seconds between its pieces.
            pieces: The text in the pieces in which it comes in; by default word by word.

        Raises:
            ValueError: A time is negative, or the pieces are not those of the answer.
        """
        if delay < 0 or pace < 0:
            raise ValueError("delay and pace are seconds, from 0")
        if pieces is not None:
            text = "".join(pieces)
            if answer not in {"", text}:
                raise ValueError(f"the pieces make {text!r}, not the answer {answer!r}")
            answer = text
        self._scripted += 1
        self._left.append(
            Line(
                number=self._scripted,
                answer=answer,
                when=when,
                delay=delay,
                pace=pace,
                pieces=None if pieces is None else tuple(pieces),
            )
        )

    def drop_connection(self, after: int = 0) -> None:
        """Have the connection break during the next answer.

        Args:
            after: After so many pieces of it; 0 is before the first.
        """
        self._drops.append(after)

    def broker(self, **settings: Any) -> LLMBroker:  # noqa: ANN401 -- the broker's own
        """Return a broker that asks this model.

        Args:
            settings: See ``LLMBroker``.

        Returns:
            The broker.
        """
        return LLMBroker("scripted", gateway=self, **settings)

    def unexpected(self) -> list[str]:
        """Say which requests no reply was for."""
        return list(self._unexpected)

    def unused(self) -> list[str]:
        """Say which replies nobody asked for."""
        asked = len(self.requests)
        return [unused_reply(line, asked, self._scripted) for line in self._left]

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
            AssertionError: The script has no answer for this.

        Cancellation: the answer is used up.
        """
        self.requests.append(request)
        if self._make is not None:
            line = Line(number=len(self.requests), answer=await self._make(request))
        else:
            line = self._choose(request)
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(line.delay)
        if isinstance(line.answer, LLMError):
            raise line.answer
        drop = self._drops.pop(0) if self._drops else None
        yield _Items(line, line.reply_to(request), drop)

    def _choose(self, request: Request) -> Line:
        """Take the first reply that fits.

        Returns:
            The line.

        Raises:
            AssertionError: None does.
        """
        for line in self._left:
            if line.fits(request):
                self._left.remove(line)
                return line
        problem = unexpected_call(len(self.requests), request, self._left)
        self._unexpected.append(problem)
        raise AssertionError(problem)


class _Items(AsyncIterator[Delta | Reply]):
    """The items of one answer."""

    def __init__(self, line: Line, reply: Reply, drop: int | None) -> None:
        deltas = line.deltas(reply)
        self._items = iter([*deltas, reply])
        self._pace = line.pace
        self._drop = drop
        self._given = 0

    async def __anext__(self) -> Delta | Reply:
        item = next(self._items, None)
        is_later_piece = self._given and not isinstance(item, Reply)
        await anyio.sleep(self._pace if is_later_piece and item is not None else 0)
        if self._drop == self._given == 0:
            raise ConnectionFailed("drop_connection() of the test")
        if self._drop == self._given:
            raise IncompleteStream("drop_connection() of the test")
        self._given += 1
        if item is None:
            raise StopAsyncIteration
        return item
