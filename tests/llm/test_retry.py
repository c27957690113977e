"""When to try again."""

import email.utils
from typing import Any

import pytest
from hypothesis import given, strategies as st

from agentflow.llm import (
    AnswerTooLarge,
    AttemptTimeout,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ErrorInfo,
    IncompleteStream,
    LLMError,
    MalformedAnswer,
    Overloaded,
    ProviderError,
    RateLimited,
    RetryPolicy,
    ServerFailed,
)
from agentflow.llm._retry import Failure, retry_after, retry_delay

NOW = 1_800_000_000.0
POLICY = RetryPolicy()


def delay(
    error: LLMError,
    status: int | None = None,
    headers: dict[str, str] | None = None,
    **known: Any,
) -> float | None:
    """Decide about the first try, without jitter."""
    options: dict[str, Any] = {"attempt": 1, **known}
    failure = Failure(error=error, status=status, headers=headers or {}, **options)
    return retry_delay(POLICY, failure, now=NOW, chance=0)


def date(seconds: float) -> str:
    """Write a time as an HTTP date."""
    return email.utils.formatdate(NOW + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": date(30)}, 30),
        ({"retry-after": date(-30)}, None),
        ({"retry-after-ms": "x", "retry-after": date(2)}, 2),
    ],
)
def test_how_long_the_provider_asks_to_wait(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Milliseconds first, then seconds or a date; only what lies ahead counts."""
    assert retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529, 599])
def test_statuses_that_are_worth_another_try(status: int) -> None:
    """These, and no others."""
    assert delay(ProviderError(), status) == 0.5


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422, 499])
def test_statuses_that_are_not(status: int) -> None:
    """A second try would end as the first did."""
    assert delay(ProviderError(), status) is None


def test_what_the_provider_says_wins_over_the_status() -> None:
    """In both directions; other words say nothing."""
    assert delay(ProviderError(), 400, {"x-should-retry": "true"}) == 0.5
    assert delay(ProviderError(), 500, {"x-should-retry": "False"}) is None
    assert delay(ProviderError(), 500, {"x-should-retry": "maybe"}) == 0.5


def test_the_wait_asked_for_is_obeyed_up_to_a_bound() -> None:
    """A longer one is the caller's to decide on."""
    assert delay(RateLimited(), 429, {"retry-after": "120"}) == 120
    assert delay(RateLimited(), 429, {"retry-after": "121"}) is None


def test_some_limits_are_not_lifted_by_waiting() -> None:
    """No money is no matter of seconds."""
    for code in ("insufficient_quota", "enforced_spend_limit_reached"):
        assert delay(RateLimited(info=ErrorInfo(code=code)), 429) is None


def test_tries_are_counted() -> None:
    """Two after the first, each waiting twice as long."""
    waits = [delay(ServerFailed(), 500, attempt=n) for n in (1, 2, 3)]
    assert waits == [0.5, 1.0, None]


def test_the_wait_stops_doubling() -> None:
    """However many tries there are."""
    policy = RetryPolicy(retries=2000)
    failure = Failure(error=ServerFailed(), attempt=1999, status=500)
    assert retry_delay(policy, failure, now=NOW, chance=0) == 8.0


def test_jitter_shortens_the_wait() -> None:
    """By a quarter at most."""
    failure = Failure(error=ServerFailed(), attempt=1, status=500)
    assert retry_delay(POLICY, failure, now=NOW, chance=1) == 0.375


@pytest.mark.parametrize("error", [ConnectionFailed(), AttemptTimeout()])
def test_a_lost_connection_is_tried_again_before_the_first_byte(
    error: LLMError,
) -> None:
    """Behind it the server may have done, and billed, the work."""
    assert delay(error) == 0.5
    assert delay(error, 200, begun=True) is None


def test_nothing_is_tried_again_once_part_of_it_was_given() -> None:
    """The caller would see it twice."""
    assert delay(ServerFailed(), 500, given=True) is None


@pytest.mark.parametrize("error", [Overloaded(), RateLimited(), ServerFailed()])
def test_an_error_inside_a_good_answer_is_tried_again_by_its_kind(
    error: LLMError,
) -> None:
    """The headers of a good answer mean nothing."""
    headers = {"retry-after": "100", "x-should-retry": "false"}
    assert delay(error, 200, headers) == 0.5


@pytest.mark.parametrize(
    "error", [AuthenticationFailed(), ConfigurationError(), MalformedAnswer()]
)
def test_other_errors_are_not_tried_again(error: LLMError) -> None:
    """Waiting mends none of them."""
    assert delay(error, 200) is None


def test_an_answer_that_broke_off_is_tried_again_as_long_as_nobody_has_seen_it() -> (
    None
):
    """It began well, so the next one may end well."""
    known: dict[str, Any] = {"begun": True, "heard": True}
    for error in (IncompleteStream(), MalformedAnswer()):
        assert delay(error, 200, **known) == 0.5
        assert delay(error, 200, given=True, **known) is None
        assert delay(error, 200, attempt=3, **known) is None


def test_an_answer_that_is_too_large_stays_so() -> None:
    """As does one that was none from its first byte."""
    assert delay(AnswerTooLarge(), 200, begun=True, heard=True) is None
    assert delay(MalformedAnswer(), 200, begun=True) is None


def test_a_wait_that_the_error_asks_for_is_obeyed() -> None:
    """A header counts before it; in a good answer headers mean nothing."""
    error = RateLimited()
    error.retry_after = 30.0
    assert delay(error, 429) == 30
    assert delay(error, 429, {"retry-after": "7"}) == 7
    assert delay(error, 200, {"retry-after": "7"}) == 30
    error.retry_after = 121.0
    assert delay(error, 429) is None


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), st.text()
    )
)
def test_any_headers_give_a_sane_wait(headers: dict[str, str]) -> None:
    """Whatever they say, the wait is none or between 0 and the bound."""
    wait = delay(ServerFailed(), 500, headers)
    assert wait is None or 0 < wait <= POLICY.obey
