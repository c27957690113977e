"""bubus: one event bus, its handlers in parallel.

It takes at most 100 events that are pending, so roots go in by waves.
"""

# Type checkers need not have the peers, not all of which are typed.
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

os.environ["BUBUS_LOGGING_LEVEL"] = "ERROR"  # it reads this when it is imported

from bubus import BaseEvent, EventBus

from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import (
    TextAnalysis,
    combination,
    correct,
    text_of,
)
from benchmarks.workloads.chain import Chain

WAVE = 20
"""Texts at a time: each is up to four events."""


class System:
    """An event bus."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return asyncio.run(_chain(work))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return asyncio.run(_analysis(work))


class TokenEvent(BaseEvent[None]):
    """Makes its way through the chain; each handler takes a subclass of its own."""

    source: str
    correlation_id: str
    number: int


def _handler(
    work: Chain,
    bus: EventBus,
    following: type[TokenEvent] | None,
    *,
    arrived: list[int],
) -> Callable[[TokenEvent], Awaitable[None]]:
    async def take(event: TokenEvent) -> None:
        if work.is_suspending:
            await asyncio.sleep(0)
        if following is None:
            arrived.append(event.number + 1)
            return
        bus.dispatch(
            following(
                source="agent",
                correlation_id=event.correlation_id,
                number=event.number + 1,
            )
        )

    return take


async def _chain(work: Chain) -> Measured:
    bus = EventBus(parallel_handlers=True)
    arrived: list[int] = []
    types = [type(f"Token{number}", (TokenEvent,), {}) for number in range(work.agents)]
    for mine, following in zip(types, [*types[1:], None], strict=True):
        bus.on(mine, _handler(work, bus, following, arrived=arrived))
    laps = Laps(work.repeats)
    for _ in laps:
        for number in range(work.tokens):
            bus.dispatch(types[0](source="main", correlation_id=str(number), number=0))
        await bus.wait_until_idle()
    await bus.stop()
    return laps.measured(sum(arrived))


class TextEvent(BaseEvent[None]):
    """The root event."""

    source: str
    correlation_id: str
    text: str


class AnalysisEvent(BaseEvent[None]):
    """What the analyser makes of the text."""

    source: str
    correlation_id: str
    analysis: str


class SummaryEvent(BaseEvent[None]):
    """What the summariser makes of the text."""

    source: str
    correlation_id: str
    summary: str


class CombinedEvent(BaseEvent[None]):
    """All three in one."""

    source: str
    correlation_id: str
    result: str


class Agents:
    """The handlers of the text analysis."""

    def __init__(self, bus: EventBus, latency: float) -> None:
        self._bus = bus
        self._latency = latency
        self._parts: dict[str, dict[str, Any]] = {}
        self.results: list[str] = []
        for event_type, handler in (
            (TextEvent, self.analyse),
            (TextEvent, self.summarise),
            (TextEvent, self.combine),
            (AnalysisEvent, self.combine),
            (SummaryEvent, self.combine),
            (CombinedEvent, self.output),
        ):
            bus.on(event_type, handler)

    async def _ask(self, prompt: str) -> str:
        if self._latency:
            await asyncio.sleep(self._latency)
        return f"<{prompt}>"

    async def analyse(self, event: TextEvent) -> None:
        """Ask for the analysis."""
        reply = await self._ask(f"analyse {event.text}")
        self._bus.dispatch(
            AnalysisEvent(
                source="analyser", correlation_id=event.correlation_id, analysis=reply
            )
        )

    async def summarise(self, event: TextEvent) -> None:
        """Ask for the summary."""
        reply = await self._ask(f"summarise {event.text}")
        self._bus.dispatch(
            SummaryEvent(
                source="summariser", correlation_id=event.correlation_id, summary=reply
            )
        )

    async def combine(self, event: TextEvent | AnalysisEvent | SummaryEvent) -> None:
        """Join the three events of a flow."""
        parts = self._parts.setdefault(event.correlation_id, {})
        parts[event.event_type] = event
        if len(parts) < 3:
            return
        del self._parts[event.correlation_id]
        result = combination(
            parts["TextEvent"].text,
            parts["AnalysisEvent"].analysis,
            parts["SummaryEvent"].summary,
        )
        self._bus.dispatch(
            CombinedEvent(
                source="combiner", correlation_id=event.correlation_id, result=result
            )
        )

    async def output(self, event: CombinedEvent) -> None:
        """Collect a result."""
        self.results.append(event.result)


async def _analysis(work: TextAnalysis) -> Measured:
    bus = EventBus(parallel_handlers=True)
    agents = Agents(bus, work.latency)
    laps = Laps(work.repeats)
    for _ in laps:
        for start in range(0, work.flows, WAVE):
            for number in range(start, min(start + WAVE, work.flows)):
                bus.dispatch(
                    TextEvent(
                        source="main",
                        correlation_id=str(number),
                        text=text_of(number),
                    )
                )
            await bus.wait_until_idle()
    await bus.stop()
    return laps.measured(correct(agents.results, work.flows))
