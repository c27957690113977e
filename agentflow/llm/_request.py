"""What is asked: one request to a model, as a value that every codec can write."""

import enum
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypedDict

import attrs

from agentflow.llm._json import JSON, JSONObject
from agentflow.llm._messages import LLMMessage


@attrs.frozen(kw_only=True)
class ToolSpec:
    """A tool as the model sees it.

    Attributes:
        name: What the model calls it by.
        description: What it does and when to use it.
        parameters: JSON Schema of its arguments, an object.
        strict: True asks the provider to hold the model to the schema; None leaves it to
            the provider.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, JSON] = attrs.field(factory=dict[str, JSON])
    strict: bool | None = None


class ToolChoice(enum.StrEnum):
    """Whether the model may, must or must not call tools."""

    AUTO = "auto"
    REQUIRED = "required"
    NONE = "none"


@attrs.frozen
class ForcedTool:
    """The model must call this tool."""

    name: str


@attrs.frozen(kw_only=True)
class ResponseSchema:
    """The answer's text must be JSON.

    Attributes:
        name: Name of the schema, for APIs that want one: letters, digits, ``_`` and ``-``.
        schema: JSON Schema of the answer; None takes any JSON object.
        description: What the answer is for.
        strict: True asks the provider to hold the model to the schema; None leaves it to
            the provider.
    """

    name: str = "answer"
    schema: Mapping[str, JSON] | None = None
    description: str = ""
    strict: bool | None = None


class OutputMode(enum.StrEnum):
    """How a provider is brought to answer with an object of a given schema."""

    NATIVE = "native"
    """The API takes a JSON Schema for the answer."""
    TOOL = "tool"
    """The model must call a tool whose arguments are the object."""
    PROMPTED = "prompted"
    """The schema is told to the model in words."""


Effort: TypeAlias = str
"""How hard to think, in the provider's words: "none", "low", "medium", "high" …"""


class Options(TypedDict, total=False):
    """Settings of one request; all may be left out, and are then the provider's own.

    Keys:
        temperature: 0 for the likeliest answer, more for more varied ones.
        top_p: Share of likely tokens to choose from.
        max_tokens: Most tokens to answer with.
        seed: Seed for sampling, where the provider has one.
        stop: Texts at which the answer ends.
        reasoning_effort: How hard to think, in the provider's words.
        tool_choice: Whether tools may, must or must not be called, or which must.
        parallel_tool_calls: False for one tool call at a time.
        extra: Fields for the body of the request that only this provider knows; they go
            over those agentflow writes.
    """

    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop: Sequence[str]
    reasoning_effort: Effort
    tool_choice: ToolChoice | ForcedTool
    parallel_tool_calls: bool
    extra: Mapping[str, JSON]


@attrs.frozen(kw_only=True)
class Request:
    """One request to a model.

    Attributes:
        model: Name of the model, as the provider knows it.
        messages: The conversation.
        tools: The tools the model may call.
        response_schema: What the answer's text must be like; None for plain text.
        temperature: See ``Options``; None is the provider's own, here and below.
        top_p: See ``Options``.
        max_tokens: See ``Options``.
        seed: See ``Options``.
        stop: See ``Options``.
        reasoning_effort: See ``Options``.
        tool_choice: See ``Options``.
        parallel_tool_calls: See ``Options``.
        extra: See ``Options``.
    """

    model: str
    messages: tuple[LLMMessage, ...] = attrs.field(converter=tuple[LLMMessage, ...])
    tools: tuple[ToolSpec, ...] = attrs.field(
        default=(), converter=tuple[ToolSpec, ...]
    )
    response_schema: ResponseSchema | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    reasoning_effort: Effort | None = None
    tool_choice: ToolChoice | ForcedTool | None = None
    parallel_tool_calls: bool | None = None
    extra: Mapping[str, JSON] = attrs.field(factory=dict[str, JSON])


def settings(request: Request) -> JSONObject:
    """Return the settings that are set, under the names they have on ``Request``.

    Codecs rename the keys as their API has them.
    """
    values: dict[str, JSON] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "reasoning_effort": request.reasoning_effort,
        "parallel_tool_calls": request.parallel_tool_calls,
    }
    return {key: value for key, value in values.items() if value is not None}
