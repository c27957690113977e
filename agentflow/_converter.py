"""The cattrs converter that writes and reads the fields of events (see `_encoding`)."""

import dataclasses
import enum
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import attrs
import cattrs
from cattrs.cols import is_mapping
from typing_extensions import is_typeddict

from agentflow._choices import NATIVE, Choices
from agentflow._events import Event
from agentflow._leaves import (
    LEAVES,
    AnyForm,
    Mismatch,
    Read,
    Write,
    must,
    read_class,
    write_json,
)
from agentflow._lenient import JSON, type_name
from agentflow._readable import bare, class_of, is_model, is_textual, members
from agentflow._restored import error_from_json, lossless_error

_Applies: TypeAlias = Callable[[AnyForm], bool]


def make_converter(
    write_event: Callable[[Any], Any], read_event: Callable[[Any], Event]
) -> cattrs.Converter:
    """Return a converter for the fields of events.

    Args:
        write_event: Writes an event that stands in a field.
        read_event: Reads it.
    """
    converter = cattrs.Converter(
        forbid_extra_keys=True,
        unstruct_collection_overrides={typing.AbstractSet: list, tuple: list},
    )
    for cls, write, read in LEAVES:
        converter.register_unstructure_hook(cls, write)
        converter.register_structure_hook(cls, read)
    for applies, write, read in _HOOKS:
        converter.register_unstructure_hook_func(applies, write)
        converter.register_structure_hook_func(applies, read)
    factories = _Factories(converter)
    converter.register_unstructure_hook_factory(_has_fields, factories.fields_writer)
    for applies, writer, reader in factories.all():
        converter.register_unstructure_hook_factory(applies, writer)
        converter.register_structure_hook_factory(applies, reader)
    converter.register_unstructure_hook_func(
        _is(Event), lambda event: write_event(must(event, Event, "an event"))
    )
    converter.register_structure_hook_func(
        _is(Event), lambda data, cls: must(read_event(data), cls, cls.__name__)
    )
    return converter


def checked_writer(converter: cattrs.Converter, form: AnyForm) -> Write:
    """Return how to write a value, which is checked to be a list, say, if it must be."""
    write = converter.get_unstructure_hook(form)
    kind = class_of(form)
    if kind is None or members(bare(form)) or kind in {type, *NATIVE}:
        return write
    wanted = kind
    name = str(getattr(bare(form), "__name__", form))
    return lambda value: write(must(value, wanted, name))


class _Factories:
    """What is written and read by the parts of its type.

    Args:
        converter: Knows the parts.
    """

    def __init__(self, converter: cattrs.Converter) -> None:
        self._converter = converter

    def all(
        self,
    ) -> tuple[
        tuple[_Applies, Callable[[AnyForm], Write], Callable[[AnyForm], Read]], ...
    ]:
        """Return for which types there is what."""
        return (
            (_is_wrapped, self._inner_writer, self._inner_reader),
            (_is_mapping, self._mapping_writer, self._mapping_reader),
            (_is_union, self._union_writer, self._union_reader),
        )

    def fields_writer(self, form: AnyForm) -> Write:
        """Return how to write a class of fields; a subclass would lose some of its own."""
        write = self._converter.gen_unstructure_attrs_fromdict(form)
        cls = class_of(form)

        def write_exact(value: object) -> object:
            if type(value) is not cls:
                raise Mismatch(f"must be {form.__name__}, not {value!r:.100}")
            return write(value)

        return write_exact

    def _inner_writer(self, form: AnyForm) -> Write:
        return self._converter.get_unstructure_hook(bare(form))

    def _inner_reader(self, form: AnyForm) -> Read:
        inner = bare(form)
        hook = self._converter.get_structure_hook(inner)
        return lambda value, _: hook(value, inner)

    def _mapping_writer(self, form: AnyForm) -> Write:
        keys, items = typing.get_args(form)
        key = self._converter.get_unstructure_hook(keys)
        item = self._converter.get_unstructure_hook(items)
        if is_textual(keys):
            return lambda value: {key(k): item(v) for k, v in value.items()}
        return lambda value: [[key(k), item(v)] for k, v in value.items()]

    def _mapping_reader(self, form: AnyForm) -> Read:
        keys, items = typing.get_args(form)
        key = self._converter.get_structure_hook(keys)
        item = self._converter.get_structure_hook(items)
        is_object = is_textual(keys)

        def read(value: object, _form: AnyForm) -> object:
            if is_object:
                written = cast("Mapping[str, Any]", must(value, dict, "an object"))
                pairs = list(written.items())
            else:
                pairs = cast("list[tuple[Any, Any]]", must(value, list, "pairs"))
            return {key(k, keys): item(v, items) for k, v in pairs}

        return read

    def _union_writer(self, form: AnyForm) -> Write:
        choices = Choices(form)
        if choices.sole is not None:
            write = checked_writer(self._converter, choices.sole)
            return lambda value: None if value is None else write(value)
        hooks = {
            cls: self._converter.get_unstructure_hook(member)
            for cls, member in choices.by_class
        }

        def write_member(value: object) -> object:
            cls = choices.class_for(value)
            written: object = hooks[cls](value)
            is_plain = cls in NATIVE and not _is_tagged(written)
            return written if is_plain else _tagged(choices.names[cls], written)

        return write_member

    def _union_reader(self, form: AnyForm) -> Read:
        choices = Choices(form)
        hooks = {
            cls: (self._converter.get_structure_hook(member), member)
            for cls, member in choices.by_class
        }
        if choices.sole is not None:
            hook, sole = hooks[choices.by_class[0][0]]
            return lambda value, _: None if value is None else hook(value, sole)
        named = {name: cls for cls, name in choices.names.items()}

        def read_member(value: object, _form: AnyForm) -> object:
            if isinstance(value, dict):
                tagged = cast("dict[str, object]", value)
                cls = named.get(str(tagged.get("$type")))
                if cls is None:
                    raise Mismatch(f"must be {choices.text}, not {value!r:.100}")
                value = tagged.get("value")
            else:
                cls = choices.class_for(value)
            hook, member = hooks[cls]
            return hook(value, member)

        return read_member


def _is_tagged(written: object) -> bool:
    return isinstance(written, dict)


def _tagged(name: str, written: object) -> dict[str, object]:
    return {"$type": name, "value": written}


def _is(base: type) -> _Applies:
    return lambda form: isinstance(form, type) and issubclass(form, base)


def _is_flag(form: AnyForm) -> bool:
    return _is(enum.Flag)(form) and not issubclass(form, int)


def _is_named_enum(form: AnyForm) -> bool:
    return _is(enum.Enum)(form) and not issubclass(form, str | int | enum.Flag)


def _is_type(form: AnyForm) -> bool:
    origin: object = typing.get_origin(form)
    return form is type or origin is type


def _is_mapping(form: AnyForm) -> bool:
    return is_mapping(form) and not is_typeddict(form) and bool(typing.get_args(form))


def _has_fields(form: AnyForm) -> bool:
    cls = class_of(form)
    return cls is not None and (attrs.has(cls) or dataclasses.is_dataclass(cls))


def _is_wrapped(form: AnyForm) -> bool:
    return bare(form) is not form


def _is_union(form: AnyForm) -> bool:
    return bool(members(form))


def _is_json(form: AnyForm) -> bool:
    return form is JSON


def _read_json(value: object, _form: AnyForm) -> object:
    return value


def _write_name(member: Any) -> str:  # noqa: ANN401 -- checked here
    return str(must(member, enum.Enum, "a member of an enum").name)


def _read_name(name: object, cls: Any) -> enum.Enum:  # noqa: ANN401 -- an enum
    member: enum.Enum = cls[must(name, str, "the name of a member")]
    return member


def _write_flag(flag: Any) -> object:  # noqa: ANN401 -- checked here
    value: object = must(flag, enum.Flag, "a flag").value
    return value


def _read_flag(value: object, cls: Any) -> object:  # noqa: ANN401 -- a flag
    return cls(must(value, int, "an integer"))


def _write_model(model: Any) -> object:  # noqa: ANN401 -- any class that is_model takes
    return model.model_dump(mode="json")


def _read_model(value: object, cls: Any) -> object:  # noqa: ANN401 -- likewise
    return cls.model_validate(value)


_HOOKS: tuple[tuple[_Applies, Write, Read], ...] = (
    (_is_named_enum, _write_name, _read_name),
    (_is_flag, _write_flag, _read_flag),
    (is_model, _write_model, _read_model),
    (_is_type, lambda cls: type_name(must(cls, type, "a class")), read_class),
    (_is(BaseException), lossless_error, error_from_json),
    (_is_json, write_json, _read_json),
)
