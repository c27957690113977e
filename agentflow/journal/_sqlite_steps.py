"""The steps of a journal on SQLite.

Theory of operation. One transaction a batch, and within it one statement for many rows
(see `_schema`). Steps are taken in order; neighbours of the same kind are taken together,
unless one of them has something of its own to do, such as rows of the user's.
"""

from collections.abc import Callable, Iterator, Sequence
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
from agentflow.journal._sqlite_looks import flows_where
from agentflow.journal._sqlite_owners import SQLiteOwners


def is_plain(step: Append | Commit) -> bool:
    """Return whether a step may be taken together with others of its kind."""
    if any(entry.terminates for entry in step.entries):
        return False
    if isinstance(step, Commit):
        return not step.rows
    return step.by is None and step.deadline is None


def plain_runs(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Cut a batch into steps that may be taken together, in order."""
    run: list[Step] = []
    touched: set[str] = set()
    for step in steps:
        if not isinstance(step, Append | Commit) or not is_plain(step):
            yield from filter(None, (run, [step]))
            run, touched = [], set()
            continue
        # A delivery that the run has struck out, or entered, has to be looked for anew.
        again = isinstance(step, Commit) and step.key.event in touched
        if run and (again or type(step) is not type(run[0])):
            yield run
            run, touched = [], set()
        run.append(step)
        touched.update(entry.id for entry in step.entries)
        if isinstance(step, Commit):
            touched.add(step.key.event)
    if run:
        yield run


class SQLiteSteps(SQLiteOwners):
    """The steps, on one SQLite file.

    Args:
        files: The file.
    """

    def __init__(self, files: Database) -> None:
        super().__init__(files)
        self._with_memos: set[Key] = set()
        """Which deliveries may have memos, so that most commits need not look."""
        with translated(files.path):
            (last,) = self.db.execute(sql.LAST).fetchone()
        self._seq: int = last or 0
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
        }

    # -- steps ----------------------------------------------------------------------

    def apply(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        """Take steps; see `Store`."""
        answers: list[Answer] = []
        with self._files.transaction():
            for run in plain_runs(steps):
                first = run[0]
                if isinstance(first, Commit) and is_plain(first):
                    commits = cast("Sequence[Commit]", run)
                    answers += self._commit_all(owner, commits, now)
                elif isinstance(first, Append) and is_plain(first):
                    appends = cast("Sequence[Append]", run)
                    answers += self._append_all(owner, appends, now)
                else:
                    answers.append(self._take[type(first)](owner, first, now))
        return answers

    def _append_all(
        self, owner: int, steps: Sequence[Append], now: float
    ) -> list[Answer]:
        """Take events from outside that have nothing special about them."""
        if not self._lives(owner):
            return [Fenced() for _ in steps]
        entries = [entry for step in steps for entry in step.entries]
        new = iter(self._enter(owner, entries, finished={}, now=now))
        return [Done(new=tuple(next(new) for _ in step.entries)) for step in steps]

    def _append(self, owner: int, step: Append, now: float) -> Answer:
        if not (self._lives(owner) if step.by is None else self._mine(owner, step.by)):
            return Fenced()
        new = self._enter(owner, step.entries, finished={}, now=now)
        if step.deadline is not None:
            self.db.execute(
                "UPDATE agentflow_flows SET deadline = ? "
                "WHERE id IN (SELECT value FROM json_each(?))",
                (step.deadline, dumps([entry.flow for entry in step.entries])),
            )
        self._terminate(step.entries, new, now)
        return Done(new=tuple(new))

    def _commit(self, owner: int, step: Commit, now: float) -> Answer:
        """Take one commit that has something of its own to do."""
        if not self._mine(owner, step.key):
            return Fenced()
        if step.rows and (error := self._files.user_rows(step.rows)):
            return Refused(error=error)
        (answer,) = self._commit_all(owner, [step], now)
        assert isinstance(answer, Done)
        self._terminate(step.entries, answer.new, now)
        return answer

    def _commit_all(
        self, owner: int, steps: Sequence[Commit], now: float
    ) -> list[Answer]:
        """Take commits that are nothing but fence, outputs and counters."""
        keys = dumps([step.key for step in steps])
        struck = self.db.execute(sql.STRIKE_OUT, (owner, keys)).fetchall()
        mine: set[tuple[str, str, str]] = set(struck)
        good = [step for step in steps if step.key in mine]
        if self._with_memos:
            kept = dumps([step.key for step in good])
            self.db.execute(sql.FORGET_MEMOS, (kept,))
            self._with_memos.difference_update(step.key for step in good)
        finished: dict[str, int] = {}
        for step in good:
            finished[step.key.flow] = finished.get(step.key.flow, 0) - 1
        entries = [entry for step in good for entry in step.entries]
        new = iter(self._enter(owner, entries, finished=finished, now=now))
        return [
            Done(new=tuple(next(new) for _ in step.entries))
            if step.key in mine
            else Fenced()
            for step in steps
        ]

    def _enter(
        self,
        owner: int,
        entries: Sequence[Entry],
        *,
        finished: dict[str, int],
        now: float,
    ) -> list[bool]:
        """Enter events with their deliveries, and bring the flows' counters up to date.

        Args:
            owner: Who gets the deliveries.
            entries: The events.
            finished: For each flow, how its open counter changes besides.
            now: The Unix time.

        Returns:
            Whether each event was new.
        """
        first = self._seq
        self._seq += len(entries)
        new = [True] * len(entries)
        if entries:
            rows = [
                (e.flow, e.id, first + n, e.parent, e.kind, e.body, int(e.terminates))
                for n, e in enumerate(entries, 1)
            ]
            entered = self.db.execute(sql.ENTER_EVENTS, (dumps(rows),)).rowcount
            if entered < len(entries):
                found = self.db.execute(sql.NEW_EVENTS, (dumps(rows),)).fetchall()
                fresh = {seq for (seq,) in found}
                new = [first + n in fresh for n in range(1, len(entries) + 1)]
        counts = {flow: [change, 0] for flow, change in finished.items()}
        deliveries: list[tuple[str, str, str, int]] = []
        for number, (entry, is_new) in enumerate(zip(entries, new, strict=True), 1):
            if is_new:
                count = counts.setdefault(entry.flow, [0, 0])
                count[0] += len(entry.agents)
                count[1] += 1
                deliveries += [
                    (entry.flow, entry.id, agent, first + number)
                    for agent in entry.agents
                ]
        if deliveries:
            self.db.execute(sql.ENTER_DELIVERIES, (owner, dumps(deliveries)))
        self._count(counts, now)
        return new

    def _count(self, counts: dict[str, list[int]], now: float) -> None:
        changed = [(flow, *count) for flow, count in counts.items() if any(count)]
        if not changed:
            return
        self.db.execute(sql.COUNT_FLOWS, (now, dumps(changed)))
        falling = [flow for flow, (change, _) in counts.items() if change <= 0]
        if falling:
            self.db.execute(sql.CLOSE_FLOWS, (now, dumps(falling)))

    def _free(self, _owner: int, step: FreeJoins, _now: float) -> Answer:
        if flows_where(self.db, "id = ? AND status <> 'open'", step.flow):
            self._free_joins(step.flow)
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
        if not self._mine(owner, step.key):
            return Fenced()
        flow, event_id, agent = step.key
        known = self.db.execute(
            "SELECT 1 FROM agentflow_seats WHERE flow = ? AND agent = ? AND event = ?",
            (flow, agent, event_id),
        ).fetchone()
        if known is None and not self._seat(step):
            self._commit_all(owner, [Commit(key=step.key)], now)
            return Joined(members=None)
        rows = self.db.execute(sql.MEMBERS, (flow, agent, event_id)).fetchall()
        return Joined(
            members=tuple(event for event, _ in rows),
            bodies=tuple(body for _, body in rows),
        )

    def _seat(self, step: Join) -> bool:
        """Add an event to its set; return whether that is complete with it."""
        flow, event_id, agent = step.key
        free = self.db.execute(
            "SELECT event, places FROM agentflow_seats "
            "WHERE flow = ? AND agent = ? AND taken_by IS NULL ORDER BY seq",
            (flow, agent),
        ).fetchall()
        free.append((event_id, ",".join(map(str, step.places))))
        self._seq += 1
        self.db.execute(
            "INSERT INTO agentflow_seats VALUES (?, ?, ?, ?, ?, NULL)",
            (flow, agent, event_id, self._seq, free[-1][1]),
        )
        fitting = [[int(p) for p in places.split(",") if p] for _, places in free]
        chosen = complete_set(fitting, step.size, step.quorum)
        for index in chosen or ():
            # Numbered anew in the order of the places, which is how the set is told.
            self._seq += 1
            self.db.execute(
                "UPDATE agentflow_seats SET taken_by = ?, seq = ? "
                "WHERE flow = ? AND agent = ? AND event = ?",
                (event_id, self._seq, flow, agent, free[index][0]),
            )
        return chosen is not None

    def _fail(self, owner: int, step: Fail, now: float) -> Answer:
        if not self._mine(owner, step.key):
            return Fenced()
        self._note_failure(step.key, step, now)
        self._set(step.key, "attempt = ?, due = ?", step.attempt + 1, step.due)
        return Done()

    def _note_failure(self, key: Key, step: Fail | Cut, now: float) -> None:
        self.db.execute(
            "INSERT INTO agentflow_failures VALUES (?, ?, ?, ?, ?, ?)",
            (*key, now, step.attempt, step.error),
        )

    def _set(self, key: Key, what: str, *values: object) -> None:
        self.db.execute(
            f"UPDATE agentflow_deliveries SET {what} "  # noqa: S608 -- our own words
            "WHERE flow = ? AND event = ? AND agent = ?",
            (*values, *key),
        )

    def _cut(self, owner: int, step: Cut, now: float) -> Answer:
        if step.by is None:
            if not self._lives(owner):
                return Fenced()
        elif not self._mine(owner, step.by):
            return Fenced()
        else:
            self._note_failure(step.by, step, now)
        self._end(step.flow, step.status, step.reason, now=now)
        return Done()

    def _claim(self, owner: int, step: Claim, now: float) -> Answer:
        if not self._lives(owner):
            return Fenced()
        late = self.db.execute(
            "SELECT id FROM agentflow_owners "
            "WHERE is_closed = 0 AND until < ? AND id <> ?",
            (now, owner),
        ).fetchall()
        if late:
            self._recover([other for (other,) in late], now)
        rows = self.db.execute(
            sql.FREE, (step.suspects, step.flow, step.flow, step.limit + 1)
        ).fetchall()
        keys = dumps(rows[: step.limit])
        self.db.execute(sql.TAKE, (owner, keys))
        memos: dict[Key, list[tuple[str, str]]] = {}
        for *key, name, value in self.db.execute(sql.MEMOS, (keys,)).fetchall():
            memos.setdefault(Key(*key), []).append((name, value))
        self._with_memos.update(memos)
        deliveries = tuple(
            Stored(
                key=Key(*row[:3]),
                body=row[3],
                attempt=row[4],
                due=row[5],
                recovered=bool(row[6]),
                crashes=row[7],
                memos=tuple(memos.get(Key(*row[:3]), ())),
            )
            for row in self.db.execute(sql.TAKEN, (keys,)).fetchall()
        )
        names = list(dict.fromkeys(d.key.flow for d in deliveries))
        flows = flows_where(
            self.db, "id IN (SELECT value FROM json_each(?))", dumps(names)
        )
        flows.sort(key=lambda flow: names.index(flow.id))
        return Claimed(
            deliveries=deliveries, flows=tuple(flows), left=len(rows) > step.limit
        )

    def _start(self, owner: int, step: Start, _now: float) -> Answer:
        if not self._mine(owner, step.key):
            return Fenced()
        self._set(step.key, "started = ?", 2 if step.alone else 1)
        return Done()

    def _memo(self, owner: int, step: Memo, _now: float) -> Answer:
        if not self._mine(owner, step.key):
            return Fenced()
        self._keep(step.key, step.name, step.value)
        return Done()

    def _keep(self, key: Key, name: str, value: str) -> None:
        self._with_memos.add(key)
        self.db.execute(
            "INSERT OR REPLACE INTO agentflow_memos VALUES (?, ?, ?, ?, ?)",
            (*key, name, value),
        )

    def _remember(self, owner: int, step: Remember, _now: float) -> Answer:
        if not (
            self._lives(owner) if step.key is None else self._mine(owner, step.key)
        ):
            return Fenced()
        if step.key is not None:
            self._keep(step.key, step.name, "")
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
        self.db.execute(
            "UPDATE agentflow_deliveries SET owner = NULL WHERE flow = ? AND owner = ?",
            (step.flow, owner),
        )
        return Done()
