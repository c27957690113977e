"""The normal form of a trace: the same in each run, whatever the ids and the scheduler.

Theory of operation. Nodes are sorted by what they say, with every id left out. Then they
are numbered in that order, and the ids inside of fields are replaced by the numbers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict, cast

import attrs

from agentflow._events import Event
from agentflow._records import (
    DeliveryDropped,
    DeliveryRecord,
    FlowStarted,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    Record,
)
from agentflow.tracing._tree import Node

_ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
_OWN_FIELDS = frozenset({"source", "correlation_id", "id", "parent_id"})
_DIGITS = 6


class NormalHandling(TypedDict):
    """What one agent did with an event.

    Keys:
        agent: Its name.
        outcome: How it ended.
        took: Seconds it took, where times are kept.
    """

    agent: str
    outcome: str
    took: NotRequired[float]


class NormalEvent(TypedDict):
    """An event and what came of it.

    Keys:
        event: The name of its class.
        id: Its number.
        source: Who made it.
        at: Seconds since its flow began, where times are kept.
        fields: What it carries, if it does.
        handled: What each agent did with it, if one did.
        effects: The events that came of it, if there are any.
    """

    event: str
    id: str
    source: str
    at: NotRequired[float]
    fields: NotRequired[dict[str, object]]
    handled: NotRequired[list[NormalHandling]]
    effects: NotRequired[list["NormalEvent"]]


def normal_form(
    roots: Iterable[Node], records: Iterable[Record], *, times: bool
) -> list[NormalEvent]:
    """Return the normal form of some trees.

    Args:
        roots: Their roots.
        records: All that is known, for the times.
        times: Whether times are kept.

    Returns:
        The form.
    """
    starts: dict[str, float] = {}
    accepted: dict[str, float] = {}
    for record in records:
        if isinstance(record, FlowStarted):
            starts[record.correlation_id] = record.time
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            accepted.setdefault(event.id or "", record.time)
    ordered = _in_order(roots)
    names: dict[str, str] = {}
    for node in _walk(ordered):
        names[node.event.id or ""] = f"#{len(names) + 1}"
    for correlation_id in starts:
        names.setdefault(correlation_id, "#flow")
    form = _Form(names, starts, accepted if times else {})
    return [form.of(node) for node in ordered]


@attrs.frozen
class _Form:
    """Writes nodes down."""

    names: Mapping[str, str]
    starts: Mapping[str, float]
    accepted: Mapping[str, float]

    def of(self, node: Node) -> NormalEvent:
        event = node.event
        event_id = event.id or ""
        form: NormalEvent = {
            "event": type(event).__name__,
            "id": self.names[event_id],
            "source": _source(event),
        }
        if event_id in self.accepted:
            began = self.starts.get(event.correlation_id or "", 0.0)
            form["at"] = round(self.accepted[event_id] - began, _DIGITS)
        if fields := {k: self._value(v) for k, v in _fields(event).items()}:
            form["fields"] = fields
        if handled := [self._handling(r) for r in _ends(node)]:
            form["handled"] = handled
        if node.children:
            form["effects"] = [self.of(child) for child in _in_order(node.children)]
        return form

    def _handling(self, record: DeliveryRecord) -> NormalHandling:
        form: NormalHandling = {"agent": record.agent, "outcome": _outcome(record)}
        form["outcome"] = self._text(form["outcome"])
        took = getattr(record, "duration", None)
        if self.accepted and isinstance(took, float):
            form["took"] = round(took, _DIGITS)
        return form

    def _value(self, value: object) -> object:
        """Turn whatever a field holds into lists, dicts, strings and numbers."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Event):
            return f"{type(value).__name__} {self._text(value.id or '')}"
        if isinstance(value, str):
            return self._text(str(value))
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return {str(k): self._value(v) for k, v in items}
        return self._compound(value)

    def _compound(self, value: object) -> object:
        if isinstance(value, list | tuple):
            return [self._value(each) for each in cast("list[object]", value)]
        if attrs.has(type(value)):
            kind = type(value)
            return {
                a.name: self._value(getattr(value, a.name)) for a in _attributes(kind)
            }
        return self._text(_plain(value))

    def _text(self, text: str) -> str:
        return _ID.sub(lambda match: self.names.get(match[0], "#other"), text)


def _attributes(kind: type) -> tuple["attrs.Attribute[object]", ...]:
    return cast("tuple[attrs.Attribute[object], ...]", attrs.fields(kind))


def _plain(value: object) -> str:
    """Write down anything else, without where it is in memory."""
    if isinstance(value, type):
        return value.__name__
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _in_order(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=_content)


def _content(node: Node) -> str:
    """Say what a node and all below it are, with every id left out."""
    effects = "".join(_content(child) for child in _in_order(node.children))
    fields = _ID.sub("#", _plain(_fields(node.event)))
    return f"{type(node.event).__name__} {_source(node.event)} {fields} ({effects})"


def _walk(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        yield node
        yield from _walk(_in_order(node.children))


def _fields(event: Event) -> dict[str, object]:
    return {
        a.name: getattr(event, a.name)
        for a in _attributes(type(event))
        if a.name not in _OWN_FIELDS
    }


def _source(event: Event) -> str:
    return event.source if isinstance(event.source, str) else event.source.__name__


def _ends(node: Node) -> list[DeliveryRecord]:
    kinds = (HandlerFinished, HandlerFailed, HandlerCancelled, DeliveryDropped)
    return sorted(
        (r for r in node.handled if isinstance(r, kinds)), key=lambda r: r.agent
    )


def _outcome(record: DeliveryRecord) -> str:
    if isinstance(record, HandlerFailed):
        error = f"{type(record.error).__name__}: {record.error}"
        tried = "; tried again" if record.consequence == "retry" else ""
        return f"raised {error}{tried}"
    if isinstance(record, HandlerCancelled):
        return f"cancelled: {record.reason}"
    if isinstance(record, DeliveryDropped):
        return f"dropped: {record.reason}"
    return "finished"
