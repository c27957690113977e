"""Several observers of one session."""

import logging
from collections.abc import Iterable

from agentflow._records import Record
from agentflow.abc import Observer

_log = logging.getLogger("agentflow")


class Observers:
    """Hands each record to several observers.

    One that raises is reported once and gets no more; the others go on.

    Args:
        observers: In the order in which they get a record.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)

    def record(self, record: Record, /) -> None:
        """Hand a record on."""
        for observer in tuple(self._observers):
            try:
                observer.record(record)
            except Exception:  # noqa: BLE001 -- rule T2: it must not break the others
                self._observers.remove(observer)
                _log.exception("%r raised on %r and gets no more", observer, record)
