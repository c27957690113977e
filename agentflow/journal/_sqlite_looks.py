"""What an SQLite journal tells about itself, and what is done to it from outside."""

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
        rows = self.db.execute(
            "SELECT flow, id, parent, kind, body, terminates FROM agentflow_events "
            "WHERE flow = ? ORDER BY seq",
            (flow,),
        ).fetchall()
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
                history=self._history(row),
            )
            for row in self.db.execute(sql.DEAD).fetchall()
        ]

    def _history(self, row: tuple[str, ...]) -> tuple[Failure, ...]:
        rows = self.db.execute(
            "SELECT time, attempt, error FROM agentflow_failures "
            "WHERE flow = ? AND event = ? AND agent = ? ORDER BY rowid",
            row[:3],
        ).fetchall()
        return tuple(Failure(time=t, attempt=n, error=e) for t, n, e in rows)

    def retry(self, flow: str) -> int:
        """Make dead letters open again; see `Store`."""
        with self._files.transaction():
            count = self.db.execute(
                "UPDATE agentflow_deliveries SET dead = 0, suspect = 0, recovered = 0, "
                "attempt = 1, due = 0, crashes = 0 WHERE flow = ? AND dead = 1",
                (flow,),
            ).rowcount
            if count:
                self.db.execute(
                    "UPDATE agentflow_flows SET status = 'open', reason = '', "
                    "ended = NULL, open = open + ? WHERE id = ?",
                    (count, flow),
                )
        return count

    def drop(self, flow: str) -> int:
        """Forget a flow that is not open; see `Store`."""
        with self._files.transaction():
            if not flows_where(self.db, "id = ? AND status <> 'open'", flow):
                return 0
            count = self.db.execute(
                "DELETE FROM agentflow_deliveries WHERE flow = ?", (flow,)
            ).rowcount
            self._forget("id = ?", flow)
        return count

    def prune(self, before: float) -> int:
        """Forget flows that were over before a time; see `Store`."""
        with self._files.transaction():
            return self._forget(
                "ended < ? AND NOT EXISTS (SELECT 1 FROM agentflow_deliveries AS d "
                "WHERE d.flow = agentflow_flows.id)",
                before,
            )

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
                over = self.db.execute(sql.OVER).fetchall()
                oldest = [flow for (flow,) in over[: len(over) // 10 + 1]]
                for flow in oldest:
                    self._forget("id = ?", flow)
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

    def _forget(self, where: str, *values: object) -> int:
        chosen = f"(SELECT id FROM agentflow_flows WHERE {where})"  # noqa: S608 -- ours
        for table in ("events", "seats", "failures", "memos"):
            self.db.execute(
                f"DELETE FROM agentflow_{table} WHERE flow IN {chosen}",  # noqa: S608
                values,
            )
        return self.db.execute(
            f"DELETE FROM agentflow_flows WHERE {where}",  # noqa: S608 -- likewise
            values,
        ).rowcount

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
