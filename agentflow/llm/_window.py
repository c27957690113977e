"""What of a conversation fits into the model's context window: a decision, no I/O.

The provider counts: after each answer its usage says how many tokens the conversation has,
as it was sent, with its answer. What a round (a question and all that came of it) has is
the growth since the round before. Only what the provider has not seen yet is estimated,
from its characters, on the careful side.

The oldest rounds go first, always as a whole: a tool's result without its call would be
refused.
"""

from collections.abc import Iterable, Sequence

import attrs

from agentflow.llm._messages import (
    ImagePart,
    LLMMessage,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    ToolResult,
)
from agentflow.llm._reply import Usage

_PER_TOKEN = 3
"""Characters of a token; English has four, most other writing fewer."""

_PER_MESSAGE = 8
"""Tokens around a message."""

_PER_IMAGE = 1500
"""Tokens of an image: what a photo counts with the large providers."""


def estimate(messages: Iterable[LLMMessage]) -> int:
    """Estimate the tokens of messages that no provider has counted yet."""
    return sum(_PER_MESSAGE + sum(map(_size, m.content)) for m in messages)


def _size(part: Part) -> int:
    """Estimate the tokens of one part."""
    if isinstance(part, TextPart | ReasoningPart | RefusalPart):
        return len(part.text) // _PER_TOKEN + 1
    if isinstance(part, ToolCall):
        return len(part.name + part.arguments) // _PER_TOKEN + 1
    if isinstance(part, ToolResult):
        return sum(map(_size, part.content))
    return _PER_IMAGE if isinstance(part, ImagePart) else 0


@attrs.frozen
class Round:
    """A question and all that came of it.

    Attributes:
        messages: The question, tool calls and results, the answer.
        tokens: How many they are.
    """

    messages: tuple[LLMMessage, ...]
    tokens: int


@attrs.define(kw_only=True)
class Window:
    """The rounds that the model still gets to see.

    Attributes:
        size: Tokens that question, rounds and answer may have together.
        reserve: How many of them are kept free for the answer.
        fixed: Tokens of what always goes along: what the model is told first, and tools.
        rounds: The rounds, the oldest first.
    """

    size: int
    reserve: int
    fixed: int = 0
    rounds: list[Round] = attrs.field(factory=list[Round])

    @property
    def tokens(self) -> int:
        """Tokens of all that would be sent now, without a question."""
        return self.fixed + sum(r.tokens for r in self.rounds)

    @property
    def messages(self) -> tuple[LLMMessage, ...]:
        """The messages of the rounds."""
        return tuple([m for r in self.rounds for m in r.messages])

    def make_room(self, question: Sequence[LLMMessage]) -> None:
        """Drop the oldest rounds until the question fits, or none is left."""
        wanted = estimate(question) + self.reserve
        while self.rounds and self.tokens + wanted > self.size:
            del self.rounds[0]

    def add(self, messages: Sequence[LLMMessage], usage: Usage) -> None:
        """Add a round.

        Args:
            messages: All its messages.
            usage: What the provider counted for the conversation up to its end, in the
                last exchange; nothing if it does not count.
        """
        # Reasoning is not sent again, or does not count again.
        counted = usage.total_tokens - usage.reasoning_tokens
        if not usage.input_tokens:
            self.rounds.append(self.guess(messages))
            return
        if not self.rounds:
            # The first count tells both together; what is fixed cannot be more.
            self.fixed = min(self.fixed, max(0, counted - 1))
        self.rounds.append(Round(tuple(messages), max(0, counted - self.tokens)))

    @staticmethod
    def guess(messages: Sequence[LLMMessage]) -> Round:
        """Make a round of messages that no provider has counted."""
        return Round(tuple(messages), estimate(messages))
