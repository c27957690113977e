"""Reading Gemini's errors, whose details say more than their status does.

A bad key is a 400, told apart by the reason in its details only. How long to wait stands
there too, not in a header.
"""

import re
from collections.abc import Iterable

import attrs

from agentflow.llm._errors import ProviderError
from agentflow.llm._json import (
    JSON,
    InvalidJSON,
    JSONObject,
    as_label,
    as_list,
    as_object,
    as_text,
    loads,
)
from agentflow.llm.providers._failures import (
    error_from_body,
    provider_error,
    read_failure,
)

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def gemini_error(status: int, body: bytes) -> ProviderError:
    """Make the typed error of an answer whose status says that it is one.

    Args:
        status: HTTP status.
        body: The body, or as much of it as was read.

    Returns:
        The error, not raised.
    """
    try:
        value = loads(body)
    except InvalidJSON:
        return error_from_body(status, body)
    return error_in(status, value) if _error(value) else error_from_body(status, body)


def error_in(status: int, value: JSON) -> ProviderError:
    """Make the typed error that an object holds.

    Args:
        status: HTTP status of the answer it came in.
        value: The object, or a list around it.

    Returns:
        The error, not raised.
    """
    failure = read_failure(value)
    details = [as_object(x) for x in as_list(_error(value).get("details"))]
    reason = next((r for d in details if (r := as_label(d.get("reason")))), None)
    # Its number says what kind of error it is, its words tell people more.
    found = provider_error(status, failure, reason or "")
    info = attrs.evolve(found.info, code=reason or failure.kind or failure.code)
    error = type(found)(info=info)
    error.retry_after = _delay(details)
    return error


def _error(value: JSON) -> JSONObject:
    """Find the error's own fields."""
    if isinstance(value, list):
        value = value[0] if value else None
    return as_object(as_object(value).get("error"))


def _delay(details: Iterable[JSONObject]) -> float | None:
    """Read how many seconds to wait, such as "34.07s"; None if it does not say."""
    for detail in details:
        found = _SECONDS.fullmatch(as_text(detail.get("retryDelay")))
        if found is not None and float(found[1]) > 0:
            return float(found[1])
    return None
