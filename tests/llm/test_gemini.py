"""Answers as Gemini's generateContent."""

import json
from typing import Any

import pytest

from agentflow.llm import (
    AnswerTooLarge,
    IncompleteStream,
    MalformedAnswer,
    OutputMode,
    ProviderPart,
    ReasoningDelta,
    RefusalDelta,
    StopReason,
    TextDelta,
    TextPart,
    ToolCallDelta,
    Usage,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers import _gemini_calls
from agentflow.llm.providers.gemini import GeminiCodec
from tests.llm.gemini_wire import CODEC, call, chunk, piece, read, sent_back, sse


def test_text_comes_in_deltas_and_makes_one_part() -> None:
    """Every piece is a delta; the finish reason is the end mark."""
    decoder = CODEC.decoder()
    deltas = decoder.feed(
        sse(
            {**chunk({"text": "Hel"}), "modelVersion": "gemini-3"},
            chunk({"text": "lo"}),
            chunk({"text": ""}, finish="STOP"),
        )
    )
    reply = decoder.finish()
    assert deltas == [TextDelta("Hel"), TextDelta("lo")]
    assert reply.message.content == (TextPart("Hello"),)
    assert (reply.id, reply.model) == ("r1", "gemini-3")
    assert (reply.stop, reply.raw_stop) == (StopReason.END, "STOP")


@pytest.mark.parametrize(
    ("word", "stop", "raw"),
    [
        ("STOP", StopReason.END, "STOP"),
        ("MAX_TOKENS", StopReason.LENGTH, "MAX_TOKENS"),
        ("SAFETY", StopReason.REFUSED, "SAFETY"),
        ("PROHIBITED_CONTENT", StopReason.REFUSED, "PROHIBITED_CONTENT"),
        ("OTHER", StopReason.OTHER, "OTHER"),
        ("MALFORMED_FUNCTION_CALL", StopReason.OTHER, "MALFORMED_FUNCTION_CALL"),
        (1, StopReason.END, "STOP"),
        (2, StopReason.LENGTH, "MAX_TOKENS"),
        (77, StopReason.OTHER, "77"),
    ],
)
def test_finish_reasons_are_known(word: Any, stop: StopReason, raw: str) -> None:
    """By word or by number; a new one is other."""
    reply = read(chunk({"text": "x"}, finish=word))
    assert (reply.stop, reply.raw_stop) == (stop, raw)


def test_a_candidate_without_content_is_an_empty_reply() -> None:
    """A filter's stop says why, if the provider does."""
    bare: dict[str, Any] = {"candidates": [{"finishReason": "SAFETY", "content": {}}]}
    assert read(bare).message.content == ()
    told = {"candidates": [{"finishReason": "SPII", "finishMessage": "Names."}]}
    decoder = CODEC.decoder()
    assert decoder.feed(sse(told)) == [RefusalDelta("Names.")]
    reply = decoder.finish()
    assert (reply.stop, reply.refusal) == (StopReason.REFUSED, "Names.")
    assert reply.metadata["finishMessage"] == "Names."


def test_a_blocked_prompt_is_a_refusal() -> None:
    """An answer without candidates, streamed or not."""
    feedback = {"blockReason": "SAFETY", "blockReasonMessage": "Not this."}
    body = {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}}
    for data in (sse(body), json.dumps(body).encode()):
        reply = decode(CODEC, 200, data)
        assert (reply.stop, reply.raw_stop) == (StopReason.REFUSED, "SAFETY")
        assert reply.refusal == "Not this."
        assert reply.metadata["promptFeedback"] == feedback
        assert reply.usage.input_tokens == 3


def test_calls_end_with_stop_and_get_ids() -> None:
    """The provider's id where it sends one, and it goes back only then."""
    reply = read(
        chunk(call(name="a", args={"x": 1}), call(name="b", id="fc_1")),
        chunk(finish="STOP"),
    )
    assert [(c.id, c.name, c.arguments) for c in reply.tool_calls] == [
        ("call_0", "a", '{"x":1}'),
        ("fc_1", "b", "{}"),
    ]
    assert reply.stop is StopReason.TOOL_CALLS
    assert sent_back(reply) == [
        {"functionCall": {"name": "a", "args": {"x": 1}}},
        {"functionCall": {"name": "b", "args": {}, "id": "fc_1"}},
    ]


def test_signatures_go_back_with_their_parts() -> None:
    """Parts with one are not joined with others; an empty one is kept for it."""
    parts: list[Any] = [
        {"text": "Hm", "thought": True},
        {"functionCall": {"name": "a", "args": {}}, "thoughtSignature": "s1"},
        {"text": "One"},
        {"text": "Two", "thoughtSignature": "s2"},
        {"text": "Three"},
        {"text": "", "thoughtSignature": "s3"},
        {"thoughtSignature": "s4"},
        {"text": "", "thought": True},
    ]
    decoder = CODEC.decoder()
    deltas = decoder.feed(sse(*(chunk(p) for p in parts), chunk(finish="STOP")))
    reply = decoder.finish()
    assert deltas == [
        ReasoningDelta("Hm"),
        ToolCallDelta(index=0, id="call_0", name="a", arguments="{}"),
        TextDelta("One"),
        TextDelta("Two"),
        TextDelta("Three"),
    ]
    assert reply.reasoning == "Hm"
    assert reply.text == "OneTwoThree"
    assert sent_back(reply) == [*parts[:6], {"text": "", "thoughtSignature": "s4"}]


def test_other_parts_are_kept_whole() -> None:
    """Code, its output, images, tools of the server: they go back as they came."""
    parts = [
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "aaaa"}, "thought": True},
        {"toolCall": {"id": "t"}, "thoughtSignature": "s"},
        {"one": 1, "two": 2},
    ]
    reply = read(chunk(*parts, finish="STOP"))
    kinds = [p.kind for p in reply.message.content if isinstance(p, ProviderPart)]
    assert kinds == [
        "executableCode",
        "codeExecutionResult",
        "inlineData",
        "toolCall",
        "part",
    ]
    assert sent_back(reply) == parts


def test_a_finish_reason_counts_only_at_the_end() -> None:
    """A model that runs code finishes once before the output."""
    first = chunk({"executableCode": {"code": "1"}}, finish="STOP")
    output = chunk({"codeExecutionResult": {"output": "1"}})
    with pytest.raises(IncompleteStream):
        read(first, output)
    with pytest.raises(IncompleteStream):
        read(first, chunk({"text": "It is"}))
    reply = read(first, output, chunk({"text": "It is 1."}, finish="MAX_TOKENS"))
    assert (reply.stop, reply.text) == (StopReason.LENGTH, "It is 1.")


def test_usage_adds_thoughts_and_tool_prompts() -> None:
    """Counts are cumulative, and a response that has none changes none."""
    usage = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "toolUsePromptTokenCount": 3,
        "cachedContentTokenCount": 4,
        "totalTokenCount": 25,
    }
    reply = read(
        {**chunk({"text": "x"}), "usageMetadata": usage},
        {**chunk(finish="STOP"), "usageMetadata": {"trafficType": "ON_DEMAND"}},
    )
    assert reply.usage == Usage(
        input_tokens=13, output_tokens=12, cached_tokens=4, reasoning_tokens=7
    )
    assert reply.usage.total_tokens == 25
    assert reply.metadata["usage"] == {**usage, "trafficType": "ON_DEMAND"}


def test_what_comes_along_is_metadata() -> None:
    """Ratings of the last response, sources of all, other candidates."""
    other = {"index": 1, "content": {"parts": [{"text": "Or"}]}}
    first = chunk({"text": "x"}, safetyRatings=[{"probability": "LOW"}])
    first["candidates"].append(other)
    reply = read(
        {**first, "createTime": "now"},
        chunk(
            finish="STOP",
            safetyRatings=[{"probability": "HIGH"}],
            groundingMetadata={"webSearchQueries": ["q"]},
        ),
    )
    assert reply.text == "x"
    assert reply.metadata == {
        "candidates": [other],
        "createTime": "now",
        "safetyRatings": [{"probability": "HIGH"}],
        "groundingMetadata": {"webSearchQueries": ["q"]},
    }


def test_arguments_in_pieces_are_put_together() -> None:
    """Texts in several pieces, numbers, lists, and a call without any."""
    decoder = CODEC.decoder()
    deltas = decoder.feed(
        sse(
            chunk(call(name="none"), {"text": "x"}),
            chunk({
                **call(name="cook", id="c1", willContinue=True, toolVersion=2),
                "thoughtSignature": "s",
            }),
            chunk(piece("$.dish", stringValue="Las", willContinue=True)),
            chunk(piece("$.dish", stringValue="agna", willContinue=True)),
            chunk(piece("$.dish", stringValue="")),
            chunk(call(willContinue=True)),
            chunk(piece("$.steps[0].text", stringValue="Cut", willContinue=True)),
            chunk(piece("$.steps[1].text", stringValue="Eat")),
            chunk(piece("$.steps[1].minutes", numberValue=5)),
            chunk(piece("$['a b']", boolValue=True), piece('$["c\\"d"]', nullValue=0)),
            chunk(piece("$.grid[0][0]", numberValue=1)),
            chunk(piece("$.grid[0][0]", numberValue=2), piece("$.unknown", other=1)),
            chunk(call(args={"late": 1}, willContinue=True)),
            chunk(call(), finish="STOP"),
        )
    )
    reply = decoder.finish()
    none, cook = reply.tool_calls
    assert none.parsed() == {}
    assert cook.parsed() == {
        "dish": "Lasagna",
        "steps": [{"text": "Cut"}, {"text": "Eat", "minutes": 5}],
        "a b": True,
        'c"d': None,
        "grid": [[2]],
        "late": 1,
    }
    assert cook.id == "c1"
    assert deltas[-1] == ToolCallDelta(
        index=1, id="c1", name="cook", arguments=cook.arguments
    )
    assert reply.metadata["toolVersion"] == 2
    assert sent_back(reply)[2]["thoughtSignature"] == "s"


def test_a_new_call_ends_the_one_before() -> None:
    """Even if it said that it would go on; marks of later pieces count, too."""
    late = {**piece("$.x", numberValue=1), "thoughtSignature": "s"}
    reply = read(
        chunk(call(name="a", willContinue=True), late),
        chunk(call(name="b", partialArgs=[]), finish="STOP"),
    )
    assert [(c.name, c.arguments) for c in reply.tool_calls] == [
        ("a", '{"x":1}'),
        ("b", "{}"),
    ]
    assert sent_back(reply)[0]["thoughtSignature"] == "s"


def test_a_call_that_was_cut_off_is_broken_json() -> None:
    """So that nobody takes it for a whole one."""
    reply = read(
        chunk(call(name="a", willContinue=True)),
        chunk(piece("$.x", stringValue="hal", willContinue=True), finish="MAX_TOKENS"),
    )
    assert reply.tool_calls[0].arguments == '{"x":"hal"'
    assert reply.tool_calls[0].parsed() is None


@pytest.mark.parametrize(
    "path",
    ["", "$", "x", "$x", "$.a[", "$.a[5]", "$.b.c", "$[0]", "$.l.x", "$" + ".a" * 65],
)
def test_places_that_cannot_be_are_malformed(path: str) -> None:
    """The error quotes the place."""
    pieces = [
        piece("$.b", stringValue="text"),
        piece("$.l[0]", numberValue=1),
        piece(path, numberValue=1),
    ]
    with pytest.raises(MalformedAnswer, match="have no place"):
        read(chunk(call(name="f", willContinue=True), *pieces))


def test_arguments_without_an_end_are_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are bounded before they are text."""
    monkeypatch.setattr(_gemini_calls, "MAX_CHARS", 1000)
    decoder = CODEC.decoder()
    decoder.feed(sse(chunk(call(name="f", willContinue=True))))
    with pytest.raises(AnswerTooLarge, match="1,000 characters"):
        for _ in range(100):
            decoder.feed(sse(chunk(piece("$.x", stringValue="a" * 20))))


def test_a_list_of_responses_is_read_like_a_stream() -> None:
    """As it comes without alt=sse; it needs an end mark, too."""
    chunks = [chunk({"text": "Hel"}), chunk({"text": "lo"}, finish="STOP")]
    assert decode(CODEC, 200, json.dumps(chunks).encode()).text == "Hello"
    with pytest.raises(IncompleteStream):
        decode(CODEC, 200, json.dumps(chunks[:1]).encode())


def test_a_whole_body_ends_by_itself() -> None:
    """With a finish reason or without."""
    body = chunk({"text": "Hello"})
    reply = decode(CODEC, 200, json.dumps(body).encode())
    assert (reply.text, reply.stop) == ("Hello", StopReason.END)


def test_the_codec_says_who_it_is() -> None:
    """Its way to objects can be set."""
    assert (CODEC.api, CODEC.output_mode) == ("gemini", OutputMode.NATIVE)
    assert GeminiCodec(output_mode=OutputMode.TOOL).output_mode is OutputMode.TOOL
