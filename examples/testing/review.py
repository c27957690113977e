"""A flow to be tested: a model reviews a text, and a second one sums up what it says.

ReviewRequested ──> Reviewer ──> Reviewed ──> Editor ──> Decided
                        │
                        └── AgentFailed ──> Fallback ──> Decided
"""

import anyio
import attrs

from agentflow import AgentFailed, BaseAsyncAgent, Event, Router
from agentflow.llm import BaseAsyncLLMAgent, LLMBroker

PATIENCE = 3600.0  # seconds that a model may take to review a text


class ReviewRequested(Event):
    """Somebody wants to know about a text."""

    text: str


class Reviewed(Event):
    """The model has said what it thinks."""

    review: str


class Decided(Event):
    """That is what comes of it."""

    verdict: str


@attrs.define
class Desk:
    """Where reviewers work; one text lies on it at a time."""

    text: str = ""


class Reviewer(BaseAsyncLLMAgent[str]):
    """Asks the model about the text on the desk."""

    max_concurrency = 1

    def __init__(self, llm: LLMBroker, desk: Desk) -> None:
        super().__init__(llm, "You review texts.")
        self.desk = desk

    async def receive_event_async(self, event: ReviewRequested) -> list[Event]:
        """Put the text on the desk, and clear the desk whatever happens."""
        self.desk.text = event.text
        try:
            with anyio.fail_after(PATIENCE):
                review = await self.generate_response(f"Review this: {event.text}")
        finally:
            self.desk.text = ""
        return [Reviewed(source="Reviewer", review=review)]


class Editor(BaseAsyncAgent):
    """Takes what is praised."""

    async def receive_event_async(self, event: Reviewed) -> list[Event]:
        """Decide."""
        verdict = "print" if "good" in event.review.lower() else "return"
        return [Decided(source="Editor", verdict=verdict)]


async def fallback(event: AgentFailed) -> Decided:
    """Ask a person when an agent cannot."""
    return Decided(source="fallback", verdict=f"ask a person: {event.error}")


def make_router(llm: LLMBroker, desk: Desk | None = None) -> Router:
    """Say which agent gets what."""
    return Router({
        ReviewRequested: [Reviewer(llm, desk or Desk())],
        Reviewed: [Editor()],
        AgentFailed: [fallback],
    })
