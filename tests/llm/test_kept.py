"""How answers are written into a journal, and come in again."""

from agentflow.llm import (
    Blob,
    ImagePart,
    LLMMessage,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    Reply,
    Role,
    StopReason,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from agentflow.llm._kept import Recalled, _read, _written

CALL = ToolCall(id="1", name="look", arguments="{}")
REPLY = Reply(
    message=LLMMessage(
        role=Role.ASSISTANT,
        content=[
            ReasoningPart(text="hm", blob=Blob(api="a", raw={"s": [1]})),
            TextPart("Yes"),
            RefusalPart("No"),
            CALL,
        ],
    ),
    stop=StopReason.TOOL_CALLS,
    usage=Usage(input_tokens=3),
    model="m",
    metadata={"cost": 0.5},
)
WRITTEN = (
    '{"message": {"role": "assistant", "content": [{"$type": "ReasoningPart", "value": '
    '{"text": "hm", "blob": {"api": "a", "raw": {"s": [1]}}}}, {"$type": "TextPart", '
    '"value": {"text": "Yes", "blob": null}}, {"$type": "RefusalPart", "value": {"text": '
    '"No"}}, {"$type": "ToolCall", "value": {"id": "1", "name": "look", "arguments": '
    '"{}", "blob": null}}], "blob": null}, "stop": "tool_calls", "raw_stop": null, '
    '"usage": {"input_tokens": 3, "output_tokens": 0, "cached_tokens": 0, '
    '"cache_write_tokens": 0, "reasoning_tokens": 0}, "model": "m", "id": null, '
    '"metadata": {"cost": 0.5}}'
)


def test_what_this_version_wrote_is_read() -> None:
    """Journals outlive the program: a change of the form has to read this, too."""
    assert _read(WRITTEN, Reply) == REPLY


def test_a_reply_and_a_result_are_read_back_as_they_were() -> None:
    """With bytes, and with numbers that only Python has."""
    assert _read(_written(REPLY, Reply, "m"), Reply) == REPLY
    image = ImagePart(data=b"\x00\xff")
    blob = Blob(api="a", raw={"large": 2**70, "least": float("-inf")})
    result = ToolResult(call_id="1", content=[TextPart("a"), image], blob=blob)
    assert _read(_written(result, ToolResult, "t"), ToolResult) == result


async def test_a_reply_comes_in_again_in_the_order_of_its_parts() -> None:
    """As one delta for each, and the reply at last."""
    assert [item async for item in Recalled(REPLY)] == [
        ReasoningDelta("hm"),
        TextDelta("Yes"),
        RefusalDelta("No"),
        ToolCallDelta(index=0, id="1", name="look", arguments="{}"),
        REPLY,
    ]


async def test_a_reply_comes_in_alone_where_nobody_wants_its_deltas() -> None:
    """As it does from a provider."""
    recalled = Recalled(REPLY)
    recalled.give_whole()
    assert [item async for item in recalled] == [REPLY]
