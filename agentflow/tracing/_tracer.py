"""The tracer: a bounded window of records in memory, with queries (rule T3)."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from agentflow._errors import SessionError
from agentflow._records import Record
from agentflow.abc import Deferred
from agentflow.tracing._tree import CausalTree, build_tree

_R = TypeVar("_R", bound=Record)


class Tracer:
    """Keeps the latest records of a session and answers questions about them.

    ::

        tracer = Tracer()
        async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
            event = dispatcher.dispatch(TextEvent(source="main", text=text))
        print(tracer.tree(event.correlation_id))

    One tracer may serve several sessions.

    Args:
        limit: How many records to keep; the oldest fall out.
        on_record: Called with each record as it comes. If it raises, the session reports
            that once and this tracer gets no more of its records.

    Raises:
        SessionError: `limit` is no number from 1.
    """

    def __init__(
        self,
        limit: int = 100_000,
        *,
        on_record: Callable[[Record], object] | None = None,
    ) -> None:
        if limit < 1:
            raise SessionError(f"limit must be 1 or more, not {limit!r}")
        self._kept: deque[Record | Deferred] = deque(maxlen=limit)
        self._on_record = on_record
        is_lazy = on_record is None and type(self).record is Tracer.record
        self.defer: Callable[[Deferred], object] | None = (
            self._kept.append if is_lazy else None
        )
        """Keeps what a record is made of; it is made when somebody asks."""

    def __len__(self) -> int:
        """Return how many records are kept."""
        return len(self._kept)

    @property
    def is_full(self) -> bool:
        """Whether each new record pushes the oldest out."""
        return len(self._kept) == self._kept.maxlen

    def record(self, record: Record, /) -> None:
        """Keep a record; a session calls this."""
        self._kept.append(record)
        if self._on_record is not None:
            self._on_record(record)

    @overload
    def records(
        self,
        *,
        correlation_id: str | None = None,
        agent: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[Record]: ...

    @overload
    def records(
        self,
        record_type: type[_R],
        *,
        correlation_id: str | None = None,
        agent: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[_R]: ...

    def records(
        self,
        record_type: type[Record] = Record,
        *,
        correlation_id: str | None = None,
        agent: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[Any]:
        """Return the records that satisfy every condition given, oldest first.

        Args:
            record_type: Of this class or a subclass.
            correlation_id: Of this flow.
            agent: About this agent.
            since: Not before this time, in seconds on the loop's clock.
            until: Before this time.

        Returns:
            The records.
        """

        def fits(record: Record) -> bool:
            return (
                isinstance(record, record_type)
                and correlation_id in {None, record.correlation_id}
                and (agent is None or _agent_of(record) == agent)
                and (since is None or record.time >= since)
                and (until is None or record.time < until)
            )

        return [record for record in self._made() if fits(record)]

    def flows(self) -> Iterator[str]:
        """Yield the correlation ids of which something is known, oldest first."""
        return iter(dict.fromkeys(record.correlation_id for record in self._made()))

    def tree(self, correlation_id: str) -> CausalTree:
        """Return which events of a flow led to which; empty for an unknown flow.

        Args:
            correlation_id: The flow.

        Returns:
            The tree; ``print`` it to read it.
        """
        return build_tree(correlation_id, self.records(correlation_id=correlation_id))

    def clear(self) -> None:
        """Forget all records."""
        self._kept.clear()

    def _made(self) -> list[Record]:
        """Return every record; what had to be made for that is kept in its place."""
        records: list[Record] = []
        for kept in self._kept:
            if isinstance(kept, Record):
                records.append(kept)
            else:
                make, *arguments = kept
                records.append(make(*arguments))
        self._kept.clear()
        self._kept.extend(records)
        return records


def _agent_of(record: Record) -> str | None:
    agent: object = getattr(record, "agent", None)
    return agent if isinstance(agent, str) else None
