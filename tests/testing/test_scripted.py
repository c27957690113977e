"""The gateway that follows a script."""

import pytest

from agentflow.llm import (
    LLMBroker,
    LLMMessage,
    RateLimited,
    ReasoningPart,
    Reply,
    Request,
    Role,
    StopReason,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
)
from agentflow.llm._messages import Part
from agentflow.testing import ScriptedGateway

REQUEST = Request(model="m", messages=[LLMMessage(content="hi")])


async def test_answers_come_in_order_and_requests_are_kept() -> None:
    """A script that is used up says so."""
    gateway = ScriptedGateway(["one", "two"])
    llm = LLMBroker("m", gateway=gateway)
    assert (await llm.generate("a")).text == "one"
    assert (await llm.generate("b")).text == "two"
    assert [r.messages[0].text for r in gateway.requests] == ["a", "b"]
    with pytest.raises(AssertionError, match="no answer left for request 3"):
        await llm.generate("c")


async def test_a_function_may_make_the_answers() -> None:
    """Of the request."""

    async def echo(request: Request) -> str:
        return request.messages[-1].text.upper()

    llm = LLMBroker("m", gateway=ScriptedGateway(echo))
    assert (await llm.generate("abc")).text == "ABC"


async def test_an_answer_comes_as_deltas() -> None:
    """Text by words, calls whole; what has no delta is in the reply."""
    parts: list[Part] = [
        ReasoningPart(text="hm"),
        TextPart("a b"),
        ToolCall(id="1", name="f"),
        ToolCall(id="2", name="g"),
    ]
    async with ScriptedGateway([parts]).stream(REQUEST) as answer:
        items = [item async for item in answer]
    assert items[:-1] == [
        TextDelta("a"),
        TextDelta(" b"),
        ToolCallDelta(index=0, id="1", name="f"),
        ToolCallDelta(index=1, id="2", name="g"),
    ]
    reply = items[-1]
    assert isinstance(reply, Reply)
    assert (reply.stop, reply.reasoning) == (StopReason.TOOL_CALLS, "hm")


async def test_a_reply_or_an_error_is_given_as_it_is() -> None:
    """For whatever a shorthand cannot say."""
    message = LLMMessage(role=Role.ASSISTANT, content="cut")
    reply = Reply(message=message, stop=StopReason.LENGTH)
    error = RateLimited("slow")
    gateway = ScriptedGateway([reply, error])
    async with gateway.stream(REQUEST) as answer:
        assert [item async for item in answer][-1] is reply
    with pytest.raises(RateLimited) as caught:
        async with gateway.stream(REQUEST):
            pass
    assert caught.value is error
