"""Limits of every kind, and strictness as msgspec has it."""

from typing import (
    Annotated,
    Any,
    TypeVar,
)

import attrs
import jsonschema
import msgspec
import pytest

from agentflow.llm import Limits
from agentflow.llm._schema import class_schema
from agentflow.llm._structure import DoesNotFit, structure

T = TypeVar("T")


def test_limits_of_every_kind() -> None:
    """Numbers, texts, lists and objects; msgspec's and annotated_types' notes serve."""

    @attrs.frozen
    class Limited:
        n: Annotated[float, Limits(gt=0, lt=10, multiple_of=0.5)] = 1
        t: Annotated[str, Limits(min_length=2, max_length=3, pattern="^a")] = "aa"
        i: Annotated[list[int], Limits(min_length=1, max_length=2)] = attrs.field(
            factory=list[int]
        )
        d: Annotated[dict[str, int], Limits(max_length=1)] = attrs.field(
            factory=dict[str, int]
        )
        m: Annotated[int, msgspec.Meta(ge=5, description="From msgspec.")] = 5

    schema: Any = class_schema(Limited)
    oracle: Any = jsonschema.Draft202012Validator(schema)
    oracle.check_schema(schema)
    assert schema["properties"]["m"] == {
        "type": "integer",
        "description": "From msgspec.",
        "minimum": 5,
        "default": 5,
    }
    mistakes: list[Any] = [
        {"n": 0},
        {"n": 10},
        {"n": 0.7},
        {"t": "a"},
        {"t": "aaaa"},
        {"t": "bb"},
        {"i": []},
        {"i": [1, 2, 3]},
        {"d": {"a": 1, "b": 2}},
        {"m": 4},
    ]
    for wrong in mistakes:
        with pytest.raises(jsonschema.ValidationError):
            oracle.validate(wrong)
        with pytest.raises(DoesNotFit, match=r"\$\.\w: must"):
            structure(wrong, Limited)
    assert structure({"n": 0.5, "t": "ab", "i": [1]}, Limited).t == "ab"


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    n: int
    f: float
    t: str
    b: bool
    items: list[int]
    o: int | None = None


@attrs.frozen
class Twin:
    n: int
    f: float
    t: str
    b: bool
    items: list[int]
    o: int | None = None


@pytest.mark.parametrize("field", ["n", "f", "t", "b", "items", "o", "z"])
@pytest.mark.parametrize(
    "value", [None, True, 0, 1, -1, 1.5, "", "1", "false", [], [1], ["1"], {}], ids=repr
)
def test_strictness_is_that_of_msgspec(field: str, value: Any) -> None:
    """Where msgspec's strict mode refuses a value, so do we, and the other way round."""
    given: Any = {"n": 1, "f": 1.5, "t": "x", "b": False, "items": [], field: value}
    try:
        msgspec.convert(given, Struct)
    except msgspec.ValidationError:
        with pytest.raises(DoesNotFit):
            structure(given, Twin)
    else:
        structure(given, Twin)
