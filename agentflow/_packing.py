"""Events as a journal stores them: their type with its version, and their JSON."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from json import loads
from typing import Any, cast

from agentflow._encoding import EventRegistry
from agentflow._errors import EncodingError
from agentflow._events import Event
from agentflow._lenient import type_name
from agentflow._steps import Entry, Key

_TIME = 16
"""Digits of an id that say when it was made."""

_LATEST = "f" * _TIME

_LAST_TIME = int(_LATEST, 16)


def child_id(key: Key, index: int) -> str:
    """Return the id of an event that a handler emits: the same at each attempt.

    It sorts behind the handled event's, since it begins with a slightly later time.

    Args:
        key: The delivery.
        index: How many events its handler has emitted before.
    """
    event = key.event
    when = min(int(event[:_TIME], 16) + 1 + index, _LAST_TIME)
    source = f"{event}\0{key.agent}\0{index}".encode()
    return f"{when:016x}-{blake2b(source, digest_size=8).hexdigest()}"


def keyed_id(name: str) -> str:
    """Return the id of an event that its sender has named."""
    return f"{_LATEST}-{blake2b(name.encode(), digest_size=16).hexdigest()}"


class Packing:
    """Writes and reads events for one session.

    Args:
        registry: How events are encoded. A class that is loaded and not registered is
            registered when it is first met.
    """

    def __init__(self, registry: EventRegistry) -> None:
        self.registry: EventRegistry = registry
        self._checked: set[str] = set()

    def pack(
        self, event: Event, agents: tuple[str, ...] = (), *, terminates: bool = False
    ) -> Entry:
        """Return a stamped event as an entry.

        Raises:
            EncodingError: It cannot be written.
        """
        registry, event_type = self.registry, event.__class__
        if event_type not in registry:
            registry.add(event_type)
        kind, body = registry.write_text(event)
        return Entry(
            id=cast("str", event.id),
            flow=cast("str", event.correlation_id),
            parent=event.parent_id,
            kind=kind,
            body=body,
            agents=agents,
            terminates=terminates,
        )

    def unpack(self, body: str) -> Event:
        """Return the event.

        Raises:
            EncodingError: It cannot be read.
        """
        data = cast("dict[str, Any]", loads(body))
        kind = f"{data['type']}@{data['version']}"
        if kind not in self._checked:
            self.check([kind])
        return self.registry.read(data)

    def check(self, kinds: Iterable[str]) -> None:
        """Refuse types that could not be read.

        Args:
            kinds: What stands in `Entry.kind`.

        Raises:
            EncodingError: One is unknown, or its version is.
        """
        loaded = {type_name(event_type): event_type for event_type in _loaded(Event)}
        for kind in kinds:
            name, _, version = kind.rpartition("@")
            try:
                self.registry.check(name, int(version))
            except EncodingError:
                if name not in loaded or loaded[name] in self.registry:
                    raise
                self.registry.add(loaded[name])
                self.registry.check(name, int(version))
            self._checked.add(kind)


def _loaded(event_type: type[Event]) -> Iterator[type[Event]]:
    for subclass in event_type.__subclasses__():
        yield subclass
        yield from _loaded(subclass)
