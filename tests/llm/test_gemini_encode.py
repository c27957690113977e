"""Requests as Gemini's generateContent."""

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
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolSpec,
)
from agentflow.llm.providers.gemini import GeminiCodec

CODEC = GeminiCodec()
USER = LLMMessage(content="Hi")
FIELD: Any = {"type": "object", "properties": {"x": {"type": "integer"}}}


def body(*messages: LLMMessage, model: str = "gemini-3-flash", **options: Any) -> Any:
    """Encode a request."""
    request = Request(model=model, messages=messages or (USER,), **options)
    return CODEC.encode(request).json


def contents(*parts: Any, role: Role = Role.USER, **options: Any) -> Any:
    """Encode one message and return the contents it becomes."""
    return body(LLMMessage(role=role, content=parts), **options)["contents"]


def fitted(field: Any, **more: Any) -> Any:
    """Encode a response schema with one field and return the field's schema."""
    schema = {"type": "object", "properties": {"x": field}, **more}
    config = body(response_schema=ResponseSchema(schema=schema))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    return config["responseJsonSchema"]["properties"]["x"]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3-flash", "/models/gemini-3-flash"),
        ("models/gemini-3-flash", "/models/gemini-3-flash"),
        ("tunedModels/my one", "/tunedModels/my%20one"),
    ],
)
def test_the_model_and_the_wish_for_a_stream_stand_in_the_path(
    model: str, path: str
) -> None:
    """The body holds the conversation alone."""
    call = CODEC.encode(Request(model=model, messages=(USER,)))
    assert call.path == f"{path}:streamGenerateContent?alt=sse"
    assert call.json == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_settings_have_the_names_of_the_api() -> None:
    """What it has no name for is left out; own fields go over ours, one by one."""
    written = body(
        temperature=0.5,
        top_p=0.9,
        max_tokens=10,
        seed=1,
        stop=["END"],
        parallel_tool_calls=False,
        extra={"generationConfig": {"topK": 3, "seed": 2}, "cachedContent": "c"},
    )
    del written["contents"]
    assert written == {
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 10,
            "seed": 2,
            "stopSequences": ["END"],
            "topK": 3,
        },
        "cachedContent": "c",
    }


@pytest.mark.parametrize(
    ("effort", "config"),
    [
        ("none", {"thinkingBudget": 0}),
        ("1024", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("-1", {"thinkingBudget": -1, "includeThoughts": True}),
        ("high", {"thinkingLevel": "high", "includeThoughts": True}),
    ],
)
def test_how_hard_to_think(effort: str, config: Any) -> None:
    """A level, a number of tokens, or not at all."""
    written = body(reasoning_effort=effort)["generationConfig"]
    assert written == {"thinkingConfig": config}


def test_system_messages_stand_outside() -> None:
    """All of them, wherever they stood."""
    first = LLMMessage(role=Role.SYSTEM, content="Be kind.")
    later = LLMMessage(role=Role.SYSTEM, content="Be brief.")
    written = body(first, USER, later)
    parts = [{"text": "Be kind."}, {"text": "Be brief."}]
    assert written["systemInstruction"] == {"parts": parts}
    assert written["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_tools_on_offer() -> None:
    """A schema that lists nothing is left out."""
    tools = [
        ToolSpec(name="add", description="Adds.", parameters=FIELD),
        ToolSpec(name="now", parameters={"type": "object", "properties": {}}),
        ToolSpec(name="tree", parameters={"$ref": "#/$defs/N", "$defs": {"N": FIELD}}),
    ]
    add, now, tree = body(tools=tools)["tools"][0]["functionDeclarations"]
    assert add == {"name": "add", "description": "Adds.", "parametersJsonSchema": FIELD}
    assert now == {"name": "now", "description": ""}
    assert tree["parametersJsonSchema"] == {**FIELD, "$defs": {"N": FIELD}}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice.AUTO, {"mode": "AUTO"}),
        (ToolChoice.REQUIRED, {"mode": "ANY"}),
        (ToolChoice.NONE, {"mode": "NONE"}),
        (ForcedTool("add"), {"mode": "ANY", "allowedFunctionNames": ["add"]}),
    ],
)
def test_the_choice_of_tools(choice: Any, config: Any) -> None:
    """A forced tool is the only one of those that may be called."""
    written = body(tool_choice=choice)["toolConfig"]
    assert written == {"functionCallingConfig": config}


def test_images_by_bytes_and_by_url() -> None:
    """The type of a file is taken from its name, if only the default is given."""
    images = (
        ImagePart(data=b"abc", media_type="image/gif"),
        ImagePart(url="data:image/webp;base64,YWJj"),
        ImagePart(url="https://example.com/a.JPG?size=1"),
        ImagePart(url="https://example.com/a"),
        ImagePart(url="https://example.com/a.jpg", media_type="image/heic"),
    )
    assert contents(*images)[0]["parts"] == [
        {"inlineData": {"mimeType": "image/gif", "data": "YWJj"}},
        {"inlineData": {"mimeType": "image/webp", "data": "YWJj"}},
        {
            "fileData": {
                "mimeType": "image/jpeg",
                "fileUri": "https://example.com/a.JPG?size=1",
            }
        },
        {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a"}},
        {
            "fileData": {
                "mimeType": "image/heic",
                "fileUri": "https://example.com/a.jpg",
            }
        },
    ]


def test_results_of_a_turn_make_one_message() -> None:
    """By name, which the call knows; what else was said comes behind."""
    messages = (
        LLMMessage(
            role=Role.ASSISTANT,
            content=[
                ToolCall(
                    id="call_0",
                    name="add",
                    arguments='{"x":1}',
                    blob=Blob(api="gemini", raw={"thoughtSignature": "s"}),
                ),
                ToolCall(
                    id="fc", name="sub", blob=Blob(api="gemini", raw={"id": "fc"})
                ),
            ],
        ),
        LLMMessage(role=Role.TOOL, content=[ToolResult(call_id="call_0", content="1")]),
        LLMMessage(
            role=Role.TOOL,
            content=[ToolResult(call_id="fc", content='{"y": 2}'), TextPart("And?")],
        ),
    )
    assert body(*messages)["contents"] == [
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"name": "add", "args": {"x": 1}},
                    "thoughtSignature": "s",
                },
                {"functionCall": {"name": "sub", "args": {}, "id": "fc"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "add", "response": {"output": 1}}},
                {"functionResponse": {"name": "sub", "response": {"y": 2}, "id": "fc"}},
            ],
        },
        {"role": "user", "parts": [{"text": "And?"}]},
    ]


def test_results_are_objects() -> None:
    """Text, and errors, stand under the keys for them."""
    results = (
        ToolResult(call_id="a", name="f", content="It rains"),
        ToolResult(call_id="b", name="f", content="Oh no", is_error=True),
        ToolResult(call_id="c", content="[1]", blob=Blob(api="gemini", raw={"z": 1})),
    )
    parts = contents(*results, role=Role.TOOL)[0]["parts"]
    assert [p["functionResponse"]["response"] for p in parts] == [
        {"output": "It rains"},
        {"error": "Oh no"},
        {"output": [1]},
    ]
    assert parts[2]["functionResponse"]["name"] == ""
    assert parts[2]["z"] == 1


def test_images_in_a_result() -> None:
    """They are a part of it for models that take them so, and follow it for others."""
    image = ImagePart(data=b"abc")
    result = ToolResult(call_id="a", name="look", content=[TextPart("See"), image])
    data = {"inlineData": {"mimeType": "image/png", "data": "YWJj"}}
    (message,) = contents(result, role=Role.TOOL)
    assert message["parts"][0]["functionResponse"]["parts"] == [data]
    old, images = contents(result, role=Role.TOOL, model="gemini-2.5-pro")
    assert "parts" not in old["parts"][0]["functionResponse"]
    assert images == {"role": "user", "parts": [data]}


def test_calls_of_other_providers_get_a_signature_that_is_not_checked() -> None:
    """The first of a message, and only for models that check."""
    foreign = Blob(api="openai-chat/groq", raw={"id": "x"})
    calls = (ToolCall(id="a", name="f", blob=foreign), ToolCall(id="b", name="f"))
    (message,) = contents(*calls, role=Role.ASSISTANT)
    first, second = message["parts"]
    assert first["thoughtSignature"] == "skip_thought_signature_validator"
    assert "id" not in first["functionCall"]
    assert "thoughtSignature" not in second
    (message,) = contents(*calls, role=Role.ASSISTANT, model="gemini-2.5-pro")
    assert "thoughtSignature" not in message["parts"][0]


def test_broken_arguments_are_shown_to_the_model() -> None:
    """The API wants an object, so the text stands in one."""
    call = ToolCall(id="a", name="f", arguments='{"x":')
    (message,) = contents(call, role=Role.ASSISTANT)
    args = message["parts"][0]["functionCall"]["args"]
    assert args == {"INVALID_JSON": '{"x":'}


def test_content_of_other_providers_stays_out() -> None:
    """Their reasoning and their own parts; a refusal is text."""
    foreign = Blob(api="anthropic-messages", raw={"signature": "s"})
    message = contents(
        ReasoningPart(text="Hm", blob=foreign),
        ProviderPart(kind="audio", blob=foreign),
        TextPart("", blob=foreign),
        RefusalPart("No."),
        role=Role.ASSISTANT,
    )
    assert message == [{"role": "model", "parts": [{"text": "No."}]}]


def test_empty_messages() -> None:
    """The user's stays, the model's is left out."""
    silent = LLMMessage(role=Role.ASSISTANT, content="")
    empty = LLMMessage(content="")
    written = body(empty, silent)["contents"]
    assert written == [{"role": "user", "parts": [{"text": ""}]}]


def test_json_without_a_schema() -> None:
    """The type of the answer says it."""
    written = body(response_schema=ResponseSchema())["generationConfig"]
    assert written == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("field", "written"),
    [
        (
            {"type": "integer", "minimum": 1, "exclusiveMaximum": 9},
            {"type": "integer", "minimum": 1, "description": "[exclusiveMaximum: 9]"},
        ),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"type": "string", "format": "byte"}, {"type": "string", "format": "byte"}),
        (
            {"type": "object", "additionalProperties": {"const": 1}},
            {"type": "object", "additionalProperties": {"enum": [1]}},
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "minItems": 7},
            {"type": "array", "prefixItems": [{"type": "string"}], "minItems": 7},
        ),
        ({}, {}),
    ],
)
def test_a_response_schema_is_fitted(field: Any, written: Any) -> None:
    """What the API ignores is told in the description."""
    assert fitted(field) == written


def test_recursion_is_taken() -> None:
    """A reference stands alone, without its notes if it would never end."""
    plain = {"$ref": "#/$defs/Node"}
    noted = {**plain, "description": "The next."}
    defs = {"$defs": {"Node": {"type": "object", "properties": {"next": noted}}}}
    assert fitted(plain, **defs) == plain
    assert fitted(noted, **defs) == plain
    alias = {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}}
    noted = {"$ref": "#/$defs/A", "description": "Round and round."}
    assert fitted(noted, **alias) == {"$ref": "#/$defs/A"}
