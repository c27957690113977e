"""Which types of fields an event may have if it is to be read back."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from agentflow import EncodingError, Event
from agentflow.encoding import EventRegistry
from tests.fakes import through_json


class Loose(Event):
    extra: dict[str, Any]


class Bare(Event):
    items: list  # type: ignore[type-arg]  # the mistake under test
    table: dict  # type: ignore[type-arg]  # likewise


class BareTable(Event):
    table: dict  # type: ignore[type-arg]  # likewise


class Opaque:
    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]  # not needed


class HasOpaque(Event):
    thing: list[Opaque | None]


@attrs.frozen
class Holder:
    things: tuple[Opaque, ...]


class HasHolder(Event):
    holder: Holder


class Ambiguous(Event):
    rows: list[int] | list[str]


class Calls(Event):
    back: Callable[[], None]


class Local(Event):
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 -- the mistake under test


@pytest.mark.parametrize(
    ("event_type", "complaint"),
    [
        (Loose, r"Loose\.extra .* annotate it with agentflow\.JSON"),
        (Bare, r"Bare\.items .* list does not say what is in it; write list\[str\]"),
        (BareTable, r"dict does not say what is in it; write dict\[str, int\]"),
        (HasOpaque, r"HasOpaque\.thing .*Opaque cannot be .*registry\.convert\(Opaque"),
        (HasHolder, r"HasHolder\.holder .*its Holder\.things: .*Opaque cannot be read"),
        (Ambiguous, r"Ambiguous\.rows .*cannot be told apart"),
        (Calls, r"Calls\.back cannot be read back"),
        (Local, r"Local: name 'Nowhere' is not defined; define the types"),
    ],
)
def test_a_field_that_cannot_be_read_back_is_refused_at_once(
    event_type: type[Event], complaint: str
) -> None:
    """Registering names the event, the field and what to write instead."""
    with pytest.raises(EncodingError, match=complaint):
        EventRegistry(event_type)


def test_a_class_of_the_users_own_is_read_as_they_say() -> None:
    """`convert` teaches the registry a class it cannot read by itself."""
    registry = EventRegistry()
    registry.convert(
        Opaque,
        write=lambda opaque: opaque.number,
        read=lambda data: Opaque(int(str(data))),
    )
    registry.add(HasOpaque)
    event = HasOpaque(source="s", thing=[Opaque(3), None])
    assert through_json(registry, event) == event
    with pytest.raises(EncodingError, match="must be Opaque, not int 3"):
        registry.write(HasOpaque(source="s", thing=[3]))  # type: ignore[list-item]  # the mistake under test
