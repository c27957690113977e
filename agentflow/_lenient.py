"""Any value as JSON, for people to look at: bounded, and it never raises.

Theory of operation. A trace shows whatever users put into their events, so nothing here may
rely on it: a value is walked along its own type, and what cannot be walked, is too deep, or
raises when it is looked at becomes a short text. What JSON cannot say is an object with one
key that begins with a dollar sign:

- ``{"$float": "nan"}``, ``"inf"``, ``"-inf"``: floats that JSON has no number for.
- ``{"$int": "9007199254740993"}``: integers that JavaScript would round; from a thousand
  digits on as ``"0x..."``.
- ``{"$bytes": "<base64>"}``: bytes, bytearrays and memoryviews.
- ``{"$items": [[key, value], ...]}``: a mapping with keys that are no strings.
- ``{"$repr": "<...>"}``: any other object, by its ``repr``.
- ``{"$hidden": "str"}``: a field that its class keeps out of its own ``repr``.
- ``{"$more": 17}``: at the end of a list or of ``$items``, so many more were left out. A
  mapping or an object has that under the key ``"$more"`` itself.

Sets, tuples and deques are lists. Instances of attrs classes and dataclasses are objects of
their fields and a key ``"$type"``. Dates, UUIDs, decimals and paths are strings as `str` or
ISO 8601 writes them, enum members their value if that is a string or a number, else their
name. A long text ends in ``… (N more)``.

Errors, events and records have forms of their own: `error_as_json`, `event_as_json`.
"""

import base64
import dataclasses
import datetime as dt
import enum
import json
import math
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
from typing_extensions import TypeAliasType

from agentflow._events import Event

if TYPE_CHECKING:
    JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
    """Any JSON value; also the type of an event's field that may hold any."""
else:  # an object of its own, that an event's field can be recognised by
    JSON = TypeAliasType(
        "JSON", bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None
    )

LARGEST_EXACT = 2**53
"""Integers up to here are the same in every JSON reader."""

_HEXADECIMAL_FROM = 3_300
"""Bits; Python refuses to write integers of more than 4,300 decimal digits."""

_MOST_CAUSES = 8


@attrs.frozen(kw_only=True)
class Bounds:
    """How much of one record is kept.

    Attributes:
        text: Characters of one string.
        items: Entries of one list or mapping.
        depth: How deep lists and mappings may stand in each other.
        values: Values of one record in all.
        characters: Characters of one record in all, about.
    """

    text: int = 100_000
    items: int = 1_000
    depth: int = 16
    values: int = 20_000
    characters: int = 1_000_000


DEFAULT_BOUNDS = Bounds()


def dumps(value: JSON) -> str:
    """Write a JSON value in one line that UTF-8 can hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # a surrogate without its other half: only as an escape
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def type_name(cls: type) -> str:
    """Name a class as ``module:Qual.Name``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def value_as_json(value: object, bounds: Bounds = DEFAULT_BOUNDS) -> JSON:
    """Return any value as JSON.

    Args:
        value: The value; it is not changed.
        bounds: How much of it to keep.

    Returns:
        A value that `json.dumps` writes as strictly valid JSON.
    """
    return Sketch(bounds).value(value, 0)


def event_as_json(event: Event, bounds: Bounds = DEFAULT_BOUNDS) -> JSON:
    """Return an event in full, in the form that `docs/trace-format.md` describes.

    Args:
        event: The event.
        bounds: How much of it to keep.

    Returns:
        The object; its ``"version"`` is 1.
    """
    return Sketch(bounds).value(event, 0)


def event_reference(event: Event) -> dict[str, JSON]:
    """Return an event's id and type, for a place where it does not stand in full."""
    return {"id": event.id, "type": type_name(type(event))}


def source_as_json(source: object) -> dict[str, JSON]:
    """Return the two keys that say who made an event."""
    if isinstance(source, type):
        return {"source": type_name(source), "source_kind": "class"}
    return {"source": str(source), "source_kind": "name"}


def error_as_json(error: BaseException, bounds: Bounds = DEFAULT_BOUNDS) -> JSON:
    """Return an exception with its traceback, its causes and, of a group, its members.

    Args:
        error: The exception.
        bounds: How much of it to keep.

    Returns:
        The object.
    """
    return Sketch(bounds).value(error, 0)


class Sketch:
    """The JSON form of one record, and what of its bounds is left.

    Args:
        bounds: How much to keep.
    """

    __slots__ = ("_bounds", "_characters", "_values")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._values = bounds.values
        self._characters = bounds.characters

    def value(self, value: object, depth: int) -> JSON:
        """Return a value that stands `depth` levels below the record."""
        self._values -= 1
        if self._values < 0:
            return {"$repr": "…"}
        try:
            return _form_of(cast("Any", type(value)))(self, value, depth)
        except Exception:  # noqa: BLE001 -- a user's own methods may raise anything
            return {"$repr": f"<{_class_name(value)} that cannot be shown>"}

    def text(self, text: str) -> str:
        """Return a text, cut where it is too long."""
        most = min(self._bounds.text, max(self._characters, 0))
        self._characters -= min(len(text), most)
        if len(text) <= most:
            return text
        return f"{text[:most]}… ({len(text) - most} more)"

    def too_deep(self, value: object, depth: int) -> JSON:
        """Return what stands for a value whose parts would be too deep, else None."""
        if depth < self._bounds.depth:
            return None
        return {"$repr": f"<{_class_name(value)} nested too deeply to be shown>"}

    def listing(self, values: Iterable[object], size: int, depth: int) -> JSON:
        """Return a list of values."""
        if deep := self.too_deep(values, depth):
            return deep
        most = self._room(size)
        shown = [self.value(value, depth + 1) for value in islice(values, most)]
        return shown if size <= most else [*shown, {"$more": size - most}]

    def mapping(self, pairs: Mapping[Any, object], depth: int) -> JSON:
        """Return an object, or ``$items`` where a key is no string."""
        if deep := self.too_deep(pairs, depth):
            return deep
        most = self._room(len(pairs))
        kept = list(islice(pairs.items(), most))
        more = len(pairs) - len(kept)
        if all(type(key) is str for key, _ in kept):
            named = ((cast("str", key), value) for key, value in kept)
            return self.named(named, depth, more)
        items: list[JSON] = [
            [self.value(key, depth + 1), self.value(value, depth + 1)]
            for key, value in kept
        ]
        return {"$items": [*items, {"$more": more}] if more else items}

    def named(
        self, pairs: Iterable[tuple[str, object]], depth: int, more: int = 0
    ) -> dict[str, JSON]:
        """Return an object of what has names."""
        shown: dict[str, JSON] = {
            self.text(key): self.value(value, depth + 1) for key, value in pairs
        }
        if more:
            shown["$more"] = more
        return shown

    def _room(self, size: int) -> int:
        return min(size, self._bounds.items, max(self._values, 0))


Form: TypeAlias = Callable[[Sketch, Any, int], JSON]


def _as_is(_sketch: Sketch, value: bool | None, _depth: int) -> JSON:
    return value


def _text(sketch: Sketch, value: str, _depth: int) -> JSON:
    return sketch.text(str.__str__(value))


def is_plain_number(number: float) -> bool:
    """Return whether Python reads a number back as it is when JSON has it as one."""
    if isinstance(number, int):
        return number.bit_length() <= _HEXADECIMAL_FROM
    return math.isfinite(number)


def int_as_json(value: int) -> JSON:
    """Return an integer, as a text where readers of JSON would round or refuse it."""
    if -LARGEST_EXACT <= value <= LARGEST_EXACT:
        return int(value)
    is_long = value.bit_length() > _HEXADECIMAL_FROM
    return {"$int": hex(value) if is_long else int.__repr__(value)}


def float_as_json(value: float) -> JSON:
    """Return a float, as a text where JSON has no number for it."""
    return float(value) if math.isfinite(value) else {"$float": float.__repr__(value)}


def _int(sketch: Sketch, value: int, _depth: int) -> JSON:
    shown = int_as_json(value)
    return (
        {"$int": sketch.text(str(shown["$int"]))} if isinstance(shown, dict) else shown
    )


def _float(_sketch: Sketch, value: float, _depth: int) -> JSON:
    return float_as_json(value)


def _string(sketch: Sketch, value: object, _depth: int) -> JSON:
    return sketch.text(str(value))


def _iso(_sketch: Sketch, value: dt.date | dt.time, _depth: int) -> JSON:
    return value.isoformat()


def _bytes(sketch: Sketch, value: bytes | bytearray | memoryview, _depth: int) -> JSON:
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    most = DEFAULT_BOUNDS.text * 3 // 4
    shown = base64.b64encode(bytes(value[:most])).decode()
    more = f"… ({size - most} more)" if size > most else ""
    return {"$bytes": sketch.text(shown) + more}


def _enum(sketch: Sketch, value: enum.Enum, depth: int) -> JSON:
    plain: object = value.value
    is_plain = isinstance(plain, str | int | float)
    return sketch.value(plain if is_plain else value.name, depth)


def _listing(sketch: Sketch, value: Any, depth: int) -> JSON:  # noqa: ANN401 -- a list, a tuple, a set, a deque
    return sketch.listing(value, len(value), depth)


def _mapping(sketch: Sketch, value: Mapping[Any, object], depth: int) -> JSON:
    return sketch.mapping(value, depth)


def _class(_sketch: Sketch, value: type[object], _depth: int) -> JSON:
    return type_name(value)


def _fields(sketch: Sketch, value: Any, depth: int) -> JSON:  # noqa: ANN401 -- an instance of any class
    if deep := sketch.too_deep(value, depth):
        return deep
    pairs = _fields_of(value)
    return {
        "$type": type_name(cast("type[object]", type(value))),
        **sketch.named(pairs, depth),
    }


def _fields_of(value: Any) -> Iterator[tuple[str, object]]:  # noqa: ANN401 -- likewise
    """Yield the fields of an instance, without the contents of those to be hidden."""
    cls: type[Any] = value.__class__
    fields = attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls)
    for field in fields:
        content: object = getattr(value, field.name)
        yield field.name, content if field.repr else _Hidden(content)


class _Hidden:
    """A value that its owner does not want to be seen."""

    def __init__(self, value: object) -> None:
        self.kind: str = _class_name(value)


def _hidden(_sketch: Sketch, value: _Hidden, _depth: int) -> JSON:
    return {"$hidden": value.kind}


def _event(sketch: Sketch, value: Event, depth: int) -> JSON:
    if depth and (deep := sketch.too_deep(value, depth)):
        return {**event_reference(value), **cast("dict[str, JSON]", deep)}
    own = ((n, v) for n, v in _fields_of(value) if n not in EVENT_FIELDS)
    return {
        "type": type_name(type(value)),
        "version": 1,
        "id": value.id,
        "correlation_id": value.correlation_id,
        "parent_id": value.parent_id,
        **source_as_json(value.source),
        "fields": sketch.named(own, depth),
    }


EVENT_FIELDS = frozenset(
    field.name for field in attrs.fields(cast("type[attrs.AttrsInstance]", Event))
)
"""The fields that every event has."""


def _error(sketch: Sketch, value: BaseException, depth: int) -> JSON:
    if deep := sketch.too_deep(value, depth):
        return deep
    shown: dict[str, JSON] = {
        "type": type_name(type(value)),
        "message": sketch.text(_message_of(value)),
        "notes": [
            sketch.text(str(note)) for note in getattr(value, "__notes__", ())[:100]
        ],
        "traceback": sketch.text(_traceback_of(value)),
    }
    cause = value.__cause__ or (
        None if value.__suppress_context__ else value.__context__
    )
    if cause is not None and depth < _MOST_CAUSES:
        shown["cause"] = sketch.value(cause, depth + 1)
    if isinstance(value, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", value).exceptions
        shown["exceptions"] = sketch.listing(members, len(members), depth)
    return shown


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 -- a user's own method
        return "(its message cannot be shown)"


def _traceback_of(error: BaseException) -> str:
    """Return where it was raised, without causes and members, which stand beside it."""
    lines = traceback.format_tb(error.__traceback__)
    name, message = type(error).__qualname__, _message_of(error)
    last = f"{name}: {message}\n" if message else f"{name}\n"
    return "".join(["Traceback (most recent call last):\n" * bool(lines), *lines, last])


def _repr(sketch: Sketch, value: object, _depth: int) -> JSON:
    return {"$repr": sketch.text(repr(value))}


def _class_name(value: object) -> str:
    try:
        return str(type(value).__qualname__)
    except Exception:  # noqa: BLE001 -- a metaclass may do anything
        return "object"


_FORMS: tuple[tuple[Any, Form], ...] = (
    ((bool, type(None)), _as_is),
    (enum.Enum, _enum),
    (str, _text),
    (int, _int),
    (float, _float),
    (Event, _event),
    (BaseException, _error),
    (_Hidden, _hidden),
    (type, _class),
    ((bytes, bytearray, memoryview), _bytes),
    ((dt.date, dt.time), _iso),
    ((uuid.UUID, Decimal, PurePath, dt.timedelta), _string),
    ((list, tuple, set, frozenset, deque), _listing),
    (Mapping, _mapping),
)


@lru_cache(maxsize=1_024)
def _form_of(cls: type) -> Form:
    """Find how to show the instances of a class."""
    for classes, form in _FORMS:
        if issubclass(cls, classes):
            return form
    if attrs.has(cls) or dataclasses.is_dataclass(cls):
        return _fields
    return _repr
