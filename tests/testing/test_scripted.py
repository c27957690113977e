"""The gateway that follows a script."""

import enum
import re
from typing import Any

import anyio
import attrs
import pydantic
import pytest

from agentflow.llm import (
    ConnectionFailed,
    IncompleteStream,
    LLMBroker,
    LLMMessage,
    OutputMode,
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
from agentflow.testing import FlowCheckFailed, ScriptedGateway, open_test_session
from tests.fakes import Ping, Pong, router_of, takes

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


class Tone(enum.Enum):
    SAD = "sad"


@attrs.frozen
class Analysis:
    tone: Tone
    words: int


class Modern(pydantic.BaseModel):
    tone: Tone


@pytest.mark.parametrize("mode", list(OutputMode))
async def test_an_object_is_the_answer_to_who_asks_for_one(mode: OutputMode) -> None:
    """In whatever way the gateway is asked for it."""
    model = ScriptedGateway(output_mode=mode)
    model.reply(Analysis(tone=Tone.SAD, words=3))
    model.reply(Modern(tone=Tone.SAD))
    model.reply({"tone": "sad", "words": 4})
    llm = model.broker()
    assert await llm.generate_object("Well?", Analysis) == Analysis(Tone.SAD, 3)
    assert await llm.generate_object("Well?", Modern) == Modern(tone=Tone.SAD)
    assert (await llm.generate_object("Well?", Analysis)).words == 4
    assert (model.unexpected(), model.unused()) == ([], [])
    model.reply(TextPart("a part"))
    assert (await llm.generate("A part?")).text == "a part"
    model.reply([1, 2])
    assert (await llm.generate("A list?")).text == "[1,2]"


async def test_a_reply_waits_for_the_request_it_is_for() -> None:
    """By a text, a pattern or a function; any other request passes it over."""
    model = ScriptedGateway()
    model.reply("sad", when="the tone")
    model.reply("short", when=re.compile("summari[sz]e"))
    model.reply("three", when=lambda request: len(request.messages) == 3)
    model.reply("whatever")
    llm = model.broker(temperature=0)
    assert llm.options == {"temperature": 0}
    assert (await llm.generate("Please summarize this.")).text == "short"
    assert (await llm.generate("What else?")).text == "whatever"
    assert (await llm.generate("What is the tone?")).text == "sad"
    three = [LLMMessage(content=text) for text in "abc"]
    assert (await llm.generate(three)).text == "three"


async def test_delays_and_pieces_are_on_the_clock() -> None:
    """An hour's wait for the first piece, and a second between pieces."""
    model = ScriptedGateway()
    model.reply(pieces=["He", "llo"], delay=2, pace=0.5)
    with takes(2.5):
        async with model.stream(REQUEST) as answer:
            items = [item async for item in answer]
    assert items[:2] == [TextDelta("He"), TextDelta("llo")]
    assert str(items[2]) == "Hello"
    model.reply("Hello", pieces=["Hell", "o"])
    with takes(0):
        assert (await model.broker().generate("?")).text == "Hello"


async def test_the_connection_may_break() -> None:
    """Before the first piece, or in between."""
    model = ScriptedGateway(["one two three"] * 3)
    model.drop_connection()
    model.drop_connection(after=2)
    llm = model.broker()
    with pytest.raises(ConnectionFailed, match="of the test"):
        await llm.generate("?")
    with pytest.raises(IncompleteStream, match="of the test"):
        await llm.generate("?")
    assert (await llm.generate("?")).text == "one two three"


async def test_a_call_that_nothing_fits_shows_what_is_left_with_a_diff() -> None:
    """And fails the test even if the agent swallows the error."""
    model = ScriptedGateway()
    model.reply("sad", when="What is the tone of it?")
    model.reply("yes", when=re.compile("Really"))
    model.reply("no", when=callable)
    with pytest.raises(AssertionError) as caught:
        await model.broker().generate("What is the tune of it?" + "?" * 80)
    said = str(caught.value)
    assert said.startswith(
        "an unexpected call: request 1 fits none of the replies that are left:\n"
        "  user: What is the tune of it?????"
    )
    assert "- reply 1, 'sad', for requests with 'What is the tone of it?'" in said
    assert "    - What is the tone of it?\n    + What is the tune of it?" in said
    assert "- reply 2, 'yes', for requests with 'Really'" in said
    assert "- reply 3, 'no', for requests with 'callable'" in said
    assert model.unexpected() == [said]


async def test_unused_replies_and_unexpected_calls_fail_the_session() -> None:
    """With a message that names them, and the fix."""

    async def ask(event: Ping) -> Pong:
        try:
            await llm.generate("Well?")
        except AssertionError:
            return Pong(source="ask")
        return Pong(source="ask", n=1)

    model = ScriptedGateway()
    llm = model.broker()
    router = router_of((Ping, ask))
    with pytest.raises(FlowCheckFailed) as caught:
        async with open_test_session(router, checked=[model]) as session:
            await session.run(Ping(source="test"), Pong)
    assert str(caught.value) == (
        "an unexpected call: the script has no answer left for request 1:\n"
        "  user: Well?\n"
        "Script one more with scripted_llm.reply(...), or find out why the agent asks "
        "again"
    )
    model = ScriptedGateway(["one", "two", "three"])
    llm = model.broker()
    with pytest.raises(FlowCheckFailed) as caught:
        async with open_test_session(router, checked=[model]) as session:
            await session.run(Ping(source="test"), Pong)
    assert caught.value.problems[0] == (
        "an unused reply: reply 2, 'two', of 3; the model was asked once. Drop it from "
        "the script, or find out why the agent did not ask"
    )
    assert len(caught.value.problems) == 2
    (unused,) = ScriptedGateway(["one"]).unused()
    assert "the model was asked nothing" in unused


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"delay": -1}, "seconds, from 0"),
        ({"pace": -1}, "seconds, from 0"),
        ({"answer": "ab", "pieces": ["a"]}, "the pieces make 'a', not the answer 'ab'"),
    ],
)
def test_a_reply_that_cannot_be_is_refused(reply: dict[str, Any], error: str) -> None:
    """When it is scripted, not when it is asked for."""
    with pytest.raises(ValueError, match=error):
        ScriptedGateway().reply(**reply)


async def test_a_cancelled_call_uses_up_its_answer() -> None:
    """As a real model's would be gone."""
    model = ScriptedGateway()
    model.reply("late", delay=3)
    with anyio.move_on_after(1) as scope:
        await model.broker().generate("?")
    assert scope.cancelled_caught
    assert model.unused() == []
