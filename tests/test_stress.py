"""Whole sessions of random graphs, users and faults (all of D, F and A2)."""

import pytest
from hypothesis import given, strategies as st

from tests.conftest import BACKENDS, run_on
from tests.stress import live_and_judge


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=st.integers(0, 10**9))
def test_whatever_happens_the_books_agree(backend: str, seed: int) -> None:
    """(D1 to F6) Nothing is lost, doubled, out of order or left behind."""
    run_on(backend, lambda: live_and_judge(seed))
