"""Writing a request as Anthropic Messages.

System text stands outside of the conversation, arguments are objects, and the results of a
round of tool calls open the user's next message. A text, image, call or result may carry
fields of this API in its blob, such as ``cache_control``; they go along as they are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from agentflow.llm._json import JSON, JSONObject, as_label, as_object
from agentflow.llm._messages import (
    ImagePart,
    LLMMessage,
    Part,
    ProviderPart,
    ReasoningPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
)
from agentflow.llm._request import ForcedTool, Request, ToolChoice, ToolSpec
from agentflow.llm.providers._schema_rules import (
    SchemaRules,
    as_root,
    fit_schema,
    with_tuples,
)
from agentflow.llm.providers._speeches import (
    arguments_of,
    image_bytes,
    merge,
    raw_of,
    speeches,
    system_parts,
)

FAMILY = "anthropic-messages"
"""Marks blobs that a user wrote for any server of this API."""

_RULES = SchemaRules(
    keywords=frozenset({
        "$defs",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "default",
        "definitions",
        "description",
        "enum",
        "format",
        "items",
        "minItems",
        "properties",
        "required",
        "title",
        "type",
    }),
    formats=frozenset({
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }),
    few_items=True,
    closed=True,
    recursive=False,
    advice="ask for it with output_mode=OutputMode.TOOL, or change the type",
)

_CHOICES: Mapping[ToolChoice, str] = {
    ToolChoice.AUTO: "auto",
    ToolChoice.REQUIRED: "any",
    ToolChoice.NONE: "none",
}

_ANY_OBJECT = "Answer with a JSON object and nothing else."


def encode_messages(request: Request, *, api: str, max_tokens: int) -> JSONObject:
    """Write the body of a call.

    Args:
        request: What to ask.
        api: Name of the API whose blobs go back.
        max_tokens: Most tokens to answer with if the request does not say.

    Returns:
        The body, asking for a stream.

    Raises:
        SchemaError: The response schema, or that of a strict tool, cannot be expressed.
    """
    body: JSONObject = {
        "model": request.model,
        "max_tokens": request.max_tokens or max_tokens,
        "messages": [*_Conversation(frozenset({api, FAMILY})).write(request.messages)],
        "stream": True,
    }
    system = _system(request, frozenset({api, FAMILY}))
    if system:
        body["system"] = system
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop:
        body["stop_sequences"] = [*request.stop]
    _add_thinking(body, request)
    _add_tools(body, request)
    if request.response_schema is not None and request.response_schema.schema:
        schema = fit_schema(request.response_schema.schema, _RULES)
        merge(body, {"output_config": {"format": _json_schema(schema)}})
    container = _container(request.messages, frozenset({api}))
    if container is not None:
        body["container"] = container
    return merge(body, request.extra)


def _json_schema(schema: JSONObject) -> JSONObject:
    """Write the format of an answer that must fit a schema."""
    return {"type": "json_schema", "schema": schema}


def _system(request: Request, apis: frozenset[str]) -> JSON:
    """Write the system text: plain where it is one text, else as blocks."""
    blocks = [_text(p, apis) for p in system_parts(request.messages)]
    response = request.response_schema
    if response is not None and not response.schema:
        # This API knows no answer that is "any JSON".
        blocks.append({"type": "text", "text": _ANY_OBJECT})
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return [*blocks]


def _add_thinking(body: JSONObject, request: Request) -> None:
    """Write how hard to think: a number of tokens, a word for the effort, or not at all."""
    effort = request.reasoning_effort
    if effort is None:
        return
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif effort.isdecimal():
        body["thinking"] = {"type": "enabled", "budget_tokens": int(effort)}
        if request.max_tokens is None:
            # The budget counts against the limit, and must be less.
            body["max_tokens"] = int(effort) + int(str(body["max_tokens"]))
    else:
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": effort}


def _add_tools(body: JSONObject, request: Request) -> None:
    """Write the tools on offer, and whether they may or must be called."""
    if request.tools:
        body["tools"] = [_tool(t) for t in request.tools]
    elif "tools" not in request.extra:
        # A choice without tools is refused.
        return
    choice: JSONObject = {}
    if isinstance(request.tool_choice, ForcedTool):
        choice = {"type": "tool", "name": request.tool_choice.name}
    elif request.tool_choice is not None:
        choice = {"type": _CHOICES[request.tool_choice]}
    if request.parallel_tool_calls is not None and choice.get("type") != "none":
        choice.setdefault("type", "auto")
        choice["disable_parallel_tool_use"] = not request.parallel_tool_calls
    if choice:
        body["tool_choice"] = choice


def _tool(tool: ToolSpec) -> JSONObject:
    """Write a tool; only a strict one has its schema held to the restrictions."""
    parameters = with_tuples(tool.parameters, items=True)
    schema: JSONObject = {"type": "object", **as_root(parameters)}
    written: JSONObject = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.strict:
        schema.setdefault("properties", {})
        schema = fit_schema(schema, _RULES)
    written["input_schema"] = schema
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _container(messages: Sequence[LLMMessage], apis: frozenset[str]) -> str | None:
    """Return the container a turn goes on in, while its tools are called."""
    going_on = messages and (
        messages[-1].role is Role.ASSISTANT
        or any(isinstance(p, ToolResult) for p in messages[-1].content)
    )
    for message in reversed(messages) if going_on else ():
        if message.role is Role.ASSISTANT:
            raw = raw_of(message.blob, apis) or {}
            return as_label(as_object(raw.get("container")).get("id"))
    return None


def _text(part: TextPart, apis: frozenset[str]) -> JSONObject:
    """Write text."""
    return {"type": "text", "text": part.text, **(raw_of(part.blob, apis) or {})}


def _image(part: ImagePart, apis: frozenset[str]) -> JSONObject:
    """Write an image."""
    source: JSONObject = {"type": "url", "url": part.url}
    data = image_bytes(part)
    if data is not None:
        source = {"type": "base64", "media_type": data[0], "data": data[1]}
    return {"type": "image", "source": source, **(raw_of(part.blob, apis) or {})}


class _Conversation:
    """Writes a conversation, and sees to it that each call has an id of its own.

    Ids come from other providers, too: they may hold characters that this API does not
    take, and codecs number the calls of one answer only.
    """

    def __init__(self, apis: frozenset[str]) -> None:
        self._apis = apis
        self._taken: set[str] = set()
        self._current: dict[str, str] = {}

    def write(self, messages: Iterable[LLMMessage]) -> Iterable[JSONObject]:
        """Write the messages."""
        for speech in speeches(messages):
            results = [self._result(r) for r in speech.results]
            parts = (self._part(p) for p in _said(speech.parts))
            content: list[JSON] = [*results, *(p for p in parts if p is not None)]
            if content:
                role = "assistant" if speech.by_model else "user"
                yield {"role": role, "content": _plain(content)}

    def _part(self, part: Part) -> JSONObject | None:
        """Write a part; None for what this API does not take."""
        if isinstance(part, ImagePart):
            return _image(part, self._apis)
        if isinstance(part, ToolCall):
            return self._call(part)
        if isinstance(part, ReasoningPart | ProviderPart):
            return self._own(part)
        text = part if isinstance(part, TextPart) else TextPart(_words(part))
        return _text(text, self._apis)

    def _own(self, part: ReasoningPart | ProviderPart) -> JSONObject | None:
        """Write back what came from this API, as it came."""
        raw = raw_of(part.blob, self._apis)
        if isinstance(part, ReasoningPart) and raw and raw.get("type") == "thinking":
            # One without a signature was cut off, or is of a server that needs none.
            return {**raw, "thinking": part.text} if raw.get("signature") else None
        return raw

    def _call(self, call: ToolCall) -> JSONObject:
        """Write a call of the model's."""
        return {
            "type": "tool_use",
            "id": self._new_id(call.id),
            "name": call.name,
            "input": arguments_of(call),
            **(raw_of(call.blob, self._apis) or {}),
        }

    def _result(self, result: ToolResult) -> JSONObject:
        """Write what a tool answered."""
        content: list[JSON] = [
            _image(p, self._apis) if isinstance(p, ImagePart) else _text(p, self._apis)
            for p in result.content
            if isinstance(p, ImagePart) or p.text
        ]
        written: JSONObject = {
            "type": "tool_result",
            "tool_use_id": self._current.get(result.call_id, _clean(result.call_id)),
            "content": _plain(content) if content else "",
        }
        if result.is_error:
            written["is_error"] = True
        return {**written, **(raw_of(result.blob, self._apis) or {})}

    def _new_id(self, call_id: str) -> str:
        """Give a call an id that no other call has."""
        clean = unique = _clean(call_id)
        count = 1
        while unique in self._taken:
            count += 1
            unique = f"{clean}_{count}"
        self._taken.add(unique)
        self._current[call_id] = unique
        return unique


def _said(parts: Sequence[Part]) -> Iterable[Part]:
    """Leave out texts that are empty, and blank ones with no other text beside them."""
    # Models write blank texts before a call, too, where they are not taken back.
    speaks = any(isinstance(p, TextPart) and p.text.strip() for p in parts)
    for part in parts:
        text = part.text if isinstance(part, TextPart) else "-"
        if text if speaks else text.strip():
            yield part


def _words(part: Part) -> str:
    """Return what a part of any other kind says."""
    return str(getattr(part, "text", ""))


def _clean(call_id: str) -> str:
    """Write an id in the characters this API takes."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id) or "call"


def _plain(content: list[JSON]) -> JSON:
    """Write content that is one plain text as a string."""
    first = as_object(content[0])
    if len(content) == 1 and first.keys() == {"type", "text"}:
        return first["text"]
    return content
