"""A session cancelled at each turn of its loop, one after another, until it gets through.

The scenario waits in every way a session can: at the door, for results, events, flows and
the queue, in handlers that ask, nest, retry, join and block in threads, and in stop().
"""

import anyio
import pytest

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    Event,
    FlowCancelled,
    NoResult,
    Retry,
    Router,
    SessionError,
    wait_for,
)
from tests.conftest import BACKENDS
from tests.fakes import Boom, Log, Other, Ping, Pong, Sleeper, assert_nothing_left
from tests.judge import check_books
from tests.seeded import CancelAt, run_seeded

EXPECTED = (FlowCancelled, NoResult, SessionError)


class Scenario:
    """A session that uses everything there is to wait for."""

    def __init__(self) -> None:
        self.log = Log()
        self.tries = 0
        router = Router()
        router.add_route(Ping, Sleeper(0.01))
        router.add_route(Boom, self._flaky, retry=Retry(initial=0.01, jitter=0))
        router.add_route(Other, self._ask)
        joiner = Joiner(timeout=0.02)
        router.add_route(Ping, joiner)
        router.add_route(Pong, joiner)
        self.dispatcher = AsyncDispatcher(router, tracer=self.log, capacity=2)

    async def _flaky(self, event: Boom) -> Pong:
        self.tries += 1
        if self.tries % 2:
            raise OSError("once more")
        async with self.dispatcher.open_flow(Ping(source="nested")) as flow:
            return Pong(source="flaky", n=(await flow.result(Pong)).n)

    async def _ask(self, event: Other) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._answer)
            await wait_for(Pong)

    async def _answer(self) -> None:
        await anyio.sleep(0.01)
        self.dispatcher.dispatch(Pong(source="answer"))

    async def live(self) -> None:
        """Let users come and go, and stop."""
        async with self.dispatcher as dispatcher:
            async with anyio.create_task_group() as users:
                for n in range(3):
                    users.start_soon(dispatcher.send, Ping(source="x", n=n))
                users.start_soon(dispatcher.run, Boom(source="x"), Pong)
                users.start_soon(self._follow)
                users.start_soon(dispatcher.wait_for_empty_queue, 1)
            await dispatcher.wait_for_empty_queue()
            dispatcher.dispatch(Ping(source="x"))
            await dispatcher.stop()

    async def _follow(self) -> None:
        opened = self.dispatcher.open_flow(Other(source="x"))
        async with opened as flow, flow.events() as events:
            async for _ in events:
                pass


class Joiner(AsyncAggregatorAgent):
    """Joins what it can, and waits a while for the rest."""

    event_types_needed = (Ping, Pong)

    async def process_events(self, events: list[Event]) -> None:
        """Take a while."""
        await anyio.sleep(0.001)


async def cancelled(scenario: Scenario, cancel: CancelAt) -> None:
    """Live until it is cancelled, and look at what is left."""
    before = len(anyio.get_running_tasks())
    try:
        with cancel.scope():
            await scenario.live()
    except* EXPECTED:
        pass
    assert len(anyio.get_running_tasks()) == before
    assert scenario.dispatcher.statistics().workers == 0
    assert_nothing_left(scenario.dispatcher)
    check_books(scenario.log, scenario.dispatcher.stop_report)


@pytest.mark.parametrize("backend", BACKENDS)
def test_wherever_it_is_cancelled_nothing_is_lost_or_left(backend: str) -> None:
    """(D5, F1) At each turn of the loop, until the scenario gets through."""
    turn, is_through, scenario = 0, False, Scenario()
    while not is_through:
        turn += 1
        scenario, cancel = Scenario(), CancelAt(turn)
        run_seeded(
            backend,
            lambda scenario=scenario, cancel=cancel: cancelled(scenario, cancel),  # type: ignore[misc]
            turn,
            on_turn=cancel.on_turn,
        )
        is_through = cancel.turns_left > 0
    assert turn > 30, "the scenario is shorter than it should be"
    assert scenario.dispatcher.stop_report.undelivered == ()
