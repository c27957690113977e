"""JSON as wires send it: one door in and out, and getters that cannot fail.

Providers leave keys out, send null for them, or send another type than they document.
Code that decodes an answer therefore never subscripts: it asks these getters, which
answer with an empty value for anything that is not of the type asked for.
"""

import json
from collections.abc import Mapping
from typing import TypeAlias

from agentflow._lenient import JSON as JSON  # noqa: PLC0414 -- one of ours, too

JSONObject: TypeAlias = dict[str, JSON]
"""A JSON object."""

_DECODER = json.JSONDecoder()

_SPACE = " \t\r\n"


class InvalidJSON(ValueError):
    """Text that is no JSON: broken, nested too deeply, or not UTF-8."""


def loads(data: bytes | str) -> JSON:
    """Parse JSON text.

    Args:
        data: The text, or its UTF-8 bytes.

    Returns:
        The value.

    Raises:
        InvalidJSON: The text is no JSON, is nested too deeply to be read, holds a number
            of absurd length, or is not UTF-8.
    """
    try:
        # str() first: json.loads would guess UTF-16 or UTF-32 from the first bytes.
        text = data if isinstance(data, str) else data.decode("utf-8")
        text = text.strip(_SPACE)
        # What json.loads adds to this takes as long again on an event of a stream.
        value: JSON
        value, end = _DECODER.raw_decode(text)
    except RecursionError:
        raise InvalidJSON("JSON nested too deeply") from None
    except ValueError as error:
        raise InvalidJSON(str(error)) from None
    if end != len(text):
        raise InvalidJSON(f"something follows the JSON, at character {end}")
    return value


def dumps(value: object) -> str:
    """Write a JSON value compactly, as ASCII, so that lone surrogates survive."""
    return json.dumps(value, separators=(",", ":"), default=plain_mapping)


def plain_mapping(value: object) -> object:
    """Let frozen mappings through, which json does not know.

    Returns:
        A dict.

    Raises:
        TypeError: It is no mapping.
    """
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} is not JSON")


def as_object(value: JSON) -> JSONObject:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: JSON) -> list[JSON]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: JSON) -> str:
    """Return the value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def as_count(value: JSON) -> int:
    """Return the value if it is a number that can count tokens, else 0."""
    if type(value) is not int and type(value) is not float:
        return 0  # a bool counts nothing
    # The comparison also keeps NaN and infinities out of int().
    return int(value) if 0 <= value < 2**53 else 0


def as_label(value: JSON) -> str | None:
    """Return a code or an id as text: several providers send numbers for them."""
    if isinstance(value, str):
        return value or None
    return str(value) if type(value) is int else None
