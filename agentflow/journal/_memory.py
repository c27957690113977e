"""The in-memory store: what a store is, with nothing on disk."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from agentflow._durable_counts import OF_ATTEMPT
from agentflow._steps import (
    Answer,
    Append,
    Claim,
    Claimed,
    Commit,
    Cut,
    DeadLetter,
    Done,
    Entry,
    Fail,
    Failure,
    Fenced,
    FreeJoins,
    Join,
    Joined,
    Key,
    Look,
    Looked,
    Memo,
    News,
    Opened,
    Release,
    Remember,
    Renew,
    Sit,
    Start,
    Step,
    Stored,
    StoredFlow,
)
from agentflow.journal._books import Books, Delivery, FlowRow, Seat, take_set
from agentflow.journal._store import CRASHED, MAX_CRASHES


class MemoryStore:
    """Keeps everything in dictionaries, for tests and as the measure of other stores.

    It outlives the sessions that use it, so a test may end one and begin the next.
    """

    def __init__(self) -> None:
        self.books: Books = Books()
        self._watchers: dict[int, Callable[[News], object]] = {}
        self._touched: dict[str, None] = {}
        self._is_work: bool = False
        self._take: dict[type[Any], Callable[[int, Any, float], Answer]] = {
            Append: self._append,
            Commit: self._commit,
            Join: self._join,
            Sit: self._sit,
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

    # -- owners ---------------------------------------------------------------------

    def open(self, now: float, lease: float | None = None) -> Opened:
        """Become an owner; see `Store`."""
        books = self.books
        dead = {
            owner
            for owner, until in books.owners.items()
            if lease is None or (until is not None and until < now)
        }
        self._recover(dead, now)
        self._spread(None)
        books.last_owner += 1
        books.owners[books.last_owner] = None if lease is None else now + lease
        live = [d for d in books.deliveries.values() if not d.is_dead]
        return Opened(
            owner=books.last_owner,
            clean=not dead,
            suspects=sum(d.suspect for d in live),
            open=len(live),
            agents=tuple(sorted({d.agent for d in live})),
            kinds=tuple(
                sorted({
                    entry.kind
                    for entry in books.entries.values()
                    if books.flows[entry.flow].status == "open"
                })
            ),
            facts=tuple(sorted(books.facts.items())),
        )

    def close(self, owner: int) -> None:
        """End an owner in order; see `Store`."""
        self.books.owners.pop(owner, None)
        for delivery in self.books.deliveries.values():
            if delivery.owner == owner:
                delivery.owner = None
                delivery.started = 0
                self._is_work = True
        self._watchers.pop(owner, None)
        self._spread(owner)

    def _recover(self, owners: set[int], now: float) -> None:
        """Free what dead owners had, and see to what may have ended them."""
        for owner in owners:
            del self.books.owners[owner]
        had = [d for d in self.books.deliveries.values() if d.owner in owners]
        self._is_work = self._is_work or bool(had)
        for delivery in had:
            delivery.owner = None
            delivery.recovered = True
            delivery.suspect = delivery.suspect or delivery.started > 0
            delivery.crashes += delivery.started == 2  # noqa: PLR2004 -- alone
            delivery.started = 0
        for delivery in had:
            if delivery.crashes >= MAX_CRASHES and not delivery.is_dead:
                reason = CRASHED.format(delivery.crashes)
                self._end(delivery.entry.flow, "failed", reason, now=now)

    # -- steps ----------------------------------------------------------------------

    def apply(self, owner: int, steps: Sequence[Step], now: float) -> list[Answer]:
        """Take steps; see `Store`."""
        answers = [self._take[type(step)](owner, step, now) for step in steps]
        self._spread(owner)
        return answers

    # -- telling others ---------------------------------------------------------------

    def watch(self, owner: int, told: Callable[[News], object] | None) -> None:
        """Tell an owner what others change; see `Store`."""
        self._watchers.pop(owner, None)
        if told is not None:
            self._watchers[owner] = told

    def changed(self) -> bool:
        """Return false: whoever watches is told at once; see `Store`."""
        return False

    def _spread(self, by: int | None) -> None:
        """Tell everybody else what has happened since this was called last."""
        news = News(flows=tuple(self._touched), work=self._is_work)
        self._touched, self._is_work = {}, False
        if news.flows or news.work:
            for owner, told in tuple(self._watchers.items()):
                if owner != by:
                    told(news)

    # -- steps, one by one ------------------------------------------------------------

    def _mine(self, owner: int, key: Key) -> Delivery | None:
        """Return a delivery if the owner has it and lives: the fence."""
        delivery = self.books.deliveries.get(key)
        if delivery is None or delivery.is_dead or delivery.owner != owner:
            return None
        return delivery

    def _append(self, owner: int, step: Append, now: float) -> Answer:
        if owner not in self.books.owners:
            return Fenced()
        if step.by is not None and self._mine(owner, step.by) is None:
            return Fenced()
        new = tuple(self._enter(owner, entry, now) for entry in step.entries)
        if step.deadline is not None:
            for entry in step.entries:
                self.books.flows[entry.flow].deadline = step.deadline
        return Done(new=new)

    def _enter(self, owner: int, entry: Entry, now: float) -> bool:
        books = self.books
        if entry.id in books.entries:
            return False
        books.entries[entry.id] = entry
        flow = books.flows.get(entry.flow)
        if flow is None:
            flow = books.flows[entry.flow] = FlowRow(entry.flow, now)
        flow.status, flow.reason, flow.ended = "open", "", None
        flow.events += 1
        self._touched[flow.id] = None
        flow.open += len(entry.agents)
        for agent in entry.agents:
            made = Delivery(entry, agent, owner)
            books.deliveries[made.key] = made
        if entry.terminates:
            self._end(entry.flow, "terminated", f"by event {entry.id}", now=now)
        else:
            self._close_if_done(flow, now)
        return True

    def _commit(self, owner: int, step: Commit, now: float) -> Answer:
        delivery = self._mine(owner, step.key)
        if delivery is None:
            return Fenced()
        self.books.rows += [(row.statement, row.parameters) for row in step.rows]
        # The flow must not look done before its outputs are in.
        new = tuple(self._enter(owner, entry, now) for entry in step.entries)
        self._finish(delivery, now)
        return Done(new=new)

    def _finish(self, delivery: Delivery, now: float) -> None:
        if self.books.deliveries.pop(delivery.key, None) is None:
            return  # one of its outputs ended the flow
        flow = self.books.flows[delivery.entry.flow]
        flow.open -= 1
        self._close_if_done(flow, now)

    def _close_if_done(self, flow: FlowRow, now: float) -> None:
        if flow.open == 0 and flow.status == "open":
            flow.status, flow.ended = "done", now
            self._touched[flow.id] = None

    def _free_joins(self, flow: str) -> None:
        for key in [key for key in self.books.joins if key[0] == flow]:
            del self.books.joins[key]

    def _join(self, owner: int, step: Join, now: float) -> Answer:
        delivery = self._mine(owner, step.key)
        if delivery is None:
            return Fenced()
        flow, event_id, agent = step.key
        seats = self.books.joins.setdefault((flow, agent), [])
        if not any(seat.event_id == event_id for seat in seats):
            seats.append(Seat(event_id, step.places))
            if not take_set(seats, step, step.quorum):
                self._finish(delivery, now)
                return Joined(members=None)
        return self._members(seats, event_id)

    def _members(self, seats: Sequence[Seat], event_id: str) -> Joined:
        ids = tuple(seat.event_id for seat in seats if seat.taken_by == event_id)
        bodies = tuple(self.books.entries[member].body for member in ids)
        return Joined(members=ids, bodies=bodies)

    def _sit(self, owner: int, step: Sit, _now: float) -> Answer:
        if self._mine(owner, step.key) is None:
            return Fenced()
        flow, event_id, agent = step.key
        seats = self.books.joins.setdefault((flow, agent), [])
        mine = next((seat for seat in seats if seat.event_id == event_id), None)
        if mine is None:
            mine = Seat(event_id, step.places)
            seats.append(mine)
            if take_set(seats, step, step.quorum):
                self._touched[flow] = None
        joined = self._members(seats, event_id)
        if joined.members or mine.taken_by is not None:
            return joined
        if not step.overdue:
            return Joined(members=None)
        take_set(seats, step, 0)
        return self._members(seats, event_id)

    def _fail(self, owner: int, step: Fail, now: float) -> Answer:
        delivery = self._mine(owner, step.key)
        if delivery is None:
            return Fenced()
        delivery.failures.append(
            Failure(time=now, attempt=step.attempt, error=step.error)
        )
        delivery.attempt = step.attempt + 1
        delivery.due = step.due
        return Done()

    def _cut(self, owner: int, step: Cut, now: float) -> Answer:
        if owner not in self.books.owners:
            return Fenced()
        if step.by is not None:
            delivery = self._mine(owner, step.by)
            if delivery is None:
                return Fenced()
            delivery.failures.append(
                Failure(time=now, attempt=step.attempt, error=step.error)
            )
        self._end(step.flow, step.status, step.reason, now=now)
        return Done()

    def _end(self, flow_id: str, status: str, reason: str, *, now: float) -> None:
        flow = self.books.flows.get(flow_id)
        if flow is None or flow.status != "open":
            return
        flow.status, flow.reason, flow.ended, flow.open = status, reason, now, 0
        self._touched[flow_id] = None
        for key, delivery in tuple(self.books.deliveries.items()):
            if delivery.entry.flow != flow_id:
                continue
            if status == "failed":
                delivery.is_dead = True
                delivery.owner = None
            else:
                del self.books.deliveries[key]
        if status != "failed":
            self._free_joins(flow_id)

    def _claim(self, owner: int, step: Claim, now: float) -> Answer:
        owners = self.books.owners
        if owner not in owners:
            return Fenced()
        late = {o for o, until in owners.items() if until is not None and until < now}
        self._recover(late - {owner}, now)
        free = [
            d
            for d in self.books.deliveries.values()
            if d.owner is None
            and not d.is_dead
            and d.suspect == step.suspects
            and step.flow in {None, d.entry.flow}
        ]
        free.sort(key=lambda d: d.crashes)
        taken = free[: step.limit]
        for delivery in taken:
            delivery.owner = owner
        names = dict.fromkeys(d.entry.flow for d in taken)
        flows = tuple(_shown(self.books.flows[name]) for name in names)
        return Claimed(
            deliveries=tuple(_stored(d) for d in taken),
            flows=flows,
            left=len(free) > len(taken),
        )

    def _start(self, owner: int, step: Start, _now: float) -> Answer:
        delivery = self._mine(owner, step.key)
        if delivery is None:
            return Fenced()
        delivery.started = 2 if step.alone else 1
        return Done()

    def _memo(self, owner: int, step: Memo, _now: float) -> Answer:
        delivery = self._mine(owner, step.key)
        if delivery is None:
            return Fenced()
        delivery.memos[step.name] = step.value
        return Done()

    def _remember(self, owner: int, step: Remember, _now: float) -> Answer:
        if owner not in self.books.owners:
            return Fenced()
        if step.key is not None:
            delivery = self._mine(owner, step.key)
            if delivery is None:
                return Fenced()
            delivery.memos[step.name] = ""
        for name, value in step.facts:
            if value is None:
                self.books.facts.pop(name, None)
            else:
                self.books.facts[name] = value
        return Done()

    def _renew(self, owner: int, step: Renew, _now: float) -> Answer:
        if owner not in self.books.owners:
            return Fenced()
        self.books.owners[owner] = step.until
        return Done()

    def _free(self, _owner: int, step: FreeJoins, _now: float) -> Answer:
        flow = self.books.flows.get(step.flow)
        if flow is not None and flow.status != "open":
            self._free_joins(step.flow)
        return Done()

    def _release(self, owner: int, step: Release, _now: float) -> Answer:
        for delivery in self.books.deliveries.values():
            if delivery.owner == owner and delivery.entry.flow == step.flow:
                delivery.owner = None
                self._is_work = True
        return Done()

    def _look(self, _owner: int, step: Look, _now: float) -> Answer:
        asked = [
            d
            for d in self.books.deliveries.values()
            if not d.is_dead and step.flow in {None, d.entry.flow}
        ]
        free = sum(d.owner is None for d in asked)
        flow = None if step.flow is None else self.flow(step.flow)
        return Looked(flow=flow, working=len(asked) - free, free=free)

    # -- looking --------------------------------------------------------------------

    def flows(self) -> list[StoredFlow]:
        """Return every flow; see `Store`."""
        return [_shown(flow) for flow in self.books.flows.values()]

    def flow(self, flow: str) -> StoredFlow | None:
        """Return one flow; see `Store`."""
        found = self.books.flows.get(flow)
        return None if found is None else _shown(found)

    def events(self, flow: str) -> list[Entry]:
        """Return the events of a flow; see `Store`."""
        return [
            attrs.evolve(entry, agents=())
            for entry in self.books.entries.values()
            if entry.flow == flow
        ]

    def dead_letters(self) -> list[DeadLetter]:
        """Return what failed for good; see `Store`."""
        return [
            DeadLetter(
                key=d.key,
                body=d.entry.body,
                reason=self.books.flows[d.entry.flow].reason,
                history=tuple(d.failures),
            )
            for d in self.books.deliveries.values()
            if d.is_dead
        ]

    def retry(self, flow: str) -> int:
        """Make dead letters open again; see `Store`."""
        dead = self._dead_of(flow)
        for delivery in dead:
            delivery.is_dead = delivery.suspect = delivery.recovered = False
            delivery.attempt, delivery.due, delivery.crashes = 1, 0.0, 0
            for name in [n for n in delivery.memos if n.startswith(OF_ATTEMPT)]:
                del delivery.memos[name]
        if dead:
            row = self.books.flows[flow]
            row.status, row.reason, row.ended = "open", "", None
            row.open += len(dead)
            self._touched[flow] = None
            self._is_work = True
        self._spread(None)
        return len(dead)

    def drop(self, flow: str) -> int:
        """Forget a flow that is not open; see `Store`."""
        row = self.books.flows.get(flow)
        if row is None or row.status == "open":
            return 0
        dead = self._dead_of(flow)
        for delivery in dead:
            del self.books.deliveries[delivery.key]
        self._forget(flow)
        return len(dead)

    def prune(self, before: float) -> int:
        """Forget flows that were over before a time; see `Store`."""
        over = [
            flow.id
            for flow in self.books.flows.values()
            if flow.ended is not None
            and flow.ended < before
            and not self._dead_of(flow.id)
        ]
        for flow in over:
            self._forget(flow)
        return len(over)

    def _dead_of(self, flow: str) -> list[Delivery]:
        return [
            d
            for d in self.books.deliveries.values()
            if d.is_dead and d.entry.flow == flow
        ]

    def _forget(self, flow: str) -> None:
        del self.books.flows[flow]
        self._free_joins(flow)
        for entry in self.events(flow):
            del self.books.entries[entry.id]


def _shown(flow: FlowRow) -> StoredFlow:
    return StoredFlow(
        id=flow.id,
        status=flow.status,
        reason=flow.reason,
        open=flow.open,
        events=flow.events,
        started=flow.started,
        ended=flow.ended,
        deadline=flow.deadline,
    )


def _stored(delivery: Delivery) -> Stored:
    return Stored(
        key=delivery.key,
        body=delivery.entry.body,
        attempt=delivery.attempt,
        due=delivery.due,
        recovered=delivery.recovered,
        crashes=delivery.crashes,
        memos=tuple(sorted(delivery.memos.items())),
    )
