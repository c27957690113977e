"""Several agents read texts at the same time, with a real language model.

    TextEvent ─┬─> Analyzer ───> AnalysisEvent ─┐
               ├─> Summarizer ─> SummaryEvent ──┼─> Combiner ─> CombinedEvent ─> Printer
               └────────────────────────────────┘

Each text is a flow of its own; all flows run side by side, and each ends with its own
TerminateEvent. The model is SmolLM2 in a child process. Any other in a .gguf file, and
any server that speaks OpenAI's Chat Completions, will do::

    python examples/text_analysis.py examples/texts/*.txt
    echo "A text." | python examples/text_analysis.py --asyncio -
    python examples/text_analysis.py --base-url URL --api-key KEY --model-name NAME FILE
"""

from contextlib import AbstractAsyncContextManager
from typing import Annotated, Literal, TypeVar

import anyio
import attrs
from text_cli import Options, Shown, Span, main

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    Flow,
    FlowFailed,
    Router,
    TerminateEvent,
)
from agentflow.llm import (
    BaseAsyncLLMAgent,
    ContextTooLong,
    Limits,
    LLMBroker,
    OpenAIGateway,
)
from agentflow.llm.local import open_local_model

ROOM = 6000  # characters of English that surely fit the embedded model's context

R = TypeVar("R")
Way = AbstractAsyncContextManager[OpenAIGateway]


@attrs.frozen
class Analysis:
    """What the analyzer asks the model for."""

    tone: Literal["cheerful", "playful", "neutral", "solemn", "gloomy", "sad"]
    topic: Annotated[str, Limits(min_length=3, max_length=60)]


@attrs.frozen
class Summary:
    """What the summarizer asks the model for."""

    summary: Annotated[str, Limits(min_length=10, max_length=200)]


class TextEvent(Event):
    """A text has come in."""

    name: str
    text: str
    size: int  # characters before it was cut to the model's room


class AnswerEvent(Event):
    """The model has answered.

    Attributes:
        asked: When it was asked and had answered, on the event loop's clock.
        read: How many characters of the text it had room for.
    """

    asked: Span
    read: int


class AnalysisEvent(AnswerEvent):
    """The text has been analyzed."""

    analysis: Analysis


class SummaryEvent(AnswerEvent):
    """The text has been summarized."""

    summary: Summary


class CombinedEvent(Event):
    """All three are there."""

    text: TextEvent
    analysis: AnalysisEvent
    summary: SummaryEvent


async def ask(agent: BaseAsyncLLMAgent[R], task: str, text: str) -> tuple[R, Span, int]:
    """Ask about as much of a text as the model has room for."""
    start = anyio.current_time()
    while True:
        try:
            answer = await agent.generate_response(f"{task}\n\n{text}")
        except ContextTooLong:
            text = text[: len(text) // 2]
        else:
            return answer, (start, anyio.current_time()), len(text)


class Analyzer(BaseAsyncLLMAgent[Analysis]):
    """Asks the model for tone and topic."""

    async def receive_event_async(self, event: TextEvent) -> list[Event]:
        """Analyze a text."""
        task = "What is the tone of this text, and its topic?"
        answer, asked, read = await ask(self, task, event.text)
        return [
            AnalysisEvent(source="Analyzer", analysis=answer, asked=asked, read=read)
        ]


class Summarizer(BaseAsyncLLMAgent[Summary]):
    """Asks the model for a summary."""

    async def receive_event_async(self, event: TextEvent) -> list[Event]:
        """Summarize a text."""
        task = "Summarize in one short sentence:"
        answer, asked, read = await ask(self, task, event.text)
        return [
            SummaryEvent(source="Summarizer", summary=answer, asked=asked, read=read)
        ]


class Combiner(AsyncAggregatorAgent):
    """Waits for a text and for both answers about it."""

    event_types_needed = (TextEvent, AnalysisEvent, SummaryEvent)

    async def process_events(self, events: list[Event]) -> list[Event]:
        """Put the three of a flow together."""
        text, analysis, summary = events
        assert isinstance(text, TextEvent)
        assert isinstance(analysis, AnalysisEvent)
        assert isinstance(summary, SummaryEvent)
        source = "Combiner"
        return [
            CombinedEvent(source=source, text=text, analysis=analysis, summary=summary)
        ]


class Printer(BaseAsyncAgent):
    """Prints the result, and ends the flow."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown

    async def receive_event_async(self, event: CombinedEvent) -> list[Event]:
        """Print what is known of a text."""
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
        self.shown.result(event.text.name, lines)
        return [TerminateEvent(source="Printer")]


def make_router(llm: LLMBroker, shown: Shown) -> Router:
    """Say which agent gets what."""
    combiner = Combiner()
    return Router({
        TextEvent: [
            Analyzer(llm, "You are a literary critic.", Analysis),
            Summarizer(llm, "You summarize texts in one sentence.", Summary),
            combiner,
        ],
        AnalysisEvent: [combiner],
        SummaryEvent: [combiner],
        CombinedEvent: [Printer(shown)],
    })


async def show_progress(flow: Flow, name: str, shown: Shown) -> None:
    """Say of each event in a flow what it means for the text."""
    async with flow.events(AnswerEvent) as answers:
        async for answer in answers:
            shown.step(name, f"{answer.source} has an answer")


async def follow(dispatcher: AsyncDispatcher, text: TextEvent, shown: Shown) -> None:
    """See one text's flow to its end; its failure is no other text's."""
    start = anyio.current_time()
    shown.step(text.name, "analyzer and summarizer are asking the model")
    try:
        async with dispatcher.open_flow(text) as flow:
            await show_progress(flow, text.name, shown)
            combined = await flow.result(CombinedEvent)
    except FlowFailed as failed:
        shown.failure(text.name, failed.exceptions[0])
    else:
        asked = (combined.analysis.asked, combined.summary.asked)
        shown.done(text.name, (start, anyio.current_time()), *asked)


async def analyze(options: Options, texts: dict[str, str], shown: Shown) -> None:
    """Open the model, and let all texts flow through the agents at once."""
    if options.base_url:
        room = None
        gateway: Way = OpenAIGateway(base_url=options.base_url, api_key=options.api_key)
    else:
        room = ROOM
        gateway = open_local_model(options.model)
    async with gateway as way:
        llm = LLMBroker(
            options.model_name, gateway=way, temperature=0, seed=1, max_tokens=160
        )
        async with (
            AsyncDispatcher(make_router(llm, shown)) as dispatcher,
            anyio.create_task_group() as tasks,
        ):
            for name, full in texts.items():
                text = full[:room]
                event = TextEvent(source="main", name=name, text=text, size=len(full))
                tasks.start_soon(follow, dispatcher, event, shown)


if __name__ == "__main__":
    main(analyze)
