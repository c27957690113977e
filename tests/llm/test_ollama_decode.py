"""Answers of Ollama's chat API: lines, ends and errors."""

import json
from typing import Any

import pytest

from agentflow.llm import (
    AnswerTooLarge,
    Blob,
    ContextTooLong,
    IncompleteStream,
    MalformedAnswer,
    NotFound,
    ReasoningDelta,
    ReasoningPart,
    Reply,
    ServerFailed,
    StopReason,
    TextDelta,
    TextPart,
    ToolCallDelta,
    Usage,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers import _ollama_decode
from agentflow.llm.providers.ollama import OllamaCodec

CODEC = OllamaCodec()


def line(content: str = "", *, done: bool = False, **fields: Any) -> dict[str, Any]:
    """Write a line that adds to the message."""
    message = {"role": "assistant", "content": content, **fields.pop("message", {})}
    return {"model": "m", "message": message, "done": done, **fields}


def ndjson(*lines: Any) -> bytes:
    """Write a stream."""
    return "".join(json.dumps(x) + "\n" for x in lines).encode()


def read(*lines: Any) -> Reply:
    """Decode a stream."""
    return decode(CODEC, 200, ndjson(*lines))


def call(arguments: Any, **fields: Any) -> dict[str, Any]:
    """Write a line with a tool call."""
    function = {"name": "f", "arguments": arguments}
    return line(message={"tool_calls": [{"function": function, **fields}]})


END = line(done=True, done_reason="stop")


def test_deltas_come_as_they_are_read() -> None:
    """Thoughts, text and calls; nothing is read behind the end."""
    decoder = CODEC.decoder()
    lines = [line(message={"thinking": "hm"}), line("a"), call({"x": 1}, id="c1")]
    assert decoder.feed(ndjson(*lines)) == [
        ReasoningDelta("hm"),
        TextDelta("a"),
        ToolCallDelta(index=0, id="c1", name="f", arguments='{"x":1}'),
    ]
    decoder.feed(ndjson(END, line("late")))
    assert decoder.done
    reply = decoder.finish()
    assert reply.message.content[:2] == (
        ReasoningPart(text="hm", blob=Blob(api="ollama", raw=None)),
        TextPart("a"),
    )
    assert (reply.model, reply.stop) == ("m", StopReason.TOOL_CALLS)


def test_calls_without_ids_get_one() -> None:
    """Arguments are objects, mostly; each piece is a call of its own."""
    both = [{"function": {"name": "f", "arguments": x}} for x in ({"a": 1}, '{"b": 2}')]
    reply = read(line(message={"tool_calls": both}), call(None), END)
    assert [(x.id, x.name, x.arguments) for x in reply.tool_calls] == [
        ("call_0", "f", '{"a":1}'),
        ("call_1", "f", '{"b": 2}'),
        ("call_2", "f", ""),
    ]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("stop", StopReason.END),
        ("length", StopReason.LENGTH),
        (None, StopReason.END),
        ("load", StopReason.OTHER),
        ("unload", StopReason.OTHER),
        ("custom", StopReason.OTHER),
    ],
)
def test_stop_reasons(reason: str | None, stop: StopReason) -> None:
    """Older servers give none; a model that was only loaded has said nothing."""
    reply = read(line("a", done=True, done_reason=reason))
    assert (reply.raw_stop, reply.stop) == (reason, stop)


def test_counts_are_usage_and_all_else_is_metadata() -> None:
    """That of the prompt is absent where it was cached."""
    counts = {"eval_count": 2, "prompt_eval_count": 3, "total_duration": 9}
    reply = read(
        line("a", logprobs=[1], created_at="t1", message={"images": ["AAAA"]}),
        line("b", done=True, logprobs=[2], created_at="t2", **counts),
    )
    assert reply.usage == Usage(input_tokens=3, output_tokens=2)
    assert reply.metadata == {
        "usage": counts,
        "logprobs": [1, 2],
        "created_at": "t2",
        "images": ["AAAA"],
    }
    assert read(line(done=True, eval_count=2)).usage == Usage(output_tokens=2)
    assert "usage" not in read(END).metadata


def test_one_line_is_a_whole_answer() -> None:
    """With an end of line or without; with a byte order mark, too."""
    whole = ndjson(line("hi", done=True))
    for body in (whole, whole.rstrip(), b"\xef\xbb\xbf" + whole, b"\r\n \r\n" + whole):
        assert decode(CODEC, 200, body).text == "hi"


def test_an_answer_may_be_laid_out_over_several_lines() -> None:
    """As something in between may do."""
    body = json.dumps(line("hi", done=True), indent=2).encode()
    assert decode(CODEC, 200, body).text == "hi"
    with pytest.raises(MalformedAnswer, match="not valid JSON"):
        decode(CODEC, 200, body[:-2])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", None),
        (b"\n\n", None),
        (ndjson(line("ha")), "ha"),
        (ndjson(line("ha")) + b'{"model": "m", "mess', "ha"),
        (b'{"model": "m", "mess', None),
    ],
)
def test_a_stream_without_its_end_is_an_error(body: bytes, text: str | None) -> None:
    """It holds what came, if anything did."""
    with pytest.raises(IncompleteStream) as caught:
        decode(CODEC, 200, body)
    partial = caught.value.partial
    assert (partial.text if partial else None) == text


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("model runner has unexpectedly stopped", ServerFailed),
        ("the input exceeds the context window", ContextTooLong),
    ],
)
def test_an_error_may_come_on_any_line(message: str, kind: type[Exception]) -> None:
    """Inside a good answer; streamed, laid out, or the only line."""
    error = {"error": message}
    bodies = [
        ndjson(line("ha"), error),
        ndjson(error),
        json.dumps(error, indent=1).encode(),
    ]
    for body in bodies:
        with pytest.raises(kind, match=message):
            decode(CODEC, 200, body)


def test_errors_by_status() -> None:
    """The words are all there is in the body."""
    error = CODEC.error(404, {}, b'{"error": "model \'x\' not found"}')
    assert type(error) is NotFound
    assert error.info.message == "model 'x' not found"
    assert type(CODEC.error(500, {}, b'{"error": "no memory"}')) is ServerFailed


@pytest.mark.parametrize(
    "body",
    [
        b"Ollama is running",
        b"<html>no</html>\n",
        b"data: {}\n\n",
        b"[1]\n",
        ndjson(line("ha")) + b"null\n" + ndjson(END),
    ],
)
def test_what_is_no_object_is_malformed(body: bytes) -> None:
    """The base URL is the first suspect."""
    with pytest.raises(MalformedAnswer, match="is the base URL right"):
        decode(CODEC, 200, body)


@pytest.mark.parametrize(
    "junk", [b"{nonsense}\n", b'{"a": "\xff"}\n', b'{"a":' * 50_000 + b"\n"]
)
def test_broken_lines_are_malformed(junk: bytes) -> None:
    """Broken JSON, invalid UTF-8, absurd nesting."""
    with pytest.raises(MalformedAnswer, match="not valid JSON"):
        decode(CODEC, 200, junk)


def test_an_answer_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its text, and in all that comes beside it."""
    piece = ndjson(line("x" * 2**20))
    decoder = CODEC.decoder()
    with pytest.raises(AnswerTooLarge, match="characters"):
        for _ in range(9):
            decoder.feed(piece)
    monkeypatch.setattr(_ollama_decode, "MAX_ANSWER", 10_000)
    decoder = CODEC.decoder()
    with pytest.raises(AnswerTooLarge, match="larger than 10,000 bytes"):
        for _ in range(200):
            decoder.feed(ndjson(line(logprobs=[0.5] * 10)))
