"""What a class of data consists of: the fields of attrs classes, dataclasses, TypedDicts.

Also the constraints that ``Annotated`` puts on a type. They are found by the names of their
attributes, so those of annotated_types and msgspec serve as well as ``Limits``.
"""

import dataclasses
import enum
import typing
from collections.abc import Callable, Mapping
from typing import (
    Annotated,
    Any,
    NoReturn,
    NotRequired,
    Required,
    TypeAlias,
    TypeVar,
)

import attrs

from agentflow.llm._docstrings import Docs, read_docs
from agentflow.llm._errors import SchemaError
from agentflow.llm._json import JSON

AnyType: TypeAlias = Any
"""Any type form: a class, a union, a Literal, a generic alias. It has no type itself."""

REQUIRED = object()
"""Marks a field without a default."""


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds of a value, to put into ``Annotated[...]``.

    Attributes:
        ge: Least number.
        gt: Number it must be greater than.
        le: Greatest number.
        lt: Number it must be less than.
        multiple_of: Number it must be a multiple of.
        min_length: Least number of characters or items.
        max_length: Greatest number of characters or items.
        pattern: Regular expression a text must match somewhere.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None


LIMITS = tuple(a.name for a in attrs.fields(Limits))
"""Names of all limits."""


@attrs.frozen(kw_only=True)
class FieldInfo:
    """One field of a class, or parameter of a function.

    Attributes:
        name: Its name in JSON.
        type: Its type.
        default: Its default; ``REQUIRED`` if it has none, None if one is made on demand.
        description: What it is for.
    """

    name: str
    type: AnyType
    default: object = REQUIRED
    description: str = ""

    @property
    def required(self) -> bool:
        """True if it has no default."""
        return self.default is REQUIRED


def origin_of(tp: AnyType) -> AnyType:
    """Return what a generic alias is an alias of; anything else, as it is."""
    origin: AnyType = typing.get_origin(tp)
    return tp if origin is None else origin


def args_of(tp: AnyType) -> tuple[AnyType, ...]:
    """Return the arguments of a generic alias; none for anything else."""
    return typing.get_args(tp)


def is_pydantic(cls: AnyType) -> bool:
    """True for a class that brings its own schema and validation."""
    return isinstance(cls, type) and all(
        callable(getattr(cls, name, None))
        for name in ("model_json_schema", "model_validate")
    )


def is_object(cls: AnyType) -> bool:
    """True for a class whose fields this module can list."""
    return isinstance(cls, type) and (
        _is_attrs(cls) or _is_dataclass(cls) or typing.is_typeddict(cls)
    )


def _is_attrs(cls: AnyType) -> bool:
    """Return True for an attrs class; a plain bool, which narrows no types."""
    return attrs.has(cls)


def _is_dataclass(cls: AnyType) -> bool:
    """Return True for a dataclass; see ``_is_attrs``."""
    return dataclasses.is_dataclass(cls)


def split_annotated(tp: AnyType) -> tuple[AnyType, tuple[object, ...]]:
    """Take a type apart from what is said about it.

    Args:
        tp: Any type form.

    Returns:
        The bare type, without Annotated, Required, NotRequired and new names; and the
        annotations, outermost last.
    """
    notes: tuple[object, ...] = ()
    while True:
        origin = origin_of(tp)
        if origin is Annotated:
            tp, *more = args_of(tp)
            notes = (*more, *notes)
        elif origin in {Required, NotRequired, typing.Final}:
            tp = args_of(tp)[0]
        elif isinstance(tp, typing.NewType):
            tp = tp.__supertype__
        elif (value := getattr(tp, "__value__", None)) is not None and not isinstance(
            tp, type | enum.Enum
        ):
            tp = value  # a ``type X = ...`` alias
        else:
            return tp, notes


def limits_of(notes: tuple[object, ...]) -> dict[str, float | str]:
    """Collect the limits among annotations."""
    found: dict[str, float | str] = {}
    for note in notes:
        for name in LIMITS:
            value = getattr(note, name, None)
            if isinstance(value, int | float | str) and not callable(value):
                found[name] = value
    return found


def description_of(notes: tuple[object, ...]) -> str:
    """Find the description among annotations: a string, or what holds one."""
    for note in reversed(notes):
        for text in (
            note,
            getattr(note, "documentation", None),
            getattr(note, "description", None),
        ):
            if isinstance(text, str):
                return text
    return ""


def docs_of(cls: type) -> Docs:
    """Read a class's own docstring; dataclasses without one make up their signature."""
    docstring = cls.__dict__.get("__doc__")
    if not isinstance(docstring, str) or docstring.startswith(f"{cls.__name__}("):
        return Docs()
    return read_docs(docstring)


def fields_of(cls: type, names: Mapping[TypeVar, AnyType]) -> list[FieldInfo]:
    """List the fields of a class.

    Args:
        cls: An attrs class, dataclass or TypedDict.
        names: What its type variables stand for.

    Returns:
        The fields its constructor takes, in order.

    Raises:
        SchemaError: Its annotations cannot be resolved.
    """
    lister: Callable[[type, Mapping[str, AnyType]], list[FieldInfo]]
    if _is_attrs(cls):
        lister = _attrs_fields
    elif _is_dataclass(cls):
        lister = _dataclass_fields
    else:
        lister = _typed_dict_fields
    docs = docs_of(cls)
    return [
        attrs.evolve(
            field,
            type=substitute(field.type, names),
            description=field.description or docs.parts.get(field.name, ""),
        )
        for field in lister(cls, _hints(cls))
    ]


def substitute(tp: AnyType, names: Mapping[TypeVar, AnyType]) -> AnyType:
    """Put types in the place of type variables."""
    if isinstance(tp, TypeVar):
        return names.get(tp, tp)
    parameters = getattr(tp, "__parameters__", ())
    if not names or not parameters or isinstance(tp, type):
        return tp
    return tp[tuple(names.get(p, p) for p in parameters)]


def _hints(cls: type) -> Mapping[str, AnyType]:
    """Resolve a class's annotations."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise SchemaError(
            f"{cls.__qualname__}: its field types cannot be resolved ({error}); define "
            "them where the module can see them at run time, and leave out "
            "'from __future__ import annotations' in that module"
        ) from error


def _attrs_fields(cls: type, hints: Mapping[str, AnyType]) -> list[FieldInfo]:
    """List the fields of an attrs class."""
    return [
        FieldInfo(
            name=a.alias,
            type=hints.get(a.name, a.type),
            default=_attrs_default(a.default),
            description=_text(a.metadata.get("description")),
        )
        for a in attrs.fields(cls)
        if a.init
    ]


def _attrs_default(default: object) -> object:
    """Read an attrs default."""
    if default is attrs.NOTHING:
        return REQUIRED
    # attrs.Factory is a function to type checkers, so its class is asked by name.
    return None if type(default).__name__ == "Factory" else default


def _dataclass_fields(cls: type, hints: Mapping[str, AnyType]) -> list[FieldInfo]:
    """List the fields of a dataclass."""
    if any(type(t) is dataclasses.InitVar for t in hints.values()):
        _refuse_init_var(cls)
    fields: list[FieldInfo] = []
    for field in dataclasses.fields(cls):
        default: object = field.default
        if default is dataclasses.MISSING:
            made = field.default_factory is not dataclasses.MISSING
            default = None if made else REQUIRED
        if field.init:
            description = _text(field.metadata.get("description"))
            fields.append(
                FieldInfo(
                    name=field.name,
                    type=hints[field.name],
                    default=default,
                    description=description,
                )
            )
    return fields


def _refuse_init_var(cls: type) -> NoReturn:
    """Say that a constructor argument that is no field cannot be expressed."""
    raise SchemaError(
        f"{cls.__qualname__}: a dataclass with an InitVar cannot be expressed as JSON "
        "Schema; make it a field"
    )


def _typed_dict_fields(cls: type, hints: Mapping[str, AnyType]) -> list[FieldInfo]:
    """List the keys of a TypedDict."""
    optional: frozenset[str] = getattr(cls, "__optional_keys__", frozenset())
    fields: list[FieldInfo] = []
    for name, hint in hints.items():
        origin = origin_of(hint)
        # String annotations hide NotRequired from the class itself.
        left_out = origin is NotRequired or (
            name in optional and origin is not Required
        )
        default = None if left_out else REQUIRED
        fields.append(FieldInfo(name=name, type=hint, default=default))
    return fields


def _text(value: object) -> str:
    """Return a string, or nothing."""
    return value if isinstance(value, str) else ""


def plain_default(value: object) -> JSON:
    """Return a default as JSON if it is a plain value; None says nothing."""
    if isinstance(value, enum.Enum):
        value = value.value
    return value if isinstance(value, str | int | float | bool) else None
