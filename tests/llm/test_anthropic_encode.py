"""Requests as Anthropic Messages."""

from collections.abc import Mapping
from typing import Any

import pytest

from agentflow.llm import (
    Blob,
    ForcedTool,
    ImagePart,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
    RefusalPart,
    Request,
    ResponseSchema,
    Role,
    SchemaError,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolSpec,
)
from agentflow.llm.providers.anthropic import AnthropicCodec

CODEC = AnthropicCodec()
USER = LLMMessage(content="Hi")
TOOL = ToolSpec(name="add", description="Adds.", parameters={"properties": {}})


def body(*messages: LLMMessage, codec: AnthropicCodec = CODEC, **options: Any) -> Any:
    """Encode a request."""
    return codec.encode(
        Request(model="claude", messages=messages or (USER,), **options)
    ).json


def content(*parts: Any, role: Role = Role.USER) -> Any:
    """Encode one message and return its content."""
    return body(LLMMessage(role=role, content=parts))["messages"][0]["content"]


def schema(**fields: Any) -> dict[str, Any]:
    """Write the schema of a closed object."""
    return {
        "type": "object",
        "properties": fields,
        "required": [*fields],
        "additionalProperties": False,
    }


def fitted(field: Mapping[str, Any], **more: Any) -> Any:
    """Encode a response schema with one field and return the field's schema."""
    response = ResponseSchema(schema={**schema(x=field), **more})
    written = body(response_schema=response)["output_config"]["format"]
    assert written["type"] == "json_schema"
    return written["schema"]["properties"]["x"]


def test_a_plain_request_says_only_what_it_must() -> None:
    """Model, messages, a limit, and the wish for a stream; the version is a header."""
    call = CODEC.encode(Request(model="claude", messages=(USER,)))
    assert (call.method, call.path) == ("POST", "/v1/messages")
    assert call.headers == {"anthropic-version": "2023-06-01"}
    assert call.json == {
        "model": "claude",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_beta_features_are_named_in_a_header() -> None:
    """All in one."""
    codec = AnthropicCodec(betas=("one", "two"))
    call = codec.encode(Request(model="claude", messages=(USER,)))
    assert call.headers["anthropic-beta"] == "one,two"


def test_settings_have_the_names_of_the_api() -> None:
    """What it has no name for is left out."""
    written = body(
        temperature=0.5,
        top_p=0.9,
        max_tokens=10,
        seed=1,
        stop=["END"],
        extra={"top_k": 3},
    )
    del written["messages"]
    assert written == {
        "model": "claude",
        "max_tokens": 10,
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "top_k": 3,
    }


def test_system_messages_stand_outside() -> None:
    """One is a plain text; several, or one with fields of the API, are blocks."""
    system = LLMMessage(role=Role.SYSTEM, content="Be kind.")
    later = LLMMessage(role=Role.SYSTEM, content=[TextPart(""), TextPart("Be brief.")])
    assert body(system, USER)["system"] == "Be kind."
    written = body(system, USER, later)
    assert [b["text"] for b in written["system"]] == ["Be kind.", "Be brief."]
    assert written["messages"] == [{"role": "user", "content": "Hi"}]


def test_fields_of_the_api_go_along_in_blobs() -> None:
    """As for the cache; blobs of other APIs stay at home."""
    cache: Any = {"cache_control": {"type": "ephemeral"}}
    ours = Blob(api="anthropic-messages", raw=cache)
    theirs = Blob(api="gemini", raw={"thoughtSignature": "s"})
    text = TextPart("Hi", blob=ours)
    assert content(text) == [{"type": "text", "text": "Hi", **cache}]
    assert content(TextPart("Hi", blob=theirs)) == "Hi"
    system = LLMMessage(role=Role.SYSTEM, content=text)
    assert body(system, USER)["system"] == [{"type": "text", "text": "Hi", **cache}]


def test_images_by_bytes_and_by_url() -> None:
    """A data URL is taken apart, since the API does not."""
    images = (
        ImagePart(data=b"abc", media_type="image/gif"),
        ImagePart(url="https://example.com/a.png"),
        ImagePart(url="data:image/webp;base64,YWJj"),
    )
    assert [b["source"] for b in content(*images)] == [
        {"type": "base64", "media_type": "image/gif", "data": "YWJj"},
        {"type": "url", "url": "https://example.com/a.png"},
        {"type": "base64", "media_type": "image/webp", "data": "YWJj"},
    ]


def test_results_of_a_turn_open_one_message() -> None:
    """However many messages they came in, and whatever was said beside them."""
    messages = (
        LLMMessage(
            role=Role.ASSISTANT,
            content=[
                ToolCall(id="a", name="add", arguments='{"x":1}'),
                ToolCall(id="b", name="add"),
            ],
        ),
        LLMMessage(role=Role.TOOL, content=[ToolResult(call_id="a", content="1")]),
        LLMMessage(content="And?"),
        LLMMessage(
            role=Role.TOOL,
            content=[ToolResult(call_id="b", content="Oh no", is_error=True)],
        ),
    )
    assert body(*messages)["messages"] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "add", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": "Oh no",
                    "is_error": True,
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ]


def test_a_result_may_hold_images_or_nothing() -> None:
    """Empty texts, which are refused, are left out."""
    image = ImagePart(url="https://example.com/a.png")
    some = ToolResult(call_id="a", content=[TextPart(""), TextPart("See"), image])
    none = ToolResult(call_id="b", content="")
    written = content(some, none, role=Role.TOOL)
    assert [b["type"] for b in written[0]["content"]] == ["text", "image"]
    assert written[1]["content"] == ""


def test_broken_arguments_are_shown_to_the_model() -> None:
    """The API wants an object, so the text stands in one."""
    call = ToolCall(id="a", name="add", arguments='{"x":')
    written = content(call, role=Role.ASSISTANT)
    assert written[0]["input"] == {"INVALID_JSON": '{"x":'}


def test_ids_of_other_providers_are_made_to_fit() -> None:
    """They differ from each other, hold no odd characters, and results follow them."""

    def turn(call_id: str) -> tuple[LLMMessage, LLMMessage]:
        call = ToolCall(id=call_id, name="add")
        result = ToolResult(call_id=call_id, content="1")
        return (
            LLMMessage(role=Role.ASSISTANT, content=call),
            LLMMessage(role=Role.TOOL, content=result),
        )

    written = body(*turn("call_0"), *turn("call_0"), *turn("add:0"), *turn("call_0"))
    blocks = [b for m in written["messages"] for b in m["content"]]
    calls = [b["id"] for b in blocks if b["type"] == "tool_use"]
    results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
    assert calls == ["call_0", "call_0_2", "add_0", "call_0_3"]
    assert results == calls
    stray = content(ToolResult(call_id="x.y", content="1"), role=Role.TOOL)
    assert stray[0]["tool_use_id"] == "x_y"


def test_content_of_other_providers_stays_out() -> None:
    """Their reasoning and their own parts; a refusal is text."""
    foreign = Blob(api="openai-chat/groq", raw={"reasoning": None})
    written = content(
        ReasoningPart(text="Hm", blob=foreign),
        ReasoningPart(text="Hm"),
        ProviderPart(kind="audio", blob=foreign),
        RefusalPart("No."),
        role=Role.ASSISTANT,
    )
    assert written == "No."


def test_blank_texts_go_with_others_only() -> None:
    """A message without a word is left out."""
    call = ToolCall(id="a", name="add")
    blank = LLMMessage(role=Role.ASSISTANT, content="\n\n")
    assert body(USER, blank)["messages"] == [{"role": "user", "content": "Hi"}]
    assert len(content(TextPart("\n"), call, role=Role.ASSISTANT)) == 1
    texts = content(TextPart("a"), TextPart(" "), TextPart(""), TextPart("b"))
    assert [b["text"] for b in texts] == ["a", " ", "b"]


def test_tools_need_an_object_as_schema() -> None:
    """The type is added, a reference at the root is resolved, the rest is kept."""
    node: Any = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    tools = [
        ToolSpec(name="none"),
        ToolSpec(
            name="tree", parameters={"$ref": "#/$defs/Node", "$defs": {"Node": node}}
        ),
        ToolSpec(name="odd", parameters={"$ref": "#/$defs/Gone"}),
    ]
    assert body(tools=tools)["tools"] == [
        {"name": "none", "input_schema": {"type": "object"}},
        {"name": "tree", "input_schema": {**node, "$defs": {"Node": node}}},
        {"name": "odd", "input_schema": {"type": "object", "$ref": "#/$defs/Gone"}},
    ]


def test_a_strict_tool_is_held_to_the_restrictions() -> None:
    """Others are not."""
    parameters = schema(x={"type": "integer", "minimum": 1})
    tools = [
        ToolSpec(name="strict", parameters=parameters, strict=True),
        ToolSpec(name="loose", parameters=parameters, strict=False),
        ToolSpec(name="bare", strict=True),
    ]
    strict, loose, bare = body(tools=tools)["tools"]
    field = {"type": "integer", "description": "[minimum: 1]"}
    assert strict["input_schema"]["properties"]["x"] == field
    assert (strict["strict"], loose["strict"]) == (True, False)
    assert loose["input_schema"] == parameters
    assert bare["input_schema"] == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        ({}, None),
        ({"tool_choice": ToolChoice.AUTO}, {"type": "auto"}),
        ({"tool_choice": ToolChoice.REQUIRED}, {"type": "any"}),
        ({"tool_choice": ForcedTool("add")}, {"type": "tool", "name": "add"}),
        (
            {"parallel_tool_calls": False},
            {"type": "auto", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": True, "tool_choice": ToolChoice.REQUIRED},
            {"type": "any", "disable_parallel_tool_use": False},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": ToolChoice.NONE},
            {"type": "none"},
        ),
    ],
)
def test_the_choice_of_tools(options: Any, choice: Any) -> None:
    """Parallel calls are a part of it, unless none may be called."""
    assert body(tools=[TOOL], **options).get("tool_choice") == choice


def test_a_choice_without_tools_is_left_out() -> None:
    """The API refuses it; tools may come as fields of its own, too."""
    assert "tool_choice" not in body(tool_choice=ToolChoice.AUTO)
    own = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    written = body(tool_choice=ToolChoice.AUTO, extra=own)
    assert written["tool_choice"] == {"type": "auto"}


def test_how_hard_to_think() -> None:
    """A word, a budget on top of the limit, or not at all."""
    word = body(reasoning_effort="high", max_tokens=100)
    assert word["thinking"] == {"type": "adaptive"}
    assert word["output_config"] == {"effort": "high"}
    budget = body(reasoning_effort="2048")
    assert budget["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert budget["max_tokens"] == 8192 + 2048
    assert body(reasoning_effort="2048", max_tokens=4000)["max_tokens"] == 4000
    none = body(reasoning_effort="none")
    assert none["thinking"] == {"type": "disabled"}
    assert "output_config" not in none


def test_own_fields_go_over_ours_one_by_one() -> None:
    """Objects are merged, so that one field does not take out its neighbours."""
    written = body(
        reasoning_effort="high",
        response_schema=ResponseSchema(schema=schema()),
        extra={"thinking": {"display": "summarized"}, "stream": False},
    )
    assert written["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert written["output_config"].keys() == {"effort", "format"}
    assert written["stream"] is False


def test_any_json_object_is_asked_for_in_words() -> None:
    """The API has no other way."""
    system = LLMMessage(role=Role.SYSTEM, content="Be kind.")
    written = body(system, USER, response_schema=ResponseSchema())
    assert [b["text"] for b in written["system"]] == [
        "Be kind.",
        "Answer with a JSON object and nothing else.",
    ]
    assert "output_config" not in written


@pytest.mark.parametrize(
    ("field", "written"),
    [
        (
            {"type": "integer", "minimum": 1, "maximum": 9, "description": "A digit."},
            {"type": "integer", "description": "A digit. [minimum: 1, maximum: 9]"},
        ),
        ({"type": "string", "format": "uuid"}, {"type": "string", "format": "uuid"}),
        (
            {"type": "string", "format": "byte"},
            {"type": "string", "description": '[format: "byte"]'},
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 2},
            {
                "type": "array",
                "items": {"type": "string"},
                "description": "[minItems: 2]",
            },
        ),
        ({"const": "a"}, {"const": "a"}),
        (
            {"oneOf": [{"type": "string"}, {"type": "null"}], "default": None},
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        ),
        (
            {"type": ["object", "null"], "properties": {}},
            {
                "type": ["object", "null"],
                "properties": {},
                "additionalProperties": False,
            },
        ),
        ({"type": "string", "$comment": "?"}, {"type": "string"}),
        ({"type": "array", "items": True}, {"type": "array", "items": True}),
    ],
)
def test_a_response_schema_is_fitted(field: Any, written: Any) -> None:
    """What the API does not take is told in the description."""
    assert fitted(field) == written


def test_places_of_a_tuple_become_a_choice() -> None:
    """Once each; the number of places is told."""
    text, number = {"type": "string"}, {"type": "number"}
    pair = {"type": "array", "prefixItems": [text, number, text], "items": False}
    written = fitted(pair)
    assert written["items"] == {"anyOf": [text, number]}
    assert "prefixItems" in written["description"]
    same = {"type": "array", "prefixItems": [text, text], "items": False}
    assert fitted(same)["items"] == text


def test_a_reference_stands_alone() -> None:
    """With something beside it, what it refers to takes its place."""
    defs = {"City": {"type": "string", "description": "A city."}}
    reference = {"$ref": "#/$defs/City"}
    assert fitted(reference, **{"$defs": defs}) == reference
    noted = {**reference, "description": "Where from."}
    assert fitted(noted, **{"$defs": defs}) == {
        "type": "string",
        "description": "Where from.",
    }
    gone = {"$ref": "#/$defs/Gone", "description": "Lost."}
    assert fitted(gone) == {"$ref": "#/$defs/Gone"}
    old = {"definitions": defs}
    assert fitted({"$ref": "#/definitions/City"}, **old) == {
        "$ref": "#/definitions/City"
    }


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            "the answer.x is an object with keys of any name",
        ),
        ({"type": "object"}, "the answer.x is an object of any content"),
        ({}, "the answer.x may be anything"),
        ({"type": "array", "items": {}}, r"the answer.x\[\] may be anything"),
    ],
)
def test_what_cannot_be_expressed_is_refused(field: Any, words: str) -> None:
    """The error names the place and the way out."""
    with pytest.raises(SchemaError, match=f"{words}.*output_mode=OutputMode.TOOL"):
        fitted(field)


def test_recursion_is_refused() -> None:
    """Over however many classes; a class used twice is none."""
    leaf: dict[str, Any] = {"type": "string"}
    to_a, to_b = {"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}
    twice = {"A": schema(l=to_b, r=to_b), "B": leaf}
    assert fitted(to_a, **{"$defs": twice}) == to_a
    looped = {"A": schema(b=to_b), "B": {"type": "array", "items": to_a}}
    with pytest.raises(SchemaError, match="A refers to itself"):
        fitted(to_a, **{"$defs": looped})
    behind = {"C": schema(a=to_a, b=to_b), **looped}
    with pytest.raises(SchemaError, match="refers to itself"):
        fitted({"$ref": "#/$defs/C"}, **{"$defs": behind})
