"""What each API, and each server behind it, takes of schemas and of forced tools."""

import re
from typing import Any

import attrs
import jsonschema
import pytest

from agentflow.llm import (
    Codec,
    ConfigurationError,
    ForcedTool,
    LLMMessage,
    Request,
    ResponseSchema,
    Role,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from agentflow.llm._json import JSONObject
from agentflow.llm._providers import PROVIDERS
from agentflow.llm._schema import class_schema
from tests.llm.recorded import is_list, is_object


@attrs.frozen
class Throw:
    dice: tuple[int, str]
    twice: tuple[tuple[int, int], ...]


@attrs.frozen
class Node:
    throw: Throw
    dice: tuple[int, str]


SCHEMA = class_schema(Node)
FORM = {"dice": [1, "x"], "throw": {"dice": [2, "y"], "twice": [[1, 2], [3, 4]]}}
AS_ANY = {"llamacpp", "lmstudio", "compatible"}
"""Servers that a tool cannot be forced at by its name."""


def codec(name: str) -> Codec:
    """Return the codec of a provider."""
    return PROVIDERS[name].codec


def arrays(value: Any) -> list[dict[str, Any]]:
    """Find the arrays in a schema, or in what holds one."""
    if is_list(value):
        return [found for item in value for found in arrays(item)]
    if not is_object(value):
        return []
    inner = [found for item in value.values() for found in arrays(item)]
    return [value, *inner] if value.get("type") == "array" else inner


def schema_in(body: Any) -> dict[str, Any]:
    """Find the schema of ours in a body."""
    if is_object(body):
        if body.get("type") == "object" and "properties" in body:
            return body
        return schema_in(list(body.values()))
    no_schema: dict[str, Any] = {}
    items = body if is_list(body) else []
    found: list[dict[str, Any]] = [schema_in(x) for x in items]
    return next((x for x in found if x), no_schema)


def sent(name: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a request as this provider gets it."""
    request = Request(model="m", messages=[LLMMessage(content="hi")], **fields)
    return dict(codec(name).encode(request).json)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_tuple_is_written_as_every_server_takes_it(name: str) -> None:
    """No ``false`` for a schema, which many refuse, and the same values as before."""
    tool = ToolSpec(name="f", parameters=SCHEMA)
    bodies = [
        sent(name, tools=[tool]),
        sent(name, tools=[attrs.evolve(tool, strict=True)]),
        sent(name, response_schema=ResponseSchema(schema=SCHEMA)),
    ]
    for body in bodies:
        found = arrays(body)
        assert len(found) >= 3
        assert all(x.get("items") is not False for x in found)
        schema = schema_in(body)
        jsonschema.validate(FORM, schema)
        # Anthropic's strict mode knows no greatest number.
        loose = "maxItems: 2]" in str(schema)
        for broken in () if loose else ([1], [1, "x", "y"]):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({**FORM, "dice": broken}, schema)


@pytest.mark.parametrize("name", ["openai", "openai-responses", "azure", "gemini"])
def test_where_every_array_needs_items_a_tuple_has_them(name: str) -> None:
    """They say what all its places are together."""
    body = sent(name, tools=[ToolSpec(name="f", parameters=SCHEMA)])
    assert all(isinstance(x["items"], dict) for x in arrays(body))


@pytest.mark.parametrize("name", [*AS_ANY, "vllm", "ollama"])
def test_where_items_hide_the_places_a_tuple_has_none(name: str) -> None:
    """The places hold the model closer."""
    body = sent(name, response_schema=ResponseSchema(schema=SCHEMA))
    tuples = [x for x in arrays(body) if "prefixItems" in x]
    assert len(tuples) == 3
    assert all("items" not in x for x in tuples)


TOOLS = [ToolSpec(name="f", parameters=SCHEMA), ToolSpec(name="g")]


@pytest.mark.parametrize("name", sorted(AS_ANY))
def test_a_tool_that_cannot_be_named_is_the_only_one(name: str) -> None:
    """It must be called then, since some tool must."""
    body = sent(name, tools=TOOLS, tool_choice=ForcedTool("g"))
    assert body["tool_choice"] == "required"
    assert [t["function"]["name"] for t in body["tools"]] == ["g"]


def test_llama_cpp_gets_it_so_in_every_api() -> None:
    """As in Chat Completions, so in the other two."""
    body = sent("llamacpp-responses", tools=TOOLS, tool_choice=ForcedTool("g"))
    assert body["tool_choice"] == "required"
    assert [t["name"] for t in body["tools"]] == ["g"]
    body = sent("llamacpp-anthropic", tools=TOOLS, tool_choice=ForcedTool("g"))
    assert body["tool_choice"] == {"type": "any"}
    assert [t["name"] for t in body["tools"]] == ["g"]


@pytest.mark.parametrize("name", sorted(AS_ANY))
def test_a_forced_tool_that_is_not_there_is_named(name: str) -> None:
    """The program made a mistake, and is told before any request."""
    with pytest.raises(ConfigurationError, match=r"'h', which is none .* f, g"):
        sent(name, tools=TOOLS, tool_choice=ForcedTool("h"))
    with pytest.raises(ConfigurationError, match="none of the tools given: none"):
        sent(name, tool_choice=ForcedTool("h"))


REFERS: JSONObject = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/A", "description": "the first"}},
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {
        "A": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}


@pytest.mark.parametrize("name", ["openai", "openai-responses"])
def test_a_strict_reference_stands_alone(name: str) -> None:
    """OpenAI's strict mode refuses any keyword beside it."""
    bodies = [
        sent(name, tools=[ToolSpec(name="f", parameters=REFERS, strict=True)]),
        sent(name, response_schema=ResponseSchema(schema=REFERS)),
    ]
    for body in bodies:
        inner = schema_in(body)["properties"]["a"]
        assert inner == {"description": "the first", "anyOf": [{"$ref": "#/$defs/A"}]}


def test_a_closed_schema_of_a_responses_tool_is_strict_unasked() -> None:
    """The server makes it so; its references must stand alone, too."""
    body = sent("openai-responses", tools=[ToolSpec(name="f", parameters=REFERS)])
    assert "strict" not in body["tools"][0]
    assert "anyOf" in body["tools"][0]["parameters"]["properties"]["a"]
    open_: JSONObject = {**REFERS, "required": []}
    body = sent("openai-responses", tools=[ToolSpec(name="f", parameters=open_)])
    assert body["tools"][0]["strict"] is False
    assert body["tools"][0]["parameters"] == open_


@pytest.mark.parametrize(
    ("name", "call_id", "kept"),
    [
        ("openai", "call_abc", True),
        ("openai", "x" * 53, False),
        ("mistral", "abcdEF123", True),
        ("mistral", "call_0", False),
        ("mistral", "toolu_01AbCdEf", False),
    ],
)
def test_an_id_that_another_provider_gave_a_call_is_written_anew(
    name: str, call_id: str, *, kept: bool
) -> None:
    """In the call and in its result alike, and as the server takes it."""
    call = ToolCall(id=call_id, name="f", arguments="{}")
    result = ToolResult(call_id=call_id, name="f", content="x")
    messages = [
        LLMMessage(content="hi"),
        LLMMessage(role=Role.ASSISTANT, content=call),
        LLMMessage(role=Role.TOOL, content=result),
    ]
    body: Any = codec(name).encode(Request(model="m", messages=messages)).json
    _, asked, answered = body["messages"]
    written = asked["tool_calls"][0]["id"]
    assert written == answered["tool_call_id"]
    assert (written == call_id) is kept
    assert re.fullmatch("[a-zA-Z0-9]{9}" if name == "mistral" else ".{1,40}", written)
