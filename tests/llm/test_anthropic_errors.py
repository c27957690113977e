"""Errors and broken answers of Anthropic Messages."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from agentflow.llm import (
    AnswerTooLarge,
    AuthenticationFailed,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    IncompleteStream,
    LLMError,
    MalformedAnswer,
    NotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    RateLimited,
    Request,
    ServerFailed,
    StopReason,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers import _object_events
from tests.llm.anthropic_wire import (
    CODEC,
    START,
    STOP,
    begun,
    sse,
    stopped,
)


def test_an_error_with_status_200_is_an_error() -> None:
    """As gateways send it."""
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow"}}
    with pytest.raises(RateLimited, match="Slow"):
        decode(CODEC, 200, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", Overloaded),
        ("rate_limit_error", RateLimited),
        ("api_error", ServerFailed),
        ("timeout_error", ServerFailed),
        ("authentication_error", AuthenticationFailed),
        ("permission_error", PermissionDenied),
        ("billing_error", PermissionDenied),
        ("not_found_error", NotFound),
        ("invalid_request_error", BadRequest),
        ("request_too_large", BadRequest),
    ],
)
def test_an_error_in_a_stream_is_raised(kind: str, error: type[ProviderError]) -> None:
    """Documented, though nobody recorded it: an event after a good start."""
    decoder = CODEC.decoder()
    decoder.feed(sse(START, begun(0, type="text", text="Hal")))
    failure = {"type": "error", "error": {"type": kind, "message": "Overloaded"}}
    with pytest.raises(ProviderError, match="Overloaded") as caught:
        decoder.feed(sse(failure))
    assert type(caught.value) is error
    assert (caught.value.code, caught.value.status) == (kind, 200)


@pytest.mark.parametrize(
    ("status", "kind", "message", "error"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", BadRequest),
        (400, "invalid_request_error", "prompt is too long: 9 > 8", ContextTooLong),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 9 + 9 > 10",
            ContextTooLong,
        ),
        (
            400,
            "invalid_request_error",
            "Output blocked by content filtering policy",
            ContentRefused,
        ),
        (401, "authentication_error", "invalid x-api-key", AuthenticationFailed),
        (402, "billing_error", "Pay first", PermissionDenied),
        (403, "permission_error", "Not for you", PermissionDenied),
        (404, "not_found_error", "model: x", NotFound),
        (413, "request_too_large", "Too much", BadRequest),
        (429, "rate_limit_error", "Slow down", RateLimited),
        (500, "api_error", "Oops", ServerFailed),
        (504, "timeout_error", "Late", ServerFailed),
        (529, "overloaded_error", "Overloaded", Overloaded),
    ],
)
def test_errors_by_status_are_typed(
    *, status: int, kind: str, message: str, error: type[LLMError]
) -> None:
    """As documented, with code and words."""
    failure = {"type": "error", "error": {"type": kind, "message": message}}
    found = CODEC.error(status, {}, json.dumps(failure).encode())
    assert type(found) is error
    assert (found.status, found.code, found.info.message) == (status, kind, message)


def test_a_stream_without_its_end_is_incomplete() -> None:
    """A stop reason is not the end mark; what came is in the error."""
    decoder = CODEC.decoder()
    decoder.feed(sse(START, begun(0, type="text", text="Hi"), stopped("end_turn")))
    with pytest.raises(IncompleteStream) as caught:
        decoder.finish()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hi"


@pytest.mark.parametrize("reason", ["end_turn", ""])
def test_done_ends_the_stream_of_a_gateway(reason: str) -> None:
    """It stands for the end mark if a stop reason came before it."""
    decoder = CODEC.decoder()
    start = sse(START, begun(0, type="text", text="Hi"), stopped(reason))
    decoder.feed(start + b"data: [DONE]\n\n")
    assert decoder.done
    if reason:
        assert decoder.finish().text == "Hi"
    else:
        with pytest.raises(IncompleteStream):
            decoder.finish()


def test_what_follows_the_end_is_not_read() -> None:
    """Not even if it is broken."""
    decoder = CODEC.decoder()
    decoder.feed(sse(START, stopped("end_turn"), STOP) + b"data: {broken\n\n")
    assert decoder.finish().stop is StopReason.END


def test_an_event_that_is_no_object_is_malformed() -> None:
    """The error names what it is."""
    with pytest.raises(MalformedAnswer, match="holds list"):
        CODEC.decoder().feed(b"data: [1]\n\n")


def test_the_name_of_an_event_serves_where_its_data_has_none() -> None:
    """Some gateways leave the type out of the data."""
    with pytest.raises(Overloaded):
        CODEC.decoder().feed(
            b'event: error\ndata: {"error":{"type":"overloaded_error"}}\n\n'
        )


def test_an_answer_without_an_end_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept beside the text has a bound, too."""
    monkeypatch.setattr(_object_events, "MAX_ANSWER", 1000)
    decoder = CODEC.decoder()
    with pytest.raises(AnswerTooLarge, match="1,000 bytes"):
        for _ in range(100):
            decoder.feed(sse({"type": "weather"}))


WORDS = st.sampled_from([
    "type",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "index",
    "delta",
    "message",
    "content",
    "content_block",
    "text",
    "text_delta",
    "input_json_delta",
    "partial_json",
    "thinking",
    "tool_use",
    "usage",
    "stop_reason",
    "stop_details",
    "citations",
    "citation",
    "citations_delta",
])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5)
    ),
    max_leaves=12,
)
KINDS = st.sampled_from([
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
])
FIELDS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(WORDS, VALUES, max_size=5)


@st.composite
def an_event(draw: st.DrawFn) -> dict[str, Any]:
    """Make up an event of a known kind."""
    return {**draw(FIELDS), "type": draw(KINDS)}


@settings(deadline=None, max_examples=60)
@given(st.lists(an_event(), max_size=8))
def test_no_event_breaks_the_decoder(events: list[dict[str, Any]]) -> None:
    """Whatever stands where, there is a reply or a typed error."""
    try:
        reply = decode(CODEC, 200, sse(*events))
    except LLMError:
        return
    CODEC.encode(Request(model="m", messages=(reply.message,)))
