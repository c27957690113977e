"""Answers of the Responses API that are none: cut off, errors, nonsense."""

import json
from typing import Any

import pytest

from agentflow.llm import (
    AnswerTooLarge,
    AuthenticationFailed,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    IncompleteStream,
    MalformedAnswer,
    NotFound,
    PermissionDenied,
    RateLimited,
    ReasoningPart,
    ServerFailed,
    ToolCall,
)
from agentflow.llm._codec import decode
from tests.llm.responses_wire import (
    CODEC,
    added,
    argued,
    call,
    event,
    last,
    message,
    read,
    said,
    sse,
    thought,
)


def test_done_alone_is_no_end_mark() -> None:
    """Behind the last event it is not even read."""
    whole = sse(last(message("hi"))) + b"data: [DONE]\n\n"
    assert decode(CODEC, 200, whole).text == "hi"
    with pytest.raises(IncompleteStream) as caught:
        decode(CODEC, 200, sse(said("hi")) + b"data: [DONE]\n\n")
    assert caught.value.partial is not None
    assert caught.value.partial.text == "hi"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        sse(event("created", response={"id": "r1"})),
        json.dumps({"status": "in_progress", "output": []}).encode(),
    ],
)
def test_an_answer_that_has_not_come_is_incomplete(body: bytes) -> None:
    """Also one that is still being worked on in the background."""
    with pytest.raises(IncompleteStream) as caught:
        decode(CODEC, 200, body)
    assert caught.value.partial is None


def test_a_cut_answer_holds_what_came() -> None:
    """Nothing of it is marked as whole."""
    stream = [thought("hm"), added(1, **call("")), argued('{"a"', 1)]
    with pytest.raises(IncompleteStream) as caught:
        read(*stream)
    assert caught.value.partial is not None
    assert caught.value.partial.message.content == (
        ReasoningPart(text="hm"),
        ToolCall(id="c1", name="add", arguments='{"a"'),
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", RateLimited),
        ("insufficient_quota", PermissionDenied),
        ("server_error", ServerFailed),
        ("invalid_prompt", BadRequest),
        ("image_too_large", BadRequest),
        ("image_content_policy_violation", ContentRefused),
        ("context_length_exceeded", ContextTooLong),
        (None, ServerFailed),
    ],
)
@pytest.mark.parametrize("shape", ["nested", "flat", "failed", "bare"])
def test_errors_in_a_stream(
    shape: str, code: str | None, kind: type[Exception]
) -> None:
    """In the shapes that are documented, and in the one that is not."""
    error = {"code": code, "message": "Words.", "param": None}
    shapes: dict[str, dict[str, Any]] = {
        "nested": {"type": "error", "error": error},
        "flat": {"type": "error", "sequence_number": 3, **error},
        "failed": last(kind="failed", error=error),
        "bare": {"error": error},
    }
    with pytest.raises(kind, match=r"Words\.") as caught:
        read(said("hi"), shapes[shape])
    assert getattr(caught.value, "code", "") == code
    assert getattr(caught.value, "status", 0) == 200


def test_a_failure_without_words_is_one_all_the_same() -> None:
    """It may have a status only, or a code only."""
    with pytest.raises(ServerFailed, match="the response failed"):
        read(last(kind="failed"))
    with pytest.raises(RateLimited, match="rate_limit_exceeded: the response failed"):
        read(last(kind="failed", error={"code": "rate_limit_exceeded"}))


def test_errors_of_a_whole_body() -> None:
    """Inside a 200 answer, too."""
    with pytest.raises(RateLimited):
        decode(CODEC, 200, b'{"error": {"code": "rate_limit", "message": "Slow."}}')
    with pytest.raises(MalformedAnswer, match="holds no output"):
        decode(CODEC, 200, b'{"choices": []}')
    failed = b'{"status": "failed", "output": [], "error": {"code": "server_error"}}'
    with pytest.raises(ServerFailed):
        decode(CODEC, 200, failed)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"code": "model_not_found", "message": "No."}}, NotFound),
        (400, {"code": "x", "error": "Model not found: grok-9"}, NotFound),
        (400, {"code": "x", "error": "Incorrect API key"}, AuthenticationFailed),
        (401, {"detail": "Could not parse your token."}, AuthenticationFailed),
        (429, {"error": {"code": "insufficient_quota", "message": "No."}}, RateLimited),
    ],
)
def test_errors_by_status(status: int, body: Any, kind: type[Exception]) -> None:
    """As the servers that were recorded send them."""
    error = CODEC.error(status, {}, json.dumps(body).encode())
    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize(
    "body",
    [
        b"data: nonsense\n\n",
        b"data: [1]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"type": "\xff"}\n\n',
        b"<html>no</html>",
        b"[]",
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    """Broken JSON, absurd nesting, invalid UTF-8, web pages."""
    with pytest.raises(MalformedAnswer):
        decode(CODEC, 200, body)


def test_an_answer_has_bounds() -> None:
    """In its text, and in the number of its items and texts."""
    decoder = CODEC.decoder()
    piece = sse(said("x" * 2**20))
    with pytest.raises(AnswerTooLarge, match="characters"):
        for _ in range(9):
            decoder.feed(piece)
    with pytest.raises(AnswerTooLarge, match="parts"):
        read(*(added(x, type="message") for x in range(5000)))
    with pytest.raises(AnswerTooLarge, match="parts"):
        read(*(thought("", part=x) for x in range(5000)))
