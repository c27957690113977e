"""How the members of a union are told apart in JSON.

Members of different JSON types (a text, a number, one object) tell themselves. Several
classes tell themselves too if all have a Literal field of the same name with values of
their own; otherwise each gets a tag: a property that holds the name of the class.
"""

import enum
import types
from collections.abc import Mapping, Sequence
from typing import Literal, Union

import attrs

from agentflow.llm._errors import SchemaError
from agentflow.llm._fields import (
    AnyType,
    FieldInfo,
    args_of,
    fields_of,
    is_object,
    is_pydantic,
    origin_of,
    split_annotated,
)

_TAGS = ("type", "kind", "object_type")


def is_union(tp: AnyType) -> bool:
    """True for ``A | B``, ``Union[A, B]`` and ``Optional[A]``."""
    return origin_of(tp) in {Union, types.UnionType}


@attrs.frozen(kw_only=True)
class UnionPlan:
    """How a union's members are told apart.

    Attributes:
        others: Members that are no class of data, the most particular first.
        classes: Members that are classes of data.
        tag: Property that tells the classes apart; None for a single class.
        by_tag: The classes by value of the tag.
        added: True if the classes do not have the tag as a field.
    """

    others: tuple[AnyType, ...]
    classes: tuple[AnyType, ...] = ()
    tag: str | None = None
    by_tag: Mapping[str, AnyType] = attrs.field(factory=dict[str, AnyType])
    added: bool = False


def plan_union(tp: AnyType, where: str) -> UnionPlan:
    """Decide how a union's members are told apart.

    Args:
        tp: The union.
        where: Class and field it stands in, for the error.

    Returns:
        The plan.

    Raises:
        SchemaError: Two classes have the same name, so no tag tells them apart.
    """
    members = args_of(tp)
    classes = tuple(m for m in members if _is_class(m))
    others = sorted((m for m in members if m not in classes), key=_vagueness)
    if len(classes) <= 1:
        return UnionPlan(others=tuple(others), classes=classes)
    own = _own_tag(classes)
    if own is not None:
        return UnionPlan(
            others=tuple(others), classes=classes, tag=own[0], by_tag=own[1]
        )
    by_name = {_name(m): m for m in classes}
    if len(by_name) < len(classes):
        raise SchemaError(
            f"{where}: the union {tp} holds two classes of the same name; rename one, or "
            "give each a Literal field with a value of its own"
        )
    taken = {f.name for m in classes for f in _fields(m)}
    tag = next((t for t in _TAGS if t not in taken), None)
    if tag is None or any(is_pydantic(split_annotated(m)[0]) for m in classes):
        raise SchemaError(
            f"{where}: the classes of the union {tp} cannot be told apart; give each a "
            "Literal field of the same name with a value of its own"
        )
    return UnionPlan(
        others=tuple(others), classes=classes, tag=tag, by_tag=by_name, added=True
    )


def _is_class(tp: AnyType) -> bool:
    """True for a class of data, generic or not."""
    bare = split_annotated(tp)[0]
    return is_object(origin_of(bare)) or is_pydantic(bare)


def _name(tp: AnyType) -> str:
    """Name a class in its tag."""
    bare = split_annotated(tp)[0]
    origin = origin_of(bare)
    return str(getattr(origin, "__name__", origin))


def _fields(tp: AnyType) -> Sequence[FieldInfo]:
    """List the fields of a class; those of one with a schema of its own are unknown."""
    bare = split_annotated(tp)[0]
    origin = origin_of(bare)
    return (
        fields_of(origin, {}) if isinstance(origin, type) and is_object(origin) else ()
    )


def _own_tag(classes: Sequence[AnyType]) -> tuple[str, Mapping[str, AnyType]] | None:
    """Look for a Literal field that tells the classes apart."""
    for candidate in _fields(classes[0]):
        by_tag: dict[str, AnyType] = {}
        for member in classes:
            field = next((f for f in _fields(member) if f.name == candidate.name), None)
            values = _literals(field.type) if field and field.required else ()
            if not values or any(v in by_tag for v in values):
                break
            by_tag.update(dict.fromkeys(values, member))
        else:
            return candidate.name, by_tag
    return None


def _literals(tp: AnyType) -> tuple[str, ...]:
    """Return the values of a Literal of texts, or nothing."""
    bare = split_annotated(tp)[0]
    values = args_of(bare) if origin_of(bare) is Literal else ()
    plain = tuple(v.value if isinstance(v, enum.Enum) else v for v in values)
    return plain if all(isinstance(v, str) for v in plain) else ()


def _vagueness(tp: AnyType) -> int:
    """Order members so that the first that fits is the one that was meant."""
    bare = split_annotated(tp)[0]
    return {float: 1, str: 2, object: 3}.get(bare, 0) if isinstance(bare, type) else 0
