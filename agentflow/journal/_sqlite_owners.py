"""Who owns what in an SQLite journal: opening, closing, the fence, and dead owners."""

from collections.abc import Callable, Sequence
from json import dumps

from agentflow._steps import Answer, FlowEnd, Key, Look, Looked, News, Opened
from agentflow.journal import _schema as sql
from agentflow.journal._holdings import Holdings
from agentflow.journal._sqlite import Connection, Database, translated
from agentflow.journal._sqlite_looks import flows_where
from agentflow.journal._store import CRASHED, MAX_CRASHES


class SQLiteOwners:
    """The owners of one SQLite file.

    Args:
        files: The file.
    """

    def __init__(self, files: Database) -> None:
        self._files = files
        self.db: Connection = files.db
        self._holdings = Holdings()
        self._with_memos: set[tuple[str, str, str]] = set()
        """Which deliveries may have memos, so that most commits need not look."""
        self._alive: set[int] = set()
        """The owners that have opened this store and not closed it."""
        self._version: int = self._data_version()

    def open(self, now: float, lease: float | None = None) -> Opened:
        """Become an owner; see `Store`."""
        with self._files.transaction():
            dead = self.db.execute(
                "SELECT id FROM agentflow_owners WHERE is_closed = 0 AND (? OR until < ?)",
                (lease is None, now),
            ).fetchall()
            self._recover([owner for (owner,) in dead], now)
            owner = self.db.execute(
                "INSERT INTO agentflow_owners (until) VALUES (?)",
                (None if lease is None else now + lease,),
            ).lastrowid
            assert owner is not None
            (suspects, count) = self.db.execute(
                "SELECT total(suspect), count(*) FROM agentflow_deliveries WHERE dead = 0"
            ).fetchone()
            agents = self.db.execute(
                "SELECT DISTINCT agent FROM agentflow_deliveries WHERE dead = 0 ORDER BY 1"
            ).fetchall()
            kinds = self.db.execute(
                "SELECT DISTINCT kind FROM agentflow_events WHERE flow IN "
                "(SELECT no FROM agentflow_flows WHERE status = 'open') ORDER BY 1"
            ).fetchall()
            facts = self.db.execute(
                "SELECT name, value FROM agentflow_facts ORDER BY 1"
            ).fetchall()
        self._alive.add(owner)
        return Opened(
            owner=owner,
            clean=not dead,
            suspects=int(suspects),
            open=count,
            agents=tuple(agent for (agent,) in agents),
            kinds=tuple(kind for (kind,) in kinds),
            facts=tuple(facts),
        )

    def close(self, owner: int) -> None:
        """End an owner in order; see `Store`."""
        with self._files.transaction():
            self.db.execute(
                "UPDATE agentflow_deliveries SET owner = NULL, started = 0 "
                "WHERE owner = ?",
                (owner,),
            )
            # One row stays, whatever its state: the numbers must never come again.
            self.db.execute(
                "UPDATE agentflow_owners SET is_closed = 1 WHERE id = ?", (owner,)
            )
        self._alive.discard(owner)
        self._holdings.free({owner})

    def watch(self, owner: int, told: Callable[[News], object] | None) -> None:
        """Tell nothing: what others change shows in `changed`; see `Store`."""

    def changed(self) -> bool:
        """Return whether another connection has written since; see `Store`."""
        before, self._version = self._version, self._data_version()
        return before != self._version

    def _data_version(self) -> int:
        with translated(self._files.path):
            (version,) = self.db.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _look(self, _owner: int, step: Look, _now: float) -> Answer:
        free, count = self.db.execute(
            "SELECT total(owner IS NULL), count(*) FROM agentflow_deliveries "  # noqa: S608 -- ours
            f"WHERE dead = 0 AND (? IS NULL OR {sql.OF_FLOW_ID})",
            (step.flow, step.flow),
        ).fetchone()
        found = flows_where(self.db, "id = ?", step.flow)
        return Looked(
            flow=found[0] if found else None,
            working=count - int(free),
            free=int(free),
        )

    def _recover(self, owners: Sequence[int], now: float) -> None:
        """Free what dead owners had, and see to what may have ended them."""
        listed = dumps(owners)
        self.db.execute(sql.RECOVER, (listed,))
        self.db.execute(
            "UPDATE agentflow_owners SET is_closed = 1 "
            "WHERE id IN (SELECT value FROM json_each(?))",
            (listed,),
        )
        self._alive.difference_update(owners)
        self._holdings.free(set(owners))
        crashed = self.db.execute(sql.CRASHED, (MAX_CRASHES,)).fetchall()
        for flow, crashes in crashed:
            self._end(flow, "failed", CRASHED.format(crashes), now=now)

    def _mine(self, owner: int, key: Key) -> int | None:
        """Return the number of a delivery's event if the owner has it: the fence."""
        return self._holdings.event_of(owner, key)

    def _end(
        self,
        flow: str,
        status: FlowEnd,
        reason: str,
        *,
        now: float,
        even_done: bool = False,
    ) -> None:
        ended = self.db.execute(
            "UPDATE agentflow_flows SET status = ?, reason = ?, ended = ?, open = 0 "
            "WHERE id = ? AND (status = 'open' OR (status = 'done' AND ?)) RETURNING no",
            (status, reason, now, flow, even_done),
        ).fetchone()
        if ended is None:
            return
        held = self._holdings.flows.pop(flow, None)
        if held is not None:
            self._with_memos.difference_update(held.deliveries)
        if status == "failed":
            self.db.execute(
                "UPDATE agentflow_deliveries SET dead = 1, owner = NULL "  # noqa: S608 -- ours
                f"WHERE {sql.OF_FLOW}",
                ended,
            )
            return
        for table in ("deliveries", "memos"):
            self.db.execute(
                f"DELETE FROM agentflow_{table} WHERE {sql.OF_FLOW}",  # noqa: S608 -- ours
                ended,
            )
        self.db.execute("DELETE FROM agentflow_seats WHERE flow = ?", ended)
