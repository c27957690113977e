"""Error answers of all shapes."""

import json

import pytest

from agentflow.llm import (
    AuthenticationFailed,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    LLMError,
    NotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    RateLimited,
    ServerFailed,
)
from agentflow.llm.providers import ChatCodec


def error(status: int, body: object) -> LLMError:
    """Read an error answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ChatCodec().error(status, {}, raw)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, ProviderError),
        (400, BadRequest),
        (401, AuthenticationFailed),
        (402, PermissionDenied),
        (403, PermissionDenied),
        (404, NotFound),
        (409, ProviderError),
        (422, BadRequest),
        (429, RateLimited),
        (500, ServerFailed),
        (502, ServerFailed),
        (503, Overloaded),
        (529, Overloaded),
    ],
)
def test_the_status_decides(status: int, kind: type) -> None:
    """What kind of error it is."""
    assert type(error(status, {})) is kind


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c"}}, "c", "m"),
        ({"error": {"message": "m", "type": "t", "code": None}}, "t", "m"),
        ({"error": {"message": "m", "code": 400, "status": "S"}}, "400", "m"),
        ({"error": "m"}, None, "m"),
        ({"error": "m", "code": "c"}, "c", "m"),
        ({"object": "error", "message": "m", "type": "t", "code": 1}, "1", "m"),
        ({"detail": "m"}, None, "m"),
        ({"detail": [{"loc": ["a"]}]}, None, '[{"loc":["a"]}]'),
        ({"message": {"detail": "x"}}, None, '{"detail":"x"}'),
        ({"id": "x", "message": "m"}, None, "m"),
        ([{"error": {"message": "m", "code": 5}}], "5", "m"),
        ([], None, "[]"),
        ("m", None, "m"),
        (
            {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {"raw": "why"},
                }
            },
            None,
            "Provider returned error: why",
        ),
        (b"<html>\n <b>no</b></html>", None, "<html> <b>no</b></html>"),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        (b"", None, None),
    ],
)
def test_code_and_words_are_found(
    body: object, code: str | None, message: str | None
) -> None:
    """In whatever shape the provider writes them."""
    info = error(400, body).info
    assert (info.status, info.code, info.message) == (400, code, message)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"code": "context_length_exceeded"}}, ContextTooLong),
        (400, {"error": {"message": "prompt is too long: 5 tokens"}}, ContextTooLong),
        (400, {"error": {"type": "exceed_context_size_error"}}, ContextTooLong),
        (400, {"error": {"code": "content_filter"}}, ContentRefused),
        (400, {"error": {"message": "API key not valid."}}, AuthenticationFailed),
        (400, {"error": {"message": "content_filter is no field"}}, BadRequest),
        (429, {"error": {"message": "maximum context length"}}, RateLimited),
    ],
)
def test_words_tell_apart_what_shares_a_status(
    status: int, body: object, kind: type
) -> None:
    """Where the status means many things."""
    assert type(error(status, body)) is kind
