"""W2 and W3: the text analysis, with a model that answers at once and one that does not.

A text goes to an analyser and a summariser, which ask the model; a combiner takes text,
analysis and summary of one flow and sends their combination; an output agent collects the
results, which are checked. W2 is the cost of one of a flow's four events, W3 the time for
all flows: its critical path is one call, since a flow's two calls run side by side.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import ClassVar, Self

import attrs

from benchmarks._protocol import MICROSECOND, MILLISECOND, Work

EVENTS = 4


@attrs.frozen(kw_only=True)
class Text:
    """The root event of systems that have no event class of their own."""

    source: str
    correlation_id: str
    text: str


@attrs.frozen(kw_only=True)
class Analysis:
    """What the analyser makes of the text."""

    source: str
    correlation_id: str
    analysis: str


@attrs.frozen(kw_only=True)
class Summary:
    """What the summariser makes of the text."""

    source: str
    correlation_id: str
    summary: str


@attrs.frozen(kw_only=True)
class Combined:
    """All three in one."""

    source: str
    correlation_id: str
    result: str


class Model:
    """Stands in for a language model.

    Args:
        latency: Seconds that it takes; with 0 it does not suspend.
        sleep: How the event loop waits.
    """

    def __init__(
        self, latency: float, sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._latency = latency
        self._sleep = sleep

    async def ask(self, prompt: str) -> str:
        """Return the reply."""
        if self._latency:
            await self._sleep(self._latency)
        return f"<{prompt}>"

    async def analyse(self, event: Text) -> Analysis:
        """Be the analyser."""
        return Analysis(
            source="analyser",
            correlation_id=event.correlation_id,
            analysis=await self.ask(f"analyse {event.text}"),
        )

    async def summarise(self, event: Text) -> Summary:
        """Be the summariser."""
        return Summary(
            source="summariser",
            correlation_id=event.correlation_id,
            summary=await self.ask(f"summarise {event.text}"),
        )


class Joiner:
    """The combiner of systems that join nothing by themselves."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Text | Analysis | Summary]] = {}

    def add(self, event: Text | Analysis | Summary) -> Combined | None:
        """Take a part in any order; return the combination when it was the last."""
        parts = self._parts.setdefault(event.correlation_id, [])
        parts.append(event)
        if len(parts) < 3:
            return None
        del self._parts[event.correlation_id]
        text = analysis = summary = ""
        for part in parts:
            if isinstance(part, Text):
                text = part.text
            elif isinstance(part, Analysis):
                analysis = part.analysis
            else:
                summary = part.summary
        return Combined(
            source="combiner",
            correlation_id=event.correlation_id,
            result=combination(text, analysis, summary),
        )


def text_of(number: int) -> str:
    """Return the text of one flow."""
    return f"text {number}"


def first_text(number: int) -> Text:
    """Return the root event of one flow."""
    return Text(source="main", correlation_id=str(number), text=text_of(number))


def combination(text: str, analysis: str, summary: str) -> str:
    """Return what the combiner makes of the three."""
    return f"{text} {analysis} {summary}"


def correct(results: list[str], flows: int) -> int:
    """Count the results that are right, if each flow has got equally many of them."""
    counts = Counter(results)
    laps = len(results) // flows
    return sum(
        laps
        for text in map(text_of, range(flows))
        if counts[combination(text, f"<analyse {text}>", f"<summarise {text}>")] == laps
    )


@attrs.frozen(kw_only=True)
class TextAnalysis(Work):
    """Analyse texts, all at once, with a model that takes no time.

    Attributes:
        flows: How many texts.
        repeats: Laps.
        latency: Seconds that the model takes.
    """

    method: ClassVar[str] = "analysis"
    unit: ClassVar[str] = "µs an event"
    flows: int
    repeats: int
    latency: float = 0.0

    def expected(self) -> int:
        """Return the number of results."""
        return self.flows

    def per_lap(self) -> float:
        """Return the microseconds of one second for each event."""
        return self.flows * EVENTS * MICROSECOND

    def at_most(self, size: int) -> Self | None:
        """Return fewer flows."""
        return attrs.evolve(self, flows=min(size, self.flows))


@attrs.frozen(kw_only=True)
class SlowTextAnalysis(TextAnalysis):
    """Analyse texts, all at once, with a model that takes its time."""

    unit: ClassVar[str] = "ms in all"
    latency: float = 0.05

    def per_lap(self) -> float:
        """Return the milliseconds of one second."""
        return MILLISECOND

    def at_most(self, size: int) -> Self | None:
        """Return nothing less: the time for fewer says nothing of the time for all."""
        return self if self.flows <= size else None


CASES: dict[str, Work] = {
    "W2 200 flows": TextAnalysis(flows=200, repeats=20),
    "W2 2,000 flows": TextAnalysis(flows=2_000, repeats=3),
    "W3 200 flows": SlowTextAnalysis(flows=200, repeats=5),
    "W3 2,000 flows": SlowTextAnalysis(flows=2_000, repeats=3),
}
