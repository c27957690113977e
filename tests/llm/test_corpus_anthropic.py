"""Anthropic Messages as recorded."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from agentflow.llm import (
    Blob,
    ForcedTool,
    ImagePart,
    IncompleteStream,
    LLMError,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
    Reply,
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
from tests.llm.corpus import Record, outcome, outcome_of_cuts, records, same

CODEC = AnthropicCodec()
FILE = "anthropic.messages"
Property = Callable[[str, object], None]


def _several_messages(record: Record, _: Reply) -> bool:
    return record.body.count(b"event: message_start") > 1


def _never(_: Record, __: Reply) -> bool:
    return False


SEVERAL = (
    "the recorder put several answers into one body: ours ends at the first message_stop, "
    "the SDK mixes them up by index"
)
EXCEPTIONS: dict[str, tuple[str, Callable[[Record, Reply], bool]]] = dict.fromkeys(
    ("text", "tool calls", "stop", "input", "output"), (SEVERAL, _several_messages)
)
"""What may differ from the SDK, why, and how to tell that this is the reason."""


def renamed(record: Record, seed: int) -> Record:
    """Give a record another id, and so other cuts."""
    return Record({**record.fields, "id": f"{record.fields['id']}-{seed}"}, record.sdk)


def differences(reply: Reply, sdk: dict[str, Any]) -> set[str]:
    """Name what differs from what the SDK made of the same bytes."""
    usage = {k: v or 0 for k, v in sdk["usage"].items()}
    pairs = {
        "text": (sdk["text"] or "", reply.text),
        "reasoning": (sdk["reasoning"] or "", reply.reasoning),
        "tool calls": (
            [(t["id"], t["name"], t["arguments"]) for t in sdk["tool_calls"]],
            [(t.id, t.name, t.parsed()) for t in reply.tool_calls],
        ),
        "stop": (sdk["stop"], reply.raw_stop),
        "stop sequence": (sdk["stop_sequence"], reply.metadata.get("stop_sequence")),
        "input": (
            usage["in"] + usage["cached"] + usage["cache_write"],
            reply.usage.input_tokens,
        ),
        "output": (usage["out"], reply.usage.output_tokens),
        "cached": (usage["cached"], reply.usage.cached_tokens),
        "cache write": (usage["cache_write"], reply.usage.cache_write_tokens),
    }
    return {name for name, (theirs, ours) in pairs.items() if theirs != ours}


def test_every_answer_decodes_the_same_however_it_is_cut(
    record_property: Property,
) -> None:
    """Each record gives a reply or a typed error, whole and in random pieces."""
    seen = Counter[str]()
    for record in records(FILE):
        whole = outcome(CODEC, record)
        for seed in range(3):
            again = outcome_of_cuts(CODEC, renamed(record, seed))
            assert same(whole, again), f"{record.id}: {whole!r} != {again!r}"
        seen[type(whole).__name__] += 1
    record_property("counts", dict(seen))
    assert seen["Reply"] > 0


def test_replies_equal_what_the_official_sdk_makes_of_them(
    record_property: Property,
) -> None:
    """Text, thoughts, tool calls, stop and usage; each exception has a reason."""
    compared = Counter[str]()
    for record in records(FILE):
        reply = outcome(CODEC, record)
        if not isinstance(reply, Reply) or record.sdk is None:
            continue
        different = differences(reply, record.sdk)
        for name in different:
            reason, applies = EXCEPTIONS.get(name, ("none", _never))
            assert applies(record, reply), f"{record.id}: {name} differs ({reason})"
        compared["excepted" if different else "equal"] += 1
    record_property("counts", dict(compared))
    assert 10 * compared["excepted"] < compared["equal"]


def test_errors_are_errors_to_the_official_sdk_too(
    record_property: Property,
) -> None:
    """Where the status says so, both raise; ours keeps status, code and words."""
    errors = 0
    for record in records(FILE):
        error = outcome(CODEC, record)
        if isinstance(error, LLMError):
            errors += 1
            assert record.sdk is None or "error" in record.sdk, f"{record.id}: {error}"
            assert error.status == record.status, record.id
            assert error.code, record.id
            assert error.info.message, record.id
    record_property("errors", errors)
    assert errors > 0


def test_all_blocks_of_an_answer_go_back_as_they_came(
    record_property: Property,
) -> None:
    """The reply, sent back, holds the blocks the body held, in order and unchanged."""
    blocks = 0
    for record in records(FILE):
        reply = outcome(CODEC, record)
        if not isinstance(reply, Reply) or not record.body.lstrip().startswith(b"{"):
            continue
        request = Request(model="m", messages=(reply.message,))
        sent = [*messages_of(dict(CODEC.encode(request).json))]
        ours: Any = sent[0]["content"] if sent else []
        content: list[dict[str, Any]] = json.loads(record.body)["content"]
        theirs = [without_nulls(b) for b in content]
        theirs = [b for b in theirs if b.get("text") != ""]
        explanation = [{"type": "text", "text": reply.refusal}] if reply.refusal else []
        assert ours == theirs + explanation, record.id
        blocks += len(theirs)
    record_property("blocks", blocks)
    assert blocks > 0


def test_a_stream_that_is_cut_off_is_an_error(
    record_property: Property,
) -> None:
    """Without its end, a stream gives IncompleteStream with what had come."""
    cut = 0
    for record in records(FILE):
        whole = outcome(CODEC, record)
        end = record.body.find(b"event: message_stop")
        if (
            isinstance(whole, Reply)
            and end > 0
            and not _several_messages(record, whole)
        ):
            decoder = CODEC.decoder()
            decoder.feed(record.body[: end // 2])
            try:
                decoder.finish()
            except IncompleteStream as error:
                cut += 1
                text = error.partial.text if error.partial else ""
                assert whole.text.startswith(text), record.id
    record_property("cut", cut)
    assert cut > 0


def test_recorded_requests_are_written_with_the_same_meaning(
    record_property: Property,
) -> None:
    """What our types can say of a request is encoded to the JSON that was sent."""
    seen = Counter[str]()
    for record in records(FILE):
        sent = record.request
        if sent is None:
            seen["no request recorded"] += 1
            continue
        if record.status == 400 and "schema" in record.body.decode().lower():
            seen["refused for its schema"] += 1
            continue
        request = request_of(sent)
        try:
            ours = dict(CODEC.encode(request).json)
        except SchemaError:
            seen["refused by us for its schema"] += 1
            continue
        assert meaning(ours) == meaning(sent), record.id
        kind = "with tools of the API's own" if "tools" in request.extra else "whole"
        seen[f"equal, {kind}"] += 1
    record_property("counts", dict(seen))
    assert seen["equal, whole"] > 0


UNSAID = [("type", "custom"), ("description", "")]
"""Fields of a tool that say nothing."""


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out fields that say nothing."""
    return {k: v for k, v in fields.items() if v is not None}


def blob(fields: dict[str, Any], *known: str) -> Blob | None:
    """Keep the fields that our types have no place for."""
    rest = {k: v for k, v in fields.items() if k not in known}
    return Blob(api=CODEC.api, raw=rest) if rest else None


def parts_of(content: Any) -> list[Any]:
    """Read content."""
    return [part_of(block) for block in content_of(content)]


def image_of(block: dict[str, Any]) -> Any:
    """Read an image."""
    source = block["source"]
    if source["type"] not in {"base64", "url"}:
        return ProviderPart(kind="image", blob=Blob(api=CODEC.api, raw=block))
    url = source.get("url") or f"data:{source['media_type']};base64,{source['data']}"
    return ImagePart(url=url, blob=blob(block, "type", "source"))


def call_of(block: dict[str, Any]) -> ToolCall:
    """Read a call."""
    return ToolCall(
        id=block["id"],
        name=block["name"],
        arguments=json.dumps(block["input"]),
        blob=blob(block, "type", "id", "name", "input"),
    )


def result_of(block: dict[str, Any]) -> Any:
    """Read a result; one that holds more than text and images is the API's own."""
    content = parts_of(block.get("content"))
    if not all(isinstance(p, TextPart | ImagePart) for p in content):
        return ProviderPart(kind="tool_result", blob=Blob(api=CODEC.api, raw=block))
    return ToolResult(
        call_id=block["tool_use_id"],
        content=content,
        is_error=block.get("is_error", False),
        blob=blob(block, "type", "tool_use_id", "content", "is_error"),
    )


READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "text": lambda b: TextPart(b["text"], blob=blob(b, "type", "text")),
    "image": image_of,
    "tool_use": call_of,
    "tool_result": result_of,
    "thinking": lambda b: ReasoningPart(
        text=b["thinking"], blob=Blob(api=CODEC.api, raw=b)
    ),
    "redacted_thinking": lambda b: ReasoningPart(blob=Blob(api=CODEC.api, raw=b)),
}


def part_of(block: dict[str, Any]) -> Any:
    """Read one block."""
    reader = READERS.get(block["type"])
    if reader is not None:
        return reader(block)
    return ProviderPart(kind=block["type"], blob=Blob(api=CODEC.api, raw=block))


def tools_of(tools: list[dict[str, Any]]) -> list[ToolSpec] | None:
    """Read tools; None if one of them is more than a function."""
    known = {"name", "description", "input_schema", "strict", "type"}
    if not all(t.keys() <= known and t.get("type") in {None, "custom"} for t in tools):
        return None
    return [
        ToolSpec(
            name=t["name"],
            description=t.get("description", ""),
            parameters=t["input_schema"],
            strict=t.get("strict"),
        )
        for t in tools
    ]


def choice_of(choice: dict[str, Any]) -> dict[str, Any]:
    """Read what tools may be called."""
    read: dict[str, Any] = {}
    if "disable_parallel_tool_use" in choice:
        read["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    kinds = {
        "auto": ToolChoice.AUTO,
        "any": ToolChoice.REQUIRED,
        "none": ToolChoice.NONE,
    }
    read["tool_choice"] = kinds.get(choice["type"]) or ForcedTool(choice["name"])
    return read


def thinking_of(thinking: dict[str, Any], extra: dict[str, Any]) -> str | None:
    """Read how hard to think."""
    if thinking == {"type": "disabled"}:
        return "none"
    if thinking.keys() == {"type", "budget_tokens"}:
        return str(thinking["budget_tokens"])
    extra["thinking"] = thinking
    return None


def request_of(sent: dict[str, Any]) -> Request:
    """Read a recorded request as ours."""
    fields = {k: v for k, v in sent.items() if k not in {"messages", "stream"}}
    options: dict[str, Any] = {"model": fields.pop("model")}
    messages = [
        LLMMessage(role=m["role"], content=parts_of(m["content"]))
        for m in sent["messages"]
        if m["role"] != "system"
    ]
    if "system" in fields:
        system = parts_of(fields.pop("system"))
        messages.insert(0, LLMMessage(role=Role.SYSTEM, content=system))
    for name in ("max_tokens", "temperature", "top_p"):
        options[name] = fields.pop(name, None)
    options["stop"] = fields.pop("stop_sequences", ())
    tools = tools_of(fields.get("tools", []))
    if tools is not None:
        options["tools"] = tools
        fields.pop("tools", None)
    if "tool_choice" in fields:
        options.update(choice_of(fields.pop("tool_choice")))
    if "thinking" in fields:
        options["reasoning_effort"] = thinking_of(fields.pop("thinking"), fields)
    config = dict(fields.pop("output_config", {}))
    form = config.pop("format", None) or fields.pop("output_format", None)
    if form:
        options["response_schema"] = ResponseSchema(schema=form["schema"])
    if config:
        fields["output_config"] = config
    return Request(messages=messages, extra=fields, **options)


def content_of(content: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Write content as blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content or []


def blocks_of(content: Any) -> list[dict[str, Any]]:
    """Write content as blocks, each in one form only."""
    written: list[dict[str, Any]] = []
    for original in content_of(content):
        block = dict(original)
        if block["type"] == "tool_result":
            block["content"] = blocks_of(block.get("content"))
            if not block.get("is_error"):
                block.pop("is_error", None)
        written.append(block)
    return written


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the messages with their content as blocks."""
    written: list[dict[str, Any]] = []
    for message in body["messages"]:
        content = blocks_of(message["content"])
        if written and written[-1]["role"] == message["role"]:
            # The API joins messages of one side.
            written[-1]["content"] += content
        elif message["role"] != "system":
            written.append({"role": message["role"], "content": content})
    return written


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    """Write a request in one form only, of the several that mean the same."""
    meant: dict[str, Any] = {**body, "stream": True, "messages": messages_of(body)}
    if "system" in body:
        meant["system"] = blocks_of(body["system"])
    config: dict[str, Any] = {**meant.pop("output_config", {})}
    form: Any = meant.pop("output_format", None) or config.get("format")
    if form:
        schema: dict[str, Any] = {**form["schema"]}
        schema.pop("$schema", None)
        config["format"] = {**form, "schema": schema}
    if config:
        meant["output_config"] = config
    tools: list[dict[str, Any]] = meant.get("tools", [])
    if tools:
        meant["tools"] = [
            {k: v for k, v in t.items() if (k, v) not in UNSAID} for t in tools
        ]
    return meant
