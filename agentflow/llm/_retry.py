"""When to try a failed exchange again, and how long to wait: a decision, no I/O.

What the provider asks for counts first: ``retry-after-ms``, then ``retry-after`` in seconds
or as an HTTP date. It is obeyed up to a bound; a longer wait is the caller's to decide on,
so the error goes to them. ``x-should-retry`` wins over the status. Without either, 408,
409, 429 and 5xx are worth another try, and so is a connection lost before the first byte.
The wait doubles from try to try, and jitter spreads those who failed together.

Never again once part of the answer has been handed on: the caller would see it twice. As
long as nothing has, an answer that breaks off, or goes to pieces after it began well, is
worth another try, too. One that never was an answer (a web page, say) is not, nor is one
that was not through at its deadline.

On an answer with a good status these headers mean nothing (some providers always send
them); a wait that an error inside it asks for is obeyed.
"""

import email.utils
import math
from collections.abc import Mapping

import attrs

from agentflow.llm._errors import (
    AnswerTooLarge,
    IncompleteStream,
    LLMError,
    MalformedAnswer,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFailed,
    TransportError,
)

_STATUSES = frozenset({408, 409, 429})
_SERVER_ERROR = 500
_GOOD = 400

_HOPELESS = frozenset({"insufficient_quota", "enforced_spend_limit_reached"})
"""Codes of a 429 that no wait will mend."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How hard to try.

    Attributes:
        retries: Tries after the first; 0 for none.
        first: Seconds to wait before the first retry.
        longest: Seconds to wait at most between tries, unless the provider asks for more.
        obey: Seconds of a wait that the provider asks for and still gets.
        jitter: Share of the wait that is left to chance.
    """

    retries: int = 2
    first: float = 0.5
    longest: float = 8.0
    obey: float = 120.0
    jitter: float = 0.25


@attrs.frozen(kw_only=True)
class Failure:
    """One failed try.

    Attributes:
        error: What went wrong.
        attempt: Which try it was; 1 is the first.
        status: HTTP status; None if no answer came.
        headers: Headers of the answer, names in lower case.
        begun: True if bytes of an answer's body had come.
        heard: True if they made sense, and were part of an answer.
        given: True if part of the answer has been handed on.
    """

    error: LLMError
    attempt: int
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    begun: bool = False
    heard: bool = False
    given: bool = False


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Read how long the provider asks us to wait.

    Args:
        headers: Headers of the answer, names in lower case.
        now: Seconds since the epoch, to compare an HTTP date with.

    Returns:
        Seconds, more than 0; None if it does not ask.
    """
    waits = (
        _number(headers.get("retry-after-ms"), 0.001),
        _number(headers.get("retry-after"), 1.0),
        _until(headers.get("retry-after"), now),
    )
    return next((w for w in waits if w is not None and w > 0), None)


def retry_delay(
    policy: RetryPolicy, failure: Failure, *, now: float, chance: float
) -> float | None:
    """Say whether to try again, and when.

    Args:
        policy: How hard to try.
        failure: What happened.
        now: Seconds since the epoch.
        chance: A random number from 0 up to 1.

    Returns:
        Seconds to wait before the next try; None to give up.
    """
    if failure.given or failure.attempt > policy.retries or not _worth_it(failure):
        return None
    wait = _asked(failure, now)
    if wait is not None:
        return wait if wait <= policy.obey else None
    doubled = policy.first * 2.0 ** min(failure.attempt - 1, 30)
    return min(doubled, policy.longest) * (1 - policy.jitter * chance)


def _asked(failure: Failure, now: float) -> float | None:
    """Return how long the provider asks us to wait, in a header or in the error."""
    wait = None
    if failure.status is not None and failure.status >= _GOOD:
        wait = retry_after(failure.headers, now=now)
    if wait is None and isinstance(failure.error, ProviderError):
        wait = failure.error.retry_after
    return wait


def _worth_it(failure: Failure) -> bool:
    """True if another try may end better."""
    error = failure.error
    if isinstance(error, TransportError):
        return not failure.begun
    if isinstance(error, MalformedAnswer):
        return failure.heard and not isinstance(error, AnswerTooLarge)
    if isinstance(error, IncompleteStream):
        return True
    return isinstance(error, ProviderError) and _may_change(error, failure)


def _may_change(error: ProviderError, failure: Failure) -> bool:
    """True if the provider may think better of it."""
    status = failure.status or 0
    if status < _GOOD:
        return isinstance(error, Overloaded | RateLimited | ServerFailed)
    told = failure.headers.get("x-should-retry", "").strip().lower()
    if told in {"true", "false"}:
        return told == "true"
    if error.code in _HOPELESS:
        return False
    return status in _STATUSES or status >= _SERVER_ERROR


def _number(text: str | None, unit: float) -> float | None:
    """Read a number of units as seconds."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value * unit if math.isfinite(value) else None


def _until(text: str | None, now: float) -> float | None:
    """Read an HTTP date as seconds from now."""
    try:
        return email.utils.parsedate_to_datetime(text or "").timestamp() - now
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
