"""Clocks that jump by an hour, while a session runs and between two of them.

That nobody waits for the hour is what each test's limit of five seconds says.
"""

import time
from pathlib import Path

import anyio
import pytest

from agentflow import AsyncDispatcher, Retry, Router
from agentflow.journal import SQLiteJournal, this_delivery
from agentflow.journal._tidying import Tidying
from tests.fakes import Collector, Ping, forever, router_of
from tests.journal.lives import Cut, MakeJournal, finish

HOUR = 3600.0


class Clock:
    """A Unix time that jumps when told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give all journals a clock that jumps."""
    made = Clock()
    monkeypatch.setattr("agentflow.journal._clock.time", made)
    return made


def unsteady(attempts: list[int], *, retry: Retry | None) -> Router:
    """Return a route whose handler fails at first."""

    async def handler(event: Ping) -> None:
        attempts.append(this_delivery().attempt)
        if attempts == [1]:
            raise ValueError

    router = Router()
    router.add_route(Ping, handler, retry=retry)
    return router


async def fail_once(attempts: list[int], make: MakeJournal, wait: float) -> None:
    """Begin a session whose handler fails, and end it before the next attempt."""
    retry = Retry(on=ValueError, initial=wait, maximum=wait, jitter=0)
    with pytest.raises(Cut):
        async with AsyncDispatcher(
            unsteady(attempts, retry=retry), journal=make()
        ) as dispatcher:
            await dispatcher.send(Ping(source="x"))
            await anyio.sleep(0.2)
            raise Cut


async def test_a_retry_is_not_an_hour_late_because_the_clock_went_back(
    make: MakeJournal, clock: Clock
) -> None:
    """(J6) It waits no longer than its route has anyone wait."""
    attempts: list[int] = []
    await fail_once(attempts, make, 2.0)
    clock.ahead = -HOUR
    began = anyio.current_time()
    retry = Retry(on=ValueError, initial=2.0, maximum=2.0, jitter=0)
    await finish(unsteady(attempts, retry=retry), make())
    assert attempts == [1, 2]
    assert anyio.current_time() - began >= 2.0


async def test_a_retry_that_the_clock_has_passed_is_made_at_once(
    make: MakeJournal, clock: Clock
) -> None:
    """(J6) As is one whose route does not wait any more."""
    attempts: list[int] = []
    await fail_once(attempts, make, 60.0)
    clock.ahead = HOUR
    await finish(unsteady(attempts, retry=Retry(initial=60.0, maximum=60.0)), make())
    assert attempts == [1, 2]
    attempts.clear()
    await fail_once(attempts, make, 60.0)
    await finish(unsteady(attempts, retry=None), make())
    assert attempts == [1, 2]


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_a_deadline_is_not_put_off_by_a_clock_that_went_back(
    make: MakeJournal, clock: Clock, jump: float
) -> None:
    """(J12) A flow lives no longer than it was given at first; the hour ahead ends it."""
    with pytest.raises(Cut), anyio.fail_after(3):
        async with (
            AsyncDispatcher(router_of((Ping, forever)), journal=make()) as dispatcher,
            dispatcher.open_flow(Ping(source="x")),
        ):
            await anyio.sleep(0.2)
            raise Cut
    clock.ahead = jump
    began = anyio.current_time()
    await finish(router_of((Ping, forever)), make())
    (flow,) = await make().flows()
    assert flow.status == "cancelled"
    assert (anyio.current_time() - began >= 2.0) is (jump < 0)


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_what_has_just_ended_is_kept_whatever_the_clock_says(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """(J17) For ten minutes, while the clock jumps by an hour; its name is known, too."""
    monkeypatch.setattr("agentflow.journal._link.TIDY_EVERY", -1.0)
    journal = SQLiteJournal(tmp_path / "run.db", keep=600)
    collector = Collector()
    async with AsyncDispatcher(
        router_of((Ping, collector)), journal=journal
    ) as dispatcher:
        for n in range(5):
            await dispatcher.send(Ping(source="x", n=n), key=f"ping {n}")
            assert await dispatcher.wait_for_empty_queue()
            clock.ahead = jump * (n % 2)
        await dispatcher.send(Ping(source="x", n=0), key="ping 0")
    assert len(await journal.flows()) == 5
    assert collector.numbers() == list(range(5))


async def test_a_clock_that_goes_back_does_not_put_off_the_upkeep(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(J17) Which comes once a minute, else the file would grow for an hour."""
    rounds: list[float] = []

    def note(_: Tidying) -> bool:
        rounds.append(clock.ahead)
        return False

    monkeypatch.setattr(Tidying, "__call__", note)
    async with AsyncDispatcher(
        router_of((Ping, Collector())), journal=SQLiteJournal(tmp_path / "run.db")
    ) as dispatcher:
        for ahead in (0.0, 0.0, -HOUR, -HOUR):
            clock.ahead = ahead
            await dispatcher.send(Ping(source="x"))
            assert await dispatcher.wait_for_empty_queue()
    assert rounds == [0.0, -HOUR]
