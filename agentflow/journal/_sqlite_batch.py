"""Many steps of an SQLite journal as one statement: see `_schema.BATCH`.

Theory of operation. What comes of a commit or an append follows from what is held (see
`_holdings`), so the answers are known, and the rows made, before anything is written. Only
events that may be known already, and flows that nothing is held of, have to be looked up;
that is done for all of them at once.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from json import dumps

from agentflow._steps import Answer, Append, Commit, Done, Entry, Fenced
from agentflow.journal import _schema as sql
from agentflow.journal._holdings import Held, Holdings
from agentflow.journal._sqlite import Connection

_DIGITS = 15
"""So many hexadecimal digits fit an integer of SQLite."""

_SIZES = (*(size << n for n in range(10) for size in (2, 3)), 2048)
"""How many rows a statement takes; each length is compiled once."""

MAX_ROWS = _SIZES[-1]

_NO_ROW: tuple[None, ...] = (None,) * sql.COLUMNS
_NOTHING: tuple[None, None] = (None, None)
_ALL_NEW = tuple(Done(new=(True,) * count) for count in range(9))

RowValues = tuple[object, ...]


def hash_of(event_id: str) -> int:
    """Return the number by which an id is found: its end, which is random in ours."""
    try:
        return int(event_id[-_DIGITS:], 16)
    except ValueError:
        digest = blake2b(event_id.encode(), digest_size=7).digest()
        return int.from_bytes(digest, "big")


def all_new(count: int) -> Done:
    """Return the answer to a step whose entries are all new."""
    if count < len(_ALL_NEW):
        return _ALL_NEW[count]
    return Done(new=(True,) * count)


class Batches:
    """Turns steps into rows, and rows into one statement.

    Args:
        db: The file's connection.
        holdings: What the owners have.
    """

    def __init__(self, db: Connection, holdings: Holdings) -> None:
        self._db = db
        self._holdings = holdings
        db.executescript(sql.BATCH)
        last_seq, last_flow = db.execute(sql.LAST).fetchone()
        self.seq: int = last_seq or 0
        self._last_flow: int = last_flow or 0
        self._statements: dict[int, str] = {}

    # -- steps ----------------------------------------------------------------------

    def plan(
        self, owner: int, steps: Sequence[Append | Commit], now: float
    ) -> tuple[list[Answer], list[RowValues]]:
        """Return what to answer, and the rows that do what was answered.

        Args:
            owner: Who asks; it lives.
            steps: Appends from outside and commits, in order.
            now: The Unix time in seconds.
        """
        plan = _Plan(owner, self, self._holdings)
        plan.look_up(self._db, steps)
        answers = [plan.take(step) for step in steps]
        return answers, plan.finish(now)

    def new_seq(self) -> int:
        """Return the number of the next event."""
        self.seq += 1
        return self.seq

    def new_flow(self) -> int:
        """Return the number of the next flow."""
        self._last_flow += 1
        return self._last_flow

    # -- rows -----------------------------------------------------------------------

    def write(self, rows: Sequence[RowValues]) -> None:
        """Execute rows, as one statement if they are no more than `MAX_ROWS`."""
        for start in range(0, len(rows), MAX_ROWS):
            some = rows[start : start + MAX_ROWS]
            size = next(size for size in _SIZES if size >= len(some))
            values: list[object] = []
            for row in some:
                values += row
            values += _NO_ROW * (size - len(some))
            self._db.execute(self._statement(size), values)

    def _statement(self, size: int) -> str:
        text = self._statements.get(size)
        if text is None:
            row = f"({','.join('?' * sql.COLUMNS)})"
            text = f"INSERT INTO agentflow_batch VALUES {','.join([row] * size)}"  # noqa: S608 -- ours
            self._statements[size] = text
        return text


class _Plan:
    """One batch in the making."""

    def __init__(self, owner: int, batches: Batches, holdings: Holdings) -> None:
        self._owner = owner
        self._batches = batches
        self._holdings = holdings
        self._flows = holdings.flows
        self._rows: list[RowValues] = []
        self._counts: dict[str, int] = {}
        """How the open counters of flows change."""
        self._looked_up: list[str] = []
        self._known: set[tuple[int, str]] = set()
        """Events that need not be entered: the number of the flow, the id."""

    def look_up(self, db: Connection, steps: Sequence[Append | Commit]) -> None:
        """Find out what the file knows of events and flows that may not be new."""
        unsure = [step for step in steps if not step.fresh]
        entries = [entry for step in unsure for entry in step.entries]
        away = {entry.flow for entry in _elsewhere(steps)} - self._flows.keys()
        away.update(entry.flow for entry in entries if entry.flow not in self._flows)
        if away:
            for flow, no in db.execute(sql.KNOWN_FLOWS, (dumps(list(away)),)):
                self._flows[flow] = Held(no)
                self._looked_up.append(flow)
        asked = [
            (self._flows[entry.flow].no, hash_of(entry.id), entry.id)
            for entry in entries
            if entry.flow in self._flows
        ]
        if asked:
            self._known.update(db.execute(sql.KNOWN_EVENTS, (dumps(asked),)))

    def take(self, step: Append | Commit) -> Answer:
        """Plan one step."""
        if isinstance(step, Commit):
            return self._commit(step)
        if not step.fresh:
            return Done(new=tuple([self._enter_new(entry) for entry in step.entries]))
        for entry in step.entries:
            self._enter(entry, _NOTHING)
        return all_new(len(step.entries))

    def _commit(self, step: Commit) -> Answer:
        key = step.key
        flow = key[0]
        held = self._flows.get(flow)
        found = None if held is None else held.deliveries.get(key)
        if held is None or found is None or found[1] != self._owner:
            return Fenced()
        del held.deliveries[key]
        self._counts[flow] = self._counts.get(flow, 0) - 1
        done: tuple[int | None, str | None] = (found[0], key[2])
        entries = step.entries
        if not step.fresh:
            new = tuple([self._enter_new(entry) for entry in entries])
            self._rows.append((2, *_NO_ROW[3:], *done))
            return Done(new=new)
        if not entries:
            self._rows.append((2, *_NO_ROW[3:], *done))
        for entry in entries:
            self._enter(entry, done)
            done = _NOTHING
        return all_new(len(entries))

    def _enter_new(self, entry: Entry) -> bool:
        held = self._flows.get(entry.flow)
        if held is None:
            held = self._new_flow(entry.flow)
        if (held.no, entry.id) in self._known:
            return False
        self._known.add((held.no, entry.id))
        self._enter(entry, _NOTHING)
        return True

    def _enter(self, entry: Entry, done: tuple[int | None, str | None]) -> None:
        flow, event_id = entry.flow, entry.id
        held = self._flows.get(flow)
        if held is None:
            held = self._new_flow(flow)
        seq = self._batches.new_seq()
        agents = entry.agents
        self._rows.append((
            1,
            seq,
            held.no,
            hash_of(event_id),
            event_id,
            entry.parent,
            entry.kind,
            entry.body,
            entry.terminates,
            agents[0] if agents else None,
            self._owner,
            *done,
        ))
        for agent in agents:
            held.deliveries[flow, event_id, agent] = (seq, self._owner)
        for place, agent in enumerate(agents[1:], 1):
            nothing = _NO_ROW[:6]
            self._rows.append((2, seq, place, *nothing, agent, self._owner, None, None))
        self._counts[flow] = self._counts.get(flow, 0) + len(agents)

    def _new_flow(self, flow: str) -> Held:
        held = self._flows[flow] = Held(self._batches.new_flow())
        return held

    def finish(self, now: float) -> list[RowValues]:
        """Return the rows, those of the counters last."""
        for flow, change in self._counts.items():
            held = self._flows[flow]
            if not held.deliveries:
                del self._flows[flow]
            elif not change:
                continue  # it was open before, and is
            self._rows.append((
                3,
                change,
                held.no,
                None,
                flow,
                None,
                None,
                now,
                *_NO_ROW[8:],
            ))
        for flow in self._looked_up:
            self._holdings.sweep(flow)
        return self._rows


def _elsewhere(steps: Sequence[Append | Commit]) -> Iterator[Entry]:
    """Return the entries that are new themselves, and their flow may not be."""
    for step in steps:
        own = step.key.flow if isinstance(step, Commit) else None
        if step.fresh:
            yield from (e for e in step.entries if e.flow not in {own, e.id})
