"""What the kernel's tests share: a few events, agents, and an observer that remembers."""

import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    FlowFailed,
    Router,
)
from agentflow._records import Record
from agentflow.encoding import EventRegistry

_R = TypeVar("_R", bound=Record)


class Ping(Event):
    n: int = 0


class Pong(Event):
    n: int = 0


class Other(Event):
    n: int = 0


class Boom(Event):
    text: str = "boom"


class Log:
    """An observer that keeps every record."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record, /) -> None:
        self.records.append(record)

    def of(self, record_type: type[_R]) -> list[_R]:
        """Return the records of a type, in order."""
        return [r for r in self.records if isinstance(r, record_type)]


class Collector(BaseAsyncAgent):
    """Remembers what it got."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def receive_event_async(self, event: Event) -> None:
        self.got.append(event)

    def numbers(self) -> list[int]:
        """Return the `n` of each event it got."""
        return [event.n for event in self.got]


class Sleeper(BaseAsyncAgent):
    """Takes a while, and then answers a Ping with a Pong."""

    def __init__(self, seconds: float = 0.2, max_concurrency: int | None = 1) -> None:
        self.seconds = seconds
        self.max_concurrency = max_concurrency
        self.started: list[int] = []
        self.ended: list[int] = []

    async def receive_event_async(self, event: Ping) -> Pong:
        self.started.append(event.n)
        await anyio.sleep(self.seconds)
        self.ended.append(event.n)
        return Pong(source=type(self), n=event.n)


async def fail(event: Boom) -> None:
    """Raise what the event says."""
    raise ValueError(event.text)


async def forever(event: Event) -> None:
    """Wait until cancelled."""
    await anyio.sleep_forever()


def router_of(*routes: tuple[type[Event], object]) -> Router:
    """Return a router with these routes."""
    router = Router()
    for event_type, agent in routes:
        router.add_route(event_type, agent)
    return router


@contextmanager
def takes(seconds: float) -> Generator[None]:
    """Check that the block takes this long in virtual time."""
    start = anyio.current_time()
    yield  # noqa: RUF075 -- nothing to check when the block raised
    assert anyio.current_time() - start == pytest.approx(seconds, abs=1e-6)


@asynccontextmanager
async def failing_session(
    *args: Any, **options: Any
) -> AsyncGenerator[tuple[AsyncDispatcher, list[FlowFailed]]]:
    """Open a session whose end raises FlowFailed, and hand that out."""
    caught: list[FlowFailed] = []
    with pytest.raises(FlowFailed) as raised:
        async with AsyncDispatcher(*args, **options) as dispatcher:
            yield dispatcher, caught
    caught.append(raised.value)


def assert_nothing_left(dispatcher: AsyncDispatcher) -> None:
    """Check that no flow, lane, root or waiter is left in a session."""
    engine = dispatcher._engine
    ledger = engine.ledger
    assert not ledger.flows
    assert all(d.runner is not None for d in ledger.ready)
    assert ledger.busy == 0
    assert ledger.unfinished == 0
    assert not engine.on_idle
    assert not dispatcher._door._line
    assert not engine.stalls.waits.by_delivery
    for lane in engine.switchboard.lanes().values():
        assert all(d.runner is not None for d in lane.backlog)
    now = dispatcher.statistics()
    assert (now.queued, now.running, now.flows, now.unfinished) == (0, 0, 0, 0)
    assert now.oldest is None


def through_json(registry: EventRegistry, event: Event) -> Event:
    """Write an event as text, in both ways, and read it back."""
    written = json.loads(json.dumps(registry.write(event), allow_nan=False))
    _, text = registry.write_text(event)
    assert json.loads(text) == written
    return registry.read(written)
