"""Requests of the Responses API as recorded: read into our types, and written again."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agentflow.llm import (
    Blob,
    ForcedTool,
    ImagePart,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
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
from agentflow.llm._messages import Part
from agentflow.llm.providers.openai_responses import ResponsesCodec
from tests.llm.corpus import Record, outcome, records
from tests.llm.recorded import Inexpressible, arguments_of, is_object, without

CODEC = ResponsesCodec()
NAMES = ("system", "developer")


def blob(raw: Any) -> Blob:
    """Mark what only this API knows."""
    return Blob(api=CODEC.api, raw=raw)


def read_part(part: dict[str, Any], about: dict[str, Any]) -> Part:
    """Read a part of a message."""
    rest = without(part, "type", "text")
    match part:
        case {"type": "input_text", "text": text}:
            return TextPart(text, blob=blob(rest) if rest else None)
        case {"type": "output_text", "text": text}:
            raw = {"item": about, "part": rest}
            return TextPart(text, blob=blob(raw) if about or rest else None)
        case {"type": "input_image", "image_url": url}:
            return ImagePart(url=url, detail=part.get("detail"))
        case _:
            return ProviderPart(kind=part["type"], blob=blob(part))


def read_output(output: Any) -> tuple[TextPart | ImagePart, ...]:
    """Read the result of a tool."""
    parts = (
        [TextPart(output)]
        if isinstance(output, str)
        else [read_part(x, {}) for x in output]
    )
    kept = tuple(x for x in parts if isinstance(x, TextPart | ImagePart))
    if len(kept) < len(parts):
        raise Inexpressible("results with files in them")
    return kept


def read_call(item: dict[str, Any]) -> ToolCall:
    """Read a function call."""
    return ToolCall(
        id=item["call_id"],
        name=item["name"],
        arguments=item["arguments"],
        blob=blob({"item": without(item, "call_id", "name", "arguments")}),
    )


def read_result(item: dict[str, Any]) -> ToolResult:
    """Read what a tool answered."""
    return ToolResult(
        call_id=item["call_id"],
        content=read_output(item["output"]),
        blob=blob(without(item, "type", "call_id", "output")),
    )


def read_message(item: dict[str, Any]) -> tuple[Role, list[Part]]:
    """Read a message."""
    role = Role.SYSTEM if item["role"] in NAMES else Role(item["role"])
    content: Any = item["content"]
    if isinstance(content, str):
        return role, [TextPart(content)]
    about = without(item, "content") if "id" in item else {}
    return role, [read_part(x, about) for x in content]


def read_item(item: dict[str, Any]) -> tuple[Role, list[Part]]:
    """Read an item of the input."""
    kind = item.get("type", "message")
    if kind == "message":
        return read_message(item)
    if kind == "function_call_output":
        return Role.TOOL, [read_result(item)]
    if kind == "function_call":
        return Role.ASSISTANT, [read_call(item)]
    part = ProviderPart(kind=kind, blob=blob(item))
    thought = ReasoningPart(blob=blob(without(item)))
    return Role.ASSISTANT, [thought if kind == "reasoning" else part]


def read_input(value: Any) -> Iterable[LLMMessage]:
    """Read the conversation; what the model said in one go makes one message."""
    items: list[dict[str, Any]]
    items = [{"role": "user", "content": value}] if isinstance(value, str) else value
    speaker, said, spoken = Role.USER, list[Part](), False
    for item in items:
        role, parts = read_item(item)
        speaks = item.get("type", "message") == "message" and "id" not in item
        goes_on = role is speaker is Role.ASSISTANT and not (speaks and spoken)
        if said and not goes_on:
            yield LLMMessage(role=speaker, content=said)
            said = []
        speaker, said, spoken = role, [*said, *parts], speaks
    yield LLMMessage(role=speaker, content=said)


def is_plain(tool: dict[str, Any]) -> bool:
    """Tell whether a tool is a function; others go through ``extra``."""
    known = {"type", "name", "description", "parameters", "strict"}
    return tool["type"] == "function" and tool.keys() <= known


def read_tool(tool: dict[str, Any]) -> ToolSpec:
    """Read a tool."""
    return ToolSpec(
        name=tool["name"],
        description=tool.get("description") or "",
        parameters=tool["parameters"],
        strict=tool.get("strict"),
    )


def read_choice(choice: Any) -> ToolChoice | ForcedTool | None:
    """Read the choice of tools; one among some goes through ``extra``."""
    if is_object(choice):
        named = choice.get("type") == "function"
        return ForcedTool(choice["name"]) if named else None
    return ToolChoice(choice) if choice else None


def read_format(form: dict[str, Any]) -> ResponseSchema | None:
    """Read what the answer must be like."""
    match form:
        case {"type": "json_schema", "schema": schema, "name": name}:
            return ResponseSchema(
                name=name,
                schema=schema,
                description=form.get("description") or "",
                strict=form.get("strict"),
            )
        case {"type": "json_object"}:
            return ResponseSchema()
        case _:
            return None


SAME = {"temperature", "top_p", "parallel_tool_calls"}
READ = {"model", "input", "instructions", "tools", "max_output_tokens", *SAME}


def read_request(body: dict[str, Any]) -> Request:
    """Read a request."""
    if "input" not in body:
        raise Inexpressible("no input: the prompt is stored at the server")
    extra = without(body, "stream", *READ)
    messages = [*read_input(body["input"])]
    if body.get("instructions"):
        first = LLMMessage(role=Role.SYSTEM, content=body["instructions"])
        messages = [first, *messages]
    tools: list[dict[str, Any]] = body.get("tools") or []
    if not all(map(is_plain, tools)):
        extra["tools"] = tools
    choice = read_choice(extra.get("tool_choice"))
    form = read_format(extra.get("text", {}).get("format", {}))
    effort = extra.get("reasoning", {}).get("effort")
    if choice:
        del extra["tool_choice"]
    if form:
        extra["text"] = without(extra["text"], "format")
    if effort:
        extra["reasoning"] = without(extra["reasoning"], "effort")
    settings: dict[str, Any] = {key: body.get(key) for key in SAME}
    return Request(
        model=body.get("model", ""),
        messages=messages,
        tools=() if "tools" in extra else [read_tool(x) for x in tools],
        tool_choice=choice,
        response_schema=form,
        reasoning_effort=effort,
        extra=extra,
        max_tokens=body.get("max_output_tokens"),
        **settings,
    )


def meaning_of_item(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item without what changes nothing."""
    kept = without(item)
    if kept.get("type") == "function_call":
        kept["arguments"] = arguments_of(kept["arguments"])
    if kept.get("type", "message") != "message":
        return kept
    kept = {**kept, "type": "message"}
    kept["role"] = kept["role"].replace("developer", "system")
    kind = "output_text" if kept["role"] == "assistant" else "input_text"
    if isinstance(kept["content"], str):
        kept["content"] = [{"type": kind, "text": kept["content"]}]
    kept["content"] = [without(x) for x in kept["content"]]
    return kept


def meaning(body: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """Return a request without what changes nothing, or what ``like`` leaves open."""
    kept = {k: v for k, v in without(body, "stream").items() if k in like and v != []}
    items: Any = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if kept.pop("instructions", None) or body.get("instructions"):
        items = [{"role": "system", "content": body["instructions"]}, *items]
    kept["input"] = [meaning_of_item(x) for x in items]
    strict = {x.get("name"): x.get("strict") for x in like.get("tools") or ()}
    kept["tools"] = [
        {
            "description": "",
            **without(x),
            "strict": x.get("strict") or strict[x.get("name")],
        }
        for x in body.get("tools") or ()
    ]
    return kept


def test_recorded_requests_are_written_with_the_same_meaning(
    record_property: Callable[[str, object], None],
) -> None:
    """Model, input, tools, choices, limits, and all else that was sent."""
    seen = Counter[str]()
    for record in records("openai.responses"):
        body = record.request
        if not is_object(body):
            continue
        try:
            request = read_request(body)
        except Inexpressible as reason:
            seen[str(reason)] += 1
            continue
        written = dict(CODEC.encode(request).json)
        assert written["stream"] is True
        assert meaning(written, body) == meaning(body, body), record.id
        seen["the same"] += 1
    record_property("requests", dict(seen))
    assert seen["the same"] > 0.8 * sum(seen.values())


def identity(item: dict[str, Any]) -> tuple[Any, ...]:
    """Tell reasoning and calls apart; other items have none."""
    if item.get("type") not in {"reasoning", "function_call"}:
        return ()
    return item["type"], item.get("call_id"), item.get("encrypted_content")


def sessions() -> Iterable[list[Record]]:
    """List the records of each session in their order."""
    by_name = defaultdict[str, list[Record]](list)
    for record in records("openai.responses"):
        by_name[record.fields["session"]].append(record)
    for session in by_name.values():
        yield sorted(session, key=lambda x: int(x.fields["seq"]))


def sent_back(session: list[Record]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pair the items a client sent back with those that we would."""
    ours: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in session:
        theirs: Any = (
            record.request.get("input", ()) if is_object(record.request) else ()
        )
        for item in filter(is_object, theirs):
            if identity(item) and identity(item) in ours:
                yield meaning_of_item(item), ours[identity(item)]
        reply = outcome(CODEC, record)
        if isinstance(reply, Reply):
            again = Request(model="m", messages=[reply.message])
            sent: Any = CODEC.encode(again).json["input"]
            ours.update((identity(x), meaning_of_item(x)) for x in sent)


def test_what_clients_sent_back_we_send_back_alike(
    record_property: Callable[[str, object], None],
) -> None:
    """Reasoning and calls of an answer return in the next turn as they came."""
    alike = Counter[str]()
    for session in sessions():
        for theirs, ours in sent_back(session):
            for key in theirs.keys() & ours.keys():
                assert theirs[key] == ours[key], f"{session[0].id}: {key}"
            alike[theirs["type"]] += 1
    record_property("sent back", dict(alike))
    assert alike["function_call"] > 0
    assert alike["reasoning"] > 0
