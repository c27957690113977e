"""What both stores must do, case by case; `test_stores_agree` compares them in the rest."""

from collections.abc import Generator
from pathlib import Path

import pytest

from agentflow import JournalError
from agentflow._steps import (
    Append,
    Claim,
    Claimed,
    Commit,
    Cut,
    Done,
    Entry,
    Fail,
    Fenced,
    Join,
    Joined,
    Key,
    Look,
    Looked,
    Memo,
    News,
    Release,
    Remember,
    Renew,
    Start,
    Step,
)
from agentflow.journal._matching import complete_set
from agentflow.journal._memory import MemoryStore
from agentflow.journal._sqlite_store import SQLiteStore
from agentflow.journal._sqlite_visit import visiting

AnyStore = MemoryStore | SQLiteStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest) -> Generator[AnyStore]:
    """Return an empty store of each kind."""
    if request.param == "memory":
        yield MemoryStore()
        return
    made = SQLiteStore(":memory:")
    yield made
    made.shut()


def entry(event: str, *agents: str, flow: str = "f") -> Entry:
    """Return an event."""
    return Entry(id=event, flow=flow, parent=None, kind="K@1", body="{}", agents=agents)


def claim(
    store: AnyStore, owner: int, now: float, *, suspects: bool = False
) -> list[Key]:
    """Take over what is free."""
    (claimed,) = store.apply(owner, [Claim(limit=9, suspects=suspects)], now)
    assert isinstance(claimed, Claimed)
    return [delivery.key for delivery in claimed.deliveries]


def test_what_a_late_owner_had_goes_to_another_and_is_fenced(store: AnyStore) -> None:
    """(J1) Whoever comes back after its lease is over changes nothing."""
    one = store.open(0.0, lease=10.0).owner
    two = store.open(0.0, lease=1000.0).owner
    store.apply(one, [Append(entries=(entry("e", "a"),))], 0.0)
    assert claim(store, two, 5.0) == []
    assert claim(store, two, 11.0) == [Key("f", "e", "a")]
    commit = Commit(key=Key("f", "e", "a"), entries=(entry("late"),))
    lost: list[Step] = [
        commit,
        Append(entries=(entry("late"),), by=commit.key),
        Join(key=commit.key, places=(0,), size=1, quorum=1),
        Fail(key=commit.key, attempt=1, due=0.0, error="late"),
        Start(key=commit.key),
        Memo(key=commit.key, name="late", value=""),
        Remember(facts=(("late", "1"),), key=commit.key, name="late"),
        Cut(flow="f", status="failed", reason="late", by=commit.key),
    ]
    assert store.apply(one, lost, 12.0) == [Fenced()] * len(lost)
    assert [e.id for e in store.events("f")] == ["e"]
    done = store.apply(two, [Commit(key=Key("f", "e", "a"))], 12.0)
    assert done == [Done(new=())]


def test_who_renews_its_lease_lives(store: AnyStore) -> None:
    """(J17) Whoever is too late is told so, and lives no more."""
    one = store.open(0.0, lease=10.0).owner
    two = store.open(0.0, lease=1000.0).owner
    store.apply(one, [Append(entries=(entry("e", "a"),))], 0.0)
    assert store.apply(one, [Renew(until=19.0)], 9.0) == [Done()]
    assert claim(store, two, 18.0) == []
    assert claim(store, two, 20.0) == [Key("f", "e", "a")]
    assert store.apply(one, [Renew(until=30.0)], 20.0) == [Fenced()]
    late = Append(entries=(entry("late", "a"),))
    assert store.apply(one, [late], 20.0) == [Fenced()]


def test_what_is_open_is_counted_by_who_has_it(store: AnyStore) -> None:
    """(J17) Of one flow or of all; what is dead or done counts for nothing."""
    owner = store.open(0.0, lease=10.0).owner
    new = [entry("e", "a", "b"), entry("g", "a", flow="g"), entry("h", "a", flow="h")]
    store.apply(owner, [Append(entries=tuple(new)), Release(flow="g")], 0.0)
    store.apply(owner, [Cut(flow="h", status="failed", reason="no")], 0.0)
    store.apply(owner, [Commit(key=Key("f", "e", "a"))], 0.0)
    looks = [Look(flow=flow) for flow in ("f", "g", "h", "unknown", None)]
    answers = store.apply(owner, looks, 1.0)
    counts = [(a.working, a.free) for a in answers if isinstance(a, Looked)]
    assert counts == [(1, 0), (0, 1), (0, 0), (0, 0), (1, 1)]
    assert [a.flow for a in answers if isinstance(a, Looked)] == [
        *map(store.flow, "fgh"),
        None,
        None,
    ]


def test_what_another_owner_has_is_fenced_while_both_live(store: AnyStore) -> None:
    """(J1) Only who has a delivery can finish it, and only once."""
    one, two = (store.open(0.0, lease=1000.0).owner for _ in range(2))
    store.apply(one, [Append(entries=(entry("e", "a"),), fresh=True)], 0.0)
    commit = Commit(key=Key("f", "e", "a"), fresh=True)
    assert store.apply(two, [commit], 1.0) == [Fenced()]
    assert store.apply(one, [commit, commit], 1.0) == [Done(new=()), Fenced()]


def test_an_owner_is_told_what_others_change() -> None:
    """(J17) In memory at once."""
    store = MemoryStore()
    heard: list[News] = []
    one, two = store.open(0.0, 10.0).owner, store.open(0.0, 10.0).owner
    store.watch(one, heard.append)
    store.apply(one, [Append(entries=(entry("e", "a"),))], 0.0)
    assert heard == []
    store.apply(two, [Append(entries=(entry("g", "a", flow="g"),))], 0.0)
    store.apply(two, [Commit(key=Key("g", "g", "a"))], 0.0)
    store.apply(two, [Cut(flow="f", status="failed", reason="no")], 0.0)
    store.apply(two, [Append(entries=(entry("h", "a", flow="h"),))], 0.0)
    store.apply(two, [Release(flow="h")], 0.0)
    store.retry("f")
    assert heard == [
        News(flows=("g",)),
        News(flows=("g",)),
        News(flows=("f",)),
        News(flows=("h",)),
        News(work=True),
        News(flows=("f",), work=True),
    ]
    heard.clear()
    claim(store, two, 1.0)
    store.close(two)
    store.watch(one, None)
    store.retry("f")
    assert heard == [News(work=True)]
    assert not store.changed()


def test_a_file_says_when_others_have_changed_it(tmp_path: Path) -> None:
    """(J17) Once, to the session that asks."""
    path = str(tmp_path / "run.db")
    file = SQLiteStore(path)
    heard: list[News] = []
    file.watch(1, heard.append)
    owner = file.open(0.0).owner
    file.apply(owner, [Append(entries=(entry("e", "a"),))], 0.0)
    file.apply(owner, [Cut(flow="f", status="failed", reason="no")], 0.0)
    assert not file.changed()
    with visiting(path, write=True) as visit:
        assert visit.retry("f") == 1
    assert [file.changed(), file.changed()] == [True, False]
    file.shut()


def test_only_three_crashes_alone_make_a_dead_letter(store: AnyStore) -> None:
    """(J15) Those beside it stay open until then."""
    owner = store.open(0.0).owner
    store.apply(owner, [Append(entries=(entry("p", "bad"), entry("q", "good")))], 0.0)
    store.apply(owner, [Append(entries=(entry("r", "other", flow="g"),))], 0.0)
    owner = store.open(1.0).owner  # the first crash
    keys = claim(store, owner, 1.0)
    store.apply(owner, [Start(key=key) for key in keys if key.agent != "other"], 1.0)
    for crash in range(3):
        opened = store.open(2.0 + crash)
        assert opened.suspects == 2
        suspects = claim(store, opened.owner, 2.0, suspects=True)
        bad = next(key for key in suspects if key.agent == "bad")
        store.apply(opened.owner, [Start(key=bad, alone=True)], 2.0)
    last = store.open(9.0)
    assert (last.suspects, last.open) == (0, 1)
    assert {letter.key.agent for letter in store.dead_letters()} == {"bad", "good"}
    assert store.retry("f") == 2
    assert store.open(10.0).open == 3


def test_a_dead_letter_keeps_its_memos_but_those_of_an_attempt(store: AnyStore) -> None:
    """(J18) When it is opened again it begins with its first attempt."""
    owner = store.open(0.0).owner
    key, other = Key("f", "e", "a"), Key("g", "e2", "a")
    for flow, event in (("f", "e"), ("g", "e2")):
        store.apply(owner, [Append(entries=(entry(event, "a", flow=flow),))], 0.0)
    names = ("attempt:1:x", "once:attempt:1")
    memos = [Memo(key=k, name=n, value="1") for k in (key, other) for n in names]
    store.apply(owner, memos, 0.0)
    store.apply(owner, [Cut(flow="f", status="failed", reason="no", by=key)], 1.0)
    assert store.retry("f") == 1
    owner = store.open(2.0).owner
    (answer,) = store.apply(owner, [Claim(limit=9)], 2.0)
    assert isinstance(answer, Claimed)
    kept = {
        stored.key: [name for name, _ in stored.memos] for stored in answer.deliveries
    }
    assert kept == {key: ["once:attempt:1"], other: list(names)}


def test_a_flow_that_is_over_can_be_dropped(store: AnyStore) -> None:
    """(J5) An open one, or one nobody knows, cannot."""
    owner = store.open(0.0).owner
    store.apply(owner, [Append(entries=(entry("e", "a"),))], 0.0)
    assert store.drop("f") == store.drop("unknown") == 0
    store.apply(owner, [Commit(key=Key("f", "e", "a"))], 1.0)
    assert store.drop("f") == 0
    assert store.flows() == []
    assert store.flow("f") is None
    store.apply(owner, [Append(entries=(entry("e", "a"), entry("d", flow="g")))], 2.0)
    store.apply(owner, [Cut(flow="f", status="failed", reason="no")], 2.0)
    assert store.prune(9.0) == 1
    assert [flow.id for flow in store.flows()] == ["f"]
    assert store.drop("f") == 1
    assert store.dead_letters() == []


def test_a_set_takes_events_in_any_order(store: AnyStore) -> None:
    """(J3) One that fits two places makes room for one that fits only the first."""
    owner = store.open(0.0).owner
    names = ("either", "first", "late")
    for name in names:
        store.apply(owner, [Append(entries=(entry(name, "a", name),))], 0.0)
    places = {"either": (0, 1), "first": (0,), "late": (0,)}
    answers = [
        store.apply(
            owner,
            [Join(key=Key("f", name, "a"), places=places[name], size=2, quorum=2)],
            1.0,
        )[0]
        for name in names
    ]
    assert answers == [
        Joined(members=None),
        Joined(members=("first", "either"), bodies=("{}", "{}")),
        Joined(members=None),
    ]


def test_an_event_without_a_place_waits() -> None:
    """(J3) All its places are taken by events that cannot move."""
    assert complete_set([(0,), (0,), (1,)], 2, 2) == [0, 2]
    assert complete_set([(0, 1), (0, 1), (0, 1)], 3, 3) is None
    assert complete_set([(0,), (0, 1), (1, 2), (0,)], 3, 3) == [0, 1, 2]


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """(J14) Its name is taken by something else."""
    (tmp_path / "run.db-lock").write_text("This is no lock of ours. " * 100)
    with pytest.raises(JournalError, match=r"run\.db"):
        SQLiteStore(str(tmp_path / "run.db"))
