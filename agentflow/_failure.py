"""What a failed handler leads to: another attempt, a failure handler, or a failed flow.

Theory of operation. A handler that raised has one of three consequences (rules F2, F5):

1. *Retry.* The route declared a `Retry`, attempts are left, and the error is one that it
   covers. The delivery waits for the back-off and is then handled anew.
2. *Hand over.* Some route takes `AgentFailed` itself, or a subclass. The failure is then
   an event like any other, and the flow goes on. A catch-all route on `Event` does not
   count, else every logger would swallow every error.
3. *Fail the flow.* Everything else. So does a failure while handling an `AgentFailed`:
   handing that over again could go round for ever.

`consequence_of` is that rule and nothing else; the session carries it out.
"""

from collections.abc import Callable
from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class Retry:
    """How often a route's handler is tried, and how long it waits in between.

    The wait before attempt ``n + 1`` is ``initial * factor ** (n - 1)``, at most
    `maximum`, and is drawn from its upper part: ``jitter`` 0.25 takes up to a quarter
    off, so that many deliveries which failed together do not come back together.

    Attributes:
        attempts: How often in all, the first attempt included.
        on: The exception types that are worth another attempt.
        initial: Seconds before the second attempt.
        factor: By how much each wait is longer than the one before.
        maximum: Seconds no wait exceeds.
        jitter: Which part of the wait is random, from 0 to 1.
    """

    attempts: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    on: type[Exception] | tuple[type[Exception], ...] = Exception
    initial: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    factor: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    maximum: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    jitter: float = attrs.field(
        default=0.25, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
    )

    def delay(self, attempt: int, random: float) -> float:
        """Return the seconds to wait after failed attempt number `attempt`.

        Args:
            attempt: The attempt that failed; the first is 1.
            random: A number from 0 to 1, drawn by the caller.
        """
        full = min(self.initial * self.factor ** (attempt - 1), self.maximum)
        return full * (1 - self.jitter * random)


@attrs.frozen
class TryAgain:
    """Handle the delivery again after `delay` seconds."""

    delay: float


Consequence = TryAgain | Literal["hand over", "fail flow"]


def consequence_of(
    error: Exception,
    *,
    retry: Retry | None,
    attempt: int,
    in_failure_handler: bool,
    has_failure_route: bool,
    random: Callable[[], float],
) -> Consequence:
    """Decide what a handler's failure leads to.

    Args:
        error: What the handler raised.
        retry: The route's policy, if it has one.
        attempt: Which attempt failed; the first is 1.
        in_failure_handler: Whether the handler was handling an `AgentFailed`.
        has_failure_route: Whether some route takes `AgentFailed` itself.
        random: Draws a number from 0 to 1.

    Returns:
        What to do.
    """
    if retry is not None and attempt < retry.attempts and isinstance(error, retry.on):
        return TryAgain(retry.delay(attempt, random()))
    if has_failure_route and not in_failure_handler:
        return "hand over"
    return "fail flow"
