"""Types as JSON Schema and back, with jsonschema and msgspec as oracles."""

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import jsonschema
import pydantic
import pytest
from typing_extensions import TypeAliasType

from agentflow.llm import Limits
from agentflow.llm._fields import FieldInfo
from agentflow.llm._schema import class_schema, fields_schema
from agentflow.llm._structure import DoesNotFit, structure

T = TypeVar("T")
UserId = NewType("UserId", int)
Alias = TypeAliasType("Alias", list[int])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.StrEnum):
    GOOD = "good"


@attrs.frozen
class Cat:
    """A cat.

    Attributes:
        name: What it
            listens to.
    """

    name: str


@attrs.frozen
class Dog:
    name: str
    age: int = 3


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5
    tags: list[str] = dataclasses.field(default_factory=list[str])
    total: float = dataclasses.field(init=False, default=0.0)


@dataclasses.dataclass
class Documented:
    """A dataclass with a docstring of its own."""

    a: int = dataclasses.field(metadata={"description": "The first."})


class Options(TypedDict):
    """Settings."""

    a: int
    b: NotRequired[list[str]]


class Loose(TypedDict, total=False):
    a: Required[int]
    b: str


@attrs.frozen
class Box(Generic[T]):
    item: T
    more: list[T] = attrs.field(factory=list[T])


@attrs.frozen
class Node:
    value: int
    children: "list[Node]" = attrs.field(factory=lambda: list[Node]())  # noqa: PLW0108 - Node is not there yet


@attrs.frozen
class Circle:
    kind: Literal["circle"]
    radius: float


@attrs.frozen
class Square:
    kind: Literal["square", "rectangle"]
    side: float


class Model(pydantic.BaseModel):
    inner: "Inner"


class Inner(pydantic.BaseModel):
    n: int


@attrs.frozen
class All:
    _hidden: int = attrs.field(alias="hidden")
    text: str
    number: float
    flag: bool
    nothing: None
    colour: Colour
    level: Level
    mood: Mood
    point: Point
    options: Options
    box: Box[int]
    node: Node
    when: dt.datetime
    day: dt.date
    hour: dt.time
    key: uuid.UUID
    price: decimal.Decimal
    pair: tuple[int, str]
    numbers: tuple[int, ...]
    names: set[str]
    frozen: frozenset[int]
    scores: dict[str, float]
    by_letter: Mapping[Literal["a", "b"], int]
    by_colour: dict[Colour, int]
    items: Sequence[int]
    limited: Annotated[int, "How many.", Limits(ge=0, le=10)]
    user: UserId
    alias: Alias
    pet: Cat | Dog
    shape: Circle | Square
    model: Model
    mixed: "Union[str, int, float, list[int], Cat, None]"  # noqa: UP007 - both forms are read
    maybe: Optional[Cat] = None  # noqa: UP045 - likewise
    choice: Literal["a", 1, None] = "a"  # noqa: PYI061 - likewise
    preset: Colour = Colour.RED
    anything: Any = None
    plain: object = None
    made: list[int] = attrs.field(factory=list[int])
    unset: int = attrs.field(init=False, default=5)


GOOD: dict[str, Any] = {
    "hidden": 1,
    "text": "x",
    "number": 1,
    "flag": True,
    "nothing": None,
    "colour": "red",
    "level": 2,
    "mood": "good",
    "point": {"x": 1},
    "options": {"a": 1},
    "box": {"item": 1, "more": [2]},
    "node": {"value": 1, "children": [{"value": 2}]},
    "when": "2026-01-31T12:00:00Z",
    "day": "2026-01-31",
    "hour": "12:00:00",
    "key": "12345678-1234-5678-1234-567812345678",
    "price": "1.50",
    "pair": [1, "x"],
    "numbers": [1, 2],
    "names": ["a"],
    "frozen": [1],
    "scores": {"a": 1.5},
    "by_letter": {"a": 1},
    "by_colour": {"red": 1},
    "items": [1],
    "limited": 3,
    "user": 7,
    "alias": [1],
    "pet": {"type": "Dog", "name": "Rex"},
    "shape": {"kind": "rectangle", "side": 1},
    "model": {"inner": {"n": 1}},
    "mixed": None,
    "anything": [1, {}],
    "plain": {"a": "b"},
}

WRONG: list[tuple[str, Any]] = [
    ("hidden", "1"),
    ("hidden", True),
    ("hidden", 1.5),
    ("text", 1),
    ("text", None),
    ("number", "1"),
    ("number", False),
    ("flag", "false"),
    ("flag", 1),
    ("flag", 0),
    ("nothing", 0),
    ("colour", "RED"),
    ("colour", 1),
    ("level", True),
    ("level", 3),
    ("level", "1"),
    ("mood", "bad"),
    ("point", {"x": "1"}),
    ("point", {"x": 1, "total": 2}),
    ("point", {}),
    ("point", [1]),
    ("options", {"a": 1, "z": 2}),
    ("options", {"b": []}),
    ("options", {"a": 1, "b": "text"}),
    ("options", 1),
    ("box", {"item": "1"}),
    ("box", {"item": 1, "more": ["2"]}),
    ("node", {"value": 1, "children": [{"value": True}]}),
    ("pair", [1]),
    ("pair", [1, 2]),
    ("pair", {"0": 1}),
    ("numbers", "12"),
    ("numbers", ["1"]),
    ("names", "abc"),
    ("names", ["a", "a"]),
    ("scores", {"a": "1"}),
    ("scores", []),
    ("by_letter", {"z": 1}),
    ("by_colour", {"green": 1}),
    ("items", {"a": 1}),
    ("limited", 11),
    ("limited", -1),
    ("user", "7"),
    ("alias", ["1"]),
    ("pet", {"name": "Rex"}),
    ("pet", {"type": "Cow", "name": "Rex"}),
    ("pet", {"type": "Cat", "name": "Rex", "age": 1}),
    ("shape", {"kind": "oval", "side": 1}),
    ("shape", {"kind": "circle", "side": 1}),
    ("model", {"inner": {"n": "x"}}),
    ("mixed", [1, "x"]),
    ("mixed", {"nam": "x"}),
    ("mixed", True),
    ("maybe", "x"),
    ("choice", True),
    ("choice", 2),
    ("unset", 1),
    ("unknown", 1),
]


ORACLE: Any = jsonschema.Draft202012Validator(class_schema(All))


def test_the_schema_of_everything_is_valid_and_takes_what_fits() -> None:
    """The oracle accepts the schema, and the good value by it."""
    schema = class_schema(All)
    jsonschema.Draft202012Validator.check_schema(schema)
    ORACLE.validate(GOOD)
    got = structure(GOOD, All)
    assert got == All(
        hidden=1,
        text="x",
        number=1.0,
        flag=True,
        nothing=None,
        colour=Colour.RED,
        level=Level.HIGH,
        mood=Mood.GOOD,
        point=Point(1),
        options={"a": 1},
        box=Box(1, [2]),
        node=Node(1, [Node(2)]),
        when=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
        day=dt.date(2026, 1, 31),
        hour=dt.time(12),
        key=uuid.UUID("12345678-1234-5678-1234-567812345678"),
        price=decimal.Decimal("1.50"),
        pair=(1, "x"),
        numbers=(1, 2),
        names={"a"},
        frozen=frozenset({1}),
        scores={"a": 1.5},
        by_letter={"a": 1},
        by_colour={Colour.RED: 1},
        items=[1],
        limited=3,
        user=UserId(7),
        alias=[1],
        pet=Dog("Rex"),
        shape=Square("rectangle", 1.0),
        model=Model(inner=Inner(n=1)),
        mixed=None,
        anything=[1, {}],
        plain={"a": "b"},
    )
    assert type(got.level) is Level
    assert type(got.mood) is Mood
    assert type(got.number) is float


@pytest.mark.parametrize(("field", "value"), WRONG, ids=repr)
def test_what_the_schema_refuses_does_not_fit(field: str, value: Any) -> None:
    """The oracle and our reader agree on every wrong value; the field is named."""
    wrong = {**GOOD, field: value}
    with pytest.raises(jsonschema.ValidationError):
        ORACLE.validate(wrong)
    with pytest.raises(DoesNotFit, match=field):
        structure(wrong, All)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("when", "2026-01-31", "a date and time such as"),
        ("when", "2026-13-31T00:00", "a date and time such as"),
        ("day", "2026-1-31", "a date such as"),
        ("hour", "noon", "a time such as"),
        ("key", "{12345678-1234-5678-1234-567812345678}", "a UUID"),
        ("key", "z2345678-1234-5678-1234-567812345678", "a UUID"),
        ("price", 1.5, "a decimal number as a string, got 1.5"),
        ("price", "1e5", "a decimal number"),
        ("number", float("inf"), "expected a number"),
        ("number", 10**400, "a number of ordinary size"),
        ("hidden", float("nan"), "expected an integer"),
        ("text", ["a"], r"\$\.text: expected a string, got a list"),
        ("text", {}, "got an object"),
        ("nothing", "x" * 100, r"expected null, got 'x{50,60}\.\.\."),
        ("flag", None, "expected true or false, got null"),
        ("mixed", True, "expected a string or int or float or list_int or Cat or null"),
        ("pet", {"type": 1}, "'type' must be one of Cat, Dog"),
    ],
)
def test_errors_say_what_was_expected(field: str, value: Any, words: str) -> None:
    """The model is to mend its answer by these words."""
    with pytest.raises(DoesNotFit, match=words):
        structure({**GOOD, field: value}, All)


def test_all_problems_are_told_at_once() -> None:
    """One repair round should be enough for several mistakes."""
    with pytest.raises(DoesNotFit) as caught:
        structure({"value": "x", "children": [{"value": 1}, {}], "z": 1}, Node)
    assert set(caught.value.problems) == {
        "$.value: expected an integer, got 'x'",
        "$.children[1].value: required, but missing",
        "$: unknown: z",
    }


@pytest.mark.parametrize(
    ("value", "member"),
    [("x", str), (1, int), (1.5, float), ([1], list), ({"name": "a"}, Cat)],
)
def test_a_union_s_member_is_the_one_meant(value: Any, member: type) -> None:
    """A whole number stays one beside float, and a text a text."""
    got = structure({**GOOD, "mixed": value}, All).mixed
    assert type(got) is member


def test_whole_numbers_may_come_as_floats() -> None:
    """JSON Schema calls 2.0 an integer, and so do we."""
    assert structure({**GOOD, "hidden": 2.0}, All)._hidden == 2


def test_nested_json_of_absurd_depth_does_not_fit() -> None:
    """It is refused, not crashed on."""
    value: dict[str, Any] = {"value": 1}
    for _ in range(5000):
        value = {"value": 1, "children": [value]}
    with pytest.raises(DoesNotFit):
        structure(value, Node)


def test_docstrings_and_notes_describe() -> None:
    """Class docstring, attribute docs, metadata, and Annotated text."""
    schema: Any = class_schema(All)
    assert schema["$defs"]["Cat"] == {
        "description": "A cat.",
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "What it listens to."}
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    assert schema["properties"]["limited"]["description"] == "How many."
    documented: Any = class_schema(Documented)
    assert documented["properties"]["a"]["description"] == "The first."
    assert documented["description"].startswith("A dataclass")
    assert "description" not in class_schema(Point)


def test_defaults_stand_in_the_schema() -> None:
    """Plain ones; what has a default is not required."""
    schema: Any = class_schema(All)
    assert schema["properties"]["preset"]["default"] == "red"
    assert schema["properties"]["choice"]["default"] == "a"
    assert "default" not in schema["properties"]["made"]
    assert "unset" not in schema["properties"]
    assert not {"made", "preset", "maybe"} & set(schema["required"])
    assert class_schema(Loose)["required"] == ["a"]


def test_a_recursive_root_is_an_object_that_refers_to_its_definition() -> None:
    """Providers want an object at the root, not a reference."""
    schema: Any = class_schema(Node)
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_a_generic_alias_is_a_class_of_its_own() -> None:
    """Its type variables are filled in."""
    schema: Any = class_schema(Box[str])
    assert schema["properties"]["item"] == {"type": "string"}
    assert structure({"item": "x"}, Box[str]) == Box("x")


def test_classes_of_the_same_name_are_kept_apart() -> None:
    """The second gets another name among the definitions."""

    def make(kind: type) -> type:
        return attrs.make_class("Same", {"a": attrs.field(type=kind)}, frozen=True)

    fields = [FieldInfo(name="x", type=make(int)), FieldInfo(name="y", type=make(str))]
    schema: Any = fields_schema(fields, "f")
    assert set(schema["$defs"]) == {"Same", "Same_"}


def test_a_pydantic_model_is_taken_as_it_is() -> None:
    """Its own schema, its own validation."""
    schema: Any = class_schema(Model)
    assert schema["$defs"]["Inner"]["properties"]["n"]["type"] == "integer"
    assert structure({"inner": {"n": 1}}, Model) == Model(inner=Inner(n=1))
    with pytest.raises(DoesNotFit, match="valid integer"):
        structure({"inner": {"n": "x"}}, Model)


def field_of(tp: Any) -> type:
    """Make a class with one field of a type."""
    return attrs.make_class("Holder", {"field": attrs.field(type=tp)})
