"""Events as JSON and back, without loss."""

import collections
import dataclasses
import datetime as dt
import enum
import math
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    TypedDict,
    TypeVar,
)

import attrs
import pydantic
import pytest
from hypothesis import given, strategies as st
from typing_extensions import TypeAliasType

from agentflow import (
    JSON,
    AgentFailed,
    EncodingError,
    Event,
    EventTypeError,
    TerminateEvent,
)
from agentflow.encoding import EventRegistry
from tests.fakes import through_json

Euros = NewType("Euros", int)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = (255, 0, 0)


class Size(enum.StrEnum):
    SMALL = "s"


class Level(enum.IntEnum):
    HIGH = 3


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Point:
    x: int
    inner: "Point | None" = None


@dataclasses.dataclass(frozen=True)
class Pair:
    left: str
    right: tuple[float, ...]


@attrs.frozen
class Finer(Point):
    z: int = 0


class Wider(Pair):
    """A subclass would be read back as its base."""


@attrs.frozen
class Box(Generic[T]):
    item: T


Names = TypeAliasType("Names", dict[Literal["a", "b"], Box[int]])


class Named(NamedTuple):
    first: int
    second: str


class Typed(TypedDict):
    name: str
    tags: list[str]


class Model(pydantic.BaseModel):
    when: dt.date


class Reading(Event):
    value: int


class Special(Reading):
    unit: str = "m"


class Rich(Event):
    """One field of each kind that can be read back."""

    kind: ClassVar[str] = "no field"
    text: str
    number: int
    ratio: float
    flag: bool
    nothing: None
    raw: bytes
    day: dt.date
    moment: dt.datetime
    hour: dt.time
    span: dt.timedelta
    key: uuid.UUID
    price: Decimal
    path: Path
    colour: Colour
    size: Size
    level: Level
    access: Access
    point: Point
    pair: Pair
    named: Named
    typed: Typed
    model: Model
    names: list[str]
    numbers: set[int]
    ends: frozenset[dt.date]
    row: tuple[int, str]
    rows: tuple[Point, ...]
    queue: collections.deque[int]
    series: Sequence[int]
    table: dict[str, list[Point]]
    by_day: Mapping[dt.date, int]
    by_number: dict[int, dict[uuid.UUID, str]]
    by_pair: dict[tuple[int, int], None]
    maybe: Point | None
    choice: int | str | dt.datetime | Point | Pair | None
    word: Literal["a", "b", 3]
    price_in: Euros
    anything: JSON
    noted: Annotated[Final[int], "note"]  # type: ignore[valid-type]  # read at run time
    aliased: Names
    by_size: dict[Size, "Typed | int"]
    joined: "Annotated[int | None, 1] | Literal['x', 'y'] | type[Point]"
    agent: type
    event: Reading
    cause: Exception


def rich(**changes: Any) -> Rich:
    """Return an event with a value in each field."""
    event = Rich(
        source=Point,
        id="e",
        correlation_id="c",
        parent_id="p",
        text="\ud800 “x”",
        number=2**70,
        ratio=-math.inf,
        flag=True,
        nothing=None,
        raw=b"\xff\x00",
        day=dt.date(2024, 2, 29),
        moment=dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.UTC),
        hour=dt.time(1, 2),
        span=dt.timedelta(days=-1, microseconds=7),
        key=uuid.UUID(int=7),
        price=Decimal("1.10"),
        path=Path("a/b"),
        colour=Colour.RED,
        size=Size.SMALL,
        level=Level.HIGH,
        access=Access.READ | Access.WRITE,
        point=Point(1, Point(2)),
        pair=Pair("l", (1.5, 2.0)),
        named=Named(1, "x"),
        typed={"name": "n", "tags": ["t"]},
        model=Model(when=dt.date(2024, 1, 1)),
        names=["a", ""],
        numbers={1, 2},
        ends=frozenset({dt.date(2024, 1, 1)}),
        row=(1, "x"),
        rows=(Point(1),),
        queue=collections.deque([1, 2]),
        series=(1, 2),
        table={"k": [Point(1)]},
        by_day={dt.date(2024, 1, 1): 1},
        by_number={1: {uuid.UUID(int=1): "x"}},
        by_pair={(1, 2): None},
        maybe=None,
        choice=None,
        word="a",
        price_in=Euros(3),
        anything={"a": [1, 2.5, None, True, "x"]},
        noted=1,
        aliased={"a": Box(1)},
        by_size={Size.SMALL: {"name": "n", "tags": []}},
        joined="y",
        agent=Point,
        event=Special(source="s", value=3, id="i"),
        cause=ValueError("no", 3),
    )
    values: Any = event
    changed: Rich = attrs.evolve(values, **changes)
    return changed


REGISTRY = EventRegistry(Rich, Reading, Special)


def assert_same(one: Event, two: Event) -> None:
    """Check that two events are equal, errors by their kind and arguments."""
    mine, other = dict(vars(one)), dict(vars(two))
    errors = mine.pop("cause", None), other.pop("cause", None)
    assert type(one) is type(two)
    assert other == mine
    assert {name: type(value) for name, value in other.items()} == {
        name: type(value) for name, value in mine.items()
    }
    assert repr(errors[0]) == repr(errors[1])


def test_every_kind_of_field_is_read_back_as_it_was() -> None:
    """The event read back equals the one written, value by value and type by type."""
    event = rich()
    assert_same(event, through_json(REGISTRY, event))


@pytest.mark.parametrize(
    "choice",
    [
        None,
        3,
        2**60,
        "three",
        "2024-01-01T00:00:00",
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        Point(1),
        Pair("a", ()),
    ],
)
def test_a_union_tells_its_members_apart(choice: Any) -> None:
    """Whichever member a value is of, it is read back as that."""
    event = rich(choice=choice, maybe=Point(7))
    assert_same(event, through_json(REGISTRY, event))


class Numbers(Event):
    either: float | str
    both: float | int | None = None


def test_numbers_in_unions_keep_their_kind() -> None:
    """A whole number and a float are told apart where both may stand."""
    registry = EventRegistry(Numbers)
    for event in (
        Numbers(source="s", either=1.0, both=1),
        Numbers(source="s", either=math.inf, both=1.0),
        Numbers(source="s", either=1.5, both=None),
        Numbers(source="s", either="nan", both=2**60),
    ):
        assert_same(event, through_json(registry, event))
    whole = Numbers(source="s", either=2**60)
    assert through_json(registry, whole) == whole


class Tree(Event):
    data: JSON
    ratio: float
    names: dict[str, float]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.floats(allow_nan=False),
    st.dictionaries(st.text(), st.floats(allow_nan=False)),
)
def test_any_json_and_any_number_survive(
    data: Any, ratio: float, names: dict[str, float]
) -> None:
    """What is read equals what was written."""
    event = Tree(source="s", data=data, ratio=ratio, names=names)
    assert through_json(EventRegistry(Tree), event) == event


def test_not_a_number_is_read_back() -> None:
    """NaN equals nothing, but it is one."""
    event = Tree(source="s", data=None, ratio=math.nan, names={})
    again = through_json(EventRegistry(Tree), event)
    assert isinstance(again, Tree)
    assert math.isnan(again.ratio)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("text", 3, "must be a string, not int 3"),
        ("number", "3", "must be an integer, not str '3'"),
        ("ratio", "x", "must be a number"),
        ("flag", 1, "must be a boolean"),
        ("names", "abc", "must be list, not str 'abc'"),
        ("names", [1], "must be a string, not int 1"),
        ("point", Pair("l", ()), "must be Point, not Pair"),
        ("point", Finer(1), "must be Point, not Finer"),
        ("choice", Finer(1), "must be Point, not Finer"),
        ("rows", (Finer(1),), "must be Point, not Finer"),
        ("pair", Wider("l", ()), "must be Pair, not Wider"),
        ("maybe", 3, "must be Point, not int 3"),
        ("choice", b"x", "must be int or str or datetime or Point or Pair or NoneType"),
        ("anything", {1: 2}, "annotated as JSON, which has no dict like {1: 2}"),
        ("anything", [math.nan], "annotated as JSON, which has no float like nan"),
        ("anything", 1 << 9999, "annotated as JSON, which has no int"),
        ("anything", (1,), "annotated as JSON, which has no tuple"),
        ("event", Point(1), "must be Reading, not Point"),
        ("cause", "boom", "must be Exception, not str"),
        ("colour", "RED", "must be Colour, not str"),
        ("access", 3, "must be Access, not int"),
        ("agent", 3, "must be a class"),
    ],
)
def test_a_value_of_another_type_is_refused_when_written(
    field: str, value: object, complaint: str
) -> None:
    """What could not be read back is an error that names event, field and value."""
    with pytest.raises(EncodingError, match=rf"Rich\.{field} .*({complaint})"):
        REGISTRY.write(rich(**{field: value}))
    with pytest.raises(EncodingError, match=rf"Rich\.{field} .*({complaint})"):
        REGISTRY.write_text(rich(**{field: value}))


def test_only_registered_types_are_written_and_read() -> None:
    """The error says what to add."""
    registry = EventRegistry()
    assert Reading not in registry
    with pytest.raises(EncodingError, match=r"write registry\.add\(Reading\)"):
        registry.write(Reading(source="s", value=1))
    data = REGISTRY.write(Reading(source="s", value=1))
    with pytest.raises(EncodingError, match=r"not registered.*formerly=\["):
        registry.read(data)
    with pytest.raises(EncodingError, match="not registered"):
        registry.check("app:Gone")
    with pytest.raises(EventTypeError):
        registry.add(Point)  # type: ignore[arg-type]  # the mistake under test
    registry.add(Reading)
    assert Reading in registry
    registry.check(str(data["type"]))


def test_the_events_of_agentflow_itself_are_known() -> None:
    """A failure is read back with its event and its error."""
    failure = AgentFailed(
        source="a",
        agent="a",
        event=Reading(source="s", value=1),
        error=KeyError("k"),
        attempts=2,
    )
    again = through_json(REGISTRY, failure)
    assert isinstance(again, AgentFailed)
    assert again.event == failure.event
    assert repr(again.error) == "KeyError('k')"
    assert through_json(REGISTRY, TerminateEvent(source="x")) == TerminateEvent(
        source="x"
    )


def test_a_source_that_is_not_loaded_becomes_its_name() -> None:
    """A class is one again only where it can be found without importing."""
    data = REGISTRY.write(Reading(source=Point, value=1))
    assert data["source"] == f"{__name__}:Point"
    assert REGISTRY.read(data).source is Point
    data["source"] = "nowhere:Agent"
    assert REGISTRY.read(data).source == "nowhere:Agent"


def test_values_that_were_tampered_with_are_refused() -> None:
    """Nothing is guessed when JSON holds something else than was written."""
    data = REGISTRY.write(rich(choice=Point(1)))
    for field, value, complaint in [
        ("choice", {"$type": "Nothing", "value": 1}, "must be int or str"),
        ("choice", [1], "must be int or str"),
        ("agent", "no.module:Thing", "which no loaded module has"),
        ("agent", f"{__name__}:REGISTRY", "which no loaded module has"),
        ("by_day", [], "must be an object"),
        ("by_number", {}, "must be pairs"),
        ("event", {"type": "x"}, "this is no event"),
        ("raw", "?", "cannot be read"),
        ("point", {"x": 1, "inner": None, "z": 1}, "extra fields found"),
        ("point", {"x": "1", "inner": None}, "must be an integer"),
        ("flag", 1, "must be a boolean"),
        ("nothing", 0, "must be null"),
    ]:
        fields = {**data["fields"], field: value}  # type: ignore[dict-item]  # it is an object
        with pytest.raises(EncodingError, match=complaint):
            REGISTRY.read({**data, "fields": fields})
