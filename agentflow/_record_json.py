"""Records as JSON, and back: the lines of a trace file (docs/trace-format.md).

A record is one object: its kind, its time, its flow, and its fields by their names. An
event stands in full where it was accepted, and elsewhere as its id and type. Nothing is
imported and no user's code runs when a record is read: events come back as `ReadEvent`, of
a subclass that has the name of the original.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import attrs

from agentflow import _records
from agentflow._errors import EncodingError
from agentflow._events import AgentFailed, Event, TerminateEvent
from agentflow._lenient import (
    DEFAULT_BOUNDS,
    JSON,
    Bounds,
    Sketch,
    event_reference,
    type_name,
)
from agentflow._records import EventAccepted, Record
from agentflow._restored import error_from_json

KINDS: dict[str, type[Record]] = {
    name: kind
    for name, kind in vars(_records).items()
    if isinstance(kind, type) and issubclass(kind, Record)
}
"""The classes of records by the names they are written under."""


class ReadEvent(Event):
    """An event of a trace file.

    Attributes:
        type_name: The class of the event that was written, as ``module:Qual.Name``.
        fields: The fields of the event as JSON; empty where only its id was written.
    """

    type_name: str
    fields: Mapping[str, JSON]


def record_as_json(record: Record, bounds: Bounds = DEFAULT_BOUNDS) -> dict[str, JSON]:
    """Return a record as one object.

    Args:
        record: The record.
        bounds: How much of it to keep.

    Returns:
        The object; it is strictly valid JSON whatever the record holds.
    """
    sketch = Sketch(bounds)
    shown: dict[str, JSON] = {"record": type(record).__name__}
    is_full = isinstance(record, EventAccepted)
    for field in attrs.fields(type(record)):
        value: object = getattr(record, field.name)
        if isinstance(value, Event) and not is_full:
            shown[field.name] = cast("JSON", event_reference(value))
        elif field.name == "events" and isinstance(value, tuple):
            events = cast("tuple[Event, ...]", value)
            shown[field.name] = [
                cast("JSON", event_reference(event)) for event in events[: bounds.items]
            ]
        else:
            shown[field.name] = sketch.value(value, 0)
    return shown


def record_from_json(
    data: Mapping[str, Any], events: Mapping[str, Event] | None = None
) -> Record | None:
    """Return the record that was written.

    Args:
        data: The object.
        events: Events that stood in full before, by id; a record that names one of them
            refers to it.

    Returns:
        The record; None for a kind that is not known here.

    Raises:
        EncodingError: A field is missing or is no such field.
    """
    kind = KINDS.get(str(data.get("record")))
    if kind is None:
        return None
    try:
        values: dict[str, Any] = {
            field.name: _value(field.name, data[field.name], events or {})
            for field in attrs.fields(kind)
            if field.name in data or field.default is attrs.NOTHING
        }
        return kind(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EncodingError(
            f"{data!r:.200} is no {kind.__name__}: {error!r}"
        ) from error


def event_from_json(
    data: Mapping[str, Any], events: Mapping[str, Event] | None = None
) -> Event:
    """Return an event of a trace, or what is known of one that only its id stands for."""
    event_id = data["id"]
    known = (events or {}).get(str(event_id))
    if "fields" not in data and known is not None:
        return known
    name = str(data["type"])
    common: dict[str, Any] = {
        "source": str(data.get("source", "")),
        "id": None if event_id is None else str(event_id),
        "correlation_id": data.get("correlation_id"),
        "parent_id": data.get("parent_id"),
    }
    fields = cast("Mapping[str, JSON]", data.get("fields") or {})
    if name == type_name(TerminateEvent):
        return TerminateEvent(**common)
    if name == type_name(AgentFailed) and fields:
        return _failure_from_json(common, fields, events)
    return _event_class(name)(**common, type_name=name, fields=fields)


def _failure_from_json(
    common: dict[str, Any],
    fields: Mapping[str, Any],
    events: Mapping[str, Event] | None,
) -> Event:
    return AgentFailed(
        **common,
        agent=str(fields["agent"]),
        event=event_from_json(fields["event"], events),
        error=_exception_from_json(fields["error"]),
        attempts=int(fields["attempts"]),
    )


def _exception_from_json(data: object) -> Exception:
    error = error_from_json(data)
    assert isinstance(error, Exception), "records hold no other kind"
    return error


def _value(name: str, value: Any, events: Mapping[str, Event]) -> object:  # noqa: ANN401 -- whatever was written
    if name == "event":
        return event_from_json(value, events)
    if name == "error":
        return _exception_from_json(value)
    if name == "events" and isinstance(value, list):
        items = cast("Sequence[Mapping[str, Any]]", value)
        return tuple(event_from_json(item, events) for item in items)
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


@lru_cache(maxsize=4_096)
def _event_class(name: str) -> type[ReadEvent]:
    module, _, path = name.partition(":")
    body = {"__module__": module, "__qualname__": path}
    return type(path.rpartition(".")[2], (ReadEvent,), body)
