"""JSON text of the simple values that most fields of events hold, without a detour.

`json.dumps` takes a tree of values, which has to be made first, and an encoder of its own
for each call; for a small event that is three quarters of the time. What is not simple goes
that way all the same.
"""

from collections.abc import Callable
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as quoted
from math import isfinite
from typing import Any, TypeAlias

from agentflow._leaves import AnyForm, Write
from agentflow._lenient import LARGEST_EXACT, source_as_json

Text: TypeAlias = Callable[[Any], str]
"""Returns the JSON text of a value."""

encode: Text = JSONEncoder(separators=(",", ":"), check_circular=False).encode
"""Return the JSON text of a tree of values, as short as it can be."""


def text_writer(form: AnyForm, write: Write) -> Text:
    """Return what writes the values of a field as text.

    Args:
        form: The type that the field declares.
        write: Checks a value, and makes of it what JSON knows.
    """

    def other(value: object) -> str:
        return encode(write(value))

    def of_str(value: object) -> str:
        return quoted(value) if type(value) is str else other(value)

    def of_int(value: object) -> str:
        exact = type(value) is int and -LARGEST_EXACT <= value <= LARGEST_EXACT
        return repr(value) if exact else other(value)

    def of_float(value: object) -> str:
        return repr(value) if type(value) is float and isfinite(value) else other(value)

    def of_bool(value: object) -> str:
        if value is True:
            return "true"
        return "false" if value is False else other(value)

    simple: dict[object, Text] = {
        str: of_str,
        int: of_int,
        float: of_float,
        bool: of_bool,
    }
    return simple.get(form, other) if isinstance(form, type) else other


def quoted_or_null(text: str | None) -> str:
    """Return a string, or None, as JSON."""
    return "null" if text is None else quoted(text)


def source_as_text(source: object) -> str:
    """Return the two keys that say who made an event, without braces."""
    if isinstance(source, str):
        return f'"source":{quoted(source)},"source_kind":"name"'
    return encode(source_as_json(source))[1:-1]
