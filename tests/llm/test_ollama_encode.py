"""Requests of Ollama's chat API."""

from typing import Any

import pytest

from agentflow.llm import (
    Blob,
    ConfigurationError,
    ForcedTool,
    ImagePart,
    LLMMessage,
    OutputMode,
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
from agentflow.llm.providers.ollama import OllamaCodec

CODEC = OllamaCodec()
USER = LLMMessage(content="Hi")
TOOL = ToolSpec(
    name="f", description="Does.", parameters={"type": "object"}, strict=True
)


def body(*messages: LLMMessage, **fields: Any) -> Any:
    """Write a request."""
    return CODEC.encode(Request(model="m", messages=messages, **fields)).json


def written(role: Role, *content: Any) -> Any:
    """Write a message."""
    return body(LLMMessage(role=role, content=content))["messages"]


def test_a_prompt_is_all_it_takes() -> None:
    """It asks for a stream."""
    call = CODEC.encode(Request(model="m", messages=[USER]))
    assert (call.method, call.path) == ("POST", "/api/chat")
    message = {"role": "user", "content": "Hi"}
    assert call.json == {"model": "m", "stream": True, "messages": [message]}
    assert (CODEC.api, CODEC.output_mode) == ("ollama", OutputMode.NATIVE)


def test_texts_of_a_message_become_one() -> None:
    """Paragraphs, but for the model's own, which were pieces."""
    parts = [TextPart("a"), TextPart("b")]
    assert written(Role.SYSTEM, *parts) == [{"role": "system", "content": "a\n\nb"}]
    assert written(Role.ASSISTANT, *parts) == [{"role": "assistant", "content": "ab"}]
    assert written(Role.USER) == [{"role": "user", "content": ""}]


def test_images_go_as_base64() -> None:
    """Out of a data URL, too."""
    images = [ImagePart(data=b"abc"), ImagePart(url="data:image/png;base64,eHl6")]
    assert written(Role.USER, TextPart("See"), *images) == [
        {"role": "user", "content": "See", "images": ["YWJj", "eHl6"]}
    ]


def test_images_by_url_are_refused() -> None:
    """The server would not fetch them; the error says what to do."""
    with pytest.raises(ConfigurationError, match=r"data=.*http://x/y.png"):
        written(Role.USER, ImagePart(url="http://x/y.png"))


def test_what_the_model_said_goes_back() -> None:
    """Thoughts of this API's, calls with objects, refusals in plain words."""
    parts = [
        ReasoningPart(text="hm", blob=Blob(api="ollama", raw=None)),
        ReasoningPart(text="theirs", blob=Blob(api="other", raw=None)),
        ReasoningPart(text="mine"),
        TextPart("Let me see."),
        RefusalPart(" Or not."),
        ProviderPart(kind="x", blob=Blob(api="ollama", raw={})),
        ToolCall(id="c1", name="f", arguments='{"a": 1}'),
        ToolCall(id="c2", name="g", arguments="{"),
    ]
    assert written(Role.ASSISTANT, *parts) == [
        {
            "role": "assistant",
            "content": "Let me see. Or not.",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}},
                {"id": "c2", "function": {"name": "g", "arguments": {}}},
            ],
        }
    ]


def test_results_name_their_tool() -> None:
    """Each is a message; other text beside them is the user's."""
    results = [
        ToolResult(call_id="c1", name="f", content="3"),
        ToolResult(call_id="c2", name="g", content=[ImagePart(data=b"abc")]),
    ]
    expected = [
        {"role": "tool", "content": "3", "tool_name": "f", "tool_call_id": "c1"},
        {
            "role": "tool",
            "content": "",
            "images": ["YWJj"],
            "tool_name": "g",
            "tool_call_id": "c2",
        },
    ]
    assert written(Role.TOOL, *results) == expected
    for role in (Role.TOOL, Role.USER):
        assert written(role, *results, TextPart("Go on.")) == [
            *expected,
            {"role": "user", "content": "Go on."},
        ]


def test_tools() -> None:
    """As everywhere; the API does not know strictness."""
    function = {"name": "f", "description": "Does.", "parameters": {"type": "object"}}
    (tool,) = body(USER, tools=[TOOL], tool_choice=ToolChoice.AUTO)["tools"]
    assert tool == {"type": "function", "function": function}
    assert "tools" in body(USER, tools=[TOOL], parallel_tool_calls=True)


def test_tools_that_must_not_be_called_are_not_offered() -> None:
    """There is no other way to say so."""
    assert "tools" not in body(USER, tools=[TOOL], tool_choice=ToolChoice.NONE)


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": ForcedTool("f")},
        {"tool_choice": ToolChoice.REQUIRED},
        {"parallel_tool_calls": False},
    ],
)
def test_what_cannot_be_asked_of_tools_is_refused(fields: Any) -> None:
    """The error says what to leave out."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(fields))}="):
        body(USER, tools=[TOOL], **fields)


def test_answers_of_a_schema() -> None:
    """The schema itself, or any JSON."""
    schema: Any = {"type": "object"}
    assert body(USER, response_schema=ResponseSchema(schema=schema))["format"] == schema
    assert body(USER, response_schema=ResponseSchema())["format"] == "json"


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("false", False), ("true", True), ("low", "low"), ("max", "max")],
)
def test_effort_is_a_yes_a_no_or_a_level(effort: str, think: bool | str) -> None:
    """Most models know the first two only."""
    assert body(USER, reasoning_effort=effort)["think"] == think


def test_settings_are_options() -> None:
    """Under the names they have here; what is not set is left out."""
    fields = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 10, "seed": 1}
    assert body(USER, stop=["END"], **fields)["options"] == {
        "temperature": 0.0,
        "top_p": 0.9,
        "num_predict": 10,
        "seed": 1,
        "stop": ["END"],
    }


def test_extra_goes_over_all() -> None:
    """Options one by one."""
    extra = {"options": {"num_ctx": 8192}, "keep_alive": "5m", "model": "other"}
    got = body(USER, temperature=0.5, extra=extra)
    assert got["options"] == {"temperature": 0.5, "num_ctx": 8192}
    assert (got["keep_alive"], got["model"]) == ("5m", "other")
