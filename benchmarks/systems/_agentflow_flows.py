"""agentflow on W1 to W3: agents are classes, as its users write them."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Literal

import anyio
import trio

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    Router,
)
from agentflow.abc import Observer, Outputs
from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import TextAnalysis, combination, correct, text_of
from benchmarks.workloads.chain import Chain

Backend = Literal["asyncio", "trio"]
Suspend = Callable[[], Awaitable[object]]
CHECKPOINTS: dict[Backend, Suspend] = {
    "trio": trio.lowlevel.checkpoint,
    "asyncio": lambda: asyncio.sleep(0),
}


class FlowRunner:
    """Runs W1 to W3.

    Args:
        backend: The event loop.
        tracer: Makes what observes a session; by default nothing does.
    """

    def __init__(
        self, *, backend: Backend, tracer: Callable[[], Observer] | None = None
    ) -> None:
        self.backend: Backend = backend
        self._tracer = tracer

    def _dispatcher(self, router: Router) -> AsyncDispatcher:
        tracer = None if self._tracer is None else self._tracer()
        return AsyncDispatcher(router, capacity=None, tracer=tracer)

    def run(self, run: Callable[..., Awaitable[Measured]], *args: object) -> Measured:
        """Run an asynchronous function on the event loop."""
        return anyio.run(run, *args, backend=self.backend)

    def chain(self, work: Chain) -> Measured:
        """W1."""
        chain = _Chain(work, CHECKPOINTS[self.backend])
        return self.run(chain.run, self._dispatcher(chain.router))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        output = Output()
        router = _analysis(work, output)
        return self.run(_run_analysis, work, self._dispatcher(router), output)


class TokenEvent(Event):
    """Makes its way through the chain; each agent takes a subclass of its own."""

    number: int


class Plain(BaseAsyncAgent):
    """Takes a token and sends on the next."""

    def __init__(self, following: type[TokenEvent]) -> None:
        self._following = following

    async def receive_event_async(self, event: TokenEvent, /) -> Outputs:
        """Handle a token."""
        return [self._following(source="agent", number=event.number + 1)]


class Suspending(BaseAsyncAgent):
    """Does the same after a checkpoint."""

    def __init__(self, following: type[TokenEvent], suspend: Suspend) -> None:
        self._following = following
        self._suspend = suspend

    async def receive_event_async(self, event: TokenEvent, /) -> Outputs:
        """Handle a token."""
        await self._suspend()
        return [self._following(source="agent", number=event.number + 1)]


class Last(BaseAsyncAgent):
    """Adds up what arrives."""

    def __init__(self, suspend: Suspend | None) -> None:
        self.total = 0
        self._suspend = suspend

    async def receive_event_async(self, event: TokenEvent, /) -> Outputs:
        """Handle a token."""
        if self._suspend is not None:
            await self._suspend()
        self.total += event.number + 1
        return []


class _Chain:
    """A chain of agents, each with an event type of its own."""

    def __init__(self, work: Chain, suspend: Suspend) -> None:
        self._work = work
        self._last = Last(suspend if work.is_suspending else None)
        types = [type(f"Token{n}", (TokenEvent,), {}) for n in range(work.agents)]
        self._first = types[0]
        self.router = Router()
        for mine, following in pairwise(types):
            self.router.add_route(
                mine,
                Suspending(following, suspend)
                if work.is_suspending
                else Plain(following),
            )
        self.router.add_route(types[-1], self._last)

    async def run(self, dispatcher: AsyncDispatcher) -> Measured:
        """Send tokens through."""
        laps = Laps(self._work.repeats)
        async with dispatcher:
            for _ in laps:
                for _ in range(self._work.tokens):
                    dispatcher.dispatch(self._first(source="main", number=0))
                await dispatcher.wait_for_empty_queue()
        return laps.measured(self._last.total)


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
    """An agent that asks the model, about many texts at a time."""

    max_concurrency = None

    def __init__(self, latency: float) -> None:
        self._latency = latency

    async def ask(self, prompt: str) -> str:
        """Return the model's reply."""
        if self._latency:
            await anyio.sleep(self._latency)
        return f"<{prompt}>"


class Analyser(Asking):
    """Asks for the analysis."""

    async def receive_event_async(self, event: TextEvent, /) -> Outputs:
        """Handle a text."""
        analysis = await self.ask(f"analyse {event.text}")
        return [AnalysisEvent(source="analyser", analysis=analysis)]


class Summariser(Asking):
    """Asks for the summary."""

    async def receive_event_async(self, event: TextEvent, /) -> Outputs:
        """Handle a text."""
        summary = await self.ask(f"summarise {event.text}")
        return [SummaryEvent(source="summariser", summary=summary)]


class Combiner(AsyncAggregatorAgent):
    """Joins the three events of a flow."""

    event_types_needed = (TextEvent, AnalysisEvent, SummaryEvent)

    async def process_events(self, events: list[Event], /) -> Outputs:
        """Handle a complete set."""
        text, analysis, summary = events
        assert isinstance(text, TextEvent)
        assert isinstance(analysis, AnalysisEvent)
        assert isinstance(summary, SummaryEvent)
        result = combination(text.text, analysis.analysis, summary.summary)
        return [CombinedEvent(source="combiner", result=result)]


class Output(BaseAsyncAgent):
    """Collects results."""

    def __init__(self) -> None:
        self.results: list[str] = []

    async def receive_event_async(self, event: CombinedEvent, /) -> Outputs:
        """Handle a result."""
        self.results.append(event.result)
        return []


def _analysis(work: TextAnalysis, output: Output) -> Router:
    combiner = Combiner()
    return Router({
        TextEvent: [Analyser(work.latency), Summariser(work.latency), combiner],
        AnalysisEvent: [combiner],
        SummaryEvent: [combiner],
        CombinedEvent: [output],
    })


async def _run_analysis(
    work: TextAnalysis, dispatcher: AsyncDispatcher, output: Output
) -> Measured:
    laps = Laps(work.repeats)
    async with dispatcher:
        for _ in laps:
            for number in range(work.flows):
                dispatcher.dispatch(TextEvent(source="main", text=text_of(number)))
            await dispatcher.wait_for_empty_queue()
    return laps.measured(correct(output.results, work.flows))
