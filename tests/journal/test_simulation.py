"""Thousands of simulated sessions, each with crashes of its own; and the checker's test.

A seed that fails is named; ``run_seed(SEED).trace`` has every step that it took.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from agentflow.journal._memory import MemoryStore
from tests.journal import planted
from tests.journal.runs import run_fleet, run_seed

SEEDS = 5_000
CHUNK = 100
FLEETS = 500
UNTIL_CAUGHT = 200
"""Within how many seeds a planted bug must show."""


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_the_invariants_hold_whenever_the_power_fails(first: int) -> None:
    """(J1, J15) Nothing is lost, nothing is done twice, no innocent is dead."""
    broken = {
        seed: problems
        for seed in range(first, first + CHUNK)
        if (problems := run_seed(seed).problems)
    }
    assert broken == {}


def test_the_same_seed_gives_the_same_trace() -> None:
    """A failure can be repeated, step by step."""
    for seed in range(20):
        assert run_seed(seed).trace == run_seed(seed).trace


@pytest.mark.parametrize("first", range(0, FLEETS, CHUNK))
def test_the_invariants_hold_with_several_processes(first: int) -> None:
    """(J17) Some die or stall while others live; idle is never reported too early."""
    broken = {
        seed: problems
        for seed in range(first, first + CHUNK)
        if (problems := run_fleet(seed).problems)
    }
    assert broken == {}


def test_the_same_fleet_gives_the_same_trace() -> None:
    """A failure can be repeated, step by step."""
    for seed in range(10):
        assert run_fleet(seed).trace == run_fleet(seed).trace


@pytest.mark.parametrize("store", planted.FLEET_STORES)
def test_a_bug_in_a_shared_store_is_caught(store: type[MemoryStore]) -> None:
    """The checker sees what each planted bug does to several processes."""
    assert any(run_fleet(seed, store).problems for seed in range(UNTIL_CAUGHT))


@pytest.mark.parametrize("plant", planted.FLEET_PATCHES)
def test_a_bug_in_sharing_is_caught(
    plant: Callable[[], AbstractContextManager[None]],
) -> None:
    """The checker sees what each planted bug does to several processes."""
    with plant():
        assert any(run_fleet(seed).problems for seed in range(UNTIL_CAUGHT))


@pytest.mark.parametrize("store", planted.STORES)
def test_a_bug_in_the_store_is_caught(store: type[MemoryStore]) -> None:
    """The checker sees what each planted bug does."""
    assert any(run_seed(seed, store).problems for seed in range(UNTIL_CAUGHT))


@pytest.mark.parametrize("plant", planted.PATCHES)
def test_a_bug_in_the_session_is_caught(
    plant: Callable[[], AbstractContextManager[None]],
) -> None:
    """The checker sees what each planted bug does."""
    with plant():
        assert any(run_seed(seed).problems for seed in range(UNTIL_CAUGHT))
