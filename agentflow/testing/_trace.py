"""What happened, to be asserted on: order, causes, and a form that stays the same.

A `FlowTrace` is a `Tracer` that knows what tests ask. Give it to a session as its tracer;
`open_test_session` has one by itself.
"""

import difflib
from collections.abc import Iterable
from typing import TypeVar

from agentflow._events import Event
from agentflow._records import EventAccepted
from agentflow.testing._normal import NormalEvent, normal_form
from agentflow.testing._picture import picture
from agentflow.tracing import Tracer
from agentflow.tracing._tree import Node

_E = TypeVar("_E", bound=Event)


class FlowTrace(Tracer):
    """Everything that happened in a test's sessions.

    ::

        trace.assert_sequence(TextEvent, AnalysisEvent, CombinedEvent)
        trace.assert_caused(TextEvent, CombinedEvent)
        assert trace.one(CombinedEvent).words == 5
        assert trace.snapshot() == snapshot(...)

    Printed, it says of each event who got it, what they did, and where they stood.
    """

    def __str__(self) -> str:
        return picture(self)

    def events(
        self, event_type: type[_E], *, correlation_id: str | None = None
    ) -> list[_E]:
        """Return the events of a class, in the order in which they were accepted.

        Args:
            event_type: The class; subclasses count.
            correlation_id: Of this flow only; by default of all.

        Returns:
            The events.
        """
        records = self.records(EventAccepted, correlation_id=correlation_id)
        return [r.event for r in records if isinstance(r.event, event_type)]

    def one(self, event_type: type[_E], *, correlation_id: str | None = None) -> _E:
        """Return the only event of a class.

        Args:
            event_type: The class; subclasses count.
            correlation_id: Of this flow only; by default of all.

        Returns:
            The event.

        Raises:
            AssertionError: There is none, or more than one.
        """
        found = self.events(event_type, correlation_id=correlation_id)
        if len(found) != 1:
            raise AssertionError(
                f"expected one {event_type.__name__}, got {len(found)}\n{self}"
            )
        return found[0]

    def causes(self, event: Event) -> list[Event]:
        """Return what led to an event, back to the one from outside.

        Args:
            event: The event, as it was accepted.

        Returns:
            Its parent first, then the parent's, and so on.
        """
        by_id = {e.id: e for e in self.events(Event)}
        chain: list[Event] = []
        parent = by_id.get(event.parent_id)
        while parent is not None:
            chain.append(parent)
            parent = by_id.get(parent.parent_id)
        return chain

    def effects(self, event: Event) -> list[Event]:
        """Return everything that came of an event, in order of acceptance.

        Args:
            event: The event, as it was accepted.

        Returns:
            The events, without the event itself.
        """
        return [
            other
            for other in self.events(Event)
            if any(cause.id == event.id for cause in self.causes(other))
        ]

    def assert_caused(self, cause: type[Event], effect: type[Event]) -> None:
        """Check that events of one class came of events of another.

        Args:
            cause: The class of what came first.
            effect: The class of what came of it.

        Raises:
            AssertionError: There is no such effect, or one has no such cause.
        """
        found = self.events(effect)
        if not found:
            raise AssertionError(f"there was no {effect.__name__} at all\n{self}")
        for event in found:
            causes = self.causes(event)
            if not any(isinstance(each, cause) for each in causes):
                names = [type(each).__name__ for each in causes] or ["nothing else"]
                raise AssertionError(
                    f"{effect.__name__} from {_name(event.source)} did not come of a "
                    f"{cause.__name__}, but of {', then '.join(names)}\n{self}"
                )

    def assert_sequence(
        self,
        *expected: object,
        correlation_id: str | None = None,
        exactly: bool = False,
    ) -> None:
        """Check that events came in this order.

        Args:
            expected: Event classes, of which subclasses count, or anything that an event
                is equal to, such as what dirty-equals has to offer.
            correlation_id: Of this flow only; by default of all.
            exactly: True if there must be no events but these; else others may come
                before, between and after.

        Raises:
            AssertionError: They did not; the message shows what did.
        """
        got = self.events(Event, correlation_id=correlation_id)
        missing = _first_missing(expected, got)
        if missing is None and (not exactly or len(got) == len(expected)):
            return
        after = [_name(each) for each in expected[:missing]]
        where = f"after {', '.join(after)}" if after else "at all"
        said = (
            "other events came, too"
            if missing is None
            else f"there was no {_name(expected[missing])} {where}"
        )
        wanted = [_name(each) for each in expected]
        names = [type(each).__name__ for each in got]
        lines = "\n".join(f"  {line}" for line in difflib.ndiff(wanted, names))
        raise AssertionError(
            f"{said}; expected (-) and what came (+):\n{lines}\n{self}"
        )

    def snapshot(self, *, times: bool = True) -> list[NormalEvent]:
        """Return what happened in a form that is the same in each run.

        Ids are numbers in order of the tree, siblings stand in the order of their content,
        not of the scheduler, and times are seconds since the flow began. It is made of
        lists, dicts, strings and numbers alone, so it goes into a snapshot as it is.

        Args:
            times: False leaves times out: those of a real clock are never the same.

        Returns:
            The events from outside, each with what came of it.
        """
        roots: list[Node] = []
        for correlation_id in self.flows():
            roots += self.tree(correlation_id).roots
        return normal_form(roots, self.records(), times=times)


def _first_missing(expected: Iterable[object], got: list[Event]) -> int | None:
    """Return the index of what did not come in its place; None when all did."""
    left = iter(got)
    for index, each in enumerate(expected):
        if not any(_fits(event, each) for event in left):
            return index
    return None


def _fits(event: Event, expected: object) -> bool:
    if isinstance(expected, type):
        return isinstance(event, expected)
    return bool(event == expected)


def _name(thing: object) -> str:
    return thing.__name__ if isinstance(thing, type) else str(thing)
