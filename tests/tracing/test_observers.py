"""Several observers in one session."""

import logging
from typing import Any

import pytest

from agentflow import AsyncDispatcher, SessionError
from agentflow._records import HandlerStarted, Record
from agentflow.tracing import Tracer
from tests.fakes import Collector, Log, Ping, router_of


class Broken:
    def record(self, record: Record, /) -> None:
        if type(record) is HandlerStarted:
            raise ValueError("no")


async def test_each_of_several_observers_gets_every_record() -> None:
    """(T1) They stand in a list."""
    one, two = Log(), Tracer()
    router = router_of((Ping, Collector()))
    async with AsyncDispatcher(router, tracer=[one, two]) as dispatcher:
        dispatcher.dispatch(Ping(source="t"))
    assert len(one.records) == 5
    assert two.records() == one.records


async def test_an_observer_that_raises_is_dropped_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """(T2) It is reported once."""
    log, collector = Log(), Collector()
    router = router_of((Ping, collector))
    async with AsyncDispatcher(router, tracer=[Broken(), log]) as dispatcher:
        for _ in range(3):
            dispatcher.dispatch(Ping(source="t"))
    assert len(collector.got) == 3
    assert len(log.of(HandlerStarted)) == 3
    errors = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(errors) == 1
    assert "gets no more records" in errors[0].getMessage()


async def test_no_observers_are_as_good_as_none() -> None:
    """(T2) An empty list is no observer."""
    async with AsyncDispatcher(router_of(), tracer=[]) as dispatcher:
        assert dispatcher._engine.recorder is None


@pytest.mark.parametrize("tracer", [3, [3], Tracer, [Tracer]])
def test_what_is_no_observer_is_refused(tracer: Any) -> None:
    """(T1) The error says what an observer is."""
    with pytest.raises(SessionError, match=r"objects with a method record\(record\)"):
        AsyncDispatcher(router_of(), tracer=tracer)
