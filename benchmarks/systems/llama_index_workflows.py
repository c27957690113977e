"""llama-index-workflows: each token or text is one run of a workflow, without a timeout.

Its chain is a loop over one step: with a step for each agent, a hop takes longer still.
"""

# Type checkers need not have the peers, not all of which are typed.
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import asyncio

from workflows import Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import TextAnalysis, combination, correct, text_of
from benchmarks.workloads.chain import Chain


class System:
    """A workflow; the runs of a lap are gathered."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return asyncio.run(_chain(work))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return asyncio.run(_analysis(work))


class FirstToken(StartEvent):
    """Goes in."""

    source: str
    correlation_id: str
    number: int


class TokenEvent(Event):
    """Goes round."""

    source: str
    correlation_id: str
    number: int


class ChainWorkflow(Workflow):
    """One step that a token passes as often as there are agents."""

    def __init__(self, work: Chain) -> None:
        super().__init__(timeout=None)
        self._work = work

    @step
    async def take(self, event: FirstToken | TokenEvent) -> TokenEvent | StopEvent:
        """Handle a token."""
        if self._work.is_suspending:
            await asyncio.sleep(0)
        number = event.number + 1
        if number == self._work.agents:
            return StopEvent(result=number)
        return TokenEvent(
            source="agent", correlation_id=event.correlation_id, number=number
        )


async def _chain(work: Chain) -> Measured:
    workflow = ChainWorkflow(work)
    total = 0
    laps = Laps(work.repeats)
    for _ in laps:
        runs = [
            workflow.run(
                start_event=FirstToken(
                    source="main", correlation_id=str(number), number=0
                )
            )
            for number in range(work.tokens)
        ]
        total += sum(await asyncio.gather(*runs))
    return laps.measured(total)


class TextEvent(StartEvent):
    """The root event."""

    source: str
    correlation_id: str
    text: str


class AnalysisEvent(Event):
    """What the analyser makes of the text."""

    source: str
    correlation_id: str
    analysis: str


class SummaryEvent(Event):
    """What the summariser makes of the text."""

    source: str
    correlation_id: str
    summary: str


class CombinedEvent(Event):
    """All three in one."""

    source: str
    correlation_id: str
    result: str


class TextWorkflow(Workflow):
    """Two steps that ask the model, one that joins, one that collects."""

    def __init__(self, latency: float, results: list[str]) -> None:
        super().__init__(timeout=None)
        self._latency = latency
        self._results = results

    async def _ask(self, prompt: str) -> str:
        if self._latency:
            await asyncio.sleep(self._latency)
        return f"<{prompt}>"

    @step
    async def analyse(self, event: TextEvent) -> AnalysisEvent:
        """Ask for the analysis."""
        return AnalysisEvent(
            source="analyser",
            correlation_id=event.correlation_id,
            analysis=await self._ask(f"analyse {event.text}"),
        )

    @step
    async def summarise(self, event: TextEvent) -> SummaryEvent:
        """Ask for the summary."""
        return SummaryEvent(
            source="summariser",
            correlation_id=event.correlation_id,
            summary=await self._ask(f"summarise {event.text}"),
        )

    @step
    async def combine(
        self, text: TextEvent, analysis: AnalysisEvent, summary: SummaryEvent
    ) -> CombinedEvent:
        """Join the three events of a flow."""
        return CombinedEvent(
            source="combiner",
            correlation_id=text.correlation_id,
            result=combination(text.text, analysis.analysis, summary.summary),
        )

    @step
    async def output(self, event: CombinedEvent) -> StopEvent:
        """Collect a result."""
        self._results.append(event.result)
        return StopEvent()


async def _analysis(work: TextAnalysis) -> Measured:
    results: list[str] = []
    workflow = TextWorkflow(work.latency, results)
    laps = Laps(work.repeats)
    for _ in laps:
        runs = [
            workflow.run(
                start_event=TextEvent(
                    source="main", correlation_id=str(number), text=text_of(number)
                )
            )
            for number in range(work.flows)
        ]
        await asyncio.gather(*runs)
    return laps.measured(correct(results, work.flows))
