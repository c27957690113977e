"""What an SQLite journal tells about itself, and what is done to it from outside."""

from collections.abc import Sequence
from json import dumps
from math import inf

from agentflow._durable_counts import OF_ATTEMPT
from agentflow._errors import JournalError
from agentflow._steps import DeadLetter, Entry, Failure, Key, StoredFlow
from agentflow.journal import _schema as sql
from agentflow.journal._sqlite import (
    Connected,
    Connection,
    is_damage,
    translated,
)

_SIZES = ("page_count", "freelist_count", "page_size")
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

    def __init__(self, files: Connected) -> None:
        self._connected = files
        self.db: Connection = files.db

    def flows(self) -> list[StoredFlow]:
        """Return every flow; see `Store`."""
        return self._flows("1 ORDER BY started, id")

    def _flows(self, where: str, *values: object) -> list[StoredFlow]:
        with translated(self._connected.path):
            return flows_where(self.db, where, *values)

    def flow(self, flow: str) -> StoredFlow | None:
        """Return one flow; see `Store`."""
        found = self._flows("id = ?", flow)
        return found[0] if found else None

    def events(self, flow: str) -> list[Entry]:
        """Return the events of a flow; see `Store`."""
        rows = self._connected.rows(sql.EVENTS, flow)
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
            for row in self._connected.rows(sql.DEAD)
        ]

    def _history(self, event: int, agent: str) -> tuple[Failure, ...]:
        rows = self._connected.rows(
            "SELECT time, attempt, error FROM agentflow_failures "
            "WHERE event = ? AND agent = ? ORDER BY rowid",
            event,
            agent,
        )
        return tuple(Failure(time=t, attempt=n, error=e) for t, n, e in rows)

    def retry(self, flow: str) -> int:
        """Make dead letters open again; see `Store`."""
        with self._connected.transaction():
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
        with self._connected.transaction():
            found = self.db.execute(
                "SELECT no FROM agentflow_flows WHERE id = ? AND status <> 'open'",
                (flow,),
            ).fetchall()
            return self._forget(found)

    def prune(self, before: float) -> int:
        """Forget flows that were over before a time; see `Store`."""
        return self.forget(self.over(before), before)

    def over(self, before: float, most: int = -1) -> list[int]:
        """Return the numbers of flows that are over and have no dead letters.

        Args:
            before: Only those that were over before this time.
            most: How many at most; any number if it is negative.
        """
        rows = self._connected.rows(f"{sql.OVER} LIMIT ?", before, most)
        return [no for (no,) in rows]

    def oldest(self, most: int) -> list[int]:
        """Return the tenth of the flows that are over which was over first.

        Args:
            most: How many to take the tenth of, at most.
        """
        rows = self._connected.rows(f"{sql.OVER} ORDER BY ended LIMIT ?", inf, most)
        found = [no for (no,) in rows]
        return found[: len(found) // 10 + 1]

    def forget(self, flows: Sequence[int], before: float = inf) -> int:
        """Forget flows, but not those that go on by now.

        Args:
            flows: Their numbers, as `over` or `oldest` had them.
            before: Only those that were over before this time.

        Returns:
            How many were forgotten.
        """
        with self._connected.transaction():
            chosen = f"{sql.OVER} AND no IN (SELECT value FROM json_each(?))"  # noqa: S608 -- ours
            found = self.db.execute(chosen, (before, dumps(flows))).fetchall()
            self._forget(found)
        return len(found)

    def size(self) -> int:
        """Return how many bytes of the file are in use."""
        pages, free, size = (self._pragma(name) for name in _SIZES)
        return (pages - free) * size

    def vacuum(self, most: int) -> bool:
        """Give back space that is not in use to the file system.

        Args:
            most: How many pages at most.

        Returns:
            Whether there is more.
        """
        self._connected.rows(f"PRAGMA incremental_vacuum({most:d})")
        return self._pragma("freelist_count") > 0

    def _pragma(self, name: str) -> int:
        return int(self._connected.rows(f"PRAGMA {name}")[0][0])

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

    def backup(self, path: str) -> None:
        """Copy the file while it is in use.

        Raises:
            JournalError: The copy cannot be written.
        """
        self._connected.backup(path)

    def check(self) -> list[str]:
        """Return what is wrong with the file, in words; nothing when it is sound."""
        try:
            return self._check()
        except JournalError as error:
            if is_damage(error):  # so much that it cannot be checked
                return [str(error)]
            raise

    def _check(self) -> list[str]:
        found = [
            text
            for (text,) in self._connected.rows("PRAGMA integrity_check")
            if text != "ok"
        ]
        miscounted = self._connected.rows(sql.MISCOUNTED)
        return found + [
            f"flow {flow} counts {said} open deliveries and has {count}"
            for flow, said, count in miscounted
        ]
