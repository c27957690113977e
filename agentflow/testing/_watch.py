"""The observer of a test's session: keeps the trace, and knows what nobody took."""

from collections.abc import Callable

from agentflow._events import Event
from agentflow._records import EventAccepted, Record
from agentflow.abc import Observer
from agentflow.testing._trace import FlowTrace


class Watch:
    """Passes every record on, and notes events that no route took.

    The session counts an event as unrouted if nobody waits for it, right after it has
    recorded that it accepted it. So the count says at the next record, or at the end,
    which it was.

    Args:
        trace: Gets every record.
        tracer: The test's own observer, if it has one; gets them, too.
        count: Returns how many events the session has counted as unrouted.
    """

    def __init__(
        self, trace: FlowTrace, tracer: Observer | None, count: Callable[[], int]
    ) -> None:
        self.trace: FlowTrace = trace
        self.tracer_error: Exception | None = None
        """What the test's own observer raised; it gets no more since."""
        self._tracer = tracer
        self._count = count
        self._candidate: Event | None = None
        self._before = 0
        self._unrouted: list[Event] = []

    def record(self, record: Record, /) -> None:
        """Take a record."""
        self._settle()
        self.trace.record(record)
        if isinstance(record, EventAccepted) and not record.agents:
            self._candidate, self._before = record.event, self._count()
        if self._tracer is not None:
            try:
                self._tracer.record(record)
            except Exception as error:  # noqa: BLE001 -- told at the end of the session
                self.tracer_error, self._tracer = error, None

    def unrouted(self) -> list[Event]:
        """Return the events that no route took and no handler waited for."""
        self._settle()
        return self._unrouted

    def _settle(self) -> None:
        if self._candidate is not None and self._count() > self._before:
            self._unrouted.append(self._candidate)
        self._candidate = None
