"""The small things of a durable session: what a delivery is meanwhile, what it carries."""

from collections.abc import Callable
from traceback import format_exception_only
from typing import Any, Final

import attrs

from agentflow._durable_counts import Counts, key_here
from agentflow._errors import FlowBudgetExceeded, SessionError
from agentflow._events import Event
from agentflow._ledger import Delivery, FlowState, Root
from agentflow._steps import Key, Row

RetryLater = Callable[[Delivery, float], None]


class _Committing:
    """In the place of a runner: handled, and not yet on disk."""

    handling = True

    def cancel(self, reason: str) -> None:
        """Let it be: what has been handed to the journal happens."""


COMMITTING = _Committing()


class _Appending:
    """In the place of a runner: accepted, and not yet on disk."""

    handling = False

    def cancel(self, reason: str) -> None:
        """Let it be: its flow has ended, and it does not enter it any more."""


APPENDING = _Appending()


@attrs.define
class Notes(Counts):
    """What a delivery has besides its event, while its handler runs."""

    is_settled: bool = False
    """Whether the journal has struck it out already."""
    memos: dict[str, str] = attrs.field(factory=dict[str, str])
    rows: list[Row] = attrs.field(factory=list[Row])


@attrs.define(eq=False)
class Output:
    """An event on its way through the journal."""

    event: Event
    root: Root
    targets: tuple[Any, ...]
    outside: bool = False
    deliveries: tuple[Delivery, ...] = ()
    """Of an event from outside: they count as queued from the beginning."""


NO_NOTES: Final = Notes()
"""Of a delivery that has none; never changed."""


def key_of(delivery: Delivery) -> Key:
    """Return how the journal calls a delivery."""
    flow = delivery.root.flow.correlation_id
    return Key._make((flow, delivery.event.id, delivery.target.name))


def place_of(delivery: Delivery) -> Key:
    """Return what stands in the ids of what a handler emits: the delivery, or a step."""
    return key_here(key_of(delivery))


def check_flow_open(flow: FlowState) -> None:
    """Refuse an event for a flow that winds down.

    Raises:
        SessionError: It does.
    """
    if flow.status != "open":
        raise SessionError(
            f"flow {flow.correlation_id} takes no more events: it was {flow.status} "
            f"({flow.reason})"
        )


def check_room(flow: FlowState, count: int, budget: float) -> None:
    """Refuse more events than a flow may accept.

    Raises:
        FlowBudgetExceeded: They are.
    """
    if flow.events + count > budget:
        raise FlowBudgetExceeded(
            f"flow {flow.correlation_id} has accepted {flow.events} events, and the "
            f"next {count} are more than it may; if its agents do not run in "
            "a circle, raise max_events_per_flow"
        )


def in_words(error: BaseException) -> str:
    """Return an error as a dead letter's history has it."""
    return "".join(format_exception_only(error)).rstrip()


def nothing(*_: object) -> None:
    """Stand in for who will be told."""
