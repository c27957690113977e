"""Bugs planted in the store, in the link and in the session: each must be caught.

`STORES` and `PATCHES` are for the simulation, `REAL` is for campaigns of real processes.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import _durable_feed
from agentflow._durable_entry import EntryEngine
from agentflow._durable_memory import FactKeeper
from agentflow._durable_others import Others
from agentflow._ledger import Root
from agentflow._steps import (
    Answer,
    Append,
    Claim,
    Commit,
    Done,
    Entry,
    Fail,
    Join,
    Key,
    Memo,
    Renew,
    Step,
)
from agentflow.journal import SQLiteJournal
from agentflow.journal._books import Delivery
from agentflow.journal._link import StoreLink
from agentflow.journal._memory import MemoryStore
from agentflow.journal._store import MAX_CRASHES
from tests.journal import orders


class DropsOutputs(MemoryStore):
    """Forgets all outputs of a commit but the first."""

    def _commit(self, owner: int, step: Commit, now: float) -> Answer:
        answer = super()._commit(
            owner, Commit(key=step.key, entries=step.entries[:1], rows=step.rows), now
        )
        if isinstance(answer, Done):
            return Done(new=(True,) * len(step.entries))
        return answer


class HasNoFence(MemoryStore):
    """Takes the steps of owners that are dead."""

    def _mine(self, owner: int, key: Key) -> Delivery | None:
        delivery = self.books.deliveries.get(key)
        return None if delivery is None or delivery.is_dead else delivery


class CommitsTwice(MemoryStore):
    """Keeps what was done, so that it is done again."""

    def _finish(self, delivery: Delivery, now: float) -> None:
        super()._finish(delivery, now)
        if delivery.agent == "drip" and delivery.recovered:
            self.books.deliveries[delivery.key] = delivery
            self.books.flows[delivery.entry.flow].open += 1
            delivery.owner, delivery.recovered = None, False


class CountsOutputsLate(MemoryStore):
    """Counts a delivery out before what it emitted is in, and ends the flow then."""

    def _commit(self, owner: int, step: Commit, now: float) -> Answer:
        delivery = self._mine(owner, step.key)
        answer = super()._commit(owner, step, now)
        if delivery is not None and step.entries:
            flow = self.books.flows[step.key.flow]
            flow.open -= 1
            self._close_if_done(flow, now)
        return answer


class LosesJoinRows(MemoryStore):
    """Forgets the sets of aggregators when it is opened."""

    def open(self, now: float, lease: float | None = None) -> Any:
        self.books.joins.clear()
        return super().open(now, lease)


class JoinsTwice(MemoryStore):
    """Completes a set with members that another set has."""

    def _join(self, owner: int, step: Join, now: float) -> Answer:
        for seat in self.books.joins.get((step.key.flow, step.key.agent), []):
            seat.taken_by = None
        return super()._join(owner, step, now)


class KnowsNoIds(MemoryStore):
    """Enters an event again that it has already."""

    def _enter(self, owner: int, entry: Entry, now: float) -> bool:
        self.books.entries.pop(entry.id, None)
        return super()._enter(owner, entry, now)


class ForgetsMemos(MemoryStore):
    """Says that it has kept a memo, and has not."""

    def _memo(self, owner: int, step: Memo, _now: float) -> Answer:
        return Done()


class ForgetsTheEnd(MemoryStore):
    """Leaves the deliveries of a terminated flow where they are."""

    def _end(self, flow_id: str, status: str, reason: str, *, now: float) -> None:
        if status == "terminated":
            self.books.flows[flow_id].reason = reason
        else:
            super()._end(flow_id, status, reason, now=now)


class FreesNothing(MemoryStore):
    """Leaves what a dead owner had with it."""

    def _recover(self, owners: set[int], now: float) -> None:
        for owner in owners:
            del self.books.owners[owner]


class BlamesAll(MemoryStore):
    """Takes everything that was open at a crash for its cause."""

    def _recover(self, owners: set[int], now: float) -> None:
        super()._recover(owners, now)
        for delivery in tuple(self.books.deliveries.values()):
            delivery.crashes += bool(owners)
            if delivery.crashes > MAX_CRASHES and not delivery.is_dead:
                self._end(delivery.entry.flow, "failed", "blamed", now=now)


class ForgetsAttempts(MemoryStore):
    """Starts counting attempts anew."""

    def _fail(self, owner: int, step: Fail, now: float) -> Answer:
        return Done()


class LosesEmitted(MemoryStore):
    """Says that what a running handler emits is on disk, and it is not."""

    def _append(self, owner: int, step: Append, now: float) -> Answer:
        if step.by is not None and self.books.last_owner > 1:
            return Done(new=(True,) * len(step.entries))
        return super()._append(owner, step, now)


class FreesTheLiving(MemoryStore):
    """Takes everybody else for dead at each claim, and lets them go on."""

    def _claim(self, owner: int, step: Claim, now: float) -> Answer:
        for delivery in self.books.deliveries.values():
            if not delivery.is_dead:
                delivery.owner = None
        return super()._claim(owner, step, now)


class FreesNobody(MemoryStore):
    """Never takes anybody for dead."""

    def _recover(self, owners: set[int], now: float) -> None:
        pass


class RenewsTheDead(HasNoFence):
    """Lets an owner that was taken for dead live again, with what it had."""

    def _renew(self, owner: int, step: Renew, _now: float) -> Answer:
        self.books.owners[owner] = step.until
        return Done()

    def _append(self, owner: int, step: Append, now: float) -> Answer:
        self.books.owners.setdefault(owner, now + 1)
        return super()._append(owner, step, now)


STORES = (
    DropsOutputs,
    HasNoFence,
    CommitsTwice,
    CountsOutputsLate,
    LosesJoinRows,
    JoinsTwice,
    KnowsNoIds,
    ForgetsMemos,
    ForgetsTheEnd,
    FreesNothing,
    BlamesAll,
    ForgetsAttempts,
    LosesEmitted,
)


def unheard(answer: object) -> None:
    """Pass over an answer."""


@contextmanager
def tells_early() -> Generator[None]:
    """Answer before anything is on disk."""
    submit = StoreLink.submit

    def early(self: StoreLink, step: Step, told: Callable[[Any], object]) -> None:
        entries = step.entries if isinstance(step, Append | Commit) else ()
        if not entries:
            submit(self, step, told)
            return
        submit(self, step, unheard)
        told(Done(new=(True,) * len(entries)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreLink, "submit", early)
        yield


def always(keeper: FactKeeper) -> bool:
    """Say that each change is to be made."""
    return True


@contextmanager
def remembers_twice() -> Generator[None]:
    """Make each change of the memory at every attempt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FactKeeper, "begins", always)
        yield


@contextmanager
def is_idle_early() -> Generator[None]:
    """Strike a delivery out while its commit is on its way."""
    released = EntryEngine._submit

    def early(self: Any, step: Step, told: Callable[[Any], object]) -> None:
        released(self, step, told)
        if not isinstance(step, Commit) or step.key.flow not in self.ledger.flows:
            return
        for root in tuple(self.ledger.flows[step.key.flow].roots):
            done = [d for d in root.pending if d.event.id == step.key.event]
            for delivery in done:
                del root.pending[delivery]
            self._root_done(root)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EntryEngine, "_submit", early)
        yield


def for_ever(delivery: object) -> float:
    """Set no bound to a wait."""
    return inf


@contextmanager
def waits_by_the_clock() -> Generator[None]:
    """Wait until a retry is due, though the clock has gone back by an hour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_durable_feed, "_longest", for_ever)
        yield


@contextmanager
def journal_with(**options: Any) -> Generator[None]:
    """Give the orders a journal that keeps its word less well."""

    def journal_of(path: str) -> SQLiteJournal:
        return SQLiteJournal(path, schema=orders.SCHEMA, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "journal_of", journal_of)
        yield


def tells_before_fsync() -> AbstractContextManager[None]:
    """Answer when a batch is written, and not yet on disk."""
    return journal_with(synchronous="normal")


def drops_the_young() -> AbstractContextManager[None]:
    """Drop what looks old by a clock that has jumped."""
    return journal_with(keep=1800.0)


REAL = {
    "tells early": tells_early,
    "tells before fsync": tells_before_fsync,
    "drops the young": drops_the_young,
}

PATCHES = (tells_early, remembers_twice, is_idle_early, waits_by_the_clock)


async def idle_at_once(others: Others, flow: str | None) -> bool:
    """Say that all is idle, since it is so here."""
    await checkpoint()
    return True


@contextmanager
def asks_nobody() -> Generator[None]:
    """Take what is idle here for idle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Others, "idle_or_news", idle_at_once)
        yield


async def never(others: Others) -> None:
    """Do nothing for ever."""
    await anyio.sleep_forever()


@contextmanager
def never_renews() -> Generator[None]:
    """Let every lease run out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Others, "_renew", never)
        yield


def unkept(others: Others, root: Root) -> bool:
    """Let each flow be idle when it is so here."""
    return False


@contextmanager
def keeps_nothing() -> Generator[None]:
    """Let each flow be idle when it is so here, and do not ask."""
    with asks_nobody(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Others, "keeps", unkept)
        yield


FLEET_STORES = (*STORES, FreesTheLiving, FreesNobody, RenewsTheDead)
FLEET_PATCHES = (
    *(patch for patch in PATCHES if patch is not waits_by_the_clock),
    asks_nobody,
    never_renews,
    keeps_nothing,
)
"""The clock of a fleet does not jump."""
