"""Whether values of a type can be read back from JSON, before any of them has been seen.

`why_unreadable` walks a type as an annotation has it and says what is in the way, with what
to write instead; so a mistake shows when an event type is registered, not after a crash.
"""

import collections.abc
import dataclasses
import datetime as dt
import enum
import types
import typing
import uuid
from collections.abc import Collection, Sequence
from decimal import Decimal
from pathlib import PurePath
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, cast

import attrs
from typing_extensions import is_typeddict

from agentflow._events import Event
from agentflow._leaves import LEAVES, AnyForm
from agentflow._lenient import JSON, type_name

_UNIONS: frozenset[object] = frozenset({Union, types.UnionType})
_LEAVES = frozenset(cls for cls, _, _ in LEAVES)
_TEXTUAL = (str, dt.date, dt.time, uuid.UUID, Decimal, PurePath)
_SETS_AND_LISTS: frozenset[object] = frozenset({
    list,
    tuple,
    set,
    frozenset,
    collections.deque,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Set,
    collections.abc.MutableSet,
})
_MAPPINGS: frozenset[object] = frozenset({
    dict,
    collections.abc.Mapping,
    collections.abc.MutableMapping,
})


def _origin(form: AnyForm) -> object:
    return typing.get_origin(form)


def bare(form: AnyForm) -> AnyForm:
    """Return the type below ``Annotated``, ``NewType``, ``Final`` and aliases."""
    while True:
        if _origin(form) in {Annotated, typing.Final, typing.Required}:
            form = typing.get_args(form)[0]
        elif isinstance(form, NewType):
            form = form.__supertype__
        elif type(form).__name__ == "TypeAliasType" and form is not JSON:
            form = form.__value__
        else:
            return form


def members(union: AnyForm) -> tuple[AnyForm, ...]:
    """Return the members of a union, unions in it opened up; empty for anything else."""
    if _origin(union) not in _UNIONS:
        return ()
    found: list[AnyForm] = []
    for member in typing.get_args(union):
        inner = bare(member)
        found += members(inner) or (inner,)
    return tuple(found)


def class_of(form: AnyForm) -> type | None:
    """Return the class that values of a type are instances of; None if it is not one."""
    form = bare(form)
    if form is None:
        return type(None)
    origin = _origin(form)
    if origin is Literal:
        kinds: set[type[object]] = {type(value) for value in typing.get_args(form)}
        return kinds.pop() if len(kinds) == 1 else None
    if is_typeddict(form) or is_typeddict(origin):
        return dict
    found: object = form if origin is None else origin
    return found if isinstance(found, type) else None


def is_textual(form: AnyForm) -> bool:
    """Return whether values of a type are written as strings."""
    form = bare(form)
    if _origin(form) is Literal:
        return all(isinstance(value, str) for value in typing.get_args(form))
    if not isinstance(form, type):
        return False
    if issubclass(form, enum.Enum):
        return issubclass(form, str) or not issubclass(form, int | enum.Flag)
    return issubclass(form, _TEXTUAL)


def is_model(cls: object) -> bool:
    """Return whether a class reads and writes itself, as pydantic's models do."""
    return callable(getattr(cls, "model_validate", None)) and callable(
        getattr(cls, "model_dump", None)
    )


def why_unreadable(form: AnyForm, known: Collection[type] = ()) -> str | None:
    """Say why values of a type cannot be read back.

    Args:
        form: The type.
        known: Classes that the user has said how to read.

    Returns:
        What is in the way and what to write instead; None if nothing is.
    """
    return _Walk(known).why(form)


class _Walk:
    """A walk through a type that may contain itself."""

    def __init__(self, known: Collection[type]) -> None:
        self._known = known
        self._seen: set[object] = set()

    def why(self, form: AnyForm) -> str | None:
        """Say what is wrong with a type."""
        form = bare(form)
        if _says_it_all(form):
            return None
        if form is Any or form is object:
            return "Any may hold what JSON cannot; annotate it with agentflow.JSON"
        if isinstance(form, type) and _origin(form) is None:
            return self._why_class(cast("type[object]", form))
        return self._why_composed(form)

    def _why_composed(self, form: AnyForm) -> str | None:
        if union := members(form):
            return self._why_union(union)
        origin = _origin(form)
        if origin is not None:
            return self._why_generic(form, origin)
        return f"{form!r} is no type of data; annotate what the field really holds"

    def _why_each(self, forms: Sequence[AnyForm]) -> str | None:
        return next(filter(None, map(self.why, forms)), None)

    def _why_union(self, union: tuple[AnyForm, ...]) -> str | None:
        if why := self._why_each(union):
            return why
        rest = [form for form in union if form is not type(None)]
        if len(rest) == 1:
            return None
        classes = [class_of(form) for form in rest]
        if None in classes or len(set(classes)) < len(classes):
            names = " | ".join(str(getattr(f, "__name__", f)) for f in rest)
            return (
                f"the members of {names} cannot be told apart; leave one of them, or "
                "put each in an attrs class of its own"
            )
        return None

    def _why_generic(self, form: AnyForm, origin: object) -> str | None:
        arguments = [arg for arg in typing.get_args(form) if arg is not Ellipsis]
        if origin is type:
            return None
        if origin in _SETS_AND_LISTS or origin in _MAPPINGS:
            return self._why_each(arguments)
        return self._why_each([*arguments, origin])

    def _why_class(self, cls: type) -> str | None:
        if cls in self._seen or cls in self._known or _is_whole(cls):
            return None
        self._seen.add(cls)
        if cls in _SETS_AND_LISTS or cls in _MAPPINGS:
            example = "dict[str, int]" if cls in _MAPPINGS else "list[str]"
            return f"{cls.__name__} does not say what is in it; write {example} or so"
        fields = field_types(cls)
        if fields is None:
            return (
                f"{type_name(cls)} cannot be read back; make it an attrs class or a "
                "dataclass, or tell the registry how: "
                f"registry.convert({cls.__name__}, write=..., read=...)"
            )
        return self._why_fields(cls, fields)

    def _why_fields(self, cls: type, fields: dict[str, AnyForm]) -> str | None:
        for name, form in fields.items():
            if why := self.why(form):
                return f"its {cls.__name__}.{name}: {why}"
        return None


def _is_whole(cls: type) -> bool:
    """Return whether a class is written as one value, whatever is in it."""
    is_known = cls in _LEAVES or cls is type or is_model(cls)
    return is_known or issubclass(cls, Event | BaseException | enum.Enum | PurePath)


def _says_it_all(form: AnyForm) -> bool:
    is_plain = form is JSON or form is None or _origin(form) is Literal
    return is_plain or isinstance(form, TypeVar)


def field_types(cls: type[Any]) -> dict[str, AnyForm] | None:
    """Return the fields of a class of data and their types; None for any other class.

    Raises:
        NameError: A type is written as a string that cannot be resolved.
    """
    if attrs.has(cls):
        resolved = attrs.resolve_types(cls, include_extras=True)
        return {
            field.name: field.type
            for field in cast("Sequence[attrs.Attribute[Any]]", attrs.fields(resolved))
        }
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    if hasattr(cls, "_fields") or is_typeddict(cls):
        return dict(typing.get_type_hints(cls, include_extras=True))
    return None
