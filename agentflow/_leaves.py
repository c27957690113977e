"""How each type that JSON has no word for is written and read, strictly (see `_encoding`).

Strict means that nothing is turned into something else on the way: ``1`` is no string and
``"1"`` no number. What is not of its declared type is refused when it is written already,
since nobody could read it back.
"""

import base64
import datetime as dt
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import PurePath
from typing import Any, TypeAlias, cast

from agentflow._lenient import JSON, float_as_json, int_as_json, is_plain_number

AnyForm: TypeAlias = Any
"""A type as an annotation has it: a class, a union, a generic alias."""

Write: TypeAlias = Callable[[Any], Any]
Read: TypeAlias = Callable[[Any, Any], Any]


class Mismatch(TypeError):
    """A value is not of the type that was declared."""


def must(value: object, kind: type | tuple[type, ...], what: str) -> Any:  # noqa: ANN401 -- the value itself
    """Return a value of the kind that is wanted.

    Raises:
        Mismatch: It is of another.
    """
    if isinstance(value, kind):
        return value
    raise Mismatch(f"must be {what}, not {type(value).__qualname__} {value!r:.100}")


def _write_str(value: object) -> str:
    return value if type(value) is str else str.__str__(must(value, str, "a string"))


def _write_int(value: object) -> JSON:
    return int_as_json(must(value, int, "an integer"))


def _odd_number(value: object, tag: str) -> str | None:
    """Return the text of a number that JSON has no other way to write."""
    if not isinstance(value, dict):
        return None
    tagged = cast("dict[str, object]", value)
    return str(tagged[tag]) if list(tagged) == [tag] else None


def _read_int(value: object, cls: AnyForm) -> object:
    text = _odd_number(value, "$int")
    number = must(value, int, "an integer") if text is None else int(text, 0)
    return number if cls is int else cls(number)


def _write_float(value: object) -> JSON:
    number = must(value, (float, int), "a number")
    return float_as_json(number) if isinstance(number, float) else int_as_json(number)


def _read_float(value: object, _cls: AnyForm) -> float:
    text = _odd_number(value, "$float")
    if text is None and isinstance(value, dict):
        value = _read_int(cast("object", value), int)
    return float(must(value, (int, float), "a number") if text is None else text)


def write_json(value: object) -> JSON:
    """Return a value that is JSON already, checked all the way down.

    Raises:
        Mismatch: Something in it would not be read back as it is.
    """
    kind: object = type(value)
    if value is None or kind is bool or kind is str:
        return cast("JSON", value)
    if kind is list:
        return [write_json(item) for item in cast("list[object]", value)]
    if kind is dict:
        pairs = cast("dict[object, object]", value).items()
        if all(type(key) is str for key, _ in pairs):
            return {cast("str", key): write_json(item) for key, item in pairs}
    elif kind is int or kind is float:
        number = cast("float", value)
        if is_plain_number(number):
            return number
    raise Mismatch(
        f"is annotated as JSON, which has no {type(value).__qualname__} like "
        f"{value!r:.100}"
    )


def find_class(name: str) -> type | None:
    """Return the class of that ``module:Qual.Name`` if its module has been loaded."""
    module, _, path = name.partition(":")
    found: object = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def read_class(value: object, _cls: AnyForm) -> type:
    found = find_class(must(value, str, "the name of a class"))
    if found is None:
        raise Mismatch(f"names class {value!r}, which no loaded module has")
    return found


def _text_pair(cls: type, write: Write) -> tuple[type, Write, Read]:
    """Return how to write and read a class whose constructor takes its text."""

    def read(value: object, wanted: AnyForm) -> object:
        return wanted(must(value, str, "a string"))

    return cls, lambda v: write(must(v, cls, cls.__name__)), read


def _iso_pair(cls: Any) -> tuple[type, Write, Read]:  # noqa: ANN401 -- a class with fromisoformat
    return (
        cls,
        lambda v: must(v, cls, cls.__name__).isoformat(),
        lambda v, _: cls.fromisoformat(must(v, str, "a string")),
    )


LEAVES: tuple[tuple[type, Write, Read], ...] = (
    (str, _write_str, lambda v, cls: cls(must(v, str, "a string"))),
    (int, _write_int, _read_int),
    (float, _write_float, _read_float),
    (
        bool,
        lambda v: must(v, bool, "a boolean"),
        lambda v, _: must(v, bool, "a boolean"),
    ),
    (
        bytes,
        lambda v: base64.b64encode(must(v, bytes, "bytes")).decode(),
        lambda v, _: base64.b64decode(must(v, str, "a string"), validate=True),
    ),
    (
        type(None),
        lambda v: must(v, type(None), "None"),
        lambda v, _: must(v, type(None), "null"),
    ),
    _iso_pair(dt.date),
    _iso_pair(dt.datetime),
    _iso_pair(dt.time),
    (
        dt.timedelta,
        lambda v: [
            must(v, dt.timedelta, "timedelta").days,
            v.seconds,
            v.microseconds,
        ],
        lambda v, _: dt.timedelta(*must(v, list, "a list")),
    ),
    _text_pair(uuid.UUID, str),
    _text_pair(Decimal, str),
    _text_pair(PurePath, str),
)
