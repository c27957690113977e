"""mojentic: its own asynchronous dispatcher, at its default batch of 5.

It looks into its queue every 0.1 s, so its time hardly depends on the machine.
"""

# Type checkers need not have the peers, not all of which are typed.
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import asyncio
import logging
from itertools import pairwise
from time import perf_counter, process_time

import attrs
from mojentic.agents.async_aggregator_agent import AsyncAggregatorAgent
from mojentic.agents.base_async_agent import BaseAsyncAgent
from mojentic.async_dispatcher import AsyncDispatcher
from mojentic.event import Event
from mojentic.router import Router

from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import TextAnalysis, combination, correct, text_of
from benchmarks.workloads.chain import Chain
from benchmarks.workloads.waiting import EmptyQueue, Idle

logging.disable(logging.INFO)


class System:
    """A dispatcher whose agents are classes."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return asyncio.run(_chain(work))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return asyncio.run(_analysis(work))

    def empty_queue(self, work: EmptyQueue) -> Measured:
        """W5, a few times: each takes a tenth of a second."""
        return asyncio.run(_empty_queue(attrs.evolve(work, repeats=10)))

    def idle(self, work: Idle) -> Measured:
        """W5."""
        return asyncio.run(_idle(work))


class TokenEvent(Event):
    """Makes its way through the chain; each agent takes a subclass of its own."""

    number: int


class Passing(BaseAsyncAgent):
    """Takes a token and sends on the next."""

    def __init__(self, following: type[TokenEvent], *, is_suspending: bool) -> None:
        super().__init__()
        self._following = following
        self._is_suspending = is_suspending

    async def receive_event_async(self, event: TokenEvent) -> list[Event]:
        """Handle a token."""
        if self._is_suspending:
            await asyncio.sleep(0)
        return [
            self._following(
                source=Passing,
                correlation_id=event.correlation_id,
                number=event.number + 1,
            )
        ]


class Last(BaseAsyncAgent):
    """Adds up what arrives."""

    def __init__(self, *, is_suspending: bool) -> None:
        super().__init__()
        self.total = 0
        self._is_suspending = is_suspending

    async def receive_event_async(self, event: TokenEvent) -> list[Event]:
        """Handle a token."""
        if self._is_suspending:
            await asyncio.sleep(0)
        self.total += event.number + 1
        return []


async def _chain(work: Chain) -> Measured:
    types = [type(f"Token{number}", (TokenEvent,), {}) for number in range(work.agents)]
    router, last = Router(), Last(is_suspending=work.is_suspending)
    for mine, following in pairwise(types):
        agent = Passing(following, is_suspending=work.is_suspending)
        router.add_route(mine, agent)
    router.add_route(types[-1], last)
    dispatcher = AsyncDispatcher(router)
    await dispatcher.start()
    laps = Laps(work.repeats)
    for _ in laps:
        for number in range(work.tokens):
            dispatcher.dispatch(
                types[0](source=System, correlation_id=str(number), number=0)
            )
        await dispatcher.wait_for_empty_queue()
    await dispatcher.stop()
    return laps.measured(last.total)


class TextEvent(Event):
    """The root event."""

    text: str


class AnalysisEvent(Event):
    """What the analyser makes of the text."""

    analysis: str


class SummaryEvent(Event):
    """What the summariser makes of the text."""

    summary: str


class CombinedEvent(Event):
    """All three in one."""

    result: str


class Asking(BaseAsyncAgent):
    """An agent that asks the model."""

    def __init__(self, latency: float) -> None:
        super().__init__()
        self._latency = latency

    async def ask(self, prompt: str) -> str:
        """Return the model's reply."""
        if self._latency:
            await asyncio.sleep(self._latency)
        return f"<{prompt}>"


class Analyser(Asking):
    """Asks for the analysis."""

    async def receive_event_async(self, event: TextEvent) -> list[Event]:
        """Handle a text."""
        analysis = await self.ask(f"analyse {event.text}")
        return [
            AnalysisEvent(
                source=Analyser,
                correlation_id=event.correlation_id,
                analysis=analysis,
            )
        ]


class Summariser(Asking):
    """Asks for the summary."""

    async def receive_event_async(self, event: TextEvent) -> list[Event]:
        """Handle a text."""
        summary = await self.ask(f"summarise {event.text}")
        return [
            SummaryEvent(
                source=Summariser,
                correlation_id=event.correlation_id,
                summary=summary,
            )
        ]


class Combiner(AsyncAggregatorAgent):
    """Joins the three events of a flow."""

    def __init__(self) -> None:
        super().__init__([TextEvent, AnalysisEvent, SummaryEvent])

    async def process_events(self, events: list[Event]) -> list[Event]:
        """Handle a complete set."""
        text = next(event for event in events if isinstance(event, TextEvent))
        analysis = next(event for event in events if isinstance(event, AnalysisEvent))
        summary = next(event for event in events if isinstance(event, SummaryEvent))
        result = combination(text.text, analysis.analysis, summary.summary)
        return [
            CombinedEvent(
                source=Combiner, correlation_id=text.correlation_id, result=result
            )
        ]


class Output(BaseAsyncAgent):
    """Collects results."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[str] = []

    async def receive_event_async(self, event: CombinedEvent) -> list[Event]:
        """Handle a result."""
        self.results.append(event.result)
        return []


async def _analysis(work: TextAnalysis) -> Measured:
    combiner, output = Combiner(), Output()
    router = Router({
        TextEvent: [Analyser(work.latency), Summariser(work.latency), combiner],
        AnalysisEvent: [combiner],
        SummaryEvent: [combiner],
        CombinedEvent: [output],
    })
    dispatcher = AsyncDispatcher(router)
    await dispatcher.start()
    laps = Laps(work.repeats)
    for _ in laps:
        for number in range(work.flows):
            dispatcher.dispatch(
                TextEvent(source=System, correlation_id=None, text=text_of(number))
            )
        await dispatcher.wait_for_empty_queue()
    await dispatcher.stop()
    return laps.measured(correct(output.results, work.flows))


class Ending(BaseAsyncAgent):
    """Notes when it has handled an event."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[float] = []

    async def receive_event_async(self, event: TextEvent) -> list[Event]:
        """Handle one."""
        del event
        self.ended.append(perf_counter())
        return []


async def _empty_queue(work: EmptyQueue) -> Measured:
    ending = Ending()
    dispatcher = AsyncDispatcher(Router({TextEvent: [ending]}))
    await dispatcher.start()
    gaps: list[float] = []
    for _ in range(work.repeats):
        dispatcher.dispatch(TextEvent(source=System, correlation_id=None, text=""))
        await dispatcher.wait_for_empty_queue()
        gaps.append(perf_counter() - ending.ended[-1])
    await dispatcher.stop()
    return work.measured(gaps)


async def _idle(work: Idle) -> Measured:
    agents = [Ending() for _ in range(work.agents)]
    dispatcher = AsyncDispatcher(Router({TextEvent: agents}))
    await dispatcher.start()
    dispatcher.dispatch(TextEvent(source=System, correlation_id=None, text=""))
    await dispatcher.wait_for_empty_queue()
    before = process_time()
    await asyncio.sleep(work.seconds)
    taken = process_time() - before
    await dispatcher.stop()
    return Measured(amount=taken, count=sum(len(agent.ended) for agent in agents))
