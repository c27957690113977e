"""Events that another program wrote: versions, changed fields, exceptions by name."""

import math
from typing import Any

import attrs
import pytest

from agentflow import (
    JSON,
    AgentFailed,
    EncodingError,
    Event,
    FlowFailed,
    NoResult,
    RestoredError,
)
from agentflow._restored import error_from_json
from agentflow.encoding import EventRegistry
from tests.fakes import through_json


class Order(Event):
    total: int
    currency: str


class Discount(Event):
    percent: int = 0
    label: str = attrs.field(default="", init=False)
    _secret: str = ""


def in_euros(version: int, fields: dict[str, JSON]) -> dict[str, JSON]:
    """Give an order of version 1 a currency."""
    assert version == 1
    return {**fields, "currency": "EUR"}


def written(event_type: str, version: int, **fields: JSON) -> dict[str, Any]:
    """Return what a program of another time wrote."""
    return {
        "type": event_type,
        "version": version,
        "id": "i",
        "correlation_id": "c",
        "parent_id": None,
        "source": "s",
        "source_kind": "name",
        "fields": fields,
    }


def test_an_older_version_is_brought_up_to_date() -> None:
    """The upcast gets the version and the fields that were written."""
    registry = EventRegistry()
    registry.add(Order, version=2, upcast=in_euros, formerly=["shop:Bill"])
    registry.check("shop:Bill", 1)
    event = registry.read(written("shop:Bill", 1, total=3))
    assert event == Order(
        source="s", id="i", correlation_id="c", total=3, currency="EUR"
    )
    assert registry.write(event)["version"] == 2
    assert through_json(registry, event) == event


def test_a_version_that_cannot_be_read_is_refused() -> None:
    """Newer than the program, older without an upcast, or an upcast that fails."""
    name = f"{__name__}:Order"
    registry = EventRegistry()
    registry.add(Order, version=2)
    with pytest.raises(EncodingError, match="run the newer program"):
        registry.check(name, 3)
    with pytest.raises(EncodingError, match=r"version=2, upcast=\.\.\."):
        registry.read(written(name, 1, total=3))
    registry.add(Order, version=3, upcast=in_euros)
    with pytest.raises(EncodingError, match=r"upcast of .* raised AssertionError"):
        registry.read(written(name, 2, total=3))


def test_fields_that_do_not_fit_are_refused() -> None:
    """Reading says which field, and what to do when a class has changed."""
    name = f"{__name__}:Order"
    registry = EventRegistry(Order, Discount)
    with pytest.raises(
        EncodingError, match=r"unknown field 'sum', no field 'currency'.*has changed"
    ):
        registry.read(written(name, 1, sum=1, total=2))
    with pytest.raises(EncodingError, match="'total' cannot be read: must be an int"):
        registry.read(written(name, 1, total="2", currency="EUR"))
    with pytest.raises(EncodingError, match="this is no event"):
        registry.read({"type": "x"})


def test_a_field_that_is_new_takes_its_default() -> None:
    """An event written before the field existed is still read."""
    registry = EventRegistry(Discount)
    event = registry.read(written(f"{__name__}:Discount", 1))
    assert event == Discount(source="s", id="i", correlation_id="c")
    discount: Any = Discount  # type checkers do not know how attrs names it
    private = discount(source="s", secret="x")
    assert through_json(registry, private) == private


class Picky(Event):
    value: int = attrs.field(validator=attrs.validators.lt(10))


def test_what_the_class_refuses_is_refused() -> None:
    """Validators run when an event is read."""
    with pytest.raises(EncodingError, match=r"Picky .* refuses its fields"):
        EventRegistry(Picky).read(written(f"{__name__}:Picky", 1, value=11))


def test_two_types_of_one_name_are_refused() -> None:
    """What was written must say which type it was."""
    registry = EventRegistry(Order)
    registry.add(Order)
    with pytest.raises(EncodingError, match="two event types are called"):
        registry.add(Discount, formerly=[f"{__name__}:Order"])


class OwnError(Exception):
    def __init__(self, one: int, *, two: int) -> None:
        super().__init__(f"{one} {two}")


def test_exceptions_come_back_as_themselves_or_under_their_name() -> None:
    """Python's and agentflow's own are made again; the others stand in by name."""

    def read_back(error: Exception) -> Exception:
        cause = Discount(source="s")
        failure = AgentFailed(source="s", agent="a", event=cause, error=error)
        event = through_json(EventRegistry(Discount), failure)
        assert isinstance(event, AgentFailed)
        return event.error

    noted = TypeError("x")
    noted.add_note("a note")
    noted.__cause__ = NoResult("none")
    again = read_back(noted)
    assert repr(again) == "TypeError('x')"
    assert again.__notes__ == ["a note"]
    assert repr(again.__cause__) == "NoResult('none')"
    own = read_back(OwnError(1, two=2))
    assert isinstance(own, RestoredError)
    assert type(own).__name__ == "OwnError"
    assert str(own) == "1 2"
    assert own.type_name == f"{__name__}:OwnError"
    assert own.traceback_text == "OwnError: 1 2\n"
    two = ExceptionGroup("two", [KeyError("k"), OSError(math.inf, [])])
    group: Any = read_back(two)
    assert type(group) is ExceptionGroup
    assert group.message == "two"
    assert [type(e).__name__ for e in group.exceptions] == ["KeyError", "OSError"]
    failed = read_back(FlowFailed("flow failed", [ValueError("v")]))
    assert isinstance(failed, FlowFailed)
    refused = read_back(UnicodeDecodeError("utf-8", b"", 0, 1, "x"))
    assert type(refused).__name__ == "UnicodeDecodeError"
    tampered = {"type": "builtins:UnicodeDecodeError", "message": "m", "args": [1]}
    assert isinstance(error_from_json(tampered), RestoredError)
