"""Messages, replies and requests as values."""

from typing import Any

import pytest

from agentflow.llm import (
    Blob,
    ImagePart,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
    RefusalPart,
    Reply,
    Request,
    Role,
    StopReason,
    TextPart,
    ToolCall,
    ToolResult,
    Usage,
)
from agentflow.llm._messages import Part, as_conversation


def test_a_string_is_a_message_s_content() -> None:
    """The user speaks unless another role is given."""
    message = LLMMessage(content="hello")
    assert message == LLMMessage(role=Role.USER, content=[TextPart("hello")])
    assert LLMMessage(role="system", content=TextPart("x")).role is Role.SYSTEM


def test_a_message_has_its_parts_by_kind() -> None:
    """Text, reasoning, refusal and calls are found among the parts."""
    call = ToolCall(id="1", name="f")
    message = LLMMessage(
        role=Role.ASSISTANT,
        content=[
            ReasoningPart(text="hm"),
            TextPart("a"),
            call,
            TextPart("b"),
            RefusalPart("no"),
            ProviderPart(kind="audio", blob=Blob(api="x", raw={})),
        ],
    )
    assert message.text == "ab"
    assert message.reasoning == "hm"
    assert message.refusal == "no"
    assert message.tool_calls == (call,)


def test_content_that_is_no_part_is_refused() -> None:
    """The error names what was given."""
    wrong: Any = [{"type": "text"}]
    with pytest.raises(TypeError, match="message parts, not dict"):
        LLMMessage(content=wrong)


def test_a_role_that_is_none_is_refused() -> None:
    """The error names it."""
    with pytest.raises(ValueError, match="bot"):
        LLMMessage(role="bot", content="x")


@pytest.mark.parametrize("where", [{}, {"data": b"x", "url": "u"}])
def test_an_image_is_in_one_place(where: dict[str, Any]) -> None:
    """Neither nowhere nor in two places."""
    with pytest.raises(ValueError, match="either data= or url="):
        ImagePart(**where)


def test_an_image_is_written_as_base64() -> None:
    """One by URL has no bytes to write."""
    assert ImagePart(data=b"abc").base64() == "YWJj"
    assert ImagePart(url="http://x").base64() == ""


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [("", {}), (" ", {}), ('{"a":1}', {"a": 1}), ("[1]", None), ('{"a', None)],
)
def test_arguments_are_an_object_or_nothing(arguments: str, parsed: object) -> None:
    """The text of broken ones stays as it is."""
    assert ToolCall(id="1", name="f", arguments=arguments).parsed() == parsed


def test_a_tool_s_result_takes_text_and_parts() -> None:
    """A string is one text; images are no text."""
    assert ToolResult(call_id="1", content="x").content == (TextPart("x"),)
    image = ImagePart(url="u")
    assert ToolResult(call_id="1", content=image).text == ""
    assert ToolResult(call_id="1", content=[TextPart("a"), image]).text == "a"


def test_a_conversation_may_be_a_prompt_a_message_or_several() -> None:
    """A string is what the user says."""
    message = LLMMessage(content="x")
    assert as_conversation("x") == (message,)
    assert as_conversation(message) == (message,)
    assert as_conversation([message, message]) == (message, message)


def test_a_conversation_of_something_else_is_refused() -> None:
    """The error names what was given."""
    wrong: Any = [{"role": "user"}]
    with pytest.raises(TypeError, match="LLMMessage values, not dict"):
        as_conversation(wrong)


def test_usages_add_up() -> None:
    """Field by field."""
    one = Usage(input_tokens=1, output_tokens=2, cached_tokens=3, reasoning_tokens=4)
    two = Usage(input_tokens=10, cache_write_tokens=5)
    assert one + two == Usage(
        input_tokens=11,
        output_tokens=2,
        cached_tokens=3,
        cache_write_tokens=5,
        reasoning_tokens=4,
    )
    assert (one + two).total_tokens == 13


def test_a_reply_reads_as_its_text() -> None:
    """Its message's parts are at hand."""
    content: list[Part] = [
        ReasoningPart(text="r"),
        TextPart("t"),
        RefusalPart("n"),
    ]
    message = LLMMessage(role=Role.ASSISTANT, content=content)
    reply = Reply(message=message, stop=StopReason.END)
    assert (str(reply), reply.text, reply.reasoning) == ("t", "t", "r")
    assert (reply.refusal, reply.tool_calls) == ("n", ())


def test_a_request_takes_any_sequences() -> None:
    """They are kept as tuples."""
    request = Request(model="m", messages=[LLMMessage(content="x")], stop=["a"])
    assert isinstance(request.messages, tuple)
    assert request.stop == ("a",)
