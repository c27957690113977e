"""The soak in small: it passes on a sound kernel, and it can fail."""

import functools
from typing import Any

import pytest

from agentflow._engine import Engine
from agentflow._recorder import Recorder
from agentflow._unclaimed import Unclaimed
from tests import soak
from tests.conftest import BACKENDS, run_on

SECONDS = 0.4


def soak_for(backend: str, seconds: float = SECONDS) -> soak.Soak:
    """Soak one loop in virtual time; that is short, and its threads take real time."""
    soaked = soak.Soak(seed=7)
    run_on(backend, functools.partial(soaked.live, seconds))
    return soaked


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sound_session_passes(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """(D7, F3) Load of every kind came and went, and the books agree."""
    monkeypatch.setattr(soak, "PAUSE_EVERY", 0.1)
    soaked = soak_for(backend)
    counts = soaked.tally.counts
    for kind in ("retry", "fail flow", "HandlerCancelled", "DeliveryDropped"):
        assert counts[kind], kind
    assert soaked.users["result"]
    assert len(soaked.samples) >= soak.MIN_LOOKS
    assert abs(soaked.drift()) < soak.MAX_DRIFT
    assert "drift" in soaked.summary()


def test_memory_that_grows_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """(R4) A flow that left 60 kB behind would be found out."""
    monkeypatch.setattr(soak, "PAUSE_EVERY", 0.1)
    leak: list[bytes] = []
    flow_ended = Recorder.flow_ended

    def leaking(self: Recorder, *args: Any) -> None:
        leak.append(bytes([len(leak) % 255 + 1]) * 60_000)
        flow_ended(self, *args)

    monkeypatch.setattr(Recorder, "flow_ended", leaking)
    assert soak_for("asyncio").drift() > soak.MAX_DRIFT


def test_statistics_that_miscount_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """(D7) One delivery in the totals too few or too many is enough."""
    interrupted = Engine.interrupted

    def miscounting(self: Engine, *args: Any) -> None:
        interrupted(self, *args)
        self.ledger.handled += 1

    monkeypatch.setattr(Engine, "interrupted", miscounting)
    with pytest.raises(AssertionError):
        soak_for("trio")


def test_an_error_that_is_lost_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """(F3) A failure that nobody gets to see makes the counts disagree."""

    def lose(*_: object) -> None:
        pass

    monkeypatch.setattr(Unclaimed, "claim", lose)
    with pytest.raises(AssertionError):
        soak_for("trio")
