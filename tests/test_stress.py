"""Whole sessions of random graphs, users and faults (all of D, F and A2)."""

import pytest
from hypothesis import given, strategies as st

from tests.conftest import BACKENDS
from tests.seeded import CancelAt, run_seeded
from tests.stress import cancel_and_judge, live_and_judge


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=st.integers(0, 10**9))
def test_whatever_happens_the_books_agree(backend: str, seed: int) -> None:
    """(D1 to F6) Nothing is lost, doubled, out of order or left behind."""
    run_seeded(backend, lambda: live_and_judge(seed), seed)


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=st.integers(0, 10**9), turn=st.integers(1, 300))
def test_wherever_a_session_is_cancelled_nothing_is_left(
    backend: str, seed: int, turn: int
) -> None:
    """(D5, F1) At each await of its own code, of its owners' and of its handlers'."""
    cancel = CancelAt(turn)
    run_seeded(
        backend,
        lambda: cancel_and_judge(seed, cancel.scope),
        seed,
        on_turn=cancel.on_turn,
    )
