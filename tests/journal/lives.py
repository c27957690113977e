"""What the tests of durable sessions share."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    Event,
    Router,
)
from agentflow.journal import (
    Journal,
)
from tests.fakes import (
    Collector,
    Other,
    Ping,
    Pong,
    assert_nothing_left,
)

MakeJournal = Callable[[], Any]


async def answer(event: Ping) -> Pong:
    """Answer."""
    return Pong(source="answer", n=event.n)


class Cut(BaseException):
    """Ends a life in the middle, as Ctrl-C does."""


async def live_shortly(router: Router, journal: Journal, *events: Event) -> None:
    """Send events, and end the session while their handlers run."""
    with pytest.raises(Cut):
        async with AsyncDispatcher(router, journal=journal) as dispatcher:
            for event in events:
                await dispatcher.send(event)
            await anyio.sleep(0.3)
            raise Cut


async def finish(router: Router, journal: Journal, **options: Any) -> None:
    """Let a session finish what the journal has."""
    async with AsyncDispatcher(router, journal=journal, **options) as dispatcher:
        assert await dispatcher.wait_for_empty_queue()
        assert_nothing_left(dispatcher)


async def finish_one(router: Router, journal: Journal, event: Event) -> None:
    """Run a session for one event."""
    async with AsyncDispatcher(router, journal=journal) as dispatcher:
        await dispatcher.send(event)


class Combine(AsyncAggregatorAgent):
    """Takes one of each; may be cut off in the middle."""

    event_types_needed = (Ping, Other)

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    async def process_events(self, events: list[Event]) -> Pong:
        await anyio.sleep(self.seconds)
        return Pong(source="combine", n=len(events))


def named(name: str) -> Collector:
    """Return a collector of another's name."""
    collector = Collector()
    collector.name = name
    return collector


class Cutting:
    """A handler that is cut off the first time it comes to its end."""

    name = "cutting"

    def __init__(self, work: Callable[[], Awaitable[object]]) -> None:
        self.work = work
        self.given: list[Any] = []

    async def __call__(self, event: Ping) -> None:
        self.given.append(await self.work())
        if len(self.given) == 1:
            await anyio.sleep_forever()

    async def run_twice(self, journal: Journal, **options: Any) -> list[Any]:
        """Cut it off after its work, and run it again; return what it got each time."""
        router = Router({Ping: [self]})
        await live_shortly(router, journal, Ping(source="x"))
        await finish(router, journal, **options)
        return self.given
