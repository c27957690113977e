"""Chat Completions requests as recorded: read into our types, and written again."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from agentflow.llm import (
    Blob,
    ForcedTool,
    ImagePart,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
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
from agentflow.llm.providers import ChatCodec, ChatDialect
from tests.llm.corpus import records
from tests.llm.recorded import Inexpressible, arguments_of, is_object, without

API = "openai-chat"
"""Marks what a user writes for all dialects."""

IMAGE = ("type", "image_url")
REASONING = ("reasoning_content", "reasoning")

OURS = {
    "messages",
    "model",
    "tools",
    "tool_choice",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "reasoning_effort",
    "parallel_tool_calls",
    "stream",
    "stream_options",
}
"""Fields that have a place in our types; the others go through ``extra``."""


def blob(raw: Any) -> Blob | None:
    """Keep what a part holds besides what our types know."""
    return Blob(api=API, raw=raw) if raw else None


def read_part(part: dict[str, Any]) -> Part:
    """Read a part of content."""
    match part:
        case {"type": "text", "text": text}:
            return TextPart(text, blob=blob(without(part, "type", "text")))
        case {"type": "image_url", "image_url": {"url": _}} if len(part) == len(IMAGE):
            image = part["image_url"]
            return ImagePart(url=image["url"], detail=image.get("detail"))
        case {"type": "thinking", "thinking": [{"text": text}]}:
            return ReasoningPart(text=text, blob=blob({"content": None}))
        case {"type": kind}:
            return ProviderPart(kind=kind, blob=Blob(api=API, raw=dict(part)))
        case _:
            raise Inexpressible(f"a part like {part}")


def read_content(content: Any) -> list[Part]:
    """Read content, which is a text, a list of parts, or nothing."""
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    return [read_part(x) for x in content or ()]


def read_call(call: dict[str, Any]) -> ToolCall:
    """Read a tool call."""
    function = call["function"]
    return ToolCall(
        id=call["id"], name=function["name"], arguments=function["arguments"]
    )


def read_reasoning(message: dict[str, Any]) -> Iterator[Part]:
    """Read reasoning that goes back, under each of its names."""
    named = {key: message[key] for key in REASONING if message.get(key)}
    if len(set(named.values())) > 1:
        raise Inexpressible("two different reasonings")
    if named:
        text = next(iter(named.values()))
        yield ReasoningPart(text=text, blob=blob(dict.fromkeys(named)))
    if message.get("reasoning_details"):
        yield ReasoningPart(
            blob=blob({"reasoning_details": message["reasoning_details"]})
        )


def read_message(message: dict[str, Any]) -> LLMMessage:
    """Read a message."""
    role = "system" if message["role"] == "developer" else message["role"]
    content: list[Part] = read_content(message.get("content"))
    if role == "tool":
        parts = [x for x in content if isinstance(x, TextPart | ImagePart)]
        result = ToolResult(call_id=message["tool_call_id"], content=parts)
        return LLMMessage(role=Role.TOOL, content=result)
    known = {"role", "content", "tool_calls", "reasoning_details", *REASONING}
    if any(v for k, v in message.items() if k not in known):
        raise Inexpressible(f"messages with {sorted(message.keys() - known)}")
    calls = [read_call(x) for x in message.get("tool_calls") or ()]
    return LLMMessage(role=role, content=[*read_reasoning(message), *content, *calls])


def read_tool(tool: dict[str, Any]) -> ToolSpec:
    """Read a tool."""
    function = tool.get("function", {})
    known = {"name", "description", "parameters", "strict"}
    if tool.keys() - {"type", "function"} or not {"name"} <= function.keys() <= known:
        raise Inexpressible("tools that are not functions")
    return ToolSpec(
        name=function["name"],
        description=function.get("description") or "",
        parameters=function.get("parameters") or {},
        strict=function.get("strict"),
    )


def read_choice(choice: Any) -> ToolChoice | ForcedTool:
    """Read the choice of tools."""
    if is_object(choice):
        return ForcedTool(choice["function"]["name"])
    return ToolChoice("required" if choice == "any" else choice)


def read_format(form: dict[str, Any] | None) -> ResponseSchema | None:
    """Read what the answer must be like."""
    if form is None or form["type"] == "text":
        return None
    if form["type"] == "json_object":
        return ResponseSchema()
    schema = form.get("json_schema", {})
    if "schema" not in schema:
        raise Inexpressible("a schema that stands in the wrong place")
    return ResponseSchema(
        name=schema.get("name", "answer"),
        schema=schema["schema"],
        description=schema.get("description", ""),
        strict=schema.get("strict"),
    )


def read_request(body: dict[str, Any]) -> Request:
    """Read a request."""
    if "messages" not in body or "functions" in body:
        raise Inexpressible("what is older than tools")
    same = ("temperature", "top_p", "seed", "reasoning_effort", "parallel_tool_calls")
    choice = body.get("tool_choice")
    return Request(
        model=body.get("model", ""),
        messages=[read_message(x) for x in body["messages"]],
        tools=[read_tool(x) for x in body.get("tools") or ()],
        response_schema=read_format(body.get("response_format")),
        tool_choice=read_choice(choice) if choice else None,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=body.get("stop") or (),
        extra={k: v for k, v in body.items() if k not in OURS},
        **{key: body.get(key) for key in same},
    )


def dialect_of(body: dict[str, Any]) -> ChatDialect:
    """Choose the dialect that the request was written in."""
    older = "max_tokens" in body
    return ChatDialect(
        name="recorded",
        call_ids=".*",
        max_tokens="max_tokens" if older else "max_completion_tokens",
        required="any" if body.get("tool_choice") == "any" else "required",
    )


def meaning_of_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what changes nothing."""
    kept = without(message, "name", "tool_calls", "content")
    kept = {k: v for k, v in kept.items() if v not in (False, [], "")}
    kept["role"] = message["role"].replace("developer", "system")
    content: Any = message.get("content") or []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    kept["content"] = [x for x in content if x.get("text") != ""]
    calls: Any = message.get("tool_calls") or []
    kept["calls"] = [
        (x["id"], x["function"]["name"], arguments_of(x["function"]["arguments"]))
        for x in calls
    ]
    return kept


def meaning(body: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """Return a request without what changes nothing, or what ``like`` leaves open."""
    kept = without(body, "stream", "stream_options")
    kept = {k: v for k, v in kept.items() if k in like and v not in ([], "")}
    kept["messages"] = [meaning_of_message(x) for x in body["messages"]]
    tools = [without(x["function"]) for x in body.get("tools") or ()]
    kept["tools"] = [{"description": "", "parameters": {}, **x} for x in tools]
    form = kept.pop("response_format", None)
    if form and form["type"] == "json_schema":
        kept["schema"] = {
            k: v
            for k, v in form["json_schema"].items()
            if k in like["response_format"]["json_schema"]
        }
    elif form and form["type"] == "json_object":
        kept["schema"] = "any"
    return kept


def test_recorded_requests_are_written_with_the_same_meaning(
    record_property: Callable[[str, object], None],
) -> None:
    """Model, messages, tools, choices, limits, and all else that was sent."""
    seen = Counter[str]()
    for record in records("openai.chat"):
        body = record.request
        if not is_object(body):
            seen["request not recorded"] += 1
            continue
        try:
            request = read_request(body)
        except Inexpressible as reason:
            seen[str(reason)] += 1
            continue
        written = ChatCodec(dialect_of(body)).encode(request).json
        assert written["stream"] is True
        assert meaning(dict(written), body) == meaning(body, body), record.id
        seen["the same"] += 1
    record_property("requests", dict(seen))
    assert seen["the same"] > 0.8 * sum(seen.values())
