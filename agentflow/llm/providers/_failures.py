"""Reading errors: what providers send as an error body, and what it means.

The shapes are many and undocumented: ``{"error": {...}}``, ``{"error": "text"}``, the
fields at the top level, ``{"detail": ...}``, a list around any of these, or a web page.
Codes are strings or numbers. The status decides what kind of error it is; inside a 200
answer, and for what statuses do not tell apart, the code and the words do.
"""

import re
from collections.abc import Mapping

import attrs

from agentflow.llm._errors import (
    AuthenticationFailed,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    ErrorInfo,
    NotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    RateLimited,
    ServerFailed,
)
from agentflow.llm._json import (
    JSON,
    InvalidJSON,
    JSONObject,
    as_label,
    as_object,
    as_text,
    dumps,
    loads,
)

_SNIPPET = 500
"""Characters of an unreadable error body to quote."""

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    402: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    405: NotFound,
    413: BadRequest,
    415: BadRequest,
    422: BadRequest,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}

_BY_WORD: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = tuple(
    (re.compile(words), kind)
    for words, kind in (
        (r"overloaded|unavailable|insufficient_system_resource", Overloaded),
        (r"rate_?limit|too_many_requests|resource_exhausted|throttl", RateLimited),
        (r"authentication|invalid_api_key|unauthenticated", AuthenticationFailed),
        (r"permission|billing|insufficient_quota|forbidden", PermissionDenied),
        (r"not_?found", NotFound),
        (r"invalid|bad_?request|unprocessable|tool_use_failed|unsupported", BadRequest),
        (r"too_large|failed_precondition", BadRequest),
        (r"image_|_image", BadRequest),
        (r"server|internal|api_error|timeout", ServerFailed),
    )
)
"""What the codes of errors inside a 200 answer mean, first match first."""

_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|context[ _]size|maximum context length"
    r"|context window|prompt is too long|too many tokens|model_max_length"
    r"|string_above_max_length|maximum prompt length|input token count"
    r"|exceed context limit",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api_key_invalid|api key not valid|incorrect api key", re.IGNORECASE
)
_NO_MODEL = re.compile(r"model_not_found|\bmodel not found", re.IGNORECASE)
_AMBIGUOUS = frozenset({200, 400, 413, 422, 500})
"""Statuses that stand for many things, so that the words decide."""

_REFUSED = re.compile(
    r"content_filter|content_policy|content policy|responsibleai|data_inspection_failed"
    r"|safety_violation|moderation",
    re.IGNORECASE,
)

_FILTERED = "blocked by content filtering"
"""What Anthropic says under a code that stands for any bad request."""


@attrs.frozen(kw_only=True)
class Failure:
    """What an error body says.

    Attributes:
        code: Its code or, failing that, its type.
        kind: Its type or status word.
        message: Its words.
    """

    code: str | None = None
    kind: str | None = None
    message: str | None = None


def read_failure(value: JSON) -> Failure:
    """Find code, type and words in an error object of any shape.

    Args:
        value: The parsed body, or event, that holds the error.

    Returns:
        What it says; empty if it says nothing.
    """
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, str):
        return Failure(message=value)
    outer = as_object(value)
    inner = outer.get("error")
    if isinstance(inner, str) and inner:
        return Failure(code=as_label(outer.get("code")), message=inner)
    fields = inner if isinstance(inner, dict) else outer
    kind = as_label(fields.get("type")) or as_label(fields.get("status"))
    return Failure(
        code=as_label(fields.get("code")) or kind, kind=kind, message=_words(fields)
    )


def _words(fields: JSONObject) -> str | None:
    """Find the words of an error; a gateway's own ones say less than those it hides."""
    raw = as_object(fields.get("metadata")).get("raw")
    for key in ("message", "detail", "error_message", "msg", "reason"):
        value = fields.get(key)
        if isinstance(value, dict | list) and value:
            return dumps(value)[:_SNIPPET]
        if isinstance(value, str) and value:
            return f"{value}: {raw}" if isinstance(raw, str) and raw else value
    return None


def provider_error(status: int, failure: Failure, kind: str = "") -> ProviderError:
    """Make the typed error that a failure is.

    Args:
        status: HTTP status of the answer it came in; 200 for an error inside an answer.
        failure: What the error says.
        kind: A further word to know it by, such as the name of the event it came in.

    Returns:
        The error, not raised.
    """
    info = ErrorInfo(status=status, code=failure.code, message=failure.message)
    return _kind_of(status, failure, kind)(info=info)


def _kind_of(status: int, failure: Failure, kind: str) -> type[ProviderError]:
    """Choose the class of error."""
    words = f"{failure.code or ''} {failure.kind or ''} {kind}".lower()
    special = _special_kind(status, words, failure.message or "")
    if special is not None:
        return special
    if not _is_good(status):
        return _by_status(status)
    if failure.code is not None and failure.code.isdecimal():
        # Inside a good answer, the code may be the status it would have had.
        return _by_status(int(failure.code))
    return next((k for pattern, k in _BY_WORD if pattern.search(words)), ServerFailed)


def _is_good(status: int) -> bool:
    """Return True for a status that says nothing of an error."""
    return 200 <= status < 300  # noqa: PLR2004 - the 2xx range


def _special_kind(status: int, words: str, message: str) -> type[ProviderError] | None:
    """Tell apart what shares a status with other errors."""
    if status not in _AMBIGUOUS:
        return None
    if _CONTEXT.search(f"{words} {message}"):
        return ContextTooLong
    if _REFUSED.search(words) or _FILTERED in message.lower():
        return ContentRefused
    if _BAD_KEY.search(f"{words} {message}"):
        return AuthenticationFailed
    return NotFound if _NO_MODEL.search(f"{words} {message}") else None


def _by_status(status: int) -> type[ProviderError]:
    """Choose the class of error by the status alone."""
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return ServerFailed if status >= 500 else ProviderError  # noqa: PLR2004 - 5xx


def error_from_body(status: int, body: bytes) -> ProviderError:
    """Make the typed error of an answer whose status says that it is one.

    Args:
        status: HTTP status.
        body: The body, or as much of it as was read.

    Returns:
        The error, not raised.
    """
    try:
        failure = read_failure(loads(body))
    except InvalidJSON:
        failure = Failure()
    if failure.message is None:
        text = " ".join(as_text(body.decode("utf-8", "replace")).split())
        failure = attrs.evolve(failure, message=text[:_SNIPPET] or None)
    return provider_error(status, failure)
