"""Events as JSON and back, without losing anything (the lossless form of events).

Theory of operation. cattrs walks attrs classes, dataclasses, lists and the like by their
declared types; `_leaves` says how the rest is written. Where the type leaves a choice, the
JSON says which:

- a union other than ``X | None`` writes what JSON knows by itself (None, booleans, numbers,
  strings) as it is, and everything else as ``{"$type": name, "value": ...}``;
- a mapping whose keys are not written as strings is a list of pairs;
- floats that JSON has no number for, and integers beyond 2**53, are ``{"$float": "nan"}``
  and ``{"$int": "..."}``;
- an event in a field stands in full, with its type.

Enum members are written by their value if they are strings or integers themselves, else by
name; bytes as base64; dates and times in ISO 8601; decimals, UUIDs and paths as `str` has
them; classes as ``module:Qual.Name``. An abstract type is read back as the nearest concrete
one: a ``Sequence`` as a tuple. An exception is read back as itself if it is one of Python's
own or of agentflow's, with arguments that are plain values, else as a `RestoredError`.

Reading is strict: the type must be registered, its version known, and its fields those that
were written. Nothing is imported to read an event.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import attrs
import cattrs
from cattrs.v import format_exception

from agentflow._converter import checked_writer, make_converter
from agentflow._errors import EncodingError
from agentflow._events import AgentFailed, Event, TerminateEvent, check_event_type
from agentflow._json_text import Text, quoted_or_null, source_as_text, text_writer
from agentflow._leaves import AnyForm, Mismatch, Read, Write, find_class, must
from agentflow._lenient import EVENT_FIELDS, JSON, source_as_json, type_name
from agentflow._readable import field_types, why_unreadable

_T = TypeVar("_T")

Upcast = Callable[[int, dict[str, JSON]], Mapping[str, JSON]]
"""Takes the version and the fields that were written, returns those of today."""


@attrs.frozen(kw_only=True)
class _Field:
    """How one field of an event is written and read."""

    name: str
    quoted: str
    alias: str
    form: AnyForm
    write: Write
    text: Text
    read: Read
    is_optional: bool


@attrs.frozen(kw_only=True)
class _Entry:
    """One registered event type."""

    event_type: type[Event]
    name: str
    kind: str
    """The name with the version."""
    head: str
    """How the JSON of each begins."""
    version: int
    upcast: Upcast | None
    fields: tuple[_Field, ...]


class EventRegistry:
    """The event types that can be read back from JSON, each with its version.

    ::

        registry = EventRegistry(TextEvent, SummaryEvent)
        registry.add(OrderEvent, version=2, upcast=with_currency)
        registry.read(registry.write(event))

    Args:
        event_types: Types to register as version 1.

    Raises:
        EncodingError: A field of one cannot be read back; see `add`.
    """

    def __init__(self, *event_types: type[Event]) -> None:
        self._entries: dict[str, _Entry] = {}
        self._by_type: dict[type[Event], _Entry] = {}
        self._known: set[type] = set()
        self._sources: dict[str, type] = {}
        self._converter = make_converter(self.write, self.read)
        for event_type in (TerminateEvent, AgentFailed, *event_types):
            self.add(event_type)

    # -- what is known --------------------------------------------------------------

    def add(
        self,
        event_type: type[Event],
        *,
        version: int = 1,
        upcast: Upcast | None = None,
        formerly: Iterable[str] = (),
    ) -> None:
        """Register an event type.

        Args:
            event_type: The class.
            version: The version of its fields; raise it when you change them so that
                events which were written before cannot be read any more.
            upcast: Gets the version and the fields of an event that an older version
                wrote, and returns the fields of this one.
            formerly: Names under which it was written before it was renamed or moved,
                as ``module:Qual.Name``.

        Raises:
            EventTypeError: It is no event class.
            EncodingError: A field could not be read back, its type cannot be resolved, or
                another class has that name.
        """
        check_event_type(event_type)
        name = type_name(event_type)
        for taken in (name, *formerly):
            known = self._entries.get(taken)
            if known is not None and known.event_type is not event_type:
                raise EncodingError(
                    f"two event types are called {taken!r}; rename one, so that what was "
                    "written says which it was"
                )
        entry = _Entry(
            event_type=event_type,
            name=name,
            kind=f"{name}@{version}",
            head=f'{{"type":{quoted_or_null(name)},"version":{version},',
            version=version,
            upcast=upcast,
            fields=self._fields_of(event_type),
        )
        self._by_type[event_type] = entry
        self._entries |= dict.fromkeys((name, *formerly), entry)

    def convert(
        self,
        cls: type[_T],
        *,
        write: Callable[[_T], JSON],
        read: Callable[[JSON], _T],
    ) -> None:
        """Say how the instances of a class are written and read; before `add`.

        Args:
            cls: The class; its subclasses are others.
            write: Turns an instance into JSON.
            read: Turns that JSON into an equal instance.
        """
        self._known.add(cls)
        self._converter.register_unstructure_hook_func(
            lambda form: form is cls,
            lambda value: write(must(value, cls, cls.__name__)),
        )
        self._converter.register_structure_hook_func(
            lambda form: form is cls, lambda value, _: read(value)
        )

    def check(self, name: str, version: int = 1) -> None:
        """Refuse a type that could not be read, before anything of it is needed.

        Args:
            name: Its name as it was written: ``module:Qual.Name``.
            version: The version that was written.

        Raises:
            EncodingError: The type is unknown, or this version of it.
        """
        self._entry_for(name, version)

    def __contains__(self, event_type: type[Event]) -> bool:
        """Return whether an event type is registered."""
        return event_type in self._by_type

    def _fields_of(self, event_type: type[Event]) -> tuple[_Field, ...]:
        what = event_type.__qualname__
        try:
            types = field_types(event_type) or {}
        except NameError as error:
            raise EncodingError(
                f"event {what}: {error}; define the types of its fields at the top of a "
                "module, where they can be found"
            ) from error
        fields: list[_Field] = []
        for field in attrs.fields(cast("type[attrs.AttrsInstance]", event_type)):
            if field.name in EVENT_FIELDS or not field.init:
                continue
            form = types[field.name]
            why = (
                "it has no type; annotate it"
                if form is None
                else why_unreadable(form, self._known)
            )
            if why:
                raise EncodingError(f"{what}.{field.name} cannot be read back: {why}")
            fields.append(
                _Field(
                    name=field.name,
                    quoted=quoted_or_null(field.name),
                    alias=field.alias or field.name,
                    form=form,
                    write=(write := checked_writer(self._converter, form)),
                    text=text_writer(form, write),
                    read=self._converter.get_structure_hook(form),
                    is_optional=field.default is not attrs.NOTHING,
                )
            )
        return tuple(fields)

    # -- events ---------------------------------------------------------------------

    def write(self, event: Event) -> dict[str, JSON]:
        """Return an event as an object that `read` turns into an equal event.

        Args:
            event: The event; its type must be registered.

        Returns:
            The object, in the form that docs/trace-format.md describes.

        Raises:
            EncodingError: The type is not registered, or a field holds something else
                than it declares.
        """
        entry = self._entry_of(event)
        values = event.__dict__
        fields: dict[str, JSON] = {}
        for field in entry.fields:
            name = field.name
            try:
                fields[name] = field.write(values[name])
            except Exception as error:
                raise EncodingError(_unwritten(entry, name, error)) from error
        return {
            "type": entry.name,
            "version": entry.version,
            "id": event.id,
            "correlation_id": event.correlation_id,
            "parent_id": event.parent_id,
            **source_as_json(event.source),
            "fields": fields,
        }

    def write_text(self, event: Event) -> tuple[str, str]:
        """Return what `write` returns as JSON text, which is faster than both in turn.

        Args:
            event: The event; its type must be registered.

        Returns:
            The name of the type with its version, as ``module:Qual.Name@1``, and the text.

        Raises:
            EncodingError: As `write` does.
        """
        entry = self._entry_of(event)
        values = event.__dict__
        texts: list[str] = []
        for field in entry.fields:
            name = field.name
            try:
                texts.append(f"{field.quoted}:{field.text(values[name])}")
            except Exception as error:
                raise EncodingError(_unwritten(entry, name, error)) from error
        flow, parent = event.correlation_id, event.parent_id
        return entry.kind, (
            f'{entry.head}"id":{quoted_or_null(event.id)},'
            f'"correlation_id":{quoted_or_null(flow)},'
            f'"parent_id":{quoted_or_null(parent)},{source_as_text(event.source)},'
            f'"fields":{{{",".join(texts)}}}}}'
        )

    def _entry_of(self, event: Event) -> _Entry:
        entry = self._by_type.get(event.__class__)
        if entry is None:
            name = type(event).__qualname__
            raise EncodingError(
                f"event type {name} is not registered; write registry.add({name})"
            )
        source = event.source
        if isinstance(source, type):
            self._sources[type_name(source)] = source
        return entry

    def read(self, data: Mapping[str, Any]) -> Event:
        """Return the event that was written.

        Args:
            data: What `write` returned, or an older version of it.

        Returns:
            The event. A source that was a class is one again if that class has been
            loaded, else its name.

        Raises:
            EncodingError: Type or version are not known, or the fields do not fit.
        """
        try:
            name, version = str(data["type"]), int(data["version"])
            fields = dict(cast("Mapping[str, JSON]", data["fields"]))
            own = {key: data[key] for key in ("id", "correlation_id", "parent_id")}
            own["source"] = self._source(data)
        except (KeyError, TypeError, ValueError) as error:
            raise EncodingError(
                f"this is no event: {error!r} in {data!r:.200}"
            ) from error
        entry = self._entry_for(name, version)
        what = f"{entry.event_type.__qualname__} (version {version})"
        if version < entry.version and entry.upcast is not None:
            try:
                fields = dict(entry.upcast(version, fields))
            except Exception as error:
                raise EncodingError(f"the upcast of {what} raised {error!r}") from error
        self._check_names(entry, fields, what)
        for field in entry.fields:
            if field.name in fields:
                own[field.alias] = _read_field(field, fields[field.name], what)
        try:
            return entry.event_type(**own)
        except Exception as error:
            raise EncodingError(f"{what} refuses its fields: {error!r}") from error

    def _source(self, data: Mapping[str, Any]) -> type | str:
        name = str(data["source"])
        if data["source_kind"] != "class":
            return name
        return self._sources.get(name) or find_class(name) or name

    def _entry_for(self, name: str, version: int) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise EncodingError(
                f"event type {name!r} is not registered; write registry.add(...) with "
                f"its class, and with formerly=[{name!r}] if it has been renamed"
            )
        what = entry.event_type.__qualname__
        if version > entry.version:
            raise EncodingError(
                f"{what} was written as version {version}, and this program has version "
                f"{entry.version}; run the newer program"
            )
        if version < entry.version and entry.upcast is None:
            raise EncodingError(
                f"{what} was written as version {version} and is version "
                f"{entry.version} now; write registry.add({what}, version="
                f"{entry.version}, upcast=...)"
            )
        return entry

    @staticmethod
    def _check_names(entry: _Entry, fields: dict[str, JSON], what: str) -> None:
        names = {field.name for field in entry.fields}
        needed = {field.name for field in entry.fields if not field.is_optional}
        problems = [f"unknown field {n!r}" for n in sorted(fields.keys() - names)]
        problems += [f"no field {n!r}" for n in sorted(needed - fields.keys())]
        if problems:
            raise EncodingError(
                f"{what} was written with {', '.join(problems)}; the class has changed "
                "since, so give new fields a default, or raise its version and say how "
                "to read the old one: registry.add(..., version=..., upcast=...)"
            )


def _unwritten(entry: _Entry, name: str, error: Exception) -> str:
    return (
        f"{entry.event_type.__qualname__}.{name} cannot be written: {_why(error)}; give it "
        "what its annotation says"
    )


def _read_field(field: _Field, value: object, what: str) -> object:
    try:
        return field.read(value, field.form)
    except Exception as error:
        raise EncodingError(
            f"{what}: field {field.name!r} cannot be read: {_why(error)}"
        ) from error


def _why(error: Exception) -> str:
    """Say in one line what went wrong, from inside of what cattrs raised."""
    if isinstance(error, cattrs.BaseValidationError):
        return "; ".join(cattrs.transform_error(error, format_exception=_in_words))
    return str(error) or type(error).__name__


def _in_words(error: BaseException, form: type | None) -> str:
    return str(error) if isinstance(error, Mismatch) else format_exception(error, form)
