"""Writing a request as Chat Completions."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from agentflow.llm._json import JSON, JSONObject, as_list, as_object
from agentflow.llm._messages import (
    Blob,
    ImagePart,
    LLMMessage,
    Part,
    ProviderPart,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
)
from agentflow.llm._request import (
    ForcedTool,
    Request,
    ResponseSchema,
    ToolChoice,
    ToolSpec,
    settings,
)
from agentflow.llm.providers._chat_dialect import ChatDialect
from agentflow.llm.providers._schema_rules import with_tuples

CONTENT_FIELD = "content"
"""Names the field of reasoning that came as parts of the content."""

DETAILS_FIELD = "reasoning_details"
"""Names the field of reasoning that came as a list of its own."""

_ID_LENGTH = 9
"""Characters of an id that every server takes: Mistral wants as many, and no others."""

_LOOSE = frozenset({
    "oneOf",
    "allOf",
    "prefixItems",
    "minLength",
    "maxLength",
    "uniqueItems",
})
"""Keywords that OpenAI's strict mode refuses."""


def encode_chat(request: Request, dialect: ChatDialect) -> JSONObject:
    """Write the body of a call.

    Args:
        request: What to ask.
        dialect: How the provider speaks.

    Returns:
        The body, asking for a stream.
    """
    body: JSONObject = {
        "model": request.model,
        "messages": list(_messages(request.messages, dialect)),
        "stream": True,
    }
    if dialect.include_usage:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [_tool(x, dialect) for x in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice, dialect)
    if request.response_schema is not None:
        body["response_format"] = _response_format(request.response_schema, dialect)
    renamed = {
        "max_tokens": dialect.max_tokens,
        "seed": dialect.seed,
        "reasoning_effort": dialect.effort,
    }
    for key, value in settings(request).items():
        body[renamed.get(key, key)] = value
    body.update(dialect.extra)
    body.update(request.extra)
    return body


def _messages(
    messages: Iterable[LLMMessage], dialect: ChatDialect
) -> Iterable[JSONObject]:
    """Write the conversation; one message of ours may take several of theirs."""
    for message in messages:
        results = [x for x in message.content if isinstance(x, ToolResult)]
        for result in results:
            yield {
                "role": "tool",
                "tool_call_id": _call_id(result.call_id, dialect),
                "content": _content(result.content, dialect),
            }
        rest = [x for x in message.content if not isinstance(x, ToolResult)]
        if message.role is Role.ASSISTANT:
            yield _assistant(rest, dialect)
        elif rest or not results:
            yield {"role": message.role.value, "content": _content(rest, dialect)}


def _assistant(parts: Sequence[Part], dialect: ChatDialect) -> JSONObject:
    """Write what the model said before."""
    message: JSONObject = {"role": "assistant"}
    spoken = [x for x in parts if not isinstance(x, ToolCall | RefusalPart)]
    calls: list[JSON] = [_call(x, dialect) for x in parts if isinstance(x, ToolCall)]
    content = _content(spoken, dialect)
    message["content"] = None if calls and not content else content
    if calls:
        message["tool_calls"] = calls
    refusal = "".join(x.text for x in parts if isinstance(x, RefusalPart))
    if refusal:
        message["refusal"] = refusal
    if dialect.sends_reasoning:
        for part in parts:
            if isinstance(part, ReasoningPart) and _ours(part.blob, dialect):
                _add_reasoning(message, part)
    return message


def _add_reasoning(message: JSONObject, part: ReasoningPart) -> None:
    """Put reasoning back into the field it came in; its blob names the field."""
    raw = part.blob.raw if part.blob else None
    for key, value in as_object(raw).items():
        if key == DETAILS_FIELD:
            message[key] = [*as_list(message.get(key)), *as_list(value)]
        elif key != CONTENT_FIELD:
            message[key] = str(message.get(key) or "") + part.text


def _ours(blob: Blob | None, dialect: ChatDialect) -> bool:
    """True for what this provider sent, or the user wrote for all dialects."""
    return blob is not None and blob.api in {dialect.api, "openai-chat"}


def _content(parts: Sequence[Part], dialect: ChatDialect) -> JSON:
    """Write content: as plain text where it is that, else as parts."""
    written = [x for x in (_part(p, dialect) for p in parts) if x is not None]
    if not written:
        return ""
    if len(written) == 1 and written[0].keys() == {"type", "text"}:
        return written[0]["text"]
    return [*written]


def _part(part: Part, dialect: ChatDialect) -> JSONObject | None:
    """Write one part of content; None for what this provider does not take."""
    if isinstance(part, TextPart):
        text: JSONObject = {"type": "text", "text": part.text}
        if part.blob is not None and _ours(part.blob, dialect):
            text.update(as_object(part.blob.raw))
        return text
    if isinstance(part, ImagePart):
        return _image(part)
    if isinstance(part, ReasoningPart):
        return _thinking(part, dialect)
    if isinstance(part, ProviderPart) and _ours(part.blob, dialect):
        return as_object(part.blob.raw) or None
    return None


def _thinking(part: ReasoningPart, dialect: ChatDialect) -> JSONObject | None:
    """Write reasoning that came as a part of the content."""
    if part.blob is None or not _ours(part.blob, dialect):
        return None
    if not dialect.sends_reasoning or CONTENT_FIELD not in as_object(part.blob.raw):
        return None
    return {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}


def _image(part: ImagePart) -> JSONObject:
    """Write an image, its bytes as a data URL."""
    url = part.url or f"data:{part.media_type};base64,{part.base64()}"
    image: JSONObject = {"url": url}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _call_id(call_id: str, dialect: ChatDialect) -> str:
    """Write the id of a call: as it is, or else one of its own that a server takes."""
    if re.fullmatch(dialect.call_ids, call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:_ID_LENGTH]


def _call(call: ToolCall, dialect: ChatDialect) -> JSONObject:
    """Write a tool call of the model's; servers want valid JSON for the arguments."""
    valid = call.arguments.strip() and call.parsed() is not None
    return {
        "id": _call_id(call.id, dialect),
        "type": "function",
        "function": {
            "name": call.name,
            "arguments": call.arguments if valid else "{}",
        },
    }


def _tool(tool: ToolSpec, dialect: ChatDialect) -> JSONObject:
    """Write a tool on offer."""
    parameters = with_tuples(tool.parameters, items=dialect.tuple_items)
    function: JSONObject = {
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters,
    }
    if tool.strict is not None:
        function["strict"] = tool.strict
    if tool.strict:
        function["parameters"] = with_lone_references(parameters)
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | ForcedTool, dialect: ChatDialect) -> JSON:
    """Write whether tools may, must or must not be called, or which must."""
    if isinstance(choice, ForcedTool):
        return {"type": "function", "function": {"name": choice.name}}
    return dialect.required if choice is ToolChoice.REQUIRED else choice.value


def _response_format(response: ResponseSchema, dialect: ChatDialect) -> JSONObject:
    """Write what the answer must be like."""
    if response.schema is None:
        return {"type": "json_object"}
    strict = response.strict
    if strict is None:
        strict = is_closed(response.schema)
    fitted = with_tuples(response.schema, items=dialect.tuple_items)
    schema: JSONObject = {
        "name": response.name,
        "schema": with_lone_references(fitted) if strict else fitted,
        "strict": strict,
    }
    if response.description:
        schema["description"] = response.description
    return {"type": "json_schema", "json_schema": schema}


def is_closed(schema: Mapping[str, JSON]) -> bool:
    """Return True if every object in the schema lists all it holds and needs all of it.

    OpenAI's strict mode takes such schemas only, and refuses the request otherwise.
    """
    if schema.get("type") == "object" or "properties" in schema:
        properties = as_object(schema.get("properties"))
        if schema.get("additionalProperties") is not False:
            return False
        if set(properties) != {str(x) for x in as_list(schema.get("required"))}:
            return False
    if not _LOOSE.isdisjoint(schema):
        return False
    return all(_closed_below(x) for x in schema.values())


def with_lone_references(schema: Mapping[str, JSON]) -> JSONObject:
    """Write a schema for strict mode, which takes no keyword beside a reference.

    Args:
        schema: The schema.

    Returns:
        The schema, with such references inside an ``anyOf``, beside which they may stand.
    """
    inner = {key: _lone_below(value) for key, value in schema.items()}
    target = inner.get("$ref")
    beside = inner.keys() - {"$ref", "$defs", "definitions"}
    if isinstance(target, str) and beside:
        del inner["$ref"]
        inner["anyOf"] = [{"$ref": target}]
    return inner


def _lone_below(value: JSON) -> JSON:
    """Write the schemas inside a keyword's value for strict mode."""
    if isinstance(value, dict):
        return with_lone_references(value)
    if isinstance(value, list):
        return [_lone_below(x) for x in value]
    return value


def _closed_below(value: JSON) -> bool:
    """Look for schemas inside a keyword's value."""
    if isinstance(value, dict):
        return is_closed(value)
    if isinstance(value, list):
        return all(_closed_below(x) for x in value)
    return True
