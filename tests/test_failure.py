"""What a failed handler leads to, as a plain decision (F2, F5)."""

from typing import Any

import pytest

from agentflow import Retry
from agentflow._failure import Consequence, TryAgain, consequence_of


def decide(error: Exception | None = None, **changed: Any) -> Consequence:
    """Ask for the consequence, with everything at its simplest unless changed."""
    options: dict[str, Any] = {
        "retry": None,
        "attempt": 1,
        "in_failure_handler": False,
        "has_failure_route": False,
        "random": lambda: 0.0,
        **changed,
    }
    return consequence_of(error or ValueError("no"), **options)


@pytest.mark.parametrize(
    ("in_failure_handler", "has_failure_route", "expected"),
    [
        (False, False, "fail flow"),
        (False, True, "hand over"),
        (True, False, "fail flow"),
        (True, True, "fail flow"),
    ],
)
def test_a_failure_is_handed_over_or_fails_the_flow(
    in_failure_handler: bool, has_failure_route: bool, expected: str
) -> None:
    """(F2) Only a route for AgentFailed handles it, and never a failure of its own."""
    assert (
        decide(
            in_failure_handler=in_failure_handler, has_failure_route=has_failure_route
        )
        == expected
    )


@pytest.mark.parametrize(
    ("attempt", "error", "expected"),
    [
        (1, OSError(), TryAgain(1.0)),
        (2, ConnectionError(), TryAgain(2.0)),
        (3, OSError(), "hand over"),
        (1, ValueError(), "hand over"),
    ],
)
def test_a_retry_covers_its_attempts_and_its_errors(
    attempt: int, error: Exception, expected: Consequence
) -> None:
    """(F5) Then the failure goes its ordinary way."""
    retry = Retry(attempts=3, on=OSError, initial=1.0)
    assert (
        decide(error, retry=retry, attempt=attempt, has_failure_route=True) == expected
    )


def test_a_retry_may_cover_several_errors() -> None:
    """(F5) `on` is one exception type or a tuple of them."""
    retry = Retry(on=(OSError, ValueError), initial=0.0)
    assert decide(ValueError(), retry=retry) == TryAgain(0.0)
    assert decide(KeyError(), retry=retry) == "fail flow"


def test_a_handler_of_failures_may_be_retried_too() -> None:
    """(F5) A retry comes before everything else."""
    assert decide(retry=Retry(initial=1.0), in_failure_handler=True) == TryAgain(1.0)


@pytest.mark.parametrize(
    ("attempt", "random", "expected"),
    [(1, 0.0, 1.0), (2, 0.0, 3.0), (3, 0.0, 5.0), (1, 1.0, 0.5), (3, 0.5, 3.75)],
)
def test_the_wait_grows_to_a_maximum_and_is_spread(
    attempt: int, random: float, expected: float
) -> None:
    """(F5) initial * factor ** (n - 1), at most maximum, less the random part."""
    retry = Retry(initial=1.0, factor=3.0, maximum=5.0, jitter=0.5)
    assert retry.delay(attempt, random) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"initial": -1},
        {"factor": 0.5},
        {"maximum": -1},
        {"jitter": 1.5},
        {"jitter": -0.1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    """(R2) The error names the setting."""
    (name,) = options
    with pytest.raises(ValueError, match=name):
        Retry(**options)
