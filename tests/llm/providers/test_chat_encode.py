"""Requests as Chat Completions."""

from typing import Any

import attrs
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
from agentflow.llm._schema import class_schema
from agentflow.llm.providers import ChatCodec, ChatDialect
from agentflow.llm.providers._chat_dialect import COMPATIBLE

HELLO = LLMMessage(content="hello")
OURS = "openai-chat/openai"


def body(*messages: LLMMessage, dialect: ChatDialect | None = None, **more: Any) -> Any:
    """Encode a request and return its body."""
    request = Request(model="m", messages=messages or [HELLO], **more)
    return ChatCodec(dialect or ChatDialect()).encode(request).json


def written(*messages: LLMMessage, dialect: ChatDialect | None = None) -> Any:
    """Encode messages and return how they are written."""
    return body(*messages, dialect=dialect)["messages"]


def said(*parts: Any) -> LLMMessage:
    """Make a message of the model's."""
    return LLMMessage(role=Role.ASSISTANT, content=parts)


def test_a_plain_request_asks_for_a_stream_with_usage() -> None:
    """And says nothing that was not asked for."""
    call = ChatCodec().encode(Request(model="m", messages=[HELLO]))
    assert (call.method, call.path, dict(call.headers)) == (
        "POST",
        "/chat/completions",
        {},
    )
    assert call.json == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_settings_have_the_names_of_the_dialect() -> None:
    """OpenAI's newer ones, or the older ones of most others."""
    settings: dict[str, Any] = {
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 1,
        "stop": ["x"],
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
    }
    new = body(**settings)
    assert new["max_completion_tokens"] == 5
    assert "max_tokens" not in new
    assert (new["temperature"], new["top_p"], new["seed"]) == (0.0, 0.5, 1)
    assert (new["stop"], new["reasoning_effort"]) == (["x"], "low")
    assert new["parallel_tool_calls"] is False
    own = ChatDialect(
        name="own", seed="random_seed", include_usage=False, extra={"safe": True}
    )
    old = body(dialect=own, **settings)
    assert (old["random_seed"], old["safe"]) == (1, True)
    assert "stream_options" not in old
    assert body(dialect=COMPATIBLE, max_tokens=5)["max_tokens"] == 5


def test_extra_fields_go_over_ours() -> None:
    """The user knows the server better."""
    assert body(extra={"stream_options": None, "x": 1})["stream_options"] is None
    assert body(extra={"x": 1})["x"] == 1


def test_tools_and_choices() -> None:
    """By name, by mode, and in the dialect's word for it."""
    spec = ToolSpec(name="f", description="F.", parameters={"type": "object"})
    sent = body(tools=[spec], tool_choice=ForcedTool("f"))
    function = {"name": "f", "description": "F.", "parameters": {"type": "object"}}
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    strict = body(tools=[attrs.evolve(spec, strict=True)], tool_choice=ToolChoice.AUTO)
    assert strict["tools"][0]["function"]["strict"] is True
    assert strict["tool_choice"] == "auto"
    mistral = ChatDialect(name="mistral", required="any")
    sent = body(dialect=mistral, tools=[spec], tool_choice=ToolChoice.REQUIRED)
    assert sent["tool_choice"] == "any"


@attrs.frozen
class Inner:
    b: int


@attrs.frozen
class Closed:
    a: int
    inner: list[Inner]


@attrs.frozen
class Loose:
    a: int = 1


@attrs.frozen
class Pair:
    p: tuple[int, int]


@pytest.mark.parametrize(
    ("cls", "strict"), [(Closed, True), (Loose, False), (Pair, False)]
)
def test_strict_is_asked_for_where_the_schema_allows_it(
    cls: type, strict: bool
) -> None:
    """OpenAI refuses a strict request whose schema leaves anything open."""
    schema = ResponseSchema(name="x", schema=class_schema(cls))
    sent = body(response_schema=schema)["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is strict


def test_a_schema_may_be_open_and_still_strict_by_wish() -> None:
    """Description and strictness are the caller's."""
    schema = ResponseSchema(
        name="x", schema={"type": "object"}, description="d", strict=True
    )
    assert body(response_schema=schema)["response_format"]["json_schema"] == {
        "name": "x",
        "schema": {"type": "object"},
        "strict": True,
        "description": "d",
    }
    open_schema = ResponseSchema(name="x", schema={"type": "object"})
    sent = body(response_schema=open_schema)["response_format"]["json_schema"]
    assert sent["strict"] is False


def test_strict_mode_takes_nothing_beside_a_reference() -> None:
    """What stands beside one is kept; loose schemas are sent as they are."""
    schema: Any = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/A", "description": "the first"},
            "b": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
        },
        "required": ["a", "b"],
        "additionalProperties": False,
        "$defs": {"A": {"type": "string"}},
    }
    spec = ToolSpec(name="f", parameters=schema, strict=True)
    strict = body(response_schema=ResponseSchema(schema=schema), tools=[spec])
    for sent in (
        strict["response_format"]["json_schema"]["schema"],
        strict["tools"][0]["function"]["parameters"],
    ):
        assert sent["properties"]["a"] == {
            "anyOf": [{"$ref": "#/$defs/A"}],
            "description": "the first",
        }
        assert sent["properties"]["b"] == schema["properties"]["b"]
    loose = body(response_schema=ResponseSchema(schema=schema, strict=False))
    assert loose["response_format"]["json_schema"]["schema"] == schema


def test_any_object_will_do() -> None:
    """Without a schema the answer is just JSON."""
    sent = body(response_schema=ResponseSchema())["response_format"]
    assert sent == {"type": "json_object"}


def test_several_parts_are_a_list() -> None:
    """Text and images, by bytes and by URL."""
    message = LLMMessage(
        content=[
            TextPart("look"),
            ImagePart(data=b"abc", media_type="image/jpeg"),
            ImagePart(url="http://x/y.png", detail="low"),
        ]
    )
    assert written(message)[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,YWJj"}},
        {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "low"}},
    ]


def test_what_only_this_api_knows_goes_as_it_is() -> None:
    """To its own dialect, or to all if so marked; elsewhere it is left out."""
    audio: Any = {"type": "input_audio", "input_audio": {"data": "…"}}
    for api, sent in ((OURS, True), ("openai-chat", True), ("gemini", False)):
        part = ProviderPart(kind="input_audio", blob=Blob(api=api, raw=audio))
        content = written(LLMMessage(content=[TextPart("a"), part]))[0]["content"]
        assert (content == [{"type": "text", "text": "a"}, audio]) is sent
    cached = TextPart("a", blob=Blob(api=OURS, raw={"cache_control": {}}))
    assert written(LLMMessage(content=cached))[0]["content"] == [
        {"type": "text", "text": "a", "cache_control": {}}
    ]


def test_calls_and_their_results() -> None:
    """Each result is a message; broken arguments are sent as none."""
    calls = [
        ToolCall(id="1", name="f", arguments='{"a":1}'),
        ToolCall(id="2", name="g", arguments='{"a'),
        ToolCall(id="3", name="h"),
    ]
    results = LLMMessage(
        role=Role.TOOL,
        content=[
            ToolResult(call_id="1", content="one"),
            ToolResult(call_id="2", content="two"),
        ],
    )
    model, first, second = written(said(*calls), results)
    assert model["content"] is None
    assert [c["function"]["arguments"] for c in model["tool_calls"]] == [
        '{"a":1}',
        "{}",
        "{}",
    ]
    assert model["tool_calls"][0]["id"] == "1"
    assert first == {"role": "tool", "tool_call_id": "1", "content": "one"}
    assert second == {"role": "tool", "tool_call_id": "2", "content": "two"}


def test_results_beside_other_parts_go_first() -> None:
    """A call must be answered before anything else is said."""
    mixed = LLMMessage(content=[TextPart("and?"), ToolResult(call_id="1", content="x")])
    assert [m["role"] for m in written(mixed)] == ["tool", "user"]


def test_text_beside_calls_is_kept() -> None:
    """And a refusal has a field of its own."""
    (message,) = written(said(TextPart("hm"), ToolCall(id="1", name="f")))
    assert message["content"] == "hm"
    (message,) = written(said(RefusalPart("no")))
    assert (message["content"], message["refusal"]) == ("", "no")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_goes_back_into_the_field_it_came_in(field: str) -> None:
    """Several pieces are joined; another provider's is left out."""
    pieces = [
        ReasoningPart(text="a", blob=Blob(api=OURS, raw={field: None})),
        ReasoningPart(text="b", blob=Blob(api=OURS, raw={field: None})),
        ReasoningPart(text="c", blob=Blob(api="gemini", raw={field: None})),
        ReasoningPart(text="d"),
        TextPart("x"),
    ]
    (message,) = written(said(*pieces))
    assert message == {"role": "assistant", "content": "x", field: "ab"}


def test_reasoning_details_go_back_as_they_came() -> None:
    """OpenRouter checks their signatures."""
    details: list[Any] = [{"type": "reasoning.encrypted", "data": "…"}]
    part = ReasoningPart(blob=Blob(api=OURS, raw={"reasoning_details": [*details]}))
    (message,) = written(said(part, TextPart("x")))
    assert message["reasoning_details"] == details


def test_thinking_parts_go_back_as_content() -> None:
    """As Mistral sends them; a dialect may want none of it back."""
    part = ReasoningPart(text="hm", blob=Blob(api=OURS, raw={"content": None}))
    (message,) = written(said(part, TextPart("x")))
    assert message["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "x"},
    ]
    silent = ChatDialect(sends_reasoning=False)
    (message,) = written(said(part, TextPart("x")), dialect=silent)
    assert message == {"role": "assistant", "content": "x"}


def test_a_message_without_content_is_written_too() -> None:
    """It is for the server to judge."""
    assert written(LLMMessage(content=()))[0] == {"role": "user", "content": ""}
