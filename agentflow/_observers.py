"""Several observers in the place of one."""

import logging
from collections.abc import Iterable
from typing import cast

from agentflow._errors import SessionError
from agentflow._records import Record
from agentflow.abc import Observer

_log = logging.getLogger("agentflow")


class Tee:
    """Hands each record to several observers.

    Args:
        observers: Who gets them, in this order. One that raises is reported once and gets
            no more; the others go on.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers: tuple[Observer, ...] = tuple(observers)

    def record(self, record: Record, /) -> None:
        """Hand a record on."""
        for observer in self._observers:
            try:
                observer.record(record)
            except Exception:  # noqa: BLE001 -- whatever it is, it must not break a flow
                self._observers = tuple(o for o in self._observers if o is not observer)
                _log.exception(
                    "%r raised on %r and gets no more records", observer, record
                )


def as_observer(tracer: Observer | Iterable[Observer] | None) -> Observer | None:
    """Return one observer for what a session was given as its ``tracer``.

    Args:
        tracer: An observer, several, or none.

    Returns:
        One that stands for all; None if there is none.

    Raises:
        SessionError: Something among them is no observer.
    """
    if tracer is None or _observes(tracer):
        return cast("Observer | None", tracer)
    several: tuple[object, ...] = (tracer,)
    if isinstance(tracer, Iterable):
        several = tuple(cast("Iterable[object]", tracer))
    for observer in several:
        if not _observes(observer):
            raise SessionError(
                f"tracer takes an observer, or several in a list: objects with a method "
                f"record(record), not {observer!r}"
            )
    observers = cast("tuple[Observer, ...]", several)
    return Tee(observers) if observers else None


def _observes(candidate: object) -> bool:
    return isinstance(candidate, Observer) and not isinstance(candidate, type)
