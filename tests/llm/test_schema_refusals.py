"""Types that cannot be expressed are refused when the agent is built."""

import dataclasses
import datetime as dt
import typing
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
)

import attrs
import pytest

from agentflow.llm import Limits, SchemaError
from agentflow.llm._fields import FieldInfo
from agentflow.llm._schema import class_schema, fields_schema
from agentflow.llm._structure import DoesNotFit, structure
from tests.llm.test_schema import Cat, Colour, Inner, Level, Model, field_of


@attrs.frozen
class Tagless:
    type: str
    kind: str
    object_type: str


def other_cat() -> type:
    """Make another class named Cat."""
    return attrs.make_class("Cat", {"a": attrs.field(type=int)})


@pytest.mark.parametrize(
    ("tp", "words"),
    [
        (bytes, "Holder.field: bytes cannot be expressed"),
        (dt.timedelta, "Holder.field: timedelta cannot be expressed"),
        (complex, "Holder.field: complex"),
        (dict[int, str], "Holder.field: the keys of a JSON object are texts, not int"),
        (dict[Level, str], "the keys of a JSON object are texts, not Level"),
        (Literal[b"x"], "Holder.field: b'x' is no JSON value"),
        (list[bytes], "Holder.field: bytes"),
        (Cat | other_cat(), "Holder.field: the union .* two classes of the same name"),
        (Tagless | Cat, "cannot be told apart; give each a Literal field"),
        (Model | Inner, "cannot be told apart"),
        (Annotated[int, Limits(min_length=1)], "the limit min_length=1 does not fit"),
        (Annotated[Cat, Limits(ge=1)], "the limit ge=1 does not fit"),
        (TypeVar("U"), "Holder.field: U cannot be expressed"),
        (Literal[[1]], r"Holder.field: \[1\] is no JSON value"),
        (type, "Holder.field: type cannot be expressed"),
        (typing.Callable[[], int], "cannot be expressed"),
    ],
)
def test_what_cannot_be_expressed_is_refused(tp: Any, words: str) -> None:
    """The error names class and field."""
    with pytest.raises(SchemaError, match=words):
        class_schema(field_of(tp))


@pytest.mark.parametrize("tp", [int, list[int], str, Colour, Any])
def test_an_answer_is_a_class_of_data(tp: Any) -> None:
    """Bare values have no field that could be named to the model."""
    with pytest.raises(SchemaError, match="is no class of data"):
        class_schema(tp)


def test_names_that_cannot_be_resolved_are_refused() -> None:
    """The error says what to write."""

    @attrs.frozen
    class Lost:
        field: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    with pytest.raises(SchemaError, match="Lost: its field types cannot be resolved"):
        class_schema(Lost)


def test_a_dataclass_with_a_bare_constructor_argument_is_refused() -> None:
    """It is no field, so it has no place in JSON."""

    @dataclasses.dataclass
    class Init:
        a: dataclasses.InitVar[int]

    with pytest.raises(SchemaError, match="InitVar"):
        class_schema(Init)


def test_foreign_definitions_of_the_same_name_are_refused() -> None:
    """Neither may be replaced by the other without notice."""

    class Foreign:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            """Define another Inner."""
            return {"type": "object", "$defs": {"Inner": {"type": "string"}}}

        @classmethod
        def model_validate(cls, value: Any) -> Any:
            """Take anything."""
            return value

    fields = [FieldInfo(name="a", type=Model), FieldInfo(name="b", type=Foreign)]
    with pytest.raises(SchemaError, match="defines Inner, and so does another"):
        fields_schema(fields, "f")


def test_a_validator_s_words_reach_the_model() -> None:
    """An attrs validator's own message is what the model mends its answer by."""

    def even(_: object, __: object, value: int) -> None:
        if value % 2:
            raise ValueError("n must be even")

    @attrs.frozen
    class Even:
        n: int = attrs.field(validator=even)

    with pytest.raises(DoesNotFit, match="n must be even"):
        structure({"n": 3}, Even)


def test_an_error_without_words_is_named_by_its_class() -> None:
    """A bare assert says nothing; its class says a little."""

    @attrs.frozen
    class Picky:
        n: int

        def __attrs_post_init__(self) -> None:
            raise ArithmeticError

    with pytest.raises(DoesNotFit, match=r"\$: ArithmeticError"):
        structure({"n": 3}, Picky)
