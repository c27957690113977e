"""Writing types as JSON Schema (draft 2020-12).

A class is written as an object that takes its fields and nothing else; nested classes go
into ``$defs``, so that they may be recursive. What cannot be expressed is refused, with the
name of the class and the field. ``_structure`` reads JSON back into the same types, and
takes just what the schema allows.
"""

import collections.abc
import datetime as dt
import decimal
import enum
import types
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

from agentflow.llm._errors import SchemaError
from agentflow.llm._fields import (
    AnyType,
    FieldInfo,
    args_of,
    description_of,
    docs_of,
    fields_of,
    is_object,
    is_pydantic,
    limits_of,
    origin_of,
    plain_default,
    split_annotated,
)
from agentflow.llm._json import JSON, JSONObject, as_object
from agentflow.llm._unions import is_union, plan_union

DECIMAL_PATTERN = r"^-?[0-9]+(\.[0-9]+)?$"

_SCALARS: Mapping[AnyType, JSONObject] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    None: {"type": "null"},
    types.NoneType: {"type": "null"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.date: {"type": "string", "format": "date"},
    dt.time: {"type": "string", "format": "time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    decimal.Decimal: {"type": "string", "pattern": DECIMAL_PATTERN},
    Any: {},
    object: {},
}

LISTS: frozenset[AnyType] = frozenset({
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
})
SETS: frozenset[AnyType] = frozenset({set, frozenset, collections.abc.Set})
DICTS: frozenset[AnyType] = frozenset({
    dict,
    collections.abc.Mapping,
    collections.abc.MutableMapping,
})

_NUMBER_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_SIZE_LIMITS = {
    "string": {
        "min_length": "minLength",
        "max_length": "maxLength",
        "pattern": "pattern",
    },
    "array": {"min_length": "minItems", "max_length": "maxItems"},
    "object": {"min_length": "minProperties", "max_length": "maxProperties"},
    "integer": _NUMBER_LIMITS,
    "number": _NUMBER_LIMITS,
}


def class_schema(cls: AnyType) -> JSONObject:
    """Write a class as JSON Schema.

    Args:
        cls: An attrs class, dataclass, TypedDict, a generic alias of one, or a class that
            brings ``model_json_schema`` and ``model_validate``.

    Returns:
        The schema of an object.

    Raises:
        SchemaError: The class, or one of its fields, cannot be expressed.
    """
    bare = split_annotated(cls)[0]
    writer = _Writer()
    if is_pydantic(bare):
        schema = writer.foreign(bare)
    elif is_object(origin_of(bare)):
        schema = writer.class_body(bare, name_of(bare))
    else:
        raise SchemaError(
            f"{name_of(bare)} is no class of data: a model answers with an attrs class, a "
            "dataclass, a TypedDict or a pydantic model; put the value into one"
        )
    return writer.with_defs(schema)


def fields_schema(fields: Iterable[FieldInfo], where: str) -> JSONObject:
    """Write fields, such as a function's parameters, as the schema of one object.

    Args:
        fields: The fields.
        where: What they belong to, for the error.

    Returns:
        The schema of an object.

    Raises:
        SchemaError: A field cannot be expressed.
    """
    writer = _Writer()
    return writer.with_defs(writer.object_of(fields, where))


def name_of(tp: AnyType) -> str:
    """Name a type for people."""
    origin = origin_of(tp)
    if origin is not None and args_of(tp):
        inner = "_".join(name_of(a) for a in args_of(tp))
        return f"{name_of(origin)}_{inner}"
    return str(getattr(tp, "__name__", tp))


def type_variables(tp: AnyType) -> Mapping[TypeVar, AnyType]:
    """Say what the type variables of a generic alias stand for."""
    origin = origin_of(tp)
    parameters = getattr(origin, "__parameters__", ())
    return dict(zip(parameters, args_of(tp), strict=False))


class _Writer:
    """Writes types, and collects the classes they mention."""

    def __init__(self) -> None:
        self._defs: dict[str, JSONObject] = {}
        self._names: dict[AnyType, str] = {}

    def with_defs(self, schema: JSONObject) -> JSONObject:
        """Add the classes that were mentioned."""
        if self._defs:
            defs: JSONObject = {name: self._defs[name] for name in self._defs}
            return {**schema, "$defs": defs}
        return schema

    def write(self, tp: AnyType, where: str) -> JSONObject:
        """Write any type; ``where`` is the class and field it stands in, for errors."""
        bare, notes = split_annotated(tp)
        schema = self._bare(bare, where)
        if notes:
            schema = {**schema, **_noted(schema, notes, where)}
        return schema

    def _bare(self, tp: AnyType, where: str) -> JSONObject:
        """Write a type that has no annotations left."""
        scalar = _SCALARS.get(tp) if _hashable(tp) else None
        if scalar is not None:
            return {**scalar}
        origin = origin_of(tp)
        for applies, write in self._rules():
            if applies(tp, origin):
                return write(tp, where)
        raise SchemaError(
            f"{where}: {name_of(tp)} cannot be expressed as JSON Schema; use a text, a "
            "number, an enum, a list, a dict with text keys or a class of these"
        )

    def _rules(
        self,
    ) -> tuple[
        tuple[Callable[[AnyType, AnyType], bool], Callable[[AnyType, str], JSONObject]],
        ...,
    ]:
        """List what is written how; the first rule that applies counts."""
        return (
            (lambda _, o: o is Literal, _literal),
            (lambda t, _: is_union(t), self._union),
            (lambda t, _: isinstance(t, type) and issubclass(t, enum.Enum), _enum),
            (lambda _, o: o in LISTS, self._list),
            (lambda _, o: o in SETS, self._set),
            (lambda _, o: o is tuple, self._tuple),
            (lambda _, o: o in DICTS, self._dict),
            (lambda t, o: is_object(o) or is_pydantic(t), self._reference),
        )

    def _union(self, tp: AnyType, where: str) -> JSONObject:
        """Write a union; see ``_unions`` for how its members are told apart."""
        plan = plan_union(tp, where)
        members: list[JSON] = []
        for member in args_of(tp):
            tags = [tag for tag, cls in plan.by_tag.items() if cls is member]
            if plan.added and plan.tag is not None and tags:
                members.append(self._tagged(member, plan.tag, tags[0]))
            else:
                members.append(self.write(member, where))
        return {"anyOf": members}

    def _tagged(self, cls: AnyType, tag: str, value: str) -> JSONObject:
        """Write a class of a union with the tag that tells it from the others."""
        bare = split_annotated(cls)[0]
        return self._define(
            (bare, tag),
            f"{name_of(bare)}_tagged",
            lambda: self.class_body(
                bare,
                name_of(bare),
                FieldInfo(name=tag, type=Literal[value]),
            ),
        )

    def _list(self, tp: AnyType, where: str) -> JSONObject:
        """Write a list, or a tuple of any length."""
        item = (*args_of(tp), Any)[0]
        return {"type": "array", "items": self.write(item, where)}

    def _set(self, tp: AnyType, where: str) -> JSONObject:
        """Write a set as a list without doubles."""
        return {**self._list(tp, where), "uniqueItems": True}

    def _tuple(self, tp: AnyType, where: str) -> JSONObject:
        """Write a tuple, of one type and any length or of a type for each place."""
        items = args_of(tp)
        if not items or items[1:] == (...,):
            return self._list(tp, where)
        return {
            "type": "array",
            "prefixItems": [self.write(item, where) for item in items],
            "items": False,
            "minItems": len(items),
            "maxItems": len(items),
        }

    def _dict(self, tp: AnyType, where: str) -> JSONObject:
        """Write a dict; JSON's keys are texts."""
        key, value = args_of(tp) or (str, Any)
        schema: JSONObject = {
            "type": "object",
            "additionalProperties": self.write(value, where),
        }
        names = self.write(key, where)
        if key is not str:
            values = names.get("enum")
            if not isinstance(values, list) or not all(
                isinstance(v, str) for v in values
            ):
                raise SchemaError(
                    f"{where}: the keys of a JSON object are texts, not {name_of(key)}; "
                    "use str, a Literal or a text enum, or a list of pairs"
                )
            schema["propertyNames"] = names
        return schema

    def _reference(self, tp: AnyType, _where: str) -> JSONObject:
        """Write a class by reference."""
        make = self.foreign if is_pydantic(tp) else self._own
        return self._define(tp, name_of(tp), lambda: make(tp))

    def _own(self, tp: AnyType) -> JSONObject:
        """Write a class of ours."""
        return self.class_body(tp, name_of(tp))

    def _define(
        self, key: AnyType, name: str, make: Callable[[], JSONObject]
    ) -> JSONObject:
        """Put a class into the definitions once, and refer to it."""
        if key not in self._names:
            taken = set(self._names.values()) | self._defs.keys()
            unique = name
            while unique in taken:
                unique += "_"
            # Known before it is written, so that it may refer to itself.
            self._names[key] = unique
            self._defs[unique] = {}
            self._defs[unique] = make()
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def foreign(self, cls: AnyType) -> JSONObject:
        """Take the schema of a class that brings its own."""
        schema: JSONObject = dict(cls.model_json_schema())
        for name, value in as_object(schema.pop("$defs", None)).items():
            definition = as_object(value)
            if self._defs.setdefault(name, definition) != definition:
                raise SchemaError(
                    f"{name_of(cls)}: its schema defines {name}, and so does another "
                    "class; rename one"
                )
        return schema

    def class_body(
        self, tp: AnyType, where: str, tag: FieldInfo | None = None
    ) -> JSONObject:
        """Write a class's fields in place, with a tag before them if one is given."""
        cls = origin_of(tp)
        assert isinstance(cls, type)
        fields = fields_of(cls, type_variables(tp))
        schema = self.object_of([tag, *fields] if tag else fields, where)
        summary = docs_of(cls).summary
        return {"description": summary, **schema} if summary else schema

    def object_of(self, fields: Iterable[FieldInfo], where: str) -> JSONObject:
        """Write fields as an object that takes nothing else."""
        properties: JSONObject = {}
        required: list[JSON] = []
        for field in fields:
            schema = self.write(field.type, f"{where}.{field.name}")
            if field.description and "description" not in schema:
                schema["description"] = field.description
            default = plain_default(field.default)
            if default is not None and not field.required:
                schema["default"] = default
            if field.required:
                required.append(field.name)
            properties[field.name] = schema
        body: JSONObject = {"type": "object", "properties": properties}
        if required:
            body["required"] = required
        body["additionalProperties"] = False
        return body


def _hashable(tp: AnyType) -> bool:
    """True for what a table can be asked for; Literal of a list, say, is not."""
    try:
        hash(tp)
    except TypeError:
        return False
    return True


def _literal(tp: AnyType, where: str) -> JSONObject:
    """Write a Literal as the list of its values."""
    return _values(args_of(tp), where)


def _enum(tp: AnyType, where: str) -> JSONObject:
    """Write an enum as the list of its members' values."""
    assert isinstance(tp, type)
    assert issubclass(tp, enum.Enum)
    return _values(tuple(tp), where)


def _values(values: Iterable[object], where: str) -> JSONObject:
    """Write a choice of plain values, with their type if they share one."""
    plain: list[JSON] = []
    for value in values:
        bare = value.value if isinstance(value, enum.Enum) else value
        if bare is not None and not isinstance(bare, str | int | float):
            raise SchemaError(
                f"{where}: {bare!r} is no JSON value to choose; use texts or numbers"
            )
        plain.append(bare)
    schema: JSONObject = {"enum": plain}
    kinds = {type(v) for v in plain}
    if len(kinds) == 1:
        schema = {**_SCALARS[kinds.pop()], **schema}
    return schema


def _noted(schema: JSONObject, notes: tuple[object, ...], where: str) -> JSONObject:
    """Write what annotations say about a type."""
    noted: JSONObject = {}
    description = description_of(notes)
    if description:
        noted["description"] = description
    kind = schema.get("type")
    keywords = _SIZE_LIMITS.get(kind, {}) if isinstance(kind, str) else {}
    for name, value in limits_of(notes).items():
        if name not in keywords:
            raise SchemaError(
                f"{where}: the limit {name}={value!r} does not fit its type"
            )
        noted[keywords[name]] = value
    return noted
