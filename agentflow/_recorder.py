"""The recorder: turns what the engine does into records for one observer (T1, T2).

The engine holds a recorder only while somebody observes, so an unobserved session pays an
``is None`` check and nothing else. Three records are made for every hop: that an event was
accepted, that its handler started and that it finished. An observer that only keeps them
until somebody asks may take what they are made of instead, and make them then.
"""

import logging
from collections.abc import Callable

from agentflow._events import Event
from agentflow._failure import Consequence, TryAgain
from agentflow._joining import Join
from agentflow._ledger import Delivery, FlowState, Target
from agentflow._records import (
    DeliveryDropped,
    EventAccepted,
    FlowEnded,
    FlowOutcome,
    FlowStarted,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    OutputDropped,
    Record,
    SetIncomplete,
    ThreadAbandoned,
)
from agentflow.abc import Deferred, LazyObserver, Observer

_log = logging.getLogger("agentflow")


class Recorder:
    """Writes records.

    Args:
        observer: Who gets them. One that raises is reported once and gets no more.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer: Observer | None = observer
        self._defer: Callable[[Deferred], object] | None = (
            observer.defer if isinstance(observer, LazyObserver) else None
        )
        self._clock = no_time

    def begin(self, clock: Callable[[], float]) -> None:
        """Take the time from this clock, in seconds."""
        self._clock = clock

    def tell(self, record: Record) -> None:
        """Hand a record to the observer."""
        if self._observer is None:
            return
        try:
            self._observer.record(record)
        except Exception:  # noqa: BLE001 -- whatever it is, it must not break a flow
            self._observer = None
            _log.exception("the tracer raised on %r and gets no more records", record)

    def flow_started(self, flow: FlowState) -> None:
        """Record the first event of a flow."""
        self.tell(FlowStarted(time=flow.started, correlation_id=flow.correlation_id))

    def flow_ended(self, flow: FlowState, outcome: FlowOutcome) -> None:
        """Record that nothing of a flow is left."""
        now = self._clock()
        self.tell(
            FlowEnded(
                time=now,
                correlation_id=flow.correlation_id,
                outcome=outcome,
                reason=flow.reason,
                events=flow.events,
                duration=now - flow.started,
            )
        )

    def accepted(
        self, event: Event, flow: FlowState, targets: tuple[Target, ...]
    ) -> None:
        """Record an event and where it goes."""
        if self._defer is not None:
            self._defer((_accepted, self._clock(), event, flow, targets))
        else:
            self.tell(_accepted(self._clock(), event, flow, targets))

    def output_dropped(self, event: Event, agent: str, flow: FlowState) -> None:
        """Record an event that came after its flow had ended."""
        self.tell(
            OutputDropped(
                time=self._clock(),
                correlation_id=flow.correlation_id,
                event=event,
                agent=agent,
                reason=flow.reason,
            )
        )

    def started(self, delivery: Delivery) -> float:
        """Record that a handler starts; return when."""
        now = self._clock()
        if self._defer is not None:
            self._defer((_started, now, delivery))
        else:
            self.tell(_started(now, delivery))
        return now

    def finished(self, delivery: Delivery, since: float) -> None:
        """Record that a handler ended well."""
        if self._defer is not None:
            self._defer((_finished, self._clock(), delivery, since))
        else:
            self.tell(_finished(self._clock(), delivery, since))

    def failed(
        self,
        delivery: Delivery,
        error: Exception,
        consequence: Consequence,
        *,
        since: float,
    ) -> None:
        """Record that a handler raised, and what comes of it."""
        now = self._clock()
        self.tell(
            HandlerFailed(
                time=now,
                correlation_id=delivery.root.flow.correlation_id,
                event=delivery.event,
                agent=delivery.target.name,
                duration=now - since,
                error=error,
                attempt=delivery.attempt,
                consequence=(
                    "retry" if isinstance(consequence, TryAgain) else consequence
                ),
                retry_in=(
                    consequence.delay if isinstance(consequence, TryAgain) else None
                ),
            )
        )

    def cancelled(self, delivery: Delivery, since: float, reason: str) -> None:
        """Record that a handler was cancelled."""
        now = self._clock()
        self.tell(
            HandlerCancelled(
                time=now,
                correlation_id=delivery.root.flow.correlation_id,
                event=delivery.event,
                agent=delivery.target.name,
                duration=now - since,
                reason=reason,
            )
        )

    def dropped(self, delivery: Delivery, reason: str) -> None:
        """Record that an agent will not get an event."""
        self.tell(
            DeliveryDropped(
                time=self._clock(),
                correlation_id=delivery.root.flow.correlation_id,
                event=delivery.event,
                agent=delivery.target.name,
                reason=reason,
            )
        )

    def thread_abandoned(self, delivery: Delivery) -> None:
        """Record that a cancelled handler's thread runs on."""
        self.tell(
            ThreadAbandoned(
                time=self._clock(),
                correlation_id=delivery.root.flow.correlation_id,
                event=delivery.event,
                agent=delivery.target.name,
            )
        )

    def set_incomplete(self, agent: str, correlation_id: str, join: Join) -> None:
        """Record what an aggregator still lacked when its flow ended."""
        self.tell(
            SetIncomplete(
                time=self._clock(),
                correlation_id=correlation_id,
                agent=agent,
                events=tuple(join.collected()),
                missing=join.missing(),
            )
        )


def _accepted(  # noqa: PLR0917 -- called with what was noted, in this order
    now: float, event: Event, flow: FlowState, targets: tuple[Target, ...]
) -> EventAccepted:
    return EventAccepted(
        time=now,
        correlation_id=flow.correlation_id,
        event=event,
        agents=tuple([target.name for target in targets]),
    )


def _started(now: float, delivery: Delivery) -> HandlerStarted:
    return HandlerStarted(
        time=now,
        correlation_id=delivery.root.flow.correlation_id,
        event=delivery.event,
        agent=delivery.target.name,
        attempt=delivery.attempt,
    )


def _finished(now: float, delivery: Delivery, since: float) -> HandlerFinished:
    return HandlerFinished(
        time=now,
        correlation_id=delivery.root.flow.correlation_id,
        event=delivery.event,
        agent=delivery.target.name,
        duration=now - since,
    )


def no_time() -> float:
    """Stand in for the clock of a loop that does not run yet."""
    return 0.0
