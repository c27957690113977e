"""Ollama's chat API as recorded: answers and requests."""

import base64
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from agentflow.llm import (
    Blob,
    ImagePart,
    IncompleteStream,
    LLMError,
    LLMMessage,
    ReasoningPart,
    Reply,
    Request,
    ResponseSchema,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from agentflow.llm._json import dumps
from agentflow.llm._messages import Part
from agentflow.llm.providers.ollama import OllamaCodec
from tests.llm.corpus import outcome, outcome_of_cuts, records, same
from tests.llm.recorded import is_object, mangled_body, without

CODEC = OllamaCodec()
SEEDS = 5


def differences(reply: Reply, sdk: dict[str, Any]) -> set[str]:
    """Name what differs from what the official SDK made of the same bytes."""
    usage = sdk["usage"]
    pairs = {
        "text": (sdk["text"], reply.text),
        "reasoning": (sdk["reasoning"] or "", reply.reasoning),
        "calls": (
            [(x["name"], x["arguments"]) for x in sdk["tool_calls"]],
            [(x.name, x.parsed()) for x in reply.tool_calls],
        ),
        "stop": (sdk["stop"], reply.raw_stop),
        "input": (usage["in"] or 0, reply.usage.input_tokens),
        "output": (usage["out"] or 0, reply.usage.output_tokens),
    }
    return {name for name, (theirs, ours) in pairs.items() if theirs != ours}


def test_every_answer_decodes_the_same_however_it_is_cut(
    record_property: Callable[[str, object], None],
) -> None:
    """Each record gives a reply or a typed error, whole and in random pieces."""
    seen = Counter[str]()
    for record in records("ollama.chat"):
        whole = outcome(CODEC, record)
        for seed in range(SEEDS):
            fields = {**record.fields, "id": f"{record.id} {seed}"}
            again = outcome_of_cuts(CODEC, attrs.evolve(record, fields=fields))
            assert same(whole, again), f"{record.id}: {whole!r} != {again!r}"
        seen[type(whole).__name__] += 1
    record_property("outcomes", dict(seen))
    assert seen["Reply"] > 0


def test_replies_equal_what_the_official_sdk_makes_of_them(
    record_property: Callable[[str, object], None],
) -> None:
    """Text, reasoning, tool calls, stop and usage, without an exception."""
    equal = 0
    for record in records("ollama.chat"):
        reply = outcome(CODEC, record)
        if record.sdk is None:
            continue
        assert isinstance(reply, LLMError) == ("error" in record.sdk), record.id
        if isinstance(reply, Reply):
            assert not differences(reply, record.sdk), record.id
            equal += 1
    record_property("equal", equal)
    assert equal > 0


def test_errors_say_what_the_server_said() -> None:
    """Its status, and its words."""
    errors = 0
    for record in records("ollama.chat"):
        error = outcome(CODEC, record)
        if isinstance(error, LLMError):
            assert error.status == record.status
            assert error.info.message
            assert error.info.message.encode() in record.body.replace(b"\\", b"")
            errors += 1
    assert errors


def test_a_record_that_is_cut_off_is_an_error() -> None:
    """A stream without its last line is IncompleteStream, with what came."""
    streams = 0
    for record in records("ollama.chat"):
        whole = outcome(CODEC, record)
        if isinstance(whole, LLMError) or record.fields["response"]["kind"] == "json":
            continue
        decoder = CODEC.decoder()
        decoder.feed(record.body[: record.body.rindex(b'"done"')])
        with pytest.raises(IncompleteStream) as caught:
            decoder.finish()
        partial = caught.value.partial
        assert whole.text.startswith(partial.text if partial else ""), record.id
        streams += 1
    assert streams > 0


def test_spoilt_answers_are_replies_or_typed_errors() -> None:
    """Keys gone, nonsense in their place: a reply that can go back, or an error."""
    ends = Counter[str]()
    for record in records("ollama.chat"):
        chance = random.Random(record.id)
        decoder = CODEC.decoder()
        try:
            decoder.feed(mangled_body(record.body, chance))
            reply = decoder.finish()
        except LLMError as error:
            ends[type(error).__name__] += 1
        else:
            CODEC.encode(Request(model="m", messages=[reply.message]))
            ends["Reply"] += 1
    assert ends["Reply"] > 0


def read_result(message: dict[str, Any]) -> ToolResult:
    """Read what a tool answered."""
    return ToolResult(
        call_id=message.get("tool_call_id", ""),
        name=message.get("tool_name", ""),
        content=message["content"],
    )


def read_call(call: dict[str, Any]) -> ToolCall:
    """Read a tool call."""
    function = call["function"]
    arguments = dumps(function["arguments"])
    return ToolCall(id=call.get("id", ""), name=function["name"], arguments=arguments)


def read_message(message: dict[str, Any]) -> LLMMessage:
    """Read a message."""
    if message["role"] == "tool":
        return LLMMessage(role=Role.TOOL, content=read_result(message))
    parts: list[Part] = []
    if message.get("thinking"):
        blob = Blob(api=CODEC.api, raw=None)
        parts.append(ReasoningPart(text=message["thinking"], blob=blob))
    if message.get("content"):
        parts.append(TextPart(message["content"]))
    images = [base64.b64decode(x + "===") for x in message.get("images") or ()]
    calls = [read_call(x) for x in message.get("tool_calls") or ()]
    shown = [ImagePart(data=x) for x in images]
    return LLMMessage(role=message["role"], content=[*parts, *shown, *calls])


def read_tool(tool: dict[str, Any]) -> ToolSpec:
    """Read a tool."""
    function = tool["function"]
    return ToolSpec(
        name=function["name"],
        description=function.get("description") or "",
        parameters=function.get("parameters") or {},
    )


OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "num_predict": "max_tokens",
}
READ = {"model", "messages", "tools", "format", "think", "options"}


def read_request(body: dict[str, Any]) -> Request:
    """Read a request."""
    extra = without(body, "stream", *READ)
    options = without(body.get("options") or {})
    settings: dict[str, Any] = {OPTIONS[k]: options.pop(k, None) for k in OPTIONS}
    stop = options.pop("stop", ())
    if options:
        extra["options"] = options
    form, think = body.get("format"), body.get("think")
    schema = form if is_object(form) else None
    return Request(
        model=body["model"],
        messages=[read_message(x) for x in body["messages"]],
        tools=[read_tool(x) for x in body.get("tools") or ()],
        response_schema=ResponseSchema(schema=schema) if form else None,
        reasoning_effort=None if think is None else str(think).lower(),
        stop=stop,
        extra=extra,
        **settings,
    )


def meaning_of_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what changes nothing."""
    kept = {k: v for k, v in message.items() if v and k != "tool_call_id"}
    kept["images"] = [x.rstrip("=") for x in message.get("images") or ()]
    kept["tool_calls"] = [
        (x["function"]["name"], x["function"]["arguments"])
        for x in message.get("tool_calls") or ()
    ]
    return kept


def meaning_of_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool without what changes nothing."""
    return {"description": "", "parameters": {}, **without(tool["function"])}


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request without what changes nothing."""
    kept = {k: v for k, v in without(body, "stream").items() if v not in ("", [], {})}
    kept["messages"] = [meaning_of_message(x) for x in body["messages"]]
    kept["tools"] = [meaning_of_tool(x) for x in body.get("tools") or ()]
    return kept


def test_recorded_requests_are_written_with_the_same_meaning(
    record_property: Callable[[str, object], None],
) -> None:
    """Model, messages, tools, format, thinking, options, and all else that was sent."""
    alike = 0
    for record in records("ollama.chat"):
        body = record.request
        if is_object(body):
            written = dict(CODEC.encode(read_request(body)).json)
            assert written["stream"] is True
            assert meaning(written) == meaning(body), record.id
            alike += 1
    record_property("alike", alike)
    assert alike > 0
