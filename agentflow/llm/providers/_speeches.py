"""Laying out a conversation for APIs that know two speakers and arguments as objects.

Anthropic and Gemini take system text outside of the conversation, and want all results of
a round of tool calls together, right behind the calls. So the messages between two of the
model's make one speech as soon as one of them holds a result.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from agentflow.llm._json import JSON, JSONObject
from agentflow.llm._messages import (
    Blob,
    ImagePart,
    LLMMessage,
    Part,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
)

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL)


@attrs.frozen(kw_only=True)
class Speech:
    """What one side says before the other does.

    Attributes:
        by_model: True if the model says it.
        results: Results of the tools it called.
        parts: All else.
    """

    by_model: bool
    results: tuple[ToolResult, ...] = ()
    parts: tuple[Part, ...] = ()


def speeches(messages: Iterable[LLMMessage]) -> Iterator[Speech]:
    """Lay out a conversation, without its system messages.

    Args:
        messages: The conversation.

    Yields:
        The speeches, in order.
    """
    spoken = (m for m in messages if m.role is not Role.SYSTEM)
    sides = itertools.groupby(spoken, key=lambda m: m.role is Role.ASSISTANT)
    for by_model, group in sides:
        contents = [m.content for m in group]
        joined = tuple(itertools.chain.from_iterable(contents))
        results = tuple(p for p in joined if isinstance(p, ToolResult))
        if results:
            rest = tuple(p for p in joined if not isinstance(p, ToolResult))
            yield Speech(by_model=by_model, results=results, parts=rest)
        else:
            for content in contents:
                yield Speech(by_model=by_model, parts=content)


def system_parts(messages: Iterable[LLMMessage]) -> list[TextPart]:
    """Return the text of all system messages, wherever they stand."""
    return [
        part
        for message in messages
        if message.role is Role.SYSTEM
        for part in message.content
        if isinstance(part, TextPart) and part.text
    ]


def image_bytes(image: ImagePart) -> tuple[str, str] | None:
    """Return media type and base64 of an image that is at hand.

    Args:
        image: The image.

    Returns:
        Both, or None for an image that the provider has to fetch.
    """
    if image.url is None:
        return image.media_type, image.base64()
    found = _DATA_URL.fullmatch(image.url)
    return (found[1], found[2]) if found else None


def raw_of(blob: Blob | None, apis: frozenset[str]) -> JSONObject | None:
    """Return what a blob holds, if one of these APIs made it.

    Args:
        blob: The blob, if there is one.
        apis: Names of the APIs.

    Returns:
        The object it holds, or None.
    """
    if blob is None or blob.api not in apis or not isinstance(blob.raw, dict):
        return None
    return blob.raw


def arguments_of(call: ToolCall) -> JSONObject:
    """Return the arguments of a call as the object these APIs want.

    Args:
        call: The call.

    Returns:
        The object; text that is none stands in it, so that the model sees its mistake.
    """
    parsed = call.parsed()
    return {"INVALID_JSON": call.arguments} if parsed is None else parsed


def merge(body: JSONObject, extra: Mapping[str, JSON]) -> JSONObject:
    """Put the caller's own fields over those of a body, objects field by field.

    Args:
        body: The body; it is changed.
        extra: The fields.

    Returns:
        The body.
    """
    for key, value in extra.items():
        old = body.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merge(old, value)
        else:
            body[key] = value
    return body
