"""autogen-core: its in-process runtime, with tracing off, as its documentation says.

Agents are routed agents that publish to the topic of the next.
"""

# Type checkers need not have the peers, not all of which are typed.
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import asyncio
from dataclasses import dataclass

from autogen_core import (
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)
from opentelemetry.trace import NoOpTracerProvider

from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import (
    TextAnalysis,
    combination,
    correct,
    text_of,
)
from benchmarks.workloads.chain import Chain


class System:
    """A runtime that is started once and waited for at the end of each lap."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return asyncio.run(_chain(work))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return asyncio.run(_analysis(work))


def _runtime() -> SingleThreadedAgentRuntime:
    return SingleThreadedAgentRuntime(
        tracer_provider=NoOpTracerProvider(), ignore_unhandled_exceptions=False
    )


@dataclass(frozen=True)
class Token:
    """Makes its way through the chain."""

    source: str
    correlation_id: str
    number: int


class Passing(RoutedAgent):
    """Takes a token and publishes the next, or adds up those that have arrived."""

    def __init__(self, position: int, work: Chain, arrived: list[int]) -> None:
        super().__init__(f"agent {position}")
        self._is_suspending = work.is_suspending
        self._following = (
            None
            if position + 1 == work.agents
            else TopicId(f"agent{position + 1}", "default")
        )
        self._arrived = arrived

    @message_handler
    async def take(self, message: Token, ctx: MessageContext) -> None:
        """Handle a token."""
        del ctx
        if self._is_suspending:
            await asyncio.sleep(0)
        after = Token(
            source="agent",
            correlation_id=message.correlation_id,
            number=message.number + 1,
        )
        if self._following is None:
            self._arrived.append(after.number)
        else:
            await self.publish_message(after, self._following)


async def _chain(work: Chain) -> Measured:
    arrived: list[int] = []
    runtime = _runtime()
    for position in range(work.agents):
        name = f"agent{position}"
        await Passing.register(
            runtime, name, lambda position=position: Passing(position, work, arrived)
        )
        await runtime.add_subscription(TypeSubscription(name, name))
    laps = Laps(work.repeats)
    for _ in laps:
        runtime.start()
        for number in range(work.tokens):
            token = Token(source="main", correlation_id=str(number), number=0)
            await runtime.publish_message(token, TopicId("agent0", "default"))
        await runtime.stop_when_idle()
    return laps.measured(sum(arrived))


@dataclass(frozen=True)
class Text:
    """The root event."""

    source: str
    correlation_id: str
    text: str


@dataclass(frozen=True)
class Analysis:
    """What the analyser makes of the text."""

    source: str
    correlation_id: str
    analysis: str


@dataclass(frozen=True)
class Summary:
    """What the summariser makes of the text."""

    source: str
    correlation_id: str
    summary: str


@dataclass(frozen=True)
class Combined:
    """All three in one."""

    source: str
    correlation_id: str
    result: str


class Asking(RoutedAgent):
    """An agent that asks the model."""

    def __init__(self, latency: float) -> None:
        super().__init__("asks the model")
        self._latency = latency

    async def ask(self, prompt: str) -> str:
        """Return the model's reply."""
        if self._latency:
            await asyncio.sleep(self._latency)
        return f"<{prompt}>"


class Analyser(Asking):
    """Asks for the analysis."""

    @message_handler
    async def take(self, message: Text, ctx: MessageContext) -> None:
        """Handle a text."""
        del ctx
        reply = await self.ask(f"analyse {message.text}")
        analysis = Analysis(
            source="analyser", correlation_id=message.correlation_id, analysis=reply
        )
        await self.publish_message(analysis, TopicId("combiner", "default"))


class Summariser(Asking):
    """Asks for the summary."""

    @message_handler
    async def take(self, message: Text, ctx: MessageContext) -> None:
        """Handle a text."""
        del ctx
        reply = await self.ask(f"summarise {message.text}")
        summary = Summary(
            source="summariser", correlation_id=message.correlation_id, summary=reply
        )
        await self.publish_message(summary, TopicId("combiner", "default"))


class Combiner(RoutedAgent):
    """Joins the three events of a flow."""

    def __init__(self) -> None:
        super().__init__("joins")
        self._parts: dict[str, dict[type, Text | Analysis | Summary]] = {}

    @message_handler
    async def take_text(self, message: Text, ctx: MessageContext) -> None:
        """Handle a text."""
        del ctx
        await self._add(message)

    @message_handler
    async def take_analysis(self, message: Analysis, ctx: MessageContext) -> None:
        """Handle an analysis."""
        del ctx
        await self._add(message)

    @message_handler
    async def take_summary(self, message: Summary, ctx: MessageContext) -> None:
        """Handle a summary."""
        del ctx
        await self._add(message)

    async def _add(self, part: Text | Analysis | Summary) -> None:
        parts = self._parts.setdefault(part.correlation_id, {})
        parts[type(part)] = part
        if len(parts) < 3:
            return
        del self._parts[part.correlation_id]
        text, analysis, summary = parts[Text], parts[Analysis], parts[Summary]
        assert isinstance(text, Text)
        assert isinstance(analysis, Analysis)
        assert isinstance(summary, Summary)
        combined = Combined(
            source="combiner",
            correlation_id=part.correlation_id,
            result=combination(text.text, analysis.analysis, summary.summary),
        )
        await self.publish_message(combined, TopicId("output", "default"))


class Output(RoutedAgent):
    """Collects results."""

    def __init__(self, results: list[str]) -> None:
        super().__init__("collects")
        self._results = results

    @message_handler
    async def take(self, message: Combined, ctx: MessageContext) -> None:
        """Handle a result."""
        del ctx
        self._results.append(message.result)


async def _analysis(work: TextAnalysis) -> Measured:
    results: list[str] = []
    runtime = _runtime()
    await Analyser.register(runtime, "analyser", lambda: Analyser(work.latency))
    await Summariser.register(runtime, "summariser", lambda: Summariser(work.latency))
    await Combiner.register(runtime, "combiner", Combiner)
    await Output.register(runtime, "output", lambda: Output(results))
    for topic, agent in (
        ("text", "analyser"),
        ("text", "summariser"),
        ("text", "combiner"),
        ("combiner", "combiner"),
        ("output", "output"),
    ):
        await runtime.add_subscription(TypeSubscription(topic, agent))
    laps = Laps(work.repeats)
    for _ in laps:
        runtime.start()
        for number in range(work.flows):
            text = Text(source="main", correlation_id=str(number), text=text_of(number))
            await runtime.publish_message(text, TopicId("text", "default"))
        await runtime.stop_when_idle()
    return laps.measured(correct(results, work.flows))
