"""Tools made of functions."""

import functools
from typing import Annotated, Any, cast

import attrs
import pytest

from agentflow.llm import ImagePart, SchemaError, TextPart, ToolCall, tool
from agentflow.llm._docstrings import read_docs
from agentflow.llm._structure import DoesNotFit
from agentflow.llm._tools import Tool, as_tools, bind_call, tool_error, tool_result


@attrs.frozen
class Place:
    city: str


def weather(
    place: Place, days: int = 1, *, unit: Annotated[str, "C or F."] = "C"
) -> str:
    """Tell the weather.

    In any place.

    Args:
        place (Place): Where, as
            exactly as possible.
        days: How far ahead.
        unit: Said better by its annotation.

    Returns:
        A sentence.
    """
    return f"{place.city} {days} {unit}"


def call(arguments: str, name: str = "weather") -> ToolCall:
    """Make a call as a model does."""
    return ToolCall(id="1", name=name, arguments=arguments)


def bind(arguments: str) -> Any:
    """Bind the arguments of a call of ``weather``."""
    (made,) = as_tools([weather])
    return bind_call(call(arguments), {"weather": made})


def test_signature_and_docstring_describe_a_tool() -> None:
    """Name, description, and each parameter's type, text and default."""
    (made,) = as_tools([weather])
    assert made.spec.name == "weather"
    assert made.spec.description == "Tell the weather.\n\nIn any place."
    parameters: Any = made.spec.parameters
    assert parameters["required"] == ["place"]
    assert parameters["properties"] == {
        "place": {
            "$ref": "#/$defs/Place",
            "description": "Where, as exactly as possible.",
        },
        "days": {"type": "integer", "description": "How far ahead.", "default": 1},
        "unit": {"type": "string", "description": "C or F.", "default": "C"},
    }


def test_a_decorated_function_is_a_tool_and_still_a_function() -> None:
    """With arguments the decorator sets name and description."""

    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @tool(name="minus", description="Takes away.")
    def subtract(a: int, b: int) -> int:
        return a - b

    assert add(1, 2) == 3
    assert subtract(3, b=1) == 2
    assert (add.spec.name, add.spec.description) == ("add", "Add two numbers.")
    assert (subtract.spec.name, subtract.spec.description) == ("minus", "Takes away.")
    assert as_tools([add]) == (add,)


def test_it_is_known_which_tools_run_on_the_loop() -> None:
    """Async functions, methods and callable objects do; others run in a thread."""

    async def on_loop() -> None: ...

    class Callable:
        async def __call__(self, a: int) -> None: ...

    assert tool(on_loop).is_async
    assert tool(name="obj")(Callable()).is_async
    assert not tool(weather).is_async


def test_a_method_s_self_is_no_parameter() -> None:
    """The model never sees it."""

    class Shop:
        def price(self, item: str) -> str:
            """Tell a price."""
            return item

    (made,) = as_tools([Shop().price])
    assert set(made.spec.parameters["properties"] or {}) == {"item"}  # type: ignore[arg-type]


def test_arguments_are_read_strictly() -> None:
    """Classes are built; what is left out has its default in the function."""
    assert bind('{"place": {"city": "Rome"}}') == {"place": Place("Rome")}
    assert bind('{"place": {"city": "Rome"}, "days": 2, "unit": "F"}')["days"] == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{}", "$.place: required, but missing"),
        ('{"place": {"city": 1}}', "$.place.city: expected a string, got 1"),
        ('{"place": {"city": "x"}, "days": "2"}', "$.days: expected an integer"),
        ('{"place": {"city": "x"}, "when": 1}', "$.when: unknown"),
        ("[1]", "the arguments are not a valid JSON object"),
        ('{"place"', "the arguments are not a valid JSON object"),
    ],
)
def test_arguments_that_do_not_fit_say_why(arguments: str, problem: str) -> None:
    """In words that the model can mend them by."""
    with pytest.raises(DoesNotFit) as caught:
        bind(arguments)
    assert problem in str(caught.value)


def test_a_tool_that_is_not_there_is_told_with_those_that_are() -> None:
    """The model made its name up."""
    with pytest.raises(DoesNotFit, match="no tool 'x'; there are: none"):
        bind_call(call("{}", "x"), {})


def test_a_function_without_a_name_needs_one() -> None:
    """The error says how to give it."""
    with pytest.raises(SchemaError, match="'<lambda>' cannot be the name of a tool"):
        as_tools([lambda: None])
    with pytest.raises(SchemaError, match="cannot be the name of a tool; give one"):
        as_tools([functools.partial(weather, days=1)])


def unannotated(a) -> None:  # type: ignore[no-untyped-def]  # pyright: ignore[reportUnknownParameterType,reportMissingParameterType]
    """Take something."""


def starred(*a: int) -> None:
    """Take any number."""


def positional(a: int, /) -> None:
    """Take one by place."""


def unwritable(a: bytes) -> None:
    """Take what JSON has not."""


def lost(a: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    """Take what nobody knows."""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (cast("Any", unannotated), "tool unannotated: annotate its parameter 'a'"),
        (starred, r"tool starred: a model cannot give \*a: int"),
        (positional, "tool positional: a model cannot give a: int"),
        (unwritable, "unwritable.a: bytes cannot be expressed"),
        (cast("Any", lost), "tool lost: its annotations cannot be resolved"),
    ],
)
def test_a_function_that_no_model_can_call_is_refused(
    function: Any, words: str
) -> None:
    """The error names tool and parameter."""
    with pytest.raises(SchemaError, match=words):
        as_tools([function])


def test_two_tools_of_one_name_are_refused() -> None:
    """A model could not tell them apart."""
    with pytest.raises(SchemaError, match="two tools are named 'weather'"):
        as_tools([weather, weather])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (None, "null"),
        (3, "3"),
        ([1, "a"], '[1,"a"]'),
        ([], "[]"),
        (Place("Rome"), '{"city":"Rome"}'),
        ({"a": Place("Rome")}, '{"a":{"city":"Rome"}}'),
        (Ellipsis, "Ellipsis"),
    ],
)
def test_what_a_tool_returns_becomes_text(value: object, text: str) -> None:
    """Text stays as it is, anything else is JSON where it can be."""
    result = tool_result(call("{}"), value)
    assert (result.text, result.call_id, result.name) == (text, "1", "weather")
    assert not result.is_error


def test_a_tool_may_return_parts_of_a_message() -> None:
    """One part, or a list of nothing but parts."""
    image = ImagePart(url="u")
    assert tool_result(call("{}"), image).content == (image,)
    parts = [TextPart("a"), image]
    assert tool_result(call("{}"), parts).content == tuple(parts)


def test_a_mistake_is_a_result_too() -> None:
    """Marked as one."""
    result = tool_error(call("{}"), "no")
    assert (result.text, result.is_error) == ("Error: no", True)


def test_a_tool_s_repr_does_not_show_its_inside() -> None:
    """Spec and function are enough."""
    assert "bind" not in repr(tool(weather))
    assert isinstance(tool(weather), Tool)


def test_docstrings_in_other_forms() -> None:
    """None, one line, sections nobody needs, entries that go on."""
    assert read_docs(None).summary == ""
    docs = read_docs(
        """Do it.

        Note:
            not: this

        Args:

            *a: First.
                b: not one of them.
            c:
                Third.
        """
    )
    assert docs.summary == "Do it."
    assert docs.parts == {"a": "First. b: not one of them.", "c": "Third."}
