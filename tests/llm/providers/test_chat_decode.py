"""Answers as Chat Completions, in all their dialects."""

import json
from typing import Any

import pytest

from agentflow.llm import (
    BadRequest,
    ContextTooLong,
    IncompleteStream,
    MalformedAnswer,
    Overloaded,
    ProviderError,
    ProviderPart,
    RateLimited,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Request,
    ServerFailed,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers import ChatCodec

CODEC = ChatCodec()


def sse(*chunks: Any, done: bool = True) -> bytes:
    """Write a stream."""
    lines = [f"data: {json.dumps(c)}\n\n" for c in chunks]
    return "".join(lines + ["data: [DONE]\n\n"] * done).encode()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """Write a chunk that adds to the message."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def read(*chunks: Any, done: bool = True) -> Reply:
    """Decode a stream."""
    return decode(CODEC, 200, sse(*chunks, done=done))


def call(index: int | None = 0, **function: Any) -> dict[str, Any]:
    """Write a chunk with a piece of a tool call."""
    piece: dict[str, Any] = {"function": function}
    if "id" in function:
        piece["id"] = function.pop("id")
    if index is not None:
        piece["index"] = index
    return delta(tool_calls=[piece])


def calls_of(reply: Reply) -> list[tuple[str, str, str]]:
    """List the calls of a reply."""
    return [(c.id, c.name, c.arguments) for c in reply.tool_calls]


STOP = delta("stop")


def test_deltas_come_as_they_are_read() -> None:
    """Text, reasoning, refusal and calls, each as what it is."""
    decoder = CODEC.decoder()
    chunks = [
        delta(reasoning="hm"),
        delta(content="a"),
        delta(refusal="no"),
        call(id="c", name="f", arguments='{"x"'),
        call(arguments=": 1}"),
    ]
    got = [d for c in chunks for d in decoder.feed(sse(c, done=False))]
    assert got == [
        ReasoningDelta("hm"),
        TextDelta("a"),
        RefusalDelta("no"),
        ToolCallDelta(index=0, id="c", name="f", arguments='{"x"'),
        ToolCallDelta(index=0, id="c", name="f", arguments=": 1}"),
    ]
    ends = [decoder.done]
    decoder.feed(sse(delta("tool_calls")))
    ends.append(decoder.done)
    assert ends == [False, True]
    assert decoder.feed(sse(delta(content="late"))) == ()
    assert decoder.finish().text == "a"


def test_a_whole_body_is_read_as_well() -> None:
    """From a server that did not stream, with white space before it."""
    body = {
        "id": "x",
        "model": "m-1",
        "choices": [{"message": {"content": "hi"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        "service_tier": "default",
    }
    reply = decode(CODEC, 200, b"\n \n" + json.dumps(body).encode())
    assert (reply.text, reply.id, reply.model) == ("hi", "x", "m-1")
    assert (reply.stop, reply.raw_stop) == (StopReason.LENGTH, "length")
    assert reply.usage == Usage(input_tokens=3, output_tokens=2)
    assert reply.metadata["service_tier"] == "default"


def test_a_whole_body_needs_no_finish_reason() -> None:
    """It is whole by itself."""
    body = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": ""}]}'
    assert decode(CODEC, 200, body).stop is StopReason.END


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b" \n"])
@pytest.mark.parametrize("body", [sse(delta("stop", content="hi"))], ids=["stream"])
def test_leading_bytes_that_mean_nothing(start: bytes, body: bytes) -> None:
    """A byte order mark or white space, in one piece or byte by byte."""
    decoder = CODEC.decoder()
    for byte in start + body:
        decoder.feed(bytes([byte]))
    decoder.feed(b"")
    assert decoder.finish().text == "hi"


@pytest.mark.parametrize(
    ("word", "stop"),
    [
        ("stop", StopReason.END),
        ("eos", StopReason.END),
        ("length", StopReason.LENGTH),
        ("content_filter", StopReason.REFUSED),
        ("tool_calls", StopReason.END),
        ("COMPLETE", StopReason.OTHER),
    ],
)
def test_finish_reasons(word: str, stop: StopReason) -> None:
    """One vocabulary; the provider's word is kept. No calls, no TOOL_CALLS."""
    reply = read(delta(word, content="x"))
    assert (reply.stop, reply.raw_stop) == (stop, word)


def test_stop_with_calls_means_that_they_are_wanted() -> None:
    """OpenAI says so for a forced tool, Ollama for any."""
    assert read(call(name="f"), STOP).stop is StopReason.TOOL_CALLS


def test_content_behind_the_finish_reason_counts() -> None:
    """As Together, Mistral and Baseten send it; usage too."""
    usage: Any = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    reply = read(delta("stop", content="a"), delta(content="b"), usage)
    assert reply.text == "ab"
    assert reply.usage.total_tokens == 3


def test_done_is_not_needed_behind_a_finish_reason() -> None:
    """Perplexity and Hugging Face never send it; the last blank line may lack, too."""
    assert read(delta("stop", content="a"), done=False).text == "a"
    body = sse(delta("stop", content="a"), done=False).rstrip()
    assert decode(CODEC, 200, body).text == "a"


@pytest.mark.parametrize(("total", "output"), [(35, 25), (15, 5), (0, 5)])
def test_reasoning_is_part_of_the_output(total: int, output: int) -> None:
    """Also where the provider counts it beside the answer, as the sum tells."""
    usage: Any = {
        "choices": [],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": total,
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
    }
    used = read(delta("stop", content="a"), usage).usage
    assert (used.output_tokens, used.reasoning_tokens) == (output, 20)


def test_done_without_finish_reason_needs_usage() -> None:
    """Only a server that is through with an answer counts it."""
    usage: Any = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    assert read(delta(content="a"), usage).stop is StopReason.END
    with pytest.raises(IncompleteStream):
        read(delta(content="a"))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", None),
        (b" ", None),
        (b": ping\n", None),
        (sse(delta(content="ha"), done=False), "ha"),
        (sse(delta(content="ha"), done=False) + b'data: {"choices": [{"de', "ha"),
    ],
)
def test_a_stream_without_its_end_mark_is_an_error(
    body: bytes, text: str | None
) -> None:
    """It holds what came, if anything did."""
    with pytest.raises(IncompleteStream) as caught:
        decode(CODEC, 200, body)
    partial = caught.value.partial
    assert (partial.text if partial else None) == text
    assert caught.value.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"<html>no</html>",
        b"Not found",
        b"{",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b"data: nonsense\n\n",
        b"data: [1]\n\n",
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    """Web pages, broken JSON, invalid UTF-8, absurd nesting."""
    with pytest.raises(MalformedAnswer):
        decode(CODEC, 200, body)


def test_malformed_answers_are_quoted() -> None:
    """And the base URL is the first suspect."""
    with pytest.raises(MalformedAnswer, match=r"'Hello!'; is the base URL right\?"):
        decode(CODEC, 200, b"Hello!")
    with pytest.raises(MalformedAnswer, match="starts with 'nonsense'"):
        decode(CODEC, 200, b"data: nonsense\n\n")


ODD: list[dict[str, Any]] = [
    {"choices": None},
    {"choices": [None]},
    {"choices": [{}]},
    {"choices": [{"index": 0, "delta": None}]},
    {"choices": [{"index": 0, "delta": {"content": None, "tool_calls": None}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": "x", "function_call": {}}}]},
    {"choices": [{"index": 0, "delta": {"content": 1, "role": None}}]},
    {"choices": [], "prompt_filter_results": [{"x": 1}]},
    {"usage": None},
    {"usage": {"prompt_tokens": "x", "completion_tokens": None}},
    {"error": None},
    {},
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_chunks_do_no_harm(odd: dict[str, Any]) -> None:
    """Keys that are missing, null or of another type."""
    assert read(odd, delta(content="a"), odd, STOP).text == "a"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"message": "m", "code": 502}}, ServerFailed),
        ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, RateLimited),
        ({"error": {"message": "m", "type": "overloaded_error"}}, Overloaded),
        ({"error": {"message": "Context size has been exceeded."}}, ContextTooLong),
        ({"error": "text"}, ServerFailed),
        ({"choices": [{"error": {"code": 400, "message": "m"}}]}, BadRequest),
        (delta("error"), ServerFailed),
        (delta("insufficient_system_resource"), Overloaded),
    ],
)
def test_errors_inside_a_stream(error: dict[str, Any], kind: type) -> None:
    """In the chunk, in the choice, or as a finish reason."""
    with pytest.raises(ProviderError) as caught:
        read(delta(content="a"), error)
    assert type(caught.value) is kind


def test_an_error_event_is_an_error() -> None:
    """As Groq sends it when the model's call does not fit the tool."""
    body = b'event: error\ndata: {"error":{"message":"m","code":"tool_use_failed"}}\n\n'
    with pytest.raises(BadRequest) as caught:
        decode(CODEC, 200, body)
    assert caught.value.code == "tool_use_failed"


def test_a_status_of_failure_is_an_error() -> None:
    """Whatever the body is."""
    with pytest.raises(ServerFailed, match="lost it"):
        decode(CODEC, 500, b'{"error": {"message": "lost it"}}')


def test_text_that_is_empty_is_no_delta() -> None:
    """Beside something else in the same chunk."""
    decoder = CODEC.decoder()
    got = decoder.feed(sse(delta(content="", reasoning="hm"), done=False))
    assert list(got) == [ReasoningDelta("hm")]


def test_an_error_body_with_a_good_status() -> None:
    """Its code stands for the status it should have had."""
    with pytest.raises(RateLimited, match="slow down"):
        decode(CODEC, 200, b'\n\n{"error": {"code": 429, "message": "slow down"}}')
    half = (
        b'{"error": {"code": 502, "message": "lost it"}, "choices": [{"message": {}}]}'
    )
    with pytest.raises(ServerFailed, match="lost it"):
        decode(CODEC, 200, half)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_goes_back_as_it_came(field: str) -> None:
    """Decoded and encoded again it stands in the same field."""
    reply = read(
        delta(**{field: "a"}), delta(**{field: "b"}), delta("stop", content="x")
    )
    assert (reply.reasoning, reply.text) == ("ab", "x")
    request = Request(model="m", messages=[reply.message])
    (message,) = sent(request)
    assert message == {"role": "assistant", "content": "x", field: "ab"}


def sent(request: Request) -> Any:
    """Encode a request and return its messages."""
    return CODEC.encode(request).json["messages"]


def test_reasoning_details_are_merged_and_go_back() -> None:
    """Texts of one detail are joined, signatures kept; they repeat the text beside."""
    pieces = [
        {"type": "reasoning.text", "text": "a", "index": 0, "format": None},
        {"type": "reasoning.text", "text": "b", "index": 0, "signature": "s"},
        {"type": "reasoning.text", "text": "", "index": 0, "signature": None},
        {"type": "reasoning.encrypted", "data": "d", "index": 1},
    ]
    chunks = [delta(reasoning=p.get("text", ""), reasoning_details=[p]) for p in pieces]
    reply = read(*chunks, delta("stop", content="x"))
    assert reply.reasoning == "ab"
    (message,) = sent(Request(model="m", messages=[reply.message]))
    assert message["reasoning"] == "ab"
    assert message["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "ab",
            "index": 0,
            "format": None,
            "signature": "s",
        },
        {"type": "reasoning.encrypted", "data": "d", "index": 1},
    ]


def test_details_alone_are_readable_reasoning() -> None:
    """Where no other field repeats them."""
    piece = {"type": "reasoning.summary", "summary": "s", "index": 0}
    assert read(delta(reasoning_details=[piece, None]), STOP).reasoning == "s"


def test_content_may_be_a_list() -> None:
    """As Mistral sends thinking; unknown parts are kept and go back."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "a"},
        "b",
        {"type": "reference", "ids": [1]},
        {"other": 1},
        {},
    ]
    reply = read(delta("stop", content=parts))
    assert (reply.reasoning, reply.text) == ("hm", "ab")
    kinds = [p.kind for p in reply.message.content if isinstance(p, ProviderPart)]
    assert kinds == ["reference", "part"]
    (message,) = sent(Request(model="m", messages=[reply.message]))
    assert message["content"] == [
        parts[0],
        {"type": "text", "text": "ab"},
        parts[3],
        parts[4],
    ]
