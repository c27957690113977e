"""What comes back: the deltas of an answer, and the whole reply they add up to."""

import enum
from collections.abc import Mapping
from typing import TypeAlias

import attrs

from agentflow.llm._json import JSON
from agentflow.llm._messages import (
    LLMMessage,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens that were used; sums add up with ``+``.

    Attributes:
        input_tokens: All tokens that went in, those read from and written to a cache
            included, whatever the provider's own counting is.
        output_tokens: All tokens that came out, reasoning included.
        cached_tokens: How many of the input were read from a cache.
        cache_write_tokens: How many of the input were written to a cache.
        reasoning_tokens: How many of the output were reasoning.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        """Add two usages, field by field."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class StopReason(enum.StrEnum):
    """Why the model stopped, in one vocabulary for all providers."""

    END = "end"
    """It had said all it wanted."""
    STOP_SEQUENCE = "stop_sequence"
    """It came to one of the stop texts, and the provider says so."""
    LENGTH = "length"
    """It reached the limit of output tokens."""
    CONTEXT_FULL = "context_full"
    """The context window was full."""
    TOOL_CALLS = "tool_calls"
    """It wants tools to be called."""
    REFUSED = "refused"
    """It refused, or a filter cut it off."""
    PAUSED = "paused"
    """The provider paused a long turn; sending it back goes on."""
    OTHER = "other"
    """Something else; ``Reply.raw_stop`` has the provider's word."""


@attrs.frozen(kw_only=True)
class Reply:
    """A whole answer.

    Attributes:
        message: The assistant's message; append it to the conversation to go on.
        stop: Why it stopped.
        raw_stop: The provider's own word for that.
        usage: Tokens used; all zero if the provider did not say.
        model: The model that answered, as the provider names it.
        id: The provider's id of the answer.
        metadata: Whatever else the provider sent along: citations, fingerprints, log
            probabilities, cost.
    """

    message: LLMMessage
    stop: StopReason
    raw_stop: str | None = None
    usage: Usage = attrs.field(factory=Usage)
    model: str | None = None
    id: str | None = None
    metadata: Mapping[str, JSON] = attrs.field(factory=dict[str, JSON])

    def __str__(self) -> str:
        """Return the text of the answer."""
        return self.message.text

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.message.text

    @property
    def reasoning(self) -> str:
        """The readable reasoning before the answer."""
        return self.message.reasoning

    @property
    def refusal(self) -> str:
        """The model's refusal, if it refused in words of its own."""
        return self.message.refusal

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools the model wants called."""
        return self.message.tool_calls


@attrs.frozen
class TextDelta:
    """A piece of the answer's text."""

    text: str


@attrs.frozen
class ReasoningDelta:
    """A piece of the model's reasoning."""

    text: str


@attrs.frozen
class RefusalDelta:
    """A piece of a refusal."""

    text: str


@attrs.frozen(kw_only=True)
class ToolCallDelta:
    """A piece of a tool call.

    Attributes:
        index: Which call of this answer it belongs to, counted from 0.
        id: Id of the call, known from its first piece on.
        name: Name of the tool, known from its first piece on.
        arguments: The next piece of the arguments' JSON text.
    """

    index: int
    id: str
    name: str
    arguments: str = ""


Delta: TypeAlias = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
"""A piece of an answer on its way in."""


def deltas_of(reply: Reply) -> list[Delta]:
    """Make deltas of a reply that came in one piece, for those who show them.

    Args:
        reply: The reply.

    Returns:
        One delta for each part that has one.
    """
    deltas: list[Delta] = []
    calls = 0
    for part in reply.message.content:
        if isinstance(part, TextPart):
            deltas.append(TextDelta(part.text))
        elif isinstance(part, ReasoningPart):
            deltas.append(ReasoningDelta(part.text))
        elif isinstance(part, RefusalPart):
            deltas.append(RefusalDelta(part.text))
        elif isinstance(part, ToolCall):
            deltas.append(
                ToolCallDelta(
                    index=calls, id=part.id, name=part.name, arguments=part.arguments
                )
            )
            calls += 1
    return deltas
