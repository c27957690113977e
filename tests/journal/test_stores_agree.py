"""The SQLite store does what the in-memory store does, whatever is asked, in any order."""

import itertools

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agentflow._steps import (
    Append,
    Claim,
    Commit,
    Cut,
    Entry,
    Fail,
    FreeJoins,
    Join,
    Key,
    Look,
    Memo,
    Release,
    Remember,
    Renew,
    Sit,
    Start,
    Step,
)
from agentflow.journal._memory import MemoryStore
from agentflow.journal._sqlite_store import SQLiteStore

FLOWS = ("f1", "f2", "f3")
AGENTS = ("a", "b")
TOUCHES = ("fail", "start", "alone", "memo", "free", "release")

flows = st.sampled_from(FLOWS)
agents = st.lists(st.sampled_from(AGENTS), unique=True, max_size=2).map(tuple)
numbers = st.integers(0, 30)


class StoresAgree(RuleBasedStateMachine):
    """Gives both stores the same batches, and compares what they answer and hold."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = MemoryStore()
        self.sqlite = SQLiteStore(":memory:")
        self.now = 1000.0
        self.batch: list[Step] = []
        self.names = itertools.count()
        self.owners: list[int] = []
        self.known: list[Key] = []
        self.open_one(None)

    def open_one(self, lease: float | None) -> None:
        opened = self.twin.open(self.now, lease)
        assert self.sqlite.open(self.now, lease) == opened
        self.owner = opened.owner
        self.owners.append(opened.owner)

    def entry(self, flow: str, to: tuple[str, ...], *, ends: bool = False) -> Entry:
        number = next(self.names)
        event = f"e{number}" if number % 3 else f"other {number}"
        self.known += [Key(flow, event, agent) for agent in to]
        return Entry(
            id=event,
            flow=flow,
            parent=None,
            kind=f"K{len(to)}",
            body=f'{{"of": "{event}"}}',
            agents=to,
            terminates=ends,
        )

    def key(self, number: int) -> Key:
        known = self.known
        return known[-1 - number % len(known)] if known else Key("f1", "none", "a")

    # -- batches

    @rule(data=st.lists(st.tuples(flows, agents), max_size=3), outside=st.booleans())
    def append(self, data: list[tuple[str, tuple[str, ...]]], outside: bool) -> None:
        by = None if outside else self.key(0)
        entries = tuple(self.entry(flow, to) for flow, to in data)
        fresh = len(self.known) % 2 > 0
        self.batch.append(Append(entries=entries, by=by, fresh=fresh))

    @rule(flow=flows, to=agents)
    def append_twice(self, flow: str, to: tuple[str, ...]) -> None:
        entry = self.entry(flow, to)
        self.batch += [Append(entries=(entry,), deadline=5.0), Append(entries=(entry,))]

    @rule(number=numbers, to=st.lists(agents, max_size=3), ends=st.booleans())
    def commit(self, number: int, to: list[tuple[str, ...]], ends: bool) -> None:
        key = self.key(number)
        outputs = [self.entry(key.flow, agents) for agents in to]
        if ends:
            outputs.append(self.entry(key.flow, (), ends=True))
        if number % 5 == 0:
            outputs.append(self.entry(FLOWS[number % 3], AGENTS))
        step = Commit(key=key, entries=tuple(outputs), fresh=number % 2 > 0)
        self.batch.append(step)

    @rule(number=numbers, places=st.sampled_from([(0,), (1,), (0, 1), (1, 2), ()]))
    def join(self, number: int, places: tuple[int, ...]) -> None:
        quorum = 2 if number % 3 else 3
        self.batch.append(
            Join(key=self.key(number), places=places, size=3, quorum=quorum)
        )

    @rule(number=numbers, places=st.sampled_from([(0,), (0, 1)]), late=st.booleans())
    def sit(self, number: int, places: tuple[int, ...], late: bool) -> None:
        self.batch.append(
            Sit(key=self.key(number), places=places, size=3, quorum=2, overdue=late)
        )

    @rule(number=numbers, what=st.sampled_from(TOUCHES))
    def touch(self, number: int, what: str) -> None:
        key = self.key(number)
        steps: dict[str, Step] = {
            "fail": Fail(key=key, attempt=1, due=self.now + 3, error="oh"),
            "start": Start(key=key),
            "alone": Start(key=key, alone=True),
            "free": FreeJoins(flow=key.flow),
            "release": Release(flow=key.flow),
            "memo": Memo(key=key, name=f"m{number % 2}", value=str(number)),
        }
        self.batch.append(steps[what])

    @rule(number=numbers, outside=st.booleans(), value=st.none() | st.just("1"))
    def remember(self, number: int, outside: bool, value: str | None) -> None:
        key = None if outside else self.key(number)
        facts = ((f"fact{number % 3}", value),)
        self.batch.append(Remember(facts=facts, key=key, name="memory"))

    @rule(
        number=numbers,
        how=st.sampled_from(["failed", "cancelled", "terminated"]),
        by=st.booleans(),
    )
    def cut(self, number: int, how: str, by: bool) -> None:
        key = self.key(number)
        cut = Cut(
            flow=key.flow,
            status=how,  # type: ignore[arg-type]  # one of them
            reason="why",
            by=key if by else None,
            error="oh",
        )
        self.batch.append(cut)

    @rule(limit=st.integers(1, 4), flow=st.none() | flows, suspects=st.booleans())
    def claim(self, limit: int, flow: str | None, suspects: bool) -> None:
        self.batch.append(Claim(limit=limit, flow=flow, suspects=suspects))

    @rule(flow=st.none() | flows)
    def look(self, flow: str | None) -> None:
        self.batch.append(Look(flow=flow))

    @rule()
    def renew(self) -> None:
        self.batch.append(Renew(until=self.now + 50))

    @rule(number=numbers)
    def apply(self, number: int) -> None:
        owner = (
            self.owners[-1 - number % len(self.owners)] if number > 20 else self.owner
        )
        expected = self.twin.apply(owner, self.batch, self.now)
        answers = self.sqlite.apply(owner, self.batch, self.now)
        for step, answer, other in zip(self.batch, answers, expected, strict=True):
            assert (step, answer) == (step, other)
        self.batch = []
        self.now += 1

    # -- owners and looking

    @rule(lease=st.none() | st.floats(1, 20))
    def open(self, lease: float | None) -> None:
        self.open_one(lease)

    @rule(number=numbers)
    def close(self, number: int) -> None:
        owner = self.owners[-1 - number % len(self.owners)]
        self.twin.close(owner)
        self.sqlite.close(owner)

    @rule(flow=flows, what=st.sampled_from(["retry", "drop"]))
    def from_outside(self, flow: str, what: str) -> None:
        expected = getattr(self.twin, what)(flow)
        assert getattr(self.sqlite, what)(flow) == expected

    @rule(age=st.integers(0, 5))
    def prune(self, age: int) -> None:
        before = self.now - age
        assert self.sqlite.prune(before) == self.twin.prune(before)

    @invariant()
    def they_hold_the_same(self) -> None:
        twin, sqlite = self.twin, self.sqlite
        by_id = sorted(twin.flows(), key=lambda flow: (flow.started, flow.id))
        assert sqlite.flows() == by_id
        assert sqlite.dead_letters() == twin.dead_letters()
        for flow in FLOWS:
            assert sqlite.flow(flow) == twin.flow(flow)
            assert sqlite.events(flow) == twin.events(flow)
        assert sqlite.check() == []

    def teardown(self) -> None:
        self.sqlite.shut()


StoresAgree.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_the_stores_agree = StoresAgree.TestCase
