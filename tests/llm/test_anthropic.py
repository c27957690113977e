"""Answers as Anthropic Messages."""

import json
from typing import Any

import pytest

from agentflow.llm import (
    Blob,
    LLMMessage,
    MalformedAnswer,
    OutputMode,
    ProviderPart,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    Request,
    StopReason,
    TextDelta,
    TextPart,
    ToolCallDelta,
    Usage,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers.anthropic import AnthropicCodec
from tests.llm.anthropic_wire import (
    CODEC,
    START,
    STOP,
    begun,
    delta,
    ended,
    read,
    sent_back,
    sse,
    stopped,
)


def test_text_comes_in_deltas_and_makes_one_part() -> None:
    """Every piece is a delta, and the reply knows id, model and stop."""
    decoder = CODEC.decoder()
    deltas = decoder.feed(
        sse(
            START,
            {"type": "ping"},
            begun(0, type="text", text="Oh. "),
            delta(0, "text_delta", text="Hel"),
            delta(0, "text_delta", text=""),
            delta(0, "text_delta", text="lo"),
            ended(0),
            stopped("end_turn"),
            STOP,
        )
    )
    reply = decoder.finish()
    assert deltas == [TextDelta("Oh. "), TextDelta("Hel"), TextDelta("lo")]
    assert decoder.done
    assert reply.message.content == (TextPart("Oh. Hello"),)
    assert (reply.id, reply.model) == ("msg_1", "claude")
    assert (reply.stop, reply.raw_stop) == (StopReason.END, "end_turn")


@pytest.mark.parametrize(
    ("word", "stop"),
    [
        ("end_turn", StopReason.END),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("max_tokens", StopReason.LENGTH),
        ("model_context_window_exceeded", StopReason.CONTEXT_FULL),
        ("refusal", StopReason.REFUSED),
        ("pause_turn", StopReason.PAUSED),
        ("something_new", StopReason.OTHER),
    ],
)
def test_stop_reasons_are_known(word: str, stop: StopReason) -> None:
    """Each word has its place, and a new one is other."""
    reply = read(stopped(word))
    assert (reply.stop, reply.raw_stop) == (stop, word)


def test_the_stop_sequence_is_kept() -> None:
    """Which text stopped the model stands in the metadata."""
    reply = read(stopped("stop_sequence", stop_sequence="END"))
    assert reply.metadata["stop_sequence"] == "END"


def test_parallel_calls_come_with_their_arguments() -> None:
    """Pieces of JSON are deltas of their call, and empty ones are none."""
    decoder = CODEC.decoder()
    deltas = decoder.feed(
        sse(
            START,
            begun(0, type="tool_use", id="toolu_1", name="a", input={}),
            delta(0, "input_json_delta", partial_json=""),
            delta(0, "input_json_delta", partial_json='{"x":'),
            delta(0, "input_json_delta", partial_json="1}"),
            ended(0),
            begun(1, type="tool_use", id="toolu_2", name="b"),
            ended(1),
            stopped("tool_use"),
            STOP,
        )
    )
    reply = decoder.finish()
    assert deltas == [
        ToolCallDelta(index=0, id="toolu_1", name="a"),
        ToolCallDelta(index=0, id="toolu_1", name="a", arguments='{"x":'),
        ToolCallDelta(index=0, id="toolu_1", name="a", arguments="1}"),
        ToolCallDelta(index=1, id="toolu_2", name="b"),
    ]
    assert [(c.id, c.name, c.parsed()) for c in reply.tool_calls] == [
        ("toolu_1", "a", {"x": 1}),
        ("toolu_2", "b", {}),
    ]
    assert reply.stop is StopReason.TOOL_CALLS


def test_arguments_may_come_whole_at_the_start_of_a_call() -> None:
    """As calls do that code on the server makes, with word of who calls."""
    caller = {"type": "code_execution_20250825", "tool_id": "srv"}
    reply = read(
        begun(0, type="tool_use", id="t", name="a", input={"x": 1}, caller=caller),
        ended(0),
        stopped("tool_use"),
    )
    assert reply.tool_calls[0].parsed() == {"x": 1}
    assert sent_back(reply)[0]["caller"] == caller


def test_a_message_may_start_with_blocks_and_its_stop() -> None:
    """As it does where code on the server goes on calling tools."""
    call = {"type": "tool_use", "id": "t", "name": "a", "input": {"x": 1}}
    message = {**START["message"], "content": [call], "stop_reason": "tool_use"}
    reply = decode(CODEC, 200, sse({**START, "message": message}, STOP))
    assert reply.tool_calls[0].arguments == '{"x":1}'
    assert reply.raw_stop == "tool_use"


def test_thoughts_go_back_with_their_signature() -> None:
    """Readable and redacted ones, each as it came."""
    decoder = CODEC.decoder()
    deltas = decoder.feed(
        sse(
            START,
            begun(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="Hmm"),
            delta(0, "thinking_delta", thinking=""),
            delta(0, "signature_delta", signature="sig"),
            ended(0),
            begun(1, type="redacted_thinking", data="xyz"),
            ended(1),
            begun(2, type="text", text=""),
            delta(2, "text_delta", text="Yes"),
            ended(2),
            stopped("end_turn"),
            STOP,
        )
    )
    reply = decoder.finish()
    assert deltas == [ReasoningDelta("Hmm"), TextDelta("Yes")]
    assert reply.reasoning == "Hmm"
    assert sent_back(reply) == [
        {"type": "thinking", "thinking": "Hmm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Yes"},
    ]


def test_a_thought_without_a_signature_does_not_go_back() -> None:
    """The API refuses it; other servers send such and can do without."""
    reply = read(
        begun(0, type="thinking", thinking="Well"),
        delta(0, "thinking_delta", thinking=" now"),
        ended(0),
        begun(1, type="text", text="Yes"),
        ended(1),
        stopped("end_turn"),
    )
    assert isinstance(reply.message.content[0], ReasoningPart)
    assert reply.reasoning == "Well now"
    assert sent_back(reply) == "Yes"


def test_citations_stay_with_their_text() -> None:
    """Those that come in a stream and those of a whole block."""
    one, two = {"type": "char_location"}, {"type": "page_location"}
    reply = read(
        begun(0, type="text", text="", citations=[]),
        delta(0, "citations_delta", citation=one),
        delta(0, "text_delta", text="It"),
        delta(0, "citations_delta", citation=two),
        ended(0),
        begun(1, type="text", text=" is", citations=None),
        ended(1),
        stopped("end_turn"),
    )
    assert reply.text == "It is"
    assert sent_back(reply) == [
        {"type": "text", "text": "It", "citations": [one, two]},
        {"type": "text", "text": " is"},
    ]


def test_tools_of_the_server_are_kept_whole() -> None:
    """Their input comes in pieces, their results at once; both go back."""
    found: Any = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    use = {"type": "server_tool_use", "id": "s", "name": "web_search"}
    reply = read(
        begun(0, **use, input={}),
        delta(0, "input_json_delta", partial_json='{"query":"x"}'),
        ended(0),
        begun(1, **found),
        ended(1),
        stopped("end_turn"),
    )
    assert [p.kind for p in reply.message.content if isinstance(p, ProviderPart)] == [
        "server_tool_use",
        "web_search_tool_result",
    ]
    assert sent_back(reply) == [{**use, "input": {"query": "x"}}, found]


def test_broken_input_of_a_server_tool_is_kept_as_text() -> None:
    """What was cut off is still there to be seen."""
    reply = read(
        begun(0, type="server_tool_use", id="s", name="w"),
        delta(0, "input_json_delta", partial_json='{"query'),
        stopped("max_tokens"),
    )
    assert sent_back(reply)[0]["input"] == {"INVALID_JSON": '{"query'}


def test_blocks_and_pieces_of_new_kinds_are_kept() -> None:
    """Texts in them grow, other fields are taken as they come."""
    reply = read(
        begun(0, type="compaction", content="The"),
        delta(0, "compaction_delta", content=" story", share=1),
        delta(0, "compaction_delta", share=2),
        ended(0),
        begun(1),
        ended(1),
        {"type": "weather", "sky": "blue"},
        stopped("end_turn"),
    )
    part = reply.message.content[0]
    assert isinstance(part, ProviderPart)
    assert part.blob.raw == {"type": "compaction", "content": "The story", "share": 2}
    assert len(reply.message.content) == 1
    assert reply.metadata["events"] == [{"type": "weather", "sky": "blue"}]


def test_a_server_that_does_not_open_its_blocks_is_understood() -> None:
    """The pieces say what they belong to."""
    reply = read(
        delta(0, "thinking_delta", thinking="Hm"),
        delta(1, "text_delta", text="Yes"),
        delta(2, "input_json_delta", partial_json="{}"),
        ended(7),
        stopped("tool_use"),
    )
    assert (reply.reasoning, reply.text) == ("Hm", "Yes")
    assert reply.tool_calls[0].arguments == "{}"


def test_a_block_that_is_opened_twice_makes_two() -> None:
    """The first one ends where the second begins."""
    reply = read(
        begun(0, type="tool_use", id="t", name="a", input={"x": 1}),
        begun(0, type="text", text="Hi"),
        stopped("tool_use"),
    )
    assert reply.tool_calls[0].arguments == '{"x":1}'
    assert reply.text == "Hi"


def test_usage_counts_what_was_cached_as_input() -> None:
    """Counts at the end replace those at the start, and null replaces nothing."""
    message = {**START["message"]}
    message["usage"] = {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 3000,
        "output_tokens": 1,
    }
    end = {
        "input_tokens": 20,
        "cache_read_input_tokens": None,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 5},
    }
    reply = decode(
        CODEC, 200, sse({**START, "message": message}, stopped("end_turn", end), STOP)
    )
    assert reply.usage == Usage(
        input_tokens=3220,
        output_tokens=50,
        cached_tokens=200,
        cache_write_tokens=3000,
        reasoning_tokens=5,
    )
    raw: Any = reply.metadata["usage"]
    assert raw["input_tokens"] == 20


def test_the_container_goes_back_while_the_turn_goes_on() -> None:
    """Code on the server waits in it for its tools."""
    box: Any = {"id": "container_1", "expires_at": "2026-01-01T00:00:00Z"}
    reply = read(
        begun(0, type="tool_use", id="t", name="a"),
        stopped("tool_use", container=box),
    )
    assert reply.message.blob == Blob(api=CODEC.api, raw={"container": box})
    request = Request(model="m", messages=(LLMMessage(content="q"), reply.message))
    assert CODEC.encode(request).json["container"] == "container_1"
    later = Request(model="m", messages=(reply.message, LLMMessage(content="next")))
    assert "container" not in CODEC.encode(later).json


def test_a_refusal_in_a_stream_says_why() -> None:
    """It is a reply whose refusal holds the provider's explanation."""
    why = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    decoder = CODEC.decoder()
    deltas = decoder.feed(
        sse(
            START,
            begun(0, type="text", text=""),
            delta(0, "text_delta", text="First,"),
            ended(0),
            stopped("refusal", stop_details=why),
            STOP,
        )
    )
    reply = decoder.finish()
    assert deltas == [TextDelta("First,"), RefusalDelta("Not this.")]
    assert (reply.stop, reply.text) == (StopReason.REFUSED, "First,")
    assert reply.refusal == "Not this."
    assert reply.metadata["stop_details"] == why


def test_context_management_is_metadata() -> None:
    """What stands beside the end of the message is kept."""
    end: Any = {**stopped("end_turn"), "context_management": {"applied_edits": []}}
    assert read(end).metadata["context_management"] == {"applied_edits": []}


def test_a_whole_body_is_read_like_a_stream() -> None:
    """Blocks, stop and usage; a body ends by itself."""
    body: dict[str, Any] = {
        **START["message"],
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "s"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "t", "name": "a", "input": {}},
        ],
        "stop_reason": "tool_use",
    }
    reply = decode(CODEC, 200, json.dumps(body).encode())
    assert (reply.reasoning, reply.text) == ("Hm", "Hi")
    assert reply.tool_calls[0].parsed() == {}
    assert reply.usage == Usage(input_tokens=10, output_tokens=1)


def test_an_answer_may_be_empty() -> None:
    """A list without blocks is a reply without words."""
    reply = decode(CODEC, 200, b'{"content":[],"stop_reason":"end_turn"}')
    assert (reply.message.content, reply.stop) == ((), StopReason.END)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"content":"text"}'])
def test_a_body_that_is_no_message_is_malformed(body: bytes) -> None:
    """The error says what is missing."""
    with pytest.raises(MalformedAnswer, match="no content"):
        decode(CODEC, 200, body)


def test_a_second_start_adds_to_the_answer() -> None:
    """A server that begins anew has shown the first try already; both stay apart."""
    reply = read(
        begun(0, type="tool_use", id="t1", name="a"),
        delta(0, "input_json_delta", partial_json='{"x":'),
        START,
        begun(0, type="tool_use", id="t2", name="a"),
        delta(0, "input_json_delta", partial_json='{"x":1}'),
        ended(0),
        stopped("tool_use"),
    )
    assert [c.parsed() for c in reply.tool_calls] == [None, {"x": 1}]


def test_the_codec_says_who_it_is() -> None:
    """The name of the server is part of the API's, so that signatures stay at home."""
    assert CODEC.api == "anthropic-messages/anthropic"
    assert CODEC.output_mode is OutputMode.NATIVE
    other = AnthropicCodec(name="minimax", output_mode=OutputMode.TOOL)
    assert other.api == "anthropic-messages/minimax"
    reply = read(
        begun(0, type="thinking", thinking="Hm", signature="s"),
        ended(0),
        begun(1, type="text", text="Hi"),
        stopped("end_turn"),
    )
    request = Request(model="m", messages=(reply.message,))
    messages: Any = other.encode(request).json["messages"]
    assert messages == [{"role": "assistant", "content": "Hi"}]
