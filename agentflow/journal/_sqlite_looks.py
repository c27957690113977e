"""What an SQLite journal tells about itself, and what is done to it from outside."""

from collections.abc import Sequence
from json import dumps
from math import inf

from agentflow._durable_counts import OF_ATTEMPT
from agentflow._steps import DeadLetter, Entry, Failure, Key, StoredFlow
from agentflow.journal import _schema as sql
from agentflow.journal._sqlite import Connection, Database

_FIELDS = ("id", "status", "reason", "open", "events", "started", "ended", "deadline")


def flows_where(db: Connection, where: str, *values: object) -> list[StoredFlow]:
    """Return the flows that satisfy a condition."""
    rows = db.execute(f"{sql.FLOWS} WHERE {where}", values).fetchall()
    return [StoredFlow(**dict(zip(_FIELDS, row, strict=True))) for row in rows]


class SQLiteLooks:
    """Looking and repairing, on one SQLite file; see `Store`.

    Args:
        files: The file.
    """

    def __init__(self, files: Database) -> None:
        self._files = files
        self.db: Connection = files.db

    def flows(self) -> list[StoredFlow]:
        """Return every flow; see `Store`."""
        return flows_where(self.db, "1 ORDER BY started, id")

    def flow(self, flow: str) -> StoredFlow | None:
        """Return one flow; see `Store`."""
        found = flows_where(self.db, "id = ?", flow)
        return found[0] if found else None

    def events(self, flow: str) -> list[Entry]:
        """Return the events of a flow; see `Store`."""
        rows = self.db.execute(sql.EVENTS, (flow,)).fetchall()
        return [
            Entry(
                flow=row[0],
                id=row[1],
                parent=row[2],
                kind=row[3],
                body=row[4],
                terminates=bool(row[5]),
            )
            for row in rows
        ]

    def dead_letters(self) -> list[DeadLetter]:
        """Return what failed for good; see `Store`."""
        return [
            DeadLetter(
                key=Key(*row[:3]),
                body=row[3],
                reason=row[4],
                history=self._history(row[5], row[2]),
            )
            for row in self.db.execute(sql.DEAD).fetchall()
        ]

    def _history(self, event: int, agent: str) -> tuple[Failure, ...]:
        rows = self.db.execute(
            "SELECT time, attempt, error FROM agentflow_failures "
            "WHERE event = ? AND agent = ? ORDER BY rowid",
            (event, agent),
        ).fetchall()
        return tuple(Failure(time=t, attempt=n, error=e) for t, n, e in rows)

    def retry(self, flow: str) -> int:
        """Make dead letters open again; see `Store`."""
        with self._files.transaction():
            count = self.db.execute(
                "UPDATE agentflow_deliveries SET dead = 0, suspect = 0, recovered = 0, "  # noqa: S608 -- ours
                f"attempt = 1, due = 0, crashes = 0 WHERE dead = 1 AND {sql.OF_FLOW_ID}",
                (flow,),
            ).rowcount
            if count:
                self.db.execute(
                    f"DELETE FROM agentflow_memos WHERE {sql.OF_FLOW_ID} "  # noqa: S608 -- ours
                    "AND name GLOB ?",
                    (flow, f"{OF_ATTEMPT}*"),
                )
                self.db.execute(
                    "UPDATE agentflow_flows SET status = 'open', reason = '', "
                    "ended = NULL, open = open + ? WHERE id = ?",
                    (count, flow),
                )
        return count

    def drop(self, flow: str) -> int:
        """Forget a flow that is not open; see `Store`."""
        with self._files.transaction():
            found = self.db.execute(
                "SELECT no FROM agentflow_flows WHERE id = ? AND status <> 'open'",
                (flow,),
            ).fetchall()
            return self._forget(found)

    def prune(self, before: float) -> int:
        """Forget flows that were over before a time; see `Store`."""
        with self._files.transaction():
            over = self.db.execute(sql.OVER, (before,)).fetchall()
            self._forget(over)
        return len(over)

    def shrink(self, size: int) -> int:
        """Forget flows that are over, the oldest first, until the file is small enough.

        Args:
            size: How many bytes may be in use, dead letters and open flows included.

        Returns:
            How many flows were forgotten.
        """
        count = 0
        while self._size() > size:
            with self._files.transaction():
                over = self.db.execute(sql.OVER, (inf,)).fetchall()
                oldest = over[: len(over) // 10 + 1]
                self._forget(oldest)
            if not oldest:
                break
            count += len(oldest)
        self.db.execute("PRAGMA incremental_vacuum").fetchall()
        return count

    def _size(self) -> int:
        pages, free, size = (
            int(self.db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _forget(self, flows: Sequence[tuple[int]]) -> int:
        """Forget flows by their numbers; return how many dead letters they had."""
        numbers = (dumps([no for (no,) in flows]),)
        of_them = "flow IN (SELECT value FROM json_each(?))"
        events = f"event IN (SELECT seq FROM agentflow_events WHERE {of_them})"  # noqa: S608 -- ours
        delete = "DELETE FROM agentflow_{} WHERE {}"
        dead = self.db.execute(delete.format("deliveries", events), numbers).rowcount
        for table in ("failures", "memos"):
            self.db.execute(delete.format(table, events), numbers)
        for table in ("seats", "events"):
            self.db.execute(delete.format(table, of_them), numbers)
        self.db.execute(
            "DELETE FROM agentflow_flows WHERE no IN (SELECT value FROM json_each(?))",
            numbers,
        )
        return dead

    def check(self) -> list[str]:
        """Return what is wrong with the file, in words; nothing when it is sound."""
        found = [
            text
            for (text,) in self.db.execute("PRAGMA integrity_check").fetchall()
            if text != "ok"
        ]
        miscounted = self.db.execute(sql.MISCOUNTED).fetchall()
        return found + [
            f"flow {flow} counts {said} open deliveries and has {count}"
            for flow, said, count in miscounted
        ]
