"""The steps of a journal on SQLite.

Theory of operation. A batch of nothing but plain commits and appends is one statement (see
`_sqlite_batch`). Any other is a transaction in which steps are taken in order, plain
neighbours together.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from json import dumps
from typing import Any, cast

from agentflow._steps import (
    Answer,
    Append,
    Claim,
    Claimed,
    Commit,
    Cut,
    Done,
    Entry,
    Fail,
    Fenced,
    FreeJoins,
    Join,
    Joined,
    Key,
    Look,
    Memo,
    Refused,
    Release,
    Remember,
    Renew,
    Start,
    Step,
    Stored,
)
from agentflow.journal import _schema as sql
from agentflow.journal._matching import complete_set
from agentflow.journal._sqlite import Database, translated
from agentflow.journal._sqlite_batch import MAX_ROWS, Batches
from agentflow.journal._sqlite_looks import flows_where
from agentflow.journal._sqlite_owners import SQLiteOwners


class SQLiteSteps(SQLiteOwners):
    """The steps, on one SQLite file.

    Args:
        files: The file.
    """

    def __init__(self, files: Database) -> None:
        super().__init__(files)
        with translated(files.path):
            self._batches = Batches(self.db, self._holdings)
        self._take: dict[type[Any], Callable[[int, Any, float], Answer]] = {
            Append: self._append,
            Commit: self._commit,
            Join: self._join,
            Fail: self._fail,
            Cut: self._cut,
            Claim: self._claim,
            Start: self._start,
            Memo: self._memo,
            Remember: self._remember,
            Renew: self._renew,
            Release: self._release,
            FreeJoins: self._free,
            Look: self._look,
        }

    # -- steps ----------------------------------------------------------------------

    def apply(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        """Take steps; see `Store`."""
        if owner in self._alive and all(map(self._is_plain, steps)):
            return self._apply_plain(owner, cast("Any", steps), now)
        answers: list[Answer] = []
        with self._files.transaction():
            for is_plain, run in groupby(steps, self._is_plain):
                if is_plain and owner in self._alive:
                    answers += self._take_plain(owner, cast("Any", list(run)), now)
                    continue
                for step in run:
                    answers.append(self._take[type(step)](owner, step, now))
        return answers

    def _apply_plain(
        self, owner: int, steps: Sequence[Append | Commit], now: float
    ) -> list[Answer]:
        with translated(self._files.path):
            answers, rows = self._batches.plan(owner, steps, now)
            if len(rows) <= MAX_ROWS:
                self._batches.write(rows)  # it is its own transaction
                return answers
        with self._files.transaction():
            self._batches.write(rows)
        return answers

    def _is_plain(self, step: Step) -> bool:
        """Return whether a step may be taken together with others."""
        if isinstance(step, Commit):
            if step.rows or step.key in self._with_memos:
                return False
        elif not isinstance(step, Append) or step.by or step.deadline is not None:
            return False
        for entry in step.entries:  # noqa: SIM110 -- `any` takes five times as long
            if entry.terminates:
                return False
        return True

    def _take_plain(
        self, owner: int, steps: Sequence[Append | Commit], now: float
    ) -> list[Answer]:
        answers, rows = self._batches.plan(owner, steps, now)
        self._batches.write(rows)
        return answers

    def _append(self, owner: int, step: Append, now: float) -> Answer:
        """Take events that have something special about them."""
        if owner not in self._alive:
            return Fenced()
        if step.by is not None and self._mine(owner, step.by) is None:
            return Fenced()
        (answer,) = self._take_plain(owner, [step], now)
        assert isinstance(answer, Done)
        if step.deadline is not None:
            self.db.execute(
                "UPDATE agentflow_flows SET deadline = ? "
                "WHERE id IN (SELECT value FROM json_each(?))",
                (step.deadline, dumps([entry.flow for entry in step.entries])),
            )
        self._terminate(step.entries, answer.new, now)
        return answer

    def _commit(self, owner: int, step: Commit, now: float) -> Answer:
        """Take one commit that has something of its own to do."""
        event = self._mine(owner, step.key)
        if event is None:
            return Fenced()
        if step.rows and (error := self._files.user_rows(step.rows)):
            return Refused(error=error)
        if step.key in self._with_memos:
            self._with_memos.remove(step.key)
            self.db.execute(
                "DELETE FROM agentflow_memos WHERE event = ? AND agent = ?",
                (event, step.key.agent),
            )
        (answer,) = self._take_plain(owner, [step], now)
        assert isinstance(answer, Done)
        self._terminate(step.entries, answer.new, now)
        return answer

    def _free(self, _owner: int, step: FreeJoins, _now: float) -> Answer:
        self.db.execute(
            "DELETE FROM agentflow_seats WHERE flow IN "
            "(SELECT no FROM agentflow_flows WHERE id = ? AND status <> 'open')",
            (step.flow,),
        )
        return Done()

    def _terminate(
        self, entries: Sequence[Entry], new: Sequence[bool], now: float
    ) -> None:
        for entry, is_new in zip(entries, new, strict=True):
            if is_new and entry.terminates:
                # It is done by now if that was all there was.
                why = f"by event {entry.id}"
                self._end(entry.flow, "terminated", why, now=now, even_done=True)

    def _join(self, owner: int, step: Join, now: float) -> Answer:
        event = self._mine(owner, step.key)
        if event is None:
            return Fenced()
        flow = self._holdings.flows[step.key.flow].no
        known = self.db.execute(
            "SELECT 1 FROM agentflow_seats WHERE flow = ? AND agent = ? AND event = ?",
            (flow, step.key.agent, event),
        ).fetchone()
        if known is None and not self._seat(step, flow, event):
            self._commit(owner, Commit(key=step.key), now)
            return Joined(members=None)
        return self._members(flow, step.key.agent, event)

    def _members(self, flow: int, agent: str, event: int) -> Joined:
        rows = self.db.execute(sql.MEMBERS, (flow, agent, event)).fetchall()
        return Joined(
            members=tuple(event for event, _ in rows),
            bodies=tuple(body for _, body in rows),
        )

    def _seat(self, step: Join, flow: int, event: int) -> bool:
        """Add an event to its set; return whether that is complete with it."""
        agent = step.key.agent
        places = ",".join(map(str, step.places))
        self.db.execute(
            "INSERT INTO agentflow_seats VALUES (?, ?, ?, ?, ?, NULL)",
            (flow, agent, event, self._batches.new_seq(), places),
        )
        return self._take_set(step, flow, event, quorum=step.quorum)

    def _take_set(self, step: Join, flow: int, event: int, *, quorum: int) -> bool:
        """Complete a set with an event, if its seat and the free ones make one."""
        agent = step.key.agent
        free = self.db.execute(
            "SELECT event, places FROM agentflow_seats "
            "WHERE flow = ? AND agent = ? AND taken_by IS NULL ORDER BY seq",
            (flow, agent),
        ).fetchall()
        fitting = [[int(p) for p in places.split(",") if p] for _, places in free]
        chosen = complete_set(fitting, step.size, quorum)
        for index in chosen or ():
            # Numbered anew in the order of the places, which is how the set is told.
            self.db.execute(
                "UPDATE agentflow_seats SET taken_by = ?, seq = ? "
                "WHERE flow = ? AND agent = ? AND event = ?",
                (event, self._batches.new_seq(), flow, agent, free[index][0]),
            )
        return chosen is not None

    def _fail(self, owner: int, step: Fail, now: float) -> Answer:
        event = self._mine(owner, step.key)
        if event is None:
            return Fenced()
        self._note_failure(event, step.key.agent, step, now=now)
        self._set(event, step.key, "attempt = ?, due = ?", step.attempt + 1, step.due)
        return Done()

    def _note_failure(
        self, event: int, agent: str, step: Fail | Cut, *, now: float
    ) -> None:
        self.db.execute(
            "INSERT INTO agentflow_failures VALUES (?, ?, ?, ?, ?)",
            (event, agent, now, step.attempt, step.error),
        )

    def _set(self, event: int, key: Key, what: str, *values: object) -> None:
        self.db.execute(
            f"UPDATE agentflow_deliveries SET {what} "  # noqa: S608 -- our own words
            "WHERE event = ? AND agent = ?",
            (*values, event, key.agent),
        )

    def _cut(self, owner: int, step: Cut, now: float) -> Answer:
        if owner not in self._alive:
            return Fenced()
        if step.by is not None:
            event = self._mine(owner, step.by)
            if event is None:
                return Fenced()
            self._note_failure(event, step.by.agent, step, now=now)
        self._end(step.flow, step.status, step.reason, now=now)
        return Done()

    def _claim(self, owner: int, step: Claim, now: float) -> Answer:
        if owner not in self._alive:
            return Fenced()
        late = self.db.execute(
            "SELECT id FROM agentflow_owners "
            "WHERE is_closed = 0 AND until < ? AND id <> ?",
            (now, owner),
        ).fetchall()
        if late:
            self._recover([other for (other,) in late], now)
        asked = (step.suspects, step.limit + 1)
        if step.flow is None:
            rows = self.db.execute(sql.FREE, asked).fetchall()
        else:
            rows = self.db.execute(sql.FREE_OF, (step.flow, *asked)).fetchall()
        keys = dumps(rows[: step.limit])
        self.db.execute(sql.TAKE, (owner, keys))
        taken = self.db.execute(sql.TAKEN, (keys,)).fetchall()
        deliveries = self._stored(owner, taken, self._memos_of(keys))
        names = list(dict.fromkeys(d.key.flow for d in deliveries))
        flows = flows_where(
            self.db, "id IN (SELECT value FROM json_each(?))", dumps(names)
        )
        flows.sort(key=lambda flow: names.index(flow.id))
        return Claimed(
            deliveries=tuple(deliveries),
            flows=tuple(flows),
            left=len(rows) > step.limit,
        )

    def _memos_of(self, keys: str) -> dict[tuple[int, str], list[tuple[str, str]]]:
        memos: dict[tuple[int, str], list[tuple[str, str]]] = {}
        for event, agent, name, value in self.db.execute(sql.MEMOS, (keys,)):
            memos.setdefault((event, agent), []).append((name, value))
        return memos

    def _stored(
        self,
        owner: int,
        rows: Sequence[Any],
        memos: Mapping[tuple[int, str], Sequence[tuple[str, str]]],
    ) -> list[Stored]:
        """Give deliveries that were found to an owner."""
        found: list[Stored] = []
        for *named, body, attempt, due, recovered, crashes, event, flow in rows:
            key = Key(*named)
            self._holdings.take(owner, key, flow=flow, event=event)
            kept = memos.get((event, key.agent), ())
            if kept:
                self._with_memos.add(key)
            found.append(
                Stored(
                    key=key,
                    body=body,
                    attempt=attempt,
                    due=due,
                    recovered=bool(recovered),
                    crashes=crashes,
                    memos=tuple(kept),
                )
            )
        return found

    def _start(self, owner: int, step: Start, _now: float) -> Answer:
        event = self._mine(owner, step.key)
        if event is None:
            return Fenced()
        self._set(event, step.key, "started = ?", 2 if step.alone else 1)
        return Done()

    def _memo(self, owner: int, step: Memo, _now: float) -> Answer:
        event = self._mine(owner, step.key)
        if event is None:
            return Fenced()
        self._keep(event, step.key, step.name, step.value)
        return Done()

    def _keep(self, event: int, key: Key, *memo: str) -> None:
        self._with_memos.add(key)
        self.db.execute(
            "INSERT OR REPLACE INTO agentflow_memos VALUES (?, ?, ?, ?)",
            (event, key.agent, *memo),
        )

    def _remember(self, owner: int, step: Remember, _now: float) -> Answer:
        if owner not in self._alive:
            return Fenced()
        if step.key is not None:
            event = self._mine(owner, step.key)
            if event is None:
                return Fenced()
            self._keep(event, step.key, step.name, "")
        for name, value in step.facts:
            if value is None:
                self.db.execute("DELETE FROM agentflow_facts WHERE name = ?", (name,))
            else:
                self.db.execute(
                    "INSERT OR REPLACE INTO agentflow_facts VALUES (?, ?)",
                    (name, value),
                )
        return Done()

    def _renew(self, owner: int, step: Renew, _now: float) -> Answer:
        renewed = self.db.execute(
            "UPDATE agentflow_owners SET until = ? WHERE id = ? AND is_closed = 0",
            (step.until, owner),
        )
        return Done() if renewed.rowcount else Fenced()

    def _release(self, owner: int, step: Release, _now: float) -> Answer:
        held = self._holdings.flows.get(step.flow)
        if held is not None:
            self.db.execute(
                "UPDATE agentflow_deliveries SET owner = NULL "  # noqa: S608 -- ours
                f"WHERE owner = ? AND {sql.OF_FLOW}",
                (owner, held.no),
            )
            self._holdings.free({owner}, step.flow)
        return Done()
