"""What an aggregator has and still needs, as plain values (A4)."""

from itertools import permutations

import pytest

from agentflow import Event
from agentflow._joining import Join, Needs
from tests.fakes import Other, Ping, Pong


class LoudPing(Ping):
    pass


def ping(n: int = 0) -> Ping:
    """Make a Ping."""
    return Ping(source="t", n=n)


def pong(n: int = 0) -> Pong:
    """Make a Pong."""
    return Pong(source="t", n=n)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_set_is_complete_in_any_order(order: tuple[int, ...]) -> None:
    """(A4) The set comes out in the order of the types, whatever came first."""
    events = [ping(), pong(), Other(source="t")]
    join = Join(Needs([Ping, Pong, Other]))
    results = [join.add(events[i]) for i in order]
    assert results == [None, None, events]
    assert join.is_empty()


def test_a_type_listed_twice_is_needed_twice() -> None:
    """(A4) One event fills one place."""
    join = Join(Needs([Ping, Ping]))
    assert join.add(ping(1)) is None
    assert join.missing() == ("Ping",)
    assert join.add(ping(2)) == [ping(1), ping(2)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_no_order_of_arrival_keeps_a_set_from_being_complete(
    order: tuple[int, ...],
) -> None:
    """(A4) An event that may fill several places moves when another needs its place."""
    loud = LoudPing(source="t")
    events = [loud, ping(), pong(), Other(source="t")]
    join = Join(Needs([Event, Ping, LoudPing, Pong]))
    results = [join.add(events[i]) for i in order]
    assert results[:3] == [None, None, None]
    assert results[3] == [events[3], events[1], loud, events[2]]


def test_what_is_too_many_waits_for_the_next_set() -> None:
    """(A4) A second round of the same id needs nothing but more events."""
    join = Join(Needs([Ping, Pong]))
    assert join.add(ping(1)) is None
    assert join.add(ping(2)) is None
    assert join.add(pong(1)) == [ping(1), pong(1)]
    assert not join.is_empty()
    assert join.collected() == [ping(2)]
    assert join.add(ping(3)) is None
    assert join.add(pong(2)) == [ping(2), pong(2)]
    assert join.add(pong(3)) == [ping(3), pong(3)]
    assert join.is_empty()


def test_a_quorum_makes_a_set_of_whichever_come() -> None:
    """(A4) Places that stay empty are left out."""
    join = Join(Needs([Ping, Pong, Other], quorum=2))
    assert join.add(Other(source="t")) is None
    assert join.add(ping()) == [ping(), Other(source="t")]


def test_holding_is_by_identity() -> None:
    """(A4) Two equal events are two; a join holds what it was given."""
    join = Join(Needs([Ping, Pong]))
    first, second = ping(1), ping(1)
    join.add(first)
    assert join.holds(first)
    assert not join.holds(second)
    join.add(second)
    assert join.holds(second)
    assert join.take() == [first]
    assert not join.holds(first)
    assert join.holds(second)


def test_what_is_missing_is_named() -> None:
    """(A4) The report of an incomplete set names the types it lacks."""
    join = Join(Needs([Ping, Pong, Pong]))
    join.add(pong())
    assert join.missing() == ("Ping", "Pong")
    assert join.collected() == [pong()]


def test_an_event_of_no_needed_type_waits_and_completes_nothing() -> None:
    """(A4) It fills no place, now or in any later set."""
    join = Join(Needs([Ping]))
    assert join.add(pong()) is None
    assert join.add(ping()) == [ping()]
    assert join.collected() == []
    assert not join.is_empty()
