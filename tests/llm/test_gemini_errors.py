"""Errors and broken answers of Gemini."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from agentflow.llm import (
    AuthenticationFailed,
    BadRequest,
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
)
from agentflow.llm._codec import decode
from tests.llm.gemini_wire import CODEC, chunk, sse


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"usageMetadata": {}}])
def test_a_body_without_candidates_is_malformed(body: Any) -> None:
    """The error says what is missing."""
    with pytest.raises(MalformedAnswer, match="no candidates"):
        decode(CODEC, 200, json.dumps(body).encode())


def test_a_body_that_only_has_words_is_an_error() -> None:
    """As gateways send them."""
    with pytest.raises(ProviderError, match="Quota"):
        decode(CODEC, 200, b'{"message":"Quota"}')


@pytest.mark.parametrize("framing", ["sse", "list"])
def test_an_error_in_a_stream_is_raised(framing: str) -> None:
    """Its number says what kind it is, its word is the code."""
    failure = {"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE"}}
    chunks = [chunk({"text": "Hal"}), failure]
    body = sse(*chunks) if framing == "sse" else json.dumps(chunks).encode()
    with pytest.raises(Overloaded, match="Busy") as caught:
        decode(CODEC, 200, body)
    assert (caught.value.code, caught.value.status) == ("UNAVAILABLE", 200)


def test_done_means_nothing() -> None:
    """Gateways that add it send a finish reason, too."""
    body = sse(chunk({"text": "Hi"}, finish="STOP")) + b"data: [DONE]\n\n"
    assert decode(CODEC, 200, body).text == "Hi"
    with pytest.raises(IncompleteStream):
        decode(CODEC, 200, b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("status", "word", "message", "error"),
    [
        (400, "INVALID_ARGUMENT", "Bad temperature", BadRequest),
        (400, "INVALID_ARGUMENT", "The input token count (9) exceeds", ContextTooLong),
        (400, "FAILED_PRECONDITION", "Location is not supported", BadRequest),
        (401, "UNAUTHENTICATED", "Who?", AuthenticationFailed),
        (403, "PERMISSION_DENIED", "No", PermissionDenied),
        (404, "NOT_FOUND", "models/x is not found", NotFound),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded", RateLimited),
        (500, "INTERNAL", "Oops", ServerFailed),
        (503, "UNAVAILABLE", "The model is overloaded.", Overloaded),
        (504, "DEADLINE_EXCEEDED", "Late", ServerFailed),
    ],
)
def test_errors_by_status_are_typed(
    *, status: int, word: str, message: str, error: type[LLMError]
) -> None:
    """In an object or in a list around it, with the word as code."""
    failure = {"error": {"code": status, "message": message, "status": word}}
    for value in (failure, [failure]):
        found = CODEC.error(status, {}, json.dumps(value).encode())
        assert type(found) is error
        assert (found.status, found.code, found.info.message) == (status, word, message)


def test_a_bad_key_is_told_apart_from_a_bad_request() -> None:
    """Both are 400; the reason stands in the details."""
    details = [{"@type": "x"}, {"reason": "API_KEY_INVALID"}]
    failure = {"code": 400, "message": "Pass a key.", "details": details}
    body = json.dumps({"error": {**failure, "status": "INVALID_ARGUMENT"}}).encode()
    found = CODEC.error(400, {}, body)
    assert isinstance(found, AuthenticationFailed)
    assert found.code == "API_KEY_INVALID"


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("34.5s", 34.5), ("7s", 7.0), ("0s", None), ("soon", None), (5, None)],
)
def test_how_long_to_wait_stands_in_the_details(delay: Any, seconds: Any) -> None:
    """Not in a header."""
    details = [{"quotaId": "x"}, {"retryDelay": delay}]
    failure = {"code": 429, "message": "Slow", "details": details}
    found = CODEC.error(429, {}, json.dumps({"error": failure}).encode())
    assert isinstance(found, RateLimited)
    assert found.retry_after == seconds


@pytest.mark.parametrize(
    "body", [b"<html>Oops</html>", b'{"detail":"Oops"}', b"[]", b""]
)
def test_errors_of_other_shapes_are_typed(body: bytes) -> None:
    """As proxies send them."""
    found = CODEC.error(502, {}, body)
    assert isinstance(found, ServerFailed)
    assert ("Oops" in str(found)) == (b"Oops" in body)


WORDS = st.sampled_from([
    "candidates",
    "content",
    "parts",
    "text",
    "thought",
    "thoughtSignature",
    "functionCall",
    "name",
    "args",
    "partialArgs",
    "willContinue",
    "jsonPath",
    "$.a",
    "$.a[0]",
    "stringValue",
    "numberValue",
    "finishReason",
    "STOP",
    "index",
    "usageMetadata",
    "promptTokenCount",
    "promptFeedback",
    "blockReason",
    "error",
])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5)
    ),
    max_leaves=12,
)
PARTS = st.lists(st.dictionaries(WORDS, VALUES, max_size=4) | VALUES, max_size=4)
FIELDS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(WORDS, VALUES, max_size=5)


@st.composite
def a_response(draw: st.DrawFn) -> dict[str, Any]:
    """Make up a response with some parts."""
    fields = draw(FIELDS)
    parts: list[Any] = draw(PARTS)
    return {**fields, **chunk(*parts, finish=fields.get("finishReason"))}


@settings(deadline=None, max_examples=60)
@given(st.lists(a_response() | FIELDS, max_size=6))
def test_no_response_breaks_the_decoder(chunks: list[Any]) -> None:
    """Whatever stands where, there is a reply or a typed error."""
    try:
        reply = decode(CODEC, 200, sse(*chunks))
    except LLMError:
        return
    CODEC.encode(Request(model="gemini-3", messages=(reply.message,)))
