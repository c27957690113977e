"""LLM calls and tool calls among the records of a session."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import httpx
import pytest

from agentflow import AsyncDispatcher, BaseAsyncAgent, FlowFailed, Router
from agentflow._events import Event
from agentflow._records import (
    HandlerStarted,
    LLMCallCancelled,
    LLMCallFailed,
    LLMCallFinished,
    LLMCallStarted,
    Record,
    ToolCallCancelled,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallStarted,
)
from agentflow.llm import (
    HttpSettings,
    LLMBroker,
    LLMMessage,
    RateLimited,
    Reply,
    RetryPolicy,
    Role,
    StopReason,
    ToolCall,
    ToolFailed,
    ToolResult,
    Usage,
)
from agentflow.testing import ScriptedGateway

_R = TypeVar("_R", bound=Record)


class Question(Event):
    text: str = "hi"


class Log:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record, /) -> None:
        self.records.append(record)

    def of(self, kind: type[_R]) -> list[_R]:
        return [r for r in self.records if isinstance(r, kind)]


class Asker(BaseAsyncAgent):
    """Asks its model, with tools."""

    def __init__(self, llm: LLMBroker, *tools: Any) -> None:
        self.llm = llm
        self.tools = tools

    async def receive_event_async(self, event: Question) -> None:
        await self.llm.generate(event.text, tools=self.tools)


def broker(*script: Any, **more: Any) -> LLMBroker:
    """Make a broker whose model follows a script."""
    return LLMBroker("m", gateway=ScriptedGateway(script), **more)


async def log_of(agent: BaseAsyncAgent) -> Log:
    """Run one question through an agent and return what was recorded."""
    log = Log()
    async with AsyncDispatcher(Router({Question: [agent]}), tracer=log) as dispatcher:
        with suppress(FlowFailed):
            async with dispatcher.open_flow(Question(source="test")):
                pass
    return log


async def test_a_call_joins_its_event_and_flow() -> None:
    """With provider, model, usage, stop and duration; without content."""
    message = LLMMessage(role=Role.ASSISTANT, content="secret")
    answer = Reply(
        message=message,
        stop=StopReason.END,
        usage=Usage(input_tokens=3, output_tokens=2),
        model="m-2026",
    )
    log = await log_of(Asker(broker(answer)))
    (handler,) = log.of(HandlerStarted)
    (started,) = log.of(LLMCallStarted)
    (finished,) = log.of(LLMCallFinished)
    for record in (started, finished):
        assert record.event is handler.event
        assert record.agent == "Asker"
        assert record.correlation_id == handler.correlation_id
        assert record.provider == "scripted"
        assert record.call == started.call
    assert (started.model, finished.model) == ("m", "m-2026")
    assert (started.messages, finished.message) == ((), None)
    assert finished.usage["input_tokens"] == 3
    assert finished.usage["output_tokens"] == 2
    assert (finished.stop, finished.attempts) == ("end", 1)
    assert finished.duration >= 0
    assert "secret" not in str(log.records)


async def test_content_is_referred_to_when_asked_for() -> None:
    """The messages themselves, not copies."""

    def look(at: str) -> str:
        """Look."""
        return f"saw {at}"

    call = ToolCall(id="1", name="look", arguments='{"at": "x"}')
    llm = broker(call, "done", records_content=True)
    log = await log_of(Asker(llm, look))
    first, second = log.of(LLMCallStarted)
    assert len(first.messages) == 1
    assert first.messages[0] is second.messages[0]
    assert log.of(LLMCallFinished)[0].message is second.messages[1]
    assert log.of(ToolCallStarted)[0].request is call
    result = log.of(ToolCallFinished)[0].result
    assert isinstance(result, ToolResult)
    assert result.text == "saw x"


async def test_tool_calls_are_recorded() -> None:
    """With the LLM call that asked for them, and how each ended."""

    async def good() -> str:
        """Answer."""
        await anyio.sleep(0.1)
        return "secret"

    def bad() -> None:
        """Raise."""
        raise ValueError("no")

    calls = [ToolCall(id=n, name=n) for n in ("good", "bad", "none")]
    log = await log_of(Asker(broker(calls, "done"), good, bad))
    asked = log.of(LLMCallStarted)[0].call
    started = log.of(ToolCallStarted)
    assert {r.call for r in started} == {asked}
    assert {(r.tool, r.tool_call) for r in started} == {
        ("good", "good"),
        ("bad", "bad"),
        ("none", "none"),
    }
    (finished,) = log.of(ToolCallFinished)
    assert finished.tool == "good"
    assert finished.duration == pytest.approx(0.1, abs=0.05)
    assert finished.result is None
    failed = {r.tool: r.error for r in log.of(ToolCallFailed)}
    assert isinstance(failed["bad"], ValueError)
    assert "there is no tool 'none'" in str(failed["none"])
    assert "secret" not in str(log.records)


async def test_a_tool_that_ends_the_turn_failed() -> None:
    """Those beside it were cancelled."""

    async def end() -> None:
        """End the turn."""
        await anyio.sleep(0.1)
        raise ToolFailed("over")

    async def wait() -> None:
        """Wait for ever."""
        await anyio.sleep_forever()

    calls = [ToolCall(id=n, name=n) for n in ("end", "wait")]
    log = await log_of(Asker(broker(calls), end, wait))
    (failed,) = log.of(ToolCallFailed)
    assert (failed.tool, str(failed.error)) == ("end", "over")
    (cancelled,) = log.of(ToolCallCancelled)
    assert cancelled.tool == "wait"
    assert cancelled.duration == pytest.approx(0.1, abs=0.05)


async def test_a_failed_call_is_recorded_with_its_error() -> None:
    """As it was raised."""
    error = RateLimited("slow down")
    log = await log_of(Asker(broker(error)))
    (failed,) = log.of(LLMCallFailed)
    assert failed.error is error
    assert failed.attempts == 1
    assert not log.of(LLMCallCancelled)


async def test_attempts_are_counted() -> None:
    """Those that failed before, too."""
    good = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    answers: Iterator[httpx.Response] = iter(
        [httpx.Response(500), httpx.Response(200, content=json.dumps(good))]
        + [httpx.Response(500)] * 3
    )
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: next(answers)))
    llm = LLMBroker(
        "compatible:m",
        base_url="http://model.test/v1",
        http_client=client,
        http_settings=HttpSettings(retry=RetryPolicy(first=0.1)),
    )
    log = await log_of(Asker(llm))
    assert log.of(LLMCallFinished)[0].attempts == 2
    log = await log_of(Asker(llm))
    assert log.of(LLMCallFailed)[0].attempts == 3


async def test_a_stream_that_is_left_early_was_cancelled() -> None:
    """Nobody heard the end."""

    class Hasty(Asker):
        async def receive_event_async(self, event: Question) -> None:
            async with self.llm.stream(event.text) as answer:
                await anext(answer)

    log = await log_of(Hasty(broker("one two")))
    (cancelled,) = log.of(LLMCallCancelled)
    assert cancelled.call == log.of(LLMCallStarted)[0].call
    assert not log.of(LLMCallFinished)


async def test_without_an_observer_or_a_session_nothing_is_told() -> None:
    """And nothing is in the way."""
    call = ToolCall(id="1", name="look")

    def look() -> None:
        """Look."""

    async with AsyncDispatcher(
        Router({Question: [Asker(broker(call, "a"), look)]})
    ) as dispatcher:
        dispatcher.dispatch(Question(source="test"))
    log = Log()
    async with AsyncDispatcher(Router({}), tracer=log):
        await broker(call, "b").generate("hi", tools=[look])
        assert log.records == []
