"""Whole sessions that Hypothesis writes, in any order of their tasks, on both loops."""

import gc

import pytest
from hypothesis import Phase, given, settings

from agentflow._unclaimed import Unclaimed
from tests import test_stress_catches as faults
from tests.conftest import BACKENDS
from tests.interpreter import Session
from tests.programs import Program, programs
from tests.seeded import run_seeded


@pytest.mark.parametrize("backend", BACKENDS)
@given(program=programs)
@settings(max_examples=max(80, settings().max_examples))
def test_whatever_a_session_does_nothing_is_lost(
    backend: str, program: Program
) -> None:
    """(D1 to F6) Every event is handled or reported, every error raised, all is left."""
    session = Session(program)
    run_seeded(backend, session.live, program.order)


def an_error_that_is_lost(patch: pytest.MonkeyPatch) -> None:
    """A failure without an owner is told to nobody."""

    def lose(*_: object) -> None:
        pass

    patch.setattr(Unclaimed, "claim", lose)


@pytest.mark.filterwarnings("ignore")  # what a broken session leaves behind
@pytest.mark.parametrize(
    "plant",
    [
        faults.a_failure_without_consequence,
        faults.a_flow_that_is_never_forgotten,
        faults.an_output_lost,
        faults.a_drop_without_a_record,
        faults.room_that_never_comes,
        an_error_that_is_lost,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_fault_is_caught_by_some_program(
    plant: faults.Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(D1 to F6) Within a few programs, one check or another fails."""

    @settings(max_examples=80, phases=[Phase.generate], database=None)
    @given(program=programs)
    def run(program: Program) -> None:
        run_seeded("asyncio", Session(program).live, program.order)

    plant(monkeypatch)
    with pytest.raises(BaseException):  # noqa: B017, PT011 -- it shows in any way
        run()
    gc.collect()  # what the broken session left, while the warnings about it are off
