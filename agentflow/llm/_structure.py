"""Reading JSON into typed values, strictly: takes just what ``_schema`` allows.

cattrs builds the objects. Its usual converter is friendly: it calls ``bool("false")`` and
``int("1")``, and iterates over a text where a list was meant. A model's answer needs the
opposite, so every hook here looks at the type of the JSON value first. What does not fit is
told in words the model can mend it by.
"""

import datetime as dt
import decimal
import enum
import functools
import math
import re
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeVar, cast

import cattrs
from cattrs.errors import IterableValidationError, IterableValidationNote

from agentflow.llm._fields import (
    AnyType,
    args_of,
    is_object,
    is_pydantic,
    limits_of,
    origin_of,
    split_annotated,
)
from agentflow.llm._json import JSON, JSONObject
from agentflow.llm._schema import DECIMAL_PATTERN, DICTS, LISTS, SETS, name_of
from agentflow.llm._unions import UnionPlan, is_union, plan_union

T = TypeVar("T")

_Hook = Callable[[Any, Any], Any]


class DoesNotFit(ValueError):
    """JSON does not fit a type.

    Attributes:
        problems: What is wrong, each with its path in the JSON.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("; ".join(self.problems))


class _Misfit(ValueError):
    """One value does not fit; the message says why."""


def structure(value: JSON, tp: type[T]) -> T:
    """Read JSON as a type.

    Args:
        value: The parsed JSON.
        tp: Any type that ``_schema`` can write.

    Returns:
        The value of that type.

    Raises:
        DoesNotFit: The JSON does not fit.
    """
    try:
        result: T = _converter().structure(value, tp)
    except Exception as error:
        problems = cattrs.transform_error(error, format_exception=_words)
        raise DoesNotFit(_path_first(p) for p in problems) from error
    return result


def _path_first(problem: str) -> str:
    """Turn "what @ $.path" around."""
    what, _, path = problem.rpartition(" @ ")
    return f"{path}: {what}"


def _words(error: BaseException, _type: type | None) -> str:
    """Say what is wrong with one value."""
    if isinstance(error, KeyError):
        return "required, but missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown: {', '.join(sorted(error.extra_fields))}"
    return str(error) or type(error).__name__


def _show(value: object) -> str:
    """Name a JSON value in an error."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004


def _refuse(wanted: str, value: object) -> NoReturn:
    """Say that a value is not of the type wanted."""
    raise _Misfit(f"expected {wanted}, got {_show(value)}")


def _string(value: JSON, wanted: str = "a string") -> str:
    """Take a text."""
    return value if isinstance(value, str) else _refuse(wanted, value)


def _boolean(value: JSON) -> bool:
    """Take true or false, and no number."""
    return value if isinstance(value, bool) else _refuse("true or false", value)


def _number(value: JSON, wanted: str = "a number") -> int | float:
    """Take a number, and no boolean; JSON has no infinities."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(wanted, value)
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(wanted, value)
    return value


def _integer(value: JSON) -> int:
    """Take a whole number; JSON Schema calls 1.0 one, too."""
    number = _number(value, "an integer")
    return int(number) if number == int(number) else _refuse("an integer", value)


def _float(value: JSON) -> float:
    """Take any number that a float can hold."""
    try:
        return float(_number(value))
    except OverflowError:
        _refuse("a number of ordinary size", value)


def _null(value: JSON) -> None:
    """Take null."""
    if value is not None:
        _refuse("null", value)


def _text_as(make: Callable[[str], T], wanted: str, pattern: str) -> Callable[..., T]:
    """Take a text of a certain form."""
    form = re.compile(pattern)

    def hook(value: JSON, _: object) -> T:
        text = _string(value, wanted)
        try:
            return make(text) if form.search(text) else _refuse(wanted, value)
        except (ValueError, ArithmeticError):
            _refuse(wanted, value)

    return hook


def _scalar_hooks() -> Mapping[type, _Hook]:
    """List how plain values are read."""
    return {
        str: lambda v, _: _string(v),
        bool: lambda v, _: _boolean(v),
        int: lambda v, _: _integer(v),
        float: lambda v, _: _float(v),
        type(None): lambda v, _: _null(v),
        dt.datetime: _text_as(
            dt.datetime.fromisoformat,
            "a date and time such as 2026-01-31T12:00:00Z",
            r"^\d{4}-\d\d-\d\d[T ]\d\d:",
        ),
        dt.date: _text_as(
            dt.date.fromisoformat, "a date such as 2026-01-31", r"^.{10}$"
        ),
        dt.time: _text_as(
            dt.time.fromisoformat, "a time such as 12:00:00", r"^\d\d:\d\d"
        ),
        uuid.UUID: _text_as(uuid.UUID, "a UUID", r"^[0-9a-fA-F-]{36}$"),
        decimal.Decimal: _text_as(
            decimal.Decimal, "a decimal number as a string", DECIMAL_PATTERN
        ),
    }


@functools.cache
def _converter() -> cattrs.Converter:
    """Return the strict converter; the rules registered last are asked first."""
    converter = cattrs.Converter(forbid_extra_keys=True, use_alias=True)
    for tp, hook in _scalar_hooks().items():
        converter.register_structure_hook(tp, functools.partial(_scalar, hook))
    reader = _Reader(converter)
    rules: tuple[tuple[Callable[[AnyType], bool], Callable[[AnyType], _Hook]], ...] = (
        (lambda t: t is object, lambda _: _as_it_is),
        (lambda t: is_object(origin_of(t)), reader.of_class),
        (is_pydantic, _of_pydantic),
        (lambda t: origin_of(t) in LISTS | SETS, reader.of_list),
        (lambda t: origin_of(t) is tuple, reader.of_tuple),
        (lambda t: origin_of(t) in DICTS, reader.of_dict),
        (lambda t: isinstance(t, type) and issubclass(t, enum.Enum), _of_choice),
        (lambda t: origin_of(t) is Literal, _of_choice),
        (is_union, reader.of_union),
        (lambda t: split_annotated(t)[0] is not t, reader.of_annotated),
    )
    for applies, factory in rules:
        converter.register_structure_hook_factory(applies, factory)
    return converter


def _scalar(hook: _Hook, value: JSON, tp: AnyType) -> object:
    """Read a plain value; cattrs sends enums that derive from its class here as well."""
    if issubclass(tp, enum.Enum):
        return _of_choice(tp)(value, tp)
    return hook(value, tp)


def _as_it_is(value: JSON, _: object) -> object:
    """Take anything."""
    return value


class _Reader:
    """Makes the hooks that read the parts of a value through the converter again."""

    def __init__(self, converter: cattrs.Converter) -> None:
        self._converter = converter

    def of_class(self, tp: AnyType) -> _Hook:
        """Read an object as a class of data."""
        make: _Hook
        if typing.is_typeddict(origin_of(tp)):
            make = cast("Any", self._converter).gen_structure_typeddict(tp)
        else:
            make = self._converter.gen_structure_attrs_fromdict(tp)

        def hook(value: JSON, cls: AnyType) -> object:
            if not isinstance(value, dict):
                _refuse(f"an object ({name_of(tp)})", value)
            return make(value, cls)

        return hook

    def of_list(self, tp: AnyType) -> _Hook:
        """Read a list as a list or a set."""
        item = (*args_of(tp), Any)[0]
        origin = origin_of(tp)
        make: Callable[[Sequence[object]], object] = list[object]
        if origin in SETS:
            make = set[object] if origin is set else frozenset[object]

        def hook(value: JSON, _: object) -> object:
            if not isinstance(value, list):
                _refuse("a list", value)
            items = self._items(enumerate(value), lambda _: item)
            if origin in SETS and _has_doubles(items):
                raise _Misfit("the items must differ from each other")
            return make(items)

        return hook

    def of_tuple(self, tp: AnyType) -> _Hook:
        """Read a list as a tuple."""
        items: tuple[AnyType, ...] = args_of(tp) or (Any, ...)
        any_length = items[1:] == (...,)

        def hook(value: JSON, _: object) -> tuple[object, ...]:
            if not isinstance(value, list):
                _refuse("a list", value)
            if any_length:
                return tuple(self._items(enumerate(value), lambda _: items[0]))
            if len(value) != len(items):
                raise _Misfit(f"expected {len(items)} items, got {len(value)}")
            return tuple(self._items(enumerate(value), lambda i: items[i]))

        return hook

    def of_dict(self, tp: AnyType) -> _Hook:
        """Read an object as a dict."""
        key, item = args_of(tp) or (str, Any)

        def hook(value: JSON, _: object) -> dict[object, object]:
            if not isinstance(value, dict):
                _refuse("an object", value)
            keys = self._items(((k, k) for k in value), lambda _: key)
            items = self._items(value.items(), lambda _: item)
            return dict(zip(keys, items, strict=True))

        return hook

    def of_union(self, tp: AnyType) -> _Hook:
        """Read a value as the member of a union that it is."""
        plan = plan_union(tp, name_of(tp))

        def hook(value: JSON, _: object) -> object:
            if isinstance(value, dict) and plan.classes:
                return self._converter.structure(*self._of_tag(plan, value))
            for member in plan.others:
                try:
                    return self._converter.structure(value, member)
                except Exception:  # noqa: BLE001, S112 - whatever says it does not fit
                    continue
            names = " or ".join(_said(m) for m in args_of(tp))
            _refuse(names, value)

        return hook

    def _of_tag(self, plan: UnionPlan, value: JSONObject) -> tuple[JSON, AnyType]:
        """Tell by its tag which class an object is; return what to read as what."""
        if plan.tag is None:
            return value, plan.classes[0]
        tag = value.get(plan.tag)
        cls = plan.by_tag.get(tag) if isinstance(tag, str) else None
        if cls is None:
            raise _Misfit(f"{plan.tag!r} must be one of {', '.join(plan.by_tag)}")
        if plan.added:
            value = {k: v for k, v in value.items() if k != plan.tag}
        return value, cls

    def of_annotated(self, tp: AnyType) -> _Hook:
        """Read a value of an annotated or renamed type, then check its limits."""
        bare, notes = split_annotated(tp)
        limits = limits_of(notes)

        def hook(value: JSON, _: object) -> object:
            result = self._converter.structure(value, bare)
            _check_limits(value, limits)
            return result

        return hook

    def _items(
        self, items: Iterable[tuple[Any, JSON]], type_of: Callable[[Any], AnyType]
    ) -> Sequence[object]:
        """Read the items of a list or dict; say all that is wrong, and where."""
        results: list[object] = []
        errors: list[Exception] = []
        for index, value in items:
            tp = type_of(index)
            try:
                results.append(self._converter.structure(value, tp))
            except Exception as error:  # noqa: BLE001 - raised again below, all at once
                make_note = cast("Any", IterableValidationNote)
                note = make_note(f"item {index!r}", index, tp)
                error.__notes__ = [*getattr(error, "__notes__", ()), note]
                errors.append(error)
        if errors:
            raise IterableValidationError("items do not fit", errors, list)  # pyright: ignore[reportCallIssue]
        return results


def _said(tp: AnyType) -> str:
    """Name a member of a union in an error."""
    return {"str": "a string", "NoneType": "null"}.get(name_of(tp), name_of(tp))


def _has_doubles(items: Sequence[object]) -> bool:
    """True if two items are the same."""
    return len(set(items)) < len(items)


@functools.cache
def _of_choice(tp: AnyType) -> _Hook:
    """Read one of the values of an enum or Literal; 1 is not True here."""
    choices: dict[tuple[type, object], object] = {}
    for choice in args_of(tp) or tp:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        choices[type(plain), plain] = choice

    def hook(value: JSON, _: object) -> object:
        key = (type(value), value)
        if not isinstance(value, str | int | float | None) or key not in choices:
            _refuse(f"one of {', '.join(repr(v) for _, v in choices)}", value)
        return choices[key]

    return hook


def _of_pydantic(tp: AnyType) -> _Hook:
    """Read a value with the validation that its class brings."""

    def hook(value: JSON, _: object) -> object:
        return tp.model_validate(value)

    return hook


def _check_limits(value: JSON, limits: Mapping[str, float | str]) -> None:
    """Check a JSON value against limits."""
    for name, limit in limits.items():
        words, holds = _LIMIT_CHECKS[name]
        if not holds(value, limit):
            raise _Misfit(f"must {words} {limit}, got {_show(value)}")


_LIMIT_CHECKS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": ("be at least", lambda v, limit: v >= limit),
    "gt": ("be greater than", lambda v, limit: v > limit),
    "le": ("be at most", lambda v, limit: v <= limit),
    "lt": ("be less than", lambda v, limit: v < limit),
    "multiple_of": ("be a multiple of", lambda v, limit: v % limit == 0),
    "min_length": ("be at least as long as", lambda v, limit: len(v) >= limit),
    "max_length": ("be no longer than", lambda v, limit: len(v) <= limit),
    "pattern": ("match", lambda v, limit: re.search(limit, v) is not None),
}
