"""Limits on what models may use."""

from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from agentflow import AsyncDispatcher, BaseAsyncAgent, FlowFailed, Router
from agentflow._events import Event
from agentflow.llm import (
    ConfigurationError,
    IncompleteStream,
    LLMBroker,
    LLMMessage,
    Price,
    Reply,
    Role,
    StopReason,
    ToolCall,
    Usage,
    UsageLimit,
    UsageLimitExceeded,
)
from agentflow.testing import ScriptedGateway


class Question(Event):
    n: int = 1


class Order(Event):
    pass


class Answer(Event):
    text: str


def reply(text: str = "ok", *, tokens: int = 10, **metadata: Any) -> Reply:
    """Make a reply that cost so many tokens, a fifth of them output."""
    return Reply(
        message=LLMMessage(role=Role.ASSISTANT, content=text),
        stop=StopReason.END,
        usage=Usage(input_tokens=tokens - tokens // 5, output_tokens=tokens // 5),
        metadata=metadata,
    )


def calls(count: int) -> Reply:
    """Make a reply that asks for so many calls of ``look``."""
    asked = [ToolCall(id=str(n), name="look") for n in range(count)]
    message = LLMMessage(role=Role.ASSISTANT, content=asked)
    return Reply(message=message, stop=StopReason.TOOL_CALLS)


def broker(*script: Any, **more: Any) -> LLMBroker:
    """Make a broker whose model follows a script."""
    return LLMBroker("m", gateway=ScriptedGateway(script), **more)


def asked(llm: LLMBroker) -> int:
    """Return how often the model was asked."""
    assert isinstance(llm.gateway, ScriptedGateway)
    return len(llm.gateway.requests)


async def test_requests_are_limited() -> None:
    """The one too many is not made; the error says what was used."""
    llm = broker("a", "b", "c")
    with UsageLimit(requests=2) as limit:
        await llm.generate("1")
        await llm.generate("2")
        with pytest.raises(UsageLimitExceeded, match=r"no requests are left of <Usage"):
            await llm.generate("3")
    assert (asked(llm), limit.requests) == (2, 2)
    await llm.generate("3")
    assert limit.requests == 2


async def test_requests_at_the_same_time_are_limited() -> None:
    """They are counted before they are made."""
    llm = broker(*"abcdef")
    refused: list[str] = []

    async def ask(text: str) -> None:
        try:
            await llm.generate(text)
        except UsageLimitExceeded:
            refused.append(text)

    with UsageLimit(requests=4):
        async with anyio.create_task_group() as group:
            for text in "abcdef":
                group.start_soon(ask, text)
    assert (asked(llm), len(refused)) == (4, 2)


async def test_tokens_are_limited() -> None:
    """The answer that crosses the limit is still given; the next request is refused."""
    llm = broker(reply(tokens=60), reply(tokens=60), reply(tokens=60))
    with UsageLimit(tokens=100) as limit:
        await llm.generate("1")
        await llm.generate("2")
        with pytest.raises(UsageLimitExceeded, match="no tokens are left"):
            await llm.generate("3")
    assert limit.usage == Usage(input_tokens=96, output_tokens=24)


async def test_tool_calls_are_limited() -> None:
    """A round that has no room is not begun."""
    seen: list[int] = []

    def look() -> None:
        """Look."""
        seen.append(1)

    llm = broker(calls(2), calls(2), "never")
    with (
        UsageLimit(tool_calls=3) as limit,
        pytest.raises(UsageLimitExceeded, match="no tool_calls are left"),
    ):
        await llm.generate("hi", tools=[look])
    assert len(seen) == limit.tool_calls == 2


async def test_cost_is_limited_by_a_price() -> None:
    """Cached tokens have their own."""
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=100_000,
        cached_tokens=400_000,
        cache_write_tokens=100_000,
    )
    assert Price(input=2, output=10).of(usage) == pytest.approx(3.0)
    price = Price(input=2, output=10, cached=0.5, cache_write=4)
    assert price.of(usage) == pytest.approx(1.0 + 0.2 + 0.4 + 1.0)
    llm = broker(reply(tokens=1000), "never", price=Price(input=1000, output=1000))
    with UsageLimit(cost=1) as limit:
        await llm.generate("1")
        with pytest.raises(UsageLimitExceeded, match="no cost are left"):
            await llm.generate("2")
    assert limit.cost == pytest.approx(1.0)
    assert "cost 1" in repr(limit)


async def test_cost_may_be_told_by_the_provider() -> None:
    """If it is a number."""
    llm = broker(reply(usage={"cost": 0.25}), reply(usage={"cost": True}))
    with UsageLimit(cost=1) as limit:
        await llm.generate("1")
        assert limit.cost == pytest.approx(0.25)
        with pytest.raises(ConfigurationError, match=r"scripted does not say .*price="):
            await llm.generate("2")
    with UsageLimit() as limit:
        await broker("x").generate("3")
    assert (limit.requests, limit.cost) == (1, 0.0)


async def test_limits_nest() -> None:
    """Each counts; the tightest decides."""
    llm = broker(*"abcd")
    with UsageLimit(requests=3) as outer:
        with UsageLimit(requests=1) as inner:
            await llm.generate("1")
            with pytest.raises(UsageLimitExceeded, match="requests=1"):
                await llm.generate("2")
        assert (inner.requests, outer.requests) == (1, 1)
        with UsageLimit(requests=9):
            await llm.generate("2")
            await llm.generate("3")
            with pytest.raises(UsageLimitExceeded, match="requests=3"):
                await llm.generate("4")


async def test_what_was_counted_stays() -> None:
    """A limit may be entered again, but not twice at the same time."""
    llm = broker(*"abc")
    limit = UsageLimit(requests=2)
    for _ in range(2):
        with limit:
            await llm.generate("x")
            with pytest.raises(ConfigurationError, match="is entered already"), limit:
                pass
    with limit, pytest.raises(UsageLimitExceeded):
        await llm.generate("x")


def test_a_bound_below_nothing_is_refused() -> None:
    """It is named."""
    with pytest.raises(ConfigurationError, match="tokens=-1 must be 0 or more"):
        UsageLimit(tokens=-1)


async def test_what_an_unfinished_answer_cost_counts() -> None:
    """As far as it is known."""
    lost = IncompleteStream("lost", partial=reply(tokens=50))
    with UsageLimit() as limit:
        with pytest.raises(IncompleteStream):
            await broker(lost).generate("x")
        with pytest.raises(IncompleteStream):
            await broker(IncompleteStream("lost")).generate("x")
    assert limit.usage.total_tokens == 50
    assert limit.requests == 2


class Asker(BaseAsyncAgent):
    """Asks its model as often as the question says."""

    def __init__(self, llm: LLMBroker) -> None:
        self.llm = llm

    async def receive_event_async(self, event: Question) -> Answer:
        for _ in range(event.n):
            await self.llm.generate("hi")
        return Answer(source=type(self), text="done")


def exceeded(failed: FlowFailed) -> bool:
    """Return True for a failure by nothing but exceeded limits."""
    return failed.split(UsageLimitExceeded)[1] is None


async def test_a_session_s_limit_holds_for_its_agents() -> None:
    """When its block is in the limit's."""
    llm = broker(*"abcdef")
    router = Router({Question: [Asker(llm)]})
    with UsageLimit(requests=4) as limit:
        async with AsyncDispatcher(router) as dispatcher:
            await dispatcher.run(Question(source="test", n=3), Answer)
            with pytest.raises(FlowFailed, check=exceeded):
                await dispatcher.run(Question(source="test", n=3), Answer)
    assert limit.requests == 4


async def test_a_flow_s_limit_travels_with_it() -> None:
    """To the agents of that flow, wherever they run, and to no other flow's."""
    llm = broker(*"abcdefgh")
    router = Router({Question: [Asker(llm)]})
    async with AsyncDispatcher(router) as dispatcher:
        with UsageLimit(requests=2) as limit:
            await dispatcher.run(Question(source="test", n=2), Answer)
            with pytest.raises(FlowFailed, check=exceeded):
                await dispatcher.run(Question(source="test"), Answer)
        await dispatcher.run(Question(source="test", n=3), Answer)
        assert limit.requests == 2


async def test_a_flow_keeps_its_limit_when_the_limit_s_block_has_ended() -> None:
    """It was opened inside."""
    llm = broker(*"abc")
    router = Router({Question: [Asker(llm)]})
    async with AsyncDispatcher(router) as dispatcher, AsyncExitStack() as stack:
        with UsageLimit(requests=1) as limit:
            opened = dispatcher.open_flow(Question(source="test"))
            await stack.enter_async_context(opened)
        await stack.aclose()
        assert limit.requests == 1


async def test_a_flow_opened_by_an_agent_inherits_its_limits() -> None:
    """Those of the flow it handles and those it has opened itself."""
    llm = broker(*"abcdefgh")

    class Boss(BaseAsyncAgent):
        """Asks in a flow of its own."""

        async def receive_event_async(self, event: Order) -> Answer:
            await llm.generate("first")
            with UsageLimit(requests=5) as own:
                answer = await dispatcher.run(
                    Question(source="boss", correlation_id="inner", n=2), Answer
                )
            assert own.requests == 2
            return Answer(source=type(self), text=answer.text)

    router = Router({Question: [Asker(llm)], Order: [Boss()]})
    async with AsyncDispatcher(router) as dispatcher:
        with UsageLimit(requests=3) as limit:
            await dispatcher.run(Order(source="test"), Answer)
            assert limit.requests == 3
            with pytest.raises(FlowFailed):
                await dispatcher.run(Order(source="test"), Answer)
