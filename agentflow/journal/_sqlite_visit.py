"""An SQLite journal that is looked at, or put right, from outside of a session."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import attrs

from agentflow._steps import Failure, StoredFlow
from agentflow.journal._bell import bell_of, ring
from agentflow.journal._sqlite import Existing, is_in_use, translated
from agentflow.journal._sqlite_looks import SQLiteLooks
from agentflow.journal._story import Failed, FlowStory, Pending, Seated

_SUMMARIES = """
SELECT f.id, f.status, f.reason, f.open,
    (SELECT count(*) FROM agentflow_events AS e WHERE e.flow = f.no),
    f.started, f.ended, f.deadline,
    (SELECT count(*) FROM agentflow_events AS e CROSS JOIN agentflow_deliveries AS d
        ON d.event = e.seq WHERE e.flow = f.no AND d.dead = 1),
    coalesce((SELECT e.kind FROM agentflow_events AS e WHERE e.flow = f.no
        ORDER BY e.seq LIMIT 1), '')
FROM (
    SELECT * FROM agentflow_flows WHERE (? IS NULL OR status = ?)
    ORDER BY status <> 'open', started DESC, id LIMIT ?
) AS f ORDER BY f.status <> 'open', f.started DESC, f.id
"""

_COUNTS = "SELECT status, count(*) FROM agentflow_flows GROUP BY status ORDER BY 2 DESC"

_BEGINNING = """
SELECT id FROM agentflow_flows WHERE substr(id, 1, ?) = ? ORDER BY id <> ?, id LIMIT ?
"""

_PENDING = """
SELECT e.id, d.agent, d.attempt, d.due, d.dead, d.owner IS NOT NULL, d.recovered, d.crashes
FROM agentflow_flows AS f CROSS JOIN agentflow_events AS e ON e.flow = f.no
CROSS JOIN agentflow_deliveries AS d ON d.event = e.seq
WHERE f.id = ? ORDER BY d.event, d.agent
"""

_MEMOS = """
SELECT e.id, m.agent, m.name, m.value
FROM agentflow_flows AS f CROSS JOIN agentflow_events AS e ON e.flow = f.no
CROSS JOIN agentflow_memos AS m ON m.event = e.seq
WHERE f.id = ? ORDER BY m.name
"""

_FAILURES = """
SELECT e.id, x.agent, x.time, x.attempt, x.error
FROM agentflow_flows AS f CROSS JOIN agentflow_events AS e ON e.flow = f.no
CROSS JOIN agentflow_failures AS x ON x.event = e.seq
WHERE f.id = ? ORDER BY x.rowid
"""

_SEATS = """
SELECT e.id, s.agent, s.taken_by IS NULL
FROM agentflow_flows AS f CROSS JOIN agentflow_seats AS s ON s.flow = f.no
CROSS JOIN agentflow_events AS e ON e.seq = s.event
WHERE f.id = ? ORDER BY s.seq
"""

_MARKS = """
SELECT f.id, f.status, f.open, d.pending, d.dead, d.attempts, m.memos
FROM agentflow_flows AS f LEFT JOIN (
    SELECT e.flow, count(*) AS pending, sum(d.dead) AS dead,
        sum(d.attempt + d.recovered + d.crashes) AS attempts
    FROM agentflow_deliveries AS d CROSS JOIN agentflow_events AS e ON e.seq = d.event
    GROUP BY e.flow
) AS d ON d.flow = f.no LEFT JOIN (
    SELECT e.flow, count(*) AS memos
    FROM agentflow_memos AS m CROSS JOIN agentflow_events AS e ON e.seq = m.event
    GROUP BY e.flow
) AS m ON m.flow = f.no
ORDER BY f.status NOT IN ('open', 'failed'), f.started DESC, f.id
"""

_NEW_EVENTS = """
SELECT f.id, e.count, e.last FROM (
    SELECT flow, count(*) AS count, max(seq) AS last FROM agentflow_events
    WHERE seq > ? GROUP BY flow
) AS e CROSS JOIN agentflow_flows AS f ON f.no = e.flow
"""


@attrs.frozen(kw_only=True)
class FlowSummary:
    """A flow in a list.

    Attributes:
        flow: The flow.
        dead: How many dead letters it has.
        kind: The type of its first event, as `Entry.kind` has it; empty if it has none.
    """

    flow: StoredFlow
    dead: int
    kind: str


class FlowMark(NamedTuple):
    """What differs between two looks at a flow if anything but its events does."""

    status: str
    open: int
    pending: int | None
    dead: int | None
    attempts: int | None
    memos: int | None


class SQLiteVisit(SQLiteLooks):
    """A journal that is there already; see `Existing`.

    Args:
        path: The file.
        write: Whether it is to be changed; else it cannot be.

    Raises:
        JournalError: It is no journal, or cannot be read, or written.
    """

    def __init__(self, path: str, *, write: bool = False) -> None:
        super().__init__(Existing(path, write=write))

    def shut(self) -> None:
        """Let go of the file."""
        self._connected.close()

    def retry(self, flow: str) -> int:
        """Make dead letters open again, and wake the session that has the file."""
        count = super().retry(flow)
        ring(bell_of(self._connected.path))
        return count

    def is_in_use(self) -> bool:
        """Return whether a session has the file."""
        return is_in_use(self._connected.path)

    def version(self) -> int:
        """Return a number that differs when another connection has changed the file."""
        (number,) = self.db.execute("PRAGMA data_version").fetchone()
        return int(number)

    def counts(self) -> dict[str, int]:
        """Return how many flows there are of each status."""
        return dict(self.db.execute(_COUNTS).fetchall())

    def summaries(self, status: str | None, limit: int) -> list[FlowSummary]:
        """Return flows for a list, open ones first, then the newest.

        Args:
            status: Only those of this status.
            limit: How many at most; -1 for all.

        Returns:
            The flows.
        """
        rows = self.db.execute(_SUMMARIES, (status, status, limit)).fetchall()
        fields = [field.name for field in attrs.fields(StoredFlow)]
        return [
            FlowSummary(
                flow=StoredFlow(**dict(zip(fields, row[:-2], strict=True))),
                dead=row[-2],
                kind=row[-1],
            )
            for row in rows
        ]

    def beginning(self, text: str, limit: int) -> list[str]:
        """Return the ids that begin with a text; one that is the text comes first."""
        rows = self.db.execute(_BEGINNING, (len(text), text, text, limit)).fetchall()
        return [flow for (flow,) in rows]

    def marks(self) -> list[tuple[str, FlowMark]]:
        """Return each flow's id and what differs when it has changed.

        Open and failed flows come first, then the newest.
        """
        rows = self.db.execute(_MARKS).fetchall()
        return [(row[0], FlowMark(*row[1:])) for row in rows]

    def new_events(self, after: int) -> tuple[dict[str, int], int]:
        """Return how many events each flow has got since, and the number to ask with next.

        Args:
            after: What the last call returned; 0 at first.
        """
        rows = self.db.execute(_NEW_EVENTS, (after,)).fetchall()
        counts = {flow: count for flow, count, _ in rows}
        return counts, max((last for _, _, last in rows), default=after)

    def story(self, flow: str) -> FlowStory | None:
        """Return all that is known of a flow, as it was at one moment."""
        with self._connected.transaction(reads=True):
            found = self.flow(flow)
            if found is None:
                return None
            return FlowStory(
                flow=found,
                entries=tuple(self.events(flow)),
                pending=tuple(self._pending(flow)),
                failures=tuple(
                    Failed(
                        event=event,
                        agent=agent,
                        failure=Failure(time=time, attempt=attempt, error=error),
                    )
                    for event, agent, time, attempt, error in self._rows(
                        _FAILURES, flow
                    )
                ),
                seats=tuple(
                    Seated(event=event, agent=agent, waits=bool(waits))
                    for event, agent, waits in self._rows(_SEATS, flow)
                ),
            )

    def _rows(self, statement: str, flow: str) -> list[tuple[Any, ...]]:
        return self.db.execute(statement, (flow,)).fetchall()

    def _pending(self, flow: str) -> list[Pending]:
        memos: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for event, agent, name, value in self._rows(_MEMOS, flow):
            memos.setdefault((event, agent), []).append((name, value))
        return [
            Pending(
                event=row[0],
                agent=row[1],
                attempt=row[2],
                due=row[3],
                is_dead=bool(row[4]),
                is_claimed=bool(row[5]),
                recovered=bool(row[6]),
                crashes=row[7],
                memos=tuple(memos.get((row[0], row[1]), ())),
            )
            for row in self._rows(_PENDING, flow)
        ]


@contextmanager
def visiting(path: str, *, write: bool = False) -> Generator[SQLiteVisit]:
    """Look at a journal for the length of a block.

    Args:
        path: The file.
        write: Whether it is to be changed.

    Yields:
        The journal.

    Raises:
        JournalError: It is no journal, or cannot be read, or written.
    """
    visit = SQLiteVisit(path, write=write)
    try:
        with translated(path):
            yield visit
    finally:
        visit.shut()
