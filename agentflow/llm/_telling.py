"""Telling the session's recorder what happens: LLM calls and tool calls.

Each call is a handle that is begun, and ended once: by its answer, by an error, or by
being closed before either. Outside a handler nobody listens, and nothing happens.
"""

from types import TracebackType
from typing import Self, TypedDict

import anyio
import attrs

from agentflow._context import Teller, current_delivery, current_recorder
from agentflow._events import Event
from agentflow._ids import IdSource
from agentflow._records import (
    LLMCallCancelled,
    LLMCallFailed,
    LLMCallFinished,
    LLMCallStarted,
    ToolCallCancelled,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallStarted,
)
from agentflow.llm._messages import ToolCall, ToolResult
from agentflow.llm._reply import Reply, Usage
from agentflow.llm._request import Request

_new_id = IdSource()


class _Place(TypedDict):
    """What all records of a call say."""

    correlation_id: str
    event: Event
    agent: str


@attrs.frozen(kw_only=True)
class _Listener:
    """The recorder, and the delivery that the running code belongs to."""

    teller: Teller
    place: _Place

    @classmethod
    def here(cls) -> Self | None:
        """Find it, if there is one."""
        teller, delivery = current_recorder.get(), current_delivery.get()
        if teller is None or delivery is None:
            return None
        place = _Place(
            correlation_id=delivery.root.flow.correlation_id,
            event=delivery.event,
            agent=delivery.target.name,
        )
        return cls(teller=teller, place=place)


class ToldCall:
    """An LLM call on its way into the records.

    Args:
        request: What is asked.
        provider: Name of the provider.
        content: Whether the records refer to the messages.
    """

    def __init__(self, request: Request, provider: str, *, content: bool) -> None:
        self._listener = _Listener.here()
        self._content = content
        self._since = 0.0
        self._model = request.model
        self._provider = provider
        self.id = ""
        if self._listener is None:
            return
        self.id = _new_id()
        self._since = anyio.current_time()
        self._listener.teller.tell(
            LLMCallStarted(
                time=self._since,
                **self._listener.place,
                call=self.id,
                provider=provider,
                model=request.model,
                messages=request.messages if content else (),
            )
        )

    def finished(
        self, reply: Reply, attempts: int, *, from_journal: bool = False
    ) -> None:
        """Tell of the answer; one that was kept has used nothing."""
        listener, self._listener = self._listener, None
        if listener is not None:
            now = anyio.current_time()
            used = Usage() if from_journal else reply.usage
            usage: dict[str, int] = attrs.asdict(used)
            listener.teller.tell(
                LLMCallFinished(
                    time=now,
                    **listener.place,
                    call=self.id,
                    provider=self._provider,
                    model=reply.model or self._model,
                    duration=now - self._since,
                    attempts=attempts,
                    usage=usage,
                    stop=reply.stop.value,
                    message=reply.message if self._content else None,
                    from_journal=from_journal,
                )
            )

    def failed(self, error: Exception, attempts: int) -> None:
        """Tell of the error."""
        listener, self._listener = self._listener, None
        if listener is not None:
            now = anyio.current_time()
            listener.teller.tell(
                LLMCallFailed(
                    time=now,
                    **listener.place,
                    call=self.id,
                    provider=self._provider,
                    model=self._model,
                    duration=now - self._since,
                    attempts=attempts,
                    error=error,
                )
            )

    def close(self) -> None:
        """Tell that nobody waits for the answer any more, unless it has come."""
        listener, self._listener = self._listener, None
        if listener is not None:
            now = anyio.current_time()
            listener.teller.tell(
                LLMCallCancelled(
                    time=now,
                    **listener.place,
                    call=self.id,
                    provider=self._provider,
                    model=self._model,
                    duration=now - self._since,
                )
            )


class ToldTool:
    """A tool call on its way into the records; left without an end, it was cancelled.

    Args:
        request: What the model asked for.
        call: Id of the LLM call.
        content: Whether the records refer to the request and the result.
    """

    def __init__(self, request: ToolCall, call: str, *, content: bool) -> None:
        self._listener = _Listener.here()
        self._content = content
        self._since = 0.0
        self._call = call
        self._request = request

    def __enter__(self) -> Self:
        """Tell that the tool is being called."""
        if self._listener is not None:
            self._since = anyio.current_time()
            self._listener.teller.tell(
                ToolCallStarted(
                    time=self._since,
                    **self._listener.place,
                    call=self._call,
                    tool=self._request.name,
                    tool_call=self._request.id,
                    request=self._request if self._content else None,
                )
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Tell that it was cancelled, unless it has ended or failed."""
        if isinstance(exc, Exception):
            self.failed(exc)
        listener, self._listener = self._listener, None
        if listener is not None:
            now = anyio.current_time()
            listener.teller.tell(
                ToolCallCancelled(
                    time=now,
                    **listener.place,
                    call=self._call,
                    tool=self._request.name,
                    tool_call=self._request.id,
                    duration=now - self._since,
                )
            )

    def finished(self, result: ToolResult, *, from_journal: bool = False) -> None:
        """Tell of the answer, or of that of a call that was made before."""
        listener, self._listener = self._listener, None
        if listener is not None:
            now = anyio.current_time()
            listener.teller.tell(
                ToolCallFinished(
                    time=now,
                    **listener.place,
                    call=self._call,
                    tool=self._request.name,
                    tool_call=self._request.id,
                    duration=now - self._since,
                    result=result if self._content else None,
                    from_journal=from_journal,
                )
            )

    def failed(self, error: Exception) -> None:
        """Tell of the error."""
        listener, self._listener = self._listener, None
        if listener is not None:
            now = anyio.current_time()
            listener.teller.tell(
                ToolCallFailed(
                    time=now,
                    **listener.place,
                    call=self._call,
                    tool=self._request.name,
                    tool_call=self._request.id,
                    duration=now - self._since,
                    error=error,
                )
            )
