"""Any value, error, event and record as JSON for people to look at."""

import collections
import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from agentflow import AgentFailed, EncodingError, Event, TerminateEvent
from agentflow._lenient import (
    Bounds,
    dumps,
    error_as_json,
    event_as_json,
    value_as_json,
)
from agentflow._record_json import ReadEvent, record_as_json, record_from_json
from agentflow._records import (
    EventAccepted,
    FlowEnded,
    FlowStarted,
    HandlerFailed,
    HandlerStarted,
    LLMCallFinished,
    LLMCallStarted,
    SetIncomplete,
)
from agentflow.llm import ImagePart, LLMMessage, TextPart


class Text(Event):
    text: Any = ""


class Colour(enum.Enum):
    RED = (1, 2)


class Size(enum.StrEnum):
    SMALL = "s"


@attrs.frozen
class Point:
    x: int
    secret: str = attrs.field(default="", repr=False)


@dataclasses.dataclass
class Pair:
    left: object


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Namer(type):
    def __getattribute__(cls, name: str) -> object:
        raise RuntimeError(name)


class Nameless(metaclass=Namer):
    __repr__ = Hostile.__repr__


class Dead(collections.UserDict[str, int]):
    def __iter__(self) -> Any:
        raise RuntimeError("no")


FORMS: list[tuple[object, object]] = [
    (None, None),
    (True, True),
    (3, 3),
    (2**53 + 1, {"$int": "9007199254740993"}),
    (1 << 4000, {"$int": hex(1 << 4000)}),
    (1.5, 1.5),
    (math.nan, {"$float": "nan"}),
    (-math.inf, {"$float": "-inf"}),
    ("x", "x"),
    (b"\xff", {"$bytes": "/w=="}),
    (memoryview(b"ab"), {"$bytes": "YWI="}),
    (dt.date(2024, 1, 2), "2024-01-02"),
    (dt.timedelta(seconds=61), "0:01:01"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), "1.10"),
    (Path("a/b"), "a/b"),
    (Colour.RED, "RED"),
    (Size.SMALL, "s"),
    (Point, f"{__name__}:Point"),
    (
        Point(1, "key"),
        {"$type": f"{__name__}:Point", "x": 1, "secret": {"$hidden": "str"}},
    ),
    (Pair([1]), {"$type": f"{__name__}:Pair", "left": [1]}),
    ((1, {2}), [1, [2]]),
    (collections.deque([1]), [1]),
    (MappingProxyType({"a": 1}), {"a": 1}),
    ({1: "a", "1": "b"}, {"$items": [[1, "a"], ["1", "b"]]}),
    (1j, {"$repr": "1j"}),
    (Hostile(), {"$repr": "<Hostile that cannot be shown>"}),
    (Nameless(), {"$repr": "<object that cannot be shown>"}),
    (Dead({"a": 1}), {"$repr": "<Dead that cannot be shown>"}),
]


def test_each_kind_of_value_has_a_form() -> None:
    """What JSON cannot say is an object whose key begins with a dollar sign."""
    for value, expected in FORMS:
        assert value_as_json(value) == expected


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters())
        | st.binary()
        | st.complex_numbers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text() | st.integers(), inner)
            | st.builds(Pair, inner)
        ),
    )
)
def test_any_value_is_strictly_valid_json(value: object) -> None:
    """It is read by a parser that knows no NaN, and UTF-8 can hold it."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = dumps(value_as_json(value))
    line.encode()
    assert "\n" not in line
    json.loads(line, parse_constant=refuse)


def test_a_lone_surrogate_is_escaped() -> None:
    """UTF-8 cannot hold it, JSON can; everything else stays readable."""
    assert dumps("ü \ud800") == '"\\u00fc \\ud800"'
    assert dumps("ü") == '"ü"'


def test_a_value_that_contains_itself_ends() -> None:
    """What is nested too deeply is named instead."""
    loop: list[object] = []
    loop.append(loop)
    shown = dumps(value_as_json(loop, Bounds(depth=3)))
    assert shown == '[[[{"$repr":"<list nested too deeply to be shown>"}]]]'
    pair = Pair(None)
    pair.left = {"again": pair}
    assert "<Pair nested too deeply" in dumps(value_as_json(pair, Bounds(depth=4)))
    assert "<dict nested too deeply" in dumps(value_as_json(pair, Bounds(depth=3)))


def test_what_is_long_is_cut_and_says_so() -> None:
    """Texts, lists and mappings each say how much is missing."""
    few = Bounds(text=3, items=2)
    assert value_as_json("abcdef", few) == "abc… (3 more)"
    assert value_as_json([1, 2, 3, 4], few) == [1, 2, {"$more": 2}]
    assert value_as_json({"a": 1, "b": 2, "c": 3}, few) == {"a": 1, "b": 2, "$more": 1}
    assert value_as_json({1: 1, 2: 2, 3: 3}, few) == {
        "$items": [[1, 1], [2, 2], {"$more": 1}]
    }
    cut = value_as_json(b"x" * 100_000)
    assert isinstance(cut, dict)
    assert str(cut["$bytes"]).endswith("… (25000 more)")


def test_a_record_is_bounded_as_a_whole() -> None:
    """A million small values, or a hundred long texts, are cut as one large value is."""
    many = [list(range(100)) for _ in range(100)]
    small = dumps(value_as_json(many, Bounds(values=500)))
    assert len(small) < 5_000
    texts = ["x" * 1_000] * 100
    assert len(dumps(value_as_json(texts, Bounds(characters=5_000)))) < 9_000
    assert dumps(value_as_json([[1], [2]], Bounds(values=2))).count("$more") >= 1
    assert "…" in dumps(value_as_json(Pair(Pair(1)), Bounds(values=2)))


def test_an_event_stands_with_its_ids_and_fields() -> None:
    """A class and a name as source are told apart; events in fields stand in full."""
    inner = Text(source=Point, id="1", correlation_id="c", text=math.nan)
    name = f"{__name__}:Text"
    shown = event_as_json(
        Text(source="main", id="2", correlation_id="c", parent_id="1", text=inner)
    )
    assert shown == {
        "type": name,
        "version": 1,
        "id": "2",
        "correlation_id": "c",
        "parent_id": "1",
        "source": "main",
        "source_kind": "name",
        "fields": {
            "text": {
                "type": name,
                "version": 1,
                "id": "1",
                "correlation_id": "c",
                "parent_id": None,
                "source": f"{__name__}:Point",
                "source_kind": "class",
                "fields": {"text": {"$float": "nan"}},
            }
        },
    }


def test_events_nested_too_deeply_are_named() -> None:
    """Id and type are there, the fields are not."""
    deep = Text(source="s", id="1", text=Text(source="s", id="2"))
    shown: Any = event_as_json(deep, Bounds(depth=1))
    assert shown["fields"]["text"]["id"] == "2"
    assert "nested too deeply" in shown["fields"]["text"]["$repr"]


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def raised(error: Exception) -> Exception:
    """Return the error with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_an_error_stands_with_traceback_notes_cause_and_members() -> None:
    """Its context is its cause where it was not raised `from None`."""
    error = ValueError("no")
    error.__context__ = KeyError("k")
    error.add_note("note")
    group = raised(ExceptionGroup("both", [raised(error), Silent()]))
    shown: Any = error_as_json(group)
    assert shown["type"] == "builtins:ExceptionGroup"
    assert shown["traceback"].startswith("Traceback (most recent call last):\n")
    assert shown["traceback"].endswith("ExceptionGroup: both (2 sub-exceptions)\n")
    first, second = shown["exceptions"]
    assert first["message"] == "no"
    assert first["notes"] == ["note"]
    assert first["cause"]["message"] == "'k'"
    assert second["message"] == "(its message cannot be shown)"
    assert "cause" not in second
    error.__suppress_context__ = True
    assert "cause" not in str(error_as_json(error))


def test_a_chain_of_causes_ends() -> None:
    """Also where it is a circle."""
    error = ValueError("a")
    error.__cause__ = KeyError("b")
    error.__cause__.__cause__ = error
    text = dumps(error_as_json(error))
    assert 4 <= text.count('"type"') <= 20
    groups: Any = ValueError("x")
    for _ in range(40):
        groups = ExceptionGroup("g", [groups])
    assert "nested too deeply" in dumps(error_as_json(groups))


def test_a_record_refers_to_its_event() -> None:
    """Only where it was accepted does an event stand in full."""
    event = Text(source="s", id="1", correlation_id="c", text="hi")
    common: dict[str, Any] = {"time": 1.5, "correlation_id": "c"}
    assert record_as_json(EventAccepted(**common, event=event, agents=("a", "b"))) == {
        "record": "EventAccepted",
        "time": 1.5,
        "correlation_id": "c",
        "event": event_as_json(event),
        "agents": ["a", "b"],
    }
    assert record_as_json(
        HandlerStarted(**common, event=event, agent="a", attempt=2)
    ) == {
        "record": "HandlerStarted",
        "time": 1.5,
        "correlation_id": "c",
        "event": {"id": "1", "type": f"{__name__}:Text"},
        "agent": "a",
        "attempt": 2,
    }
    shown = record_as_json(
        SetIncomplete(**common, agent="a", events=(event,), missing=("B",))
    )
    assert shown["events"] == [{"id": "1", "type": f"{__name__}:Text"}]
    assert shown["missing"] == ["B"]


def test_messages_of_a_model_stand_without_their_images() -> None:
    """They are objects of their fields; a field that is not for `repr` is hidden."""
    message = LLMMessage(content=(TextPart("look"), ImagePart(data=b"png")))
    shown: Any = record_as_json(
        LLMCallStarted(
            time=0,
            correlation_id="c",
            event=Text(source="s"),
            agent="a",
            call="1",
            provider="p",
            model="m",
            messages=(message,),
        )
    )
    (one,) = shown["messages"]
    assert one["role"] == "user"
    text, image = one["content"]
    assert text["text"] == "look"
    assert image["data"] == {"$hidden": "bytes"}


def through_json(*records: Any) -> list[Any]:
    """Write records as lines and read them back, events by their ids."""
    events: dict[str, Event] = {}
    again: list[Any] = []
    for record in records:
        line = dumps(record_as_json(record))
        read = record_from_json(json.loads(line), events)
        if isinstance(read, EventAccepted):
            events[str(read.event.id)] = read.event
        again.append(read)
    return again


def test_records_are_read_back() -> None:
    """Kinds, times, agents and errors are the same; events have ids, type and fields."""
    common: dict[str, Any] = {"time": 1.5, "correlation_id": "c"}
    event = Text(source=Point, id="1", correlation_id="c", parent_id="0", text="hi")
    error = OSError(2, "gone")
    failure = AgentFailed(
        source="a", id="2", correlation_id="c", agent="a", event=event, error=error
    )
    records = [
        FlowStarted(**common),
        EventAccepted(**common, event=event, agents=("a",)),
        HandlerStarted(**common, event=event, agent="a", attempt=1),
        HandlerFailed(
            **common,
            event=event,
            agent="a",
            duration=0.5,
            error=error,
            attempt=1,
            consequence="hand over",
        ),
        EventAccepted(**common, event=failure, agents=()),
        EventAccepted(**common, event=TerminateEvent(source="x", id="3"), agents=()),
        SetIncomplete(**common, agent="a", events=(event,), missing=("B",)),
        LLMCallFinished(
            **common,
            event=event,
            agent="a",
            call="1",
            provider="p",
            model="m",
            duration=1,
            attempts=1,
            usage={"output_tokens": 3},
            stop="end",
        ),
        FlowEnded(**common, outcome="finished", reason="", events=3, duration=1.5),
    ]
    again = through_json(*records)
    assert [type(r) for r in again] == [type(r) for r in records]
    assert again[0] == records[0]
    assert again[-1] == records[-1]
    read = again[1].event
    assert isinstance(read, ReadEvent)
    assert type(read).__name__ == "Text"
    assert (read.id, read.parent_id, read.source) == ("1", "0", f"{__name__}:Point")
    assert read.fields == {"text": "hi"}
    assert read.type_name == f"{__name__}:Text"
    assert again[2].event is read
    assert again[2].agent == "a"
    assert type(again[3].error).__name__ == "FileNotFoundError"
    assert again[4].event.event == read
    assert again[5].event == TerminateEvent(source="x", id="3")
    assert again[6].events == (read,)
    assert again[7].usage == {"output_tokens": 3}


def test_what_is_no_record_is_refused_or_left_out() -> None:
    """A kind from another version is None; a broken record is an error."""
    assert record_from_json({"record": "Header"}) is None
    with pytest.raises(EncodingError, match="is no FlowStarted"):
        record_from_json({"record": "FlowStarted", "time": 1})
    with pytest.raises(EncodingError, match="is no HandlerStarted"):
        record_from_json({
            "record": "HandlerStarted",
            "time": 1,
            "correlation_id": "c",
            "event": None,
            "agent": "a",
            "attempt": 1,
        })
    (alone,) = through_json(
        HandlerStarted(
            time=1,
            correlation_id="c",
            event=Text(source="s", id="9"),
            agent="a",
            attempt=1,
        )
    )
    assert alone.event.id == "9"
    assert alone.event.fields == {}
