"""What `agentflow demo` runs: several agents read texts, with a real language model.

    TextEvent ─┬─> Analyzer ───> AnalysisEvent ─┐
               ├─> Summarizer ─> SummaryEvent ──┼─> Combiner ─> CombinedEvent ─> Reporter
               └────────────────────────────────┘

Each text is a flow of its own; all flows run side by side, and each ends with its own
TerminateEvent. `flow` is written as one of yours would be, so this does the same::

    agentflow run agentflow.cli.demo:flow a_text.txt another.txt
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

import attrs

from agentflow import (
    AsyncAggregatorAgent,
    BaseAsyncAgent,
    Event,
    Router,
    TerminateEvent,
)
from agentflow.cli._program import Input, Program
from agentflow.llm import (
    BaseAsyncLLMAgent,
    ContextTooLong,
    Limits,
    LLMBroker,
    OpenAIGateway,
)
from agentflow.llm.local import open_local_model

TEXTS = tuple(sorted((Path(__file__).parent / "texts").glob("*.txt")))
"""Three short texts to read."""

ROOM = 6000
"""Characters of English that surely fit the embedded model's context."""

R = TypeVar("R")


@attrs.frozen
class Analysis:
    """What the analyzer asks the model for.

    Attributes:
        tone: How the text sounds.
        topic: What it is about.
    """

    tone: Literal["cheerful", "playful", "neutral", "solemn", "gloomy", "sad"]
    topic: Annotated[str, Limits(min_length=3, max_length=60)]


@attrs.frozen
class Summary:
    """What the summarizer asks the model for.

    Attributes:
        summary: One sentence.
    """

    summary: Annotated[str, Limits(min_length=10, max_length=200)]


class TextEvent(Event):
    """A text has come in.

    Attributes:
        name: What to call it.
        text: As much of it as the model has room for.
        size: Characters of all of it.
    """

    name: str
    text: str
    size: int


class AnalysisEvent(Event):
    """The text has been analyzed.

    Attributes:
        analysis: The model's answer.
        read: How many characters it has read.
    """

    analysis: Analysis
    read: int


class SummaryEvent(Event):
    """The text has been summarized.

    Attributes:
        summary: The model's answer.
        read: How many characters it has read.
    """

    summary: Summary
    read: int


class CombinedEvent(Event):
    """All three are there.

    Attributes:
        text: The text.
        analysis: What the analyzer said.
        summary: What the summarizer said.
    """

    text: TextEvent
    analysis: AnalysisEvent
    summary: SummaryEvent


class ReportEvent(Event):
    """What there is to say of a text.

    Attributes:
        lines: In words, line by line.
    """

    lines: str


async def ask(agent: BaseAsyncLLMAgent[R], task: str, text: str) -> tuple[R, int]:
    """Ask about as much of a text as the model has room for.

    Args:
        agent: Who asks.
        task: What to do with the text.
        text: The text.

    Returns:
        The answer, and how many characters were read.

    Cancellation:
        The exchange in flight is closed.
    """
    while True:  # noqa: ASYNC913 -- a refusal has been waited for
        try:
            return await agent.generate_response(f"{task}\n\n{text}"), len(text)
        except ContextTooLong:
            text = text[: len(text) // 2]


class Analyzer(BaseAsyncLLMAgent[Analysis]):
    """Asks the model for tone and topic."""

    async def receive_event_async(self, event: TextEvent) -> list[AnalysisEvent]:
        """Analyze a text.

        Args:
            event: The text.

        Returns:
            What the model says.

        Cancellation:
            The exchange in flight is closed.
        """
        task = "What is the tone of this text, and its topic?"
        answer, read = await ask(self, task, event.text)
        return [AnalysisEvent(source="Analyzer", analysis=answer, read=read)]


class Summarizer(BaseAsyncLLMAgent[Summary]):
    """Asks the model for a summary."""

    async def receive_event_async(self, event: TextEvent) -> list[SummaryEvent]:
        """Summarize a text.

        Args:
            event: The text.

        Returns:
            What the model says.

        Cancellation:
            The exchange in flight is closed.
        """
        answer, read = await ask(self, "Summarize in one short sentence:", event.text)
        return [SummaryEvent(source="Summarizer", summary=answer, read=read)]


class Combiner(AsyncAggregatorAgent):
    """Waits for a text and for both answers about it."""

    event_types_needed: ClassVar[Sequence[type[Event]]] = (
        TextEvent,
        AnalysisEvent,
        SummaryEvent,
    )

    async def process_events(self, events: list[Event]) -> list[CombinedEvent]:
        """Put the three of a flow together.

        Args:
            events: One of each.

        Returns:
            All in one.

        Cancellation:
            Nothing has happened.
        """
        text, analysis, summary = events
        assert isinstance(text, TextEvent)
        assert isinstance(analysis, AnalysisEvent)
        assert isinstance(summary, SummaryEvent)
        combined = CombinedEvent(
            source="Combiner", text=text, analysis=analysis, summary=summary
        )
        return [combined]  # noqa: ASYNC910 -- there is nothing to wait for


class Reporter(BaseAsyncAgent):
    """Puts the result into words, and ends the flow."""

    async def receive_event_async(
        self, event: CombinedEvent
    ) -> list[ReportEvent | TerminateEvent]:
        """Say what is known of a text.

        Args:
            event: All that is known.

        Returns:
            The words, and the end of the flow.

        Cancellation:
            Nothing has happened.
        """
        analysis, summary = event.analysis.analysis, event.summary.summary.summary
        if not summary.endswith((".", "!", "?")):  # the model ran out of room
            summary = f"{summary.rpartition(' ')[0]} ..."
        lines = [
            f"tone:    {analysis.tone}",
            f"topic:   {analysis.topic}",
            f"summary: {summary}",
        ]
        read, size = min(event.analysis.read, event.summary.read), event.text.size
        if read < size:
            lines.append(f"note:    the model has read {read:,} of {size:,} characters")
        report = ReportEvent(source="Reporter", lines="\n".join(lines))
        end = TerminateEvent(source="Reporter")
        return [report, end]  # noqa: ASYNC910 -- there is nothing to wait for


def make_router(llm: LLMBroker) -> Router:
    """Say which agent gets what.

    Args:
        llm: The model that two of them ask.

    Returns:
        The router.
    """
    combiner = Combiner()
    return Router({
        TextEvent: [
            Analyzer(llm, "You are a literary critic.", Analysis),
            Summarizer(llm, "You summarize texts in one sentence.", Summary),
            combiner,
        ],
        AnalysisEvent: [combiner],
        SummaryEvent: [combiner],
        CombinedEvent: [Reporter()],
    })


@attrs.frozen(kw_only=True)
class Model:
    """Which model to ask.

    Attributes:
        file: A .gguf file to run in a child process; None for SmolLM2 from its wheel.
        base_url: A server that speaks Chat Completions, instead of a child process.
        api_key: The server's key.
        name: The server's name for the model.
    """

    file: Path | None = None
    base_url: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    name: str = "smollm2"

    def open(self) -> AbstractAsyncContextManager[OpenAIGateway]:
        """Return the way to it, still to be opened."""
        if self.base_url is None:
            return open_local_model(self.file)
        return OpenAIGateway(base_url=self.base_url, api_key=self.api_key)

    @property
    def room(self) -> int | None:
        """How many characters it may be asked about at first; None for any number."""
        return ROOM if self.base_url is None else None


@asynccontextmanager
async def open_demo(model: Model) -> AsyncGenerator[Program]:
    """Open a model, and build the agents around it.

    Args:
        model: Which one.

    Yields:
        The program.

    Raises:
        LocalModelError: The model's wheels or its file are missing.

    Cancellation:
        The model is closed.
    """
    room = model.room

    def start(given: Input) -> TextEvent:
        text = given.text[:room]
        return TextEvent(
            source="demo", name=given.name, text=text, size=len(given.text)
        )

    async with model.open() as gateway:
        llm = LLMBroker(
            model.name,
            gateway=gateway,
            temperature=0,
            seed=1,
            max_tokens=160,
            records_content=True,  # a trace holds the texts anyway, in their events
        )
        yield Program(router=make_router(llm), start=start, result=ReportEvent)


@asynccontextmanager
async def flow() -> AsyncGenerator[Program]:
    """Open the demo with the embedded model.

    Yields:
        The program.

    Raises:
        LocalModelError: The model's wheels are missing.

    Cancellation:
        The model is closed.
    """
    async with open_demo(Model()) as program:
        yield program
