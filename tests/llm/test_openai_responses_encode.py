"""Requests of the Responses API."""

import json
from typing import Any

import attrs
import pytest

from agentflow.llm import (
    Blob,
    ConfigurationError,
    ForcedTool,
    ImagePart,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
    RefusalPart,
    Reply,
    Request,
    ResponseSchema,
    Role,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolSpec,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers.openai_responses import ResponsesCodec

CODEC = ResponsesCodec()
CLOSED: Any = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN: Any = {"type": "object", "properties": {"a": {"type": "integer"}}}


def body(*messages: LLMMessage, codec: ResponsesCodec = CODEC, **fields: Any) -> Any:
    """Write a request."""
    return codec.encode(Request(model="m", messages=messages, **fields)).json


def items(*messages: LLMMessage, **fields: Any) -> Any:
    """Write a conversation."""
    return body(*messages, **fields)["input"]


def said(role: Role, *content: Any) -> LLMMessage:
    """Make a message."""
    return LLMMessage(role=role, content=content)


def blob(raw: Any, api: str = CODEC.api) -> Blob:
    """Mark what goes back."""
    return Blob(api=api, raw=raw)


def answer(*output: Any, codec: ResponsesCodec = CODEC) -> Reply:
    """Decode an answer."""
    whole = {"id": "r1", "status": "completed", "output": output}
    return decode(codec, 200, json.dumps(whole).encode())


USER = LLMMessage(content="Hi")
THOUGHT: Any = {
    "type": "reasoning",
    "id": "rs1",
    "summary": [],
    "encrypted_content": "g",
}
CALL: Any = {
    "type": "function_call",
    "id": "fc1",
    "call_id": "c1",
    "name": "add",
    "arguments": '{"a": 1}',
    "status": "completed",
    "namespace": "math",
}
SPEECH: Any = [
    {"type": "output_text", "text": "Let me see.", "annotations": []},
    {"type": "refusal", "refusal": "No."},
]
MESSAGE: Any = {
    "type": "message",
    "id": "m1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": SPEECH,
}


def test_a_prompt_is_all_it_takes() -> None:
    """It asks for a stream."""
    call = CODEC.encode(Request(model="m", messages=[USER]))
    assert (call.method, call.path) == ("POST", "/responses")
    assert call.json == {
        "model": "m",
        "stream": True,
        "input": [{"role": "user", "content": "Hi"}],
    }


def test_the_first_system_message_is_instructions() -> None:
    """Unless the server does not know them; others stand where they stood."""
    system = said(Role.SYSTEM, TextPart("Be brief."))
    written = body(system, USER, system)
    item = {"role": "system", "content": "Be brief."}
    assert written["instructions"] == "Be brief."
    assert written["input"] == [{"role": "user", "content": "Hi"}, item]
    plain = body(system, USER, codec=ResponsesCodec(instructions=False))
    assert "instructions" not in plain
    assert plain["input"][0] == item
    shown = said(Role.SYSTEM, TextPart("Look:"), ImagePart(url="http://x/y.png"))
    assert "instructions" not in body(shown)


def test_images_and_texts_make_one_message() -> None:
    """By URL or as bytes; what only this API knows stands among them."""
    file = {"type": "input_file", "file_id": "f1"}
    message = said(
        Role.USER,
        TextPart("See", blob=blob({"prompt_cache_breakpoint": True})),
        ImagePart(url="http://x/y.png", detail="low"),
        ImagePart(data=b"abc", media_type="image/jpeg", blob=blob({"x": 1})),
        ProviderPart(kind="input_file", blob=blob(file)),
        ProviderPart(kind="input_file", blob=blob(file, "other")),
    )
    assert items(message) == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See", "prompt_cache_breakpoint": True},
                {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"},
                {
                    "type": "input_image",
                    "image_url": "data:image/jpeg;base64,YWJj",
                    "x": 1,
                },
                file,
            ],
        }
    ]


def test_the_model_shows_no_images() -> None:
    """The API has no word for one in its messages."""
    with pytest.raises(ConfigurationError, match="into a user message"):
        items(said(Role.ASSISTANT, ImagePart(url="http://x/y.png")))


def test_results_of_tools() -> None:
    """As text, or as parts when there is an image; each is an item."""
    picture = ImagePart(url="http://x/y.png")
    message = said(
        Role.TOOL,
        ToolResult(call_id="c1", content="3"),
        ToolResult(
            call_id="c2",
            content=[TextPart("a"), picture],
            blob=blob({"status": "completed"}),
        ),
        TextPart("Go on."),
    )
    image = {"type": "input_image", "image_url": "http://x/y.png"}
    assert items(message) == [
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "a"}, image],
            "status": "completed",
        },
        {"role": "user", "content": "Go on."},
    ]


def test_what_the_api_said_goes_back_as_it_came() -> None:
    """Reasoning, messages, calls and the doings of tools, ids and all."""
    search = {"type": "web_search_call", "id": "ws1", "status": "completed"}
    odd = {"type": "message", "id": "m2", "content": [{"type": "output_audio"}]}
    output = [THOUGHT, search, MESSAGE, odd, CALL]
    assert items(answer(*output).message) == output


def test_nulls_do_not_go_back() -> None:
    """The API sends them and refuses them."""
    output = [{**THOUGHT, "status": None}, {**CALL, "status": None}]
    kept = {k: v for k, v in CALL.items() if k != "status"}
    assert items(answer(*output).message) == [THOUGHT, kept]


def test_reasoning_needs_something_behind_it() -> None:
    """An answer that ended within it goes back without."""
    assert items(USER, answer(THOUGHT).message) == [{"role": "user", "content": "Hi"}]


def test_without_their_reasoning_items_lose_their_ids() -> None:
    """The server would miss the reasoning otherwise."""
    message = answer(THOUGHT, MESSAGE, CALL).message
    bare = attrs.evolve(message, content=message.content[1:])
    assert [x.get("id") for x in items(bare)] == [None, None]
    assert [x.get("id") for x in items(message)] == ["rs1", "m1", "fc1"]
    assert [x.get("id") for x in items(answer(MESSAGE, CALL).message)] == ["m1", "fc1"]


def test_a_server_that_keeps_nothing_gets_what_it_can_read() -> None:
    """Encrypted or open reasoning; ids alone mean nothing to it."""
    known: Any = {"type": "reasoning", "id": "rs1", "summary": []}
    text: Any = {**known, "content": [{"type": "reasoning_text", "text": "hm"}]}
    extra = {"store": False}
    for thought, sent in [(THOUGHT, True), (text, True), (known, False)]:
        written = items(answer(thought, CALL).message, extra=extra)
        assert [x["type"] for x in written] == ["reasoning"] * sent + ["function_call"]
        assert ("id" in written[-1]) is sent


def test_what_others_said_goes_back_in_plain_words() -> None:
    """Another server's blobs mean nothing here."""
    output = [THOUGHT, {"type": "web_search_call"}, MESSAGE, CALL]
    message = answer(*output, codec=ResponsesCodec(name="xai")).message
    refusal = {"type": "refusal", "refusal": "No."}
    text = {"type": "output_text", "text": "Let me see."}
    assert items(message) == [
        {"role": "assistant", "content": [text, refusal]},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "add",
            "arguments": '{"a": 1}',
        },
    ]
    mine = said(Role.ASSISTANT, ReasoningPart(text="hm"), TextPart("Hello"))
    assert items(mine) == [{"role": "assistant", "content": "Hello"}]
    assert items(said(Role.ASSISTANT, RefusalPart("No."))) == [
        {"role": "assistant", "content": [refusal]}
    ]


@pytest.mark.parametrize("arguments", ["", "{", "[1]", " "])
def test_broken_arguments_go_back_as_none(arguments: str) -> None:
    """Servers want valid JSON in a call."""
    call = ToolCall(id="c1", name="add", arguments=arguments)
    assert items(said(Role.ASSISTANT, call))[0]["arguments"] == "{}"


@pytest.mark.parametrize(
    ("strict", "schema", "expected"),
    [
        (None, OPEN, False),
        (None, CLOSED, None),
        (True, OPEN, True),
        (False, CLOSED, False),
    ],
)
def test_tools(strict: bool | None, schema: Any, expected: bool | None) -> None:
    """Left alone, the server would make what is optional required."""
    tool = ToolSpec(name="f", description="Does.", parameters=schema, strict=strict)
    (written,) = body(USER, tools=[tool])["tools"]
    assert written.pop("strict", None) is expected
    assert written == {
        "type": "function",
        "name": "f",
        "description": "Does.",
        "parameters": schema,
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice.AUTO, "auto"),
        (ToolChoice.REQUIRED, "required"),
        (ToolChoice.NONE, "none"),
        (ForcedTool("f"), {"type": "function", "name": "f"}),
    ],
)
def test_choice_of_tools(choice: Any, expected: Any) -> None:
    """In the API's words."""
    assert body(USER, tool_choice=choice)["tool_choice"] == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (ResponseSchema(), {"type": "json_object"}),
        (
            ResponseSchema(schema=CLOSED),
            {"type": "json_schema", "name": "answer", "schema": CLOSED, "strict": True},
        ),
        (
            ResponseSchema(name="x", schema=OPEN, description="Why.", strict=True),
            {
                "type": "json_schema",
                "name": "x",
                "schema": OPEN,
                "strict": True,
                "description": "Why.",
            },
        ),
    ],
)
def test_answers_of_a_schema(schema: ResponseSchema, expected: Any) -> None:
    """Strict where the schema leaves nothing open."""
    assert body(USER, response_schema=schema)["text"] == {"format": expected}


def test_settings_have_their_names_here() -> None:
    """Effort also asks for the reasoning that goes back; a seed has no place."""
    written = body(
        USER,
        temperature=0.5,
        top_p=0.9,
        max_tokens=10,
        seed=1,
        reasoning_effort="low",
        parallel_tool_calls=False,
    )
    del written["input"]
    assert written == {
        "model": "m",
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 10,
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "parallel_tool_calls": False,
    }
    assert "include" not in body(USER, reasoning_effort="none")


def test_stop_texts_are_refused() -> None:
    """An answer that goes on behind them would be a surprise."""
    with pytest.raises(ConfigurationError, match="stop="):
        body(USER, stop=["END"])


def test_extra_goes_over_all() -> None:
    """Objects field by field."""
    written = body(
        USER,
        response_schema=ResponseSchema(),
        extra={"text": {"verbosity": "low"}, "model": "other", "include": []},
    )
    assert written["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert (written["model"], written["include"]) == ("other", [])


def test_writing_leaves_a_conversation_as_it_was() -> None:
    """Doing it twice gives the same."""
    message = answer(THOUGHT, MESSAGE, CALL).message
    before = repr(message)
    assert items(USER, message) == items(USER, message)
    assert repr(message) == before
