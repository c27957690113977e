"""Writing a request for the Responses API.

A conversation is a list of items. One message of ours may take several: its texts and
images make a message item, each call, result and piece of reasoning an item of its own.
What came from this API goes back as it came, ids included, in its order.

The server checks ids against each other: an item that it made after some reasoning may not
return without that reasoning, nor reasoning without an item behind it. So an item whose
reasoning has been taken out of the conversation returns without its id, and reasoning at
the end of a message stays out.
"""

from collections.abc import Mapping

import attrs

from agentflow.llm._errors import ConfigurationError
from agentflow.llm._json import JSON, JSONObject, as_list, as_object, as_text
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
    ToolSpec,
)
from agentflow.llm.providers._chat_encode import is_closed, with_lone_references
from agentflow.llm.providers._schema_rules import with_tuples
from agentflow.llm.providers._speeches import merge, raw_of

ENCRYPTED = "encrypted_content"
"""Key of the reasoning that only the provider can read."""


def encode_responses(request: Request, api: str, *, instructions: bool) -> JSONObject:
    """Write the body of a call.

    Args:
        request: What to ask.
        api: Name of the blobs that go back.
        instructions: True to put the first system message into the field for it.

    Returns:
        The body, asking for a stream.

    Raises:
        ConfigurationError: The API cannot express the request.
    """
    if request.stop:
        raise ConfigurationError(
            "the Responses API has no stop texts: leave stop= out, or send what this "
            "server takes through extra="
        )
    messages = request.messages
    body: JSONObject = {"model": request.model, "stream": True}
    if instructions and messages and _is_plain_system(messages[0]):
        body["instructions"] = messages[0].text
        messages = messages[1:]
    stored = request.extra.get("store") is not False
    writer = _Writer(api=api, stored=stored)
    body["input"] = [item for message in messages for item in writer.items(message)]
    body.update(_fields(request))
    return merge(body, request.extra)


def _is_plain_system(message: LLMMessage) -> bool:
    """Tell whether a message can be instructions: they are text."""
    plain = all(isinstance(x, TextPart) for x in message.content)
    return message.role is Role.SYSTEM and plain


def _fields(request: Request) -> JSONObject:
    """Write everything but the conversation."""
    body: JSONObject = {}
    if request.tools:
        body["tools"] = [_tool(x) for x in request.tools]
    choice = request.tool_choice
    if isinstance(choice, ForcedTool):
        body["tool_choice"] = {"type": "function", "name": choice.name}
    elif choice is not None:
        body["tool_choice"] = choice.value
    if request.response_schema is not None:
        body["text"] = {"format": _format(request.response_schema)}
    if request.reasoning_effort is not None:
        body["reasoning"] = {"effort": request.reasoning_effort}
        if request.reasoning_effort != "none":
            # Only models that reason take this; that the effort is set tells them.
            body["include"] = [f"reasoning.{ENCRYPTED}"]
    settings: JSONObject = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_output_tokens": request.max_tokens,
        "parallel_tool_calls": request.parallel_tool_calls,
    }
    body.update({k: v for k, v in settings.items() if v is not None})
    return body


def _tool(tool: ToolSpec) -> JSONObject:
    """Write a tool on offer."""
    written: JSONObject = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
    }
    if tool.strict is not None:
        written["strict"] = tool.strict
    elif not is_closed(tool.parameters):
        # Left alone, the server would make all arguments required, defaults or not.
        written["strict"] = False
    strict = written.get("strict") is not False
    written["parameters"] = _schema(tool.parameters, strict=strict)
    return written


def _schema(schema: Mapping[str, JSON], *, strict: bool) -> JSONObject:
    """Write a schema, which the server holds the model to if it is strict."""
    fitted = with_tuples(schema, items=True)
    return with_lone_references(fitted) if strict else fitted


def _format(response: ResponseSchema) -> JSONObject:
    """Write what the answer must be like."""
    if response.schema is None:
        return {"type": "json_object"}
    strict = response.strict
    if strict is None:
        strict = is_closed(response.schema)
    written: JSONObject = {
        "type": "json_schema",
        "name": response.name,
        "schema": _schema(response.schema, strict=strict),
        "strict": strict,
    }
    if response.description:
        written["description"] = response.description
    return written


@attrs.frozen(kw_only=True)
class _Writer:
    """Writes messages as items.

    Attributes:
        api: Name of the blobs that go back.
        stored: True if the server keeps what it said, and so knows its ids.
    """

    api: str
    stored: bool

    def items(self, message: LLMMessage) -> list[JSONObject]:
        """Write one message."""
        items: list[JSONObject] = []
        growing: JSONObject = {}
        reasoned = any(self._reasoning(x) for x in message.content)
        for part in message.content:
            item = self._item(part, reasoned=reasoned)
            content = None if item else self._content(part, message.role)
            if item:
                growing = {}
                items.append(item)
            elif content:
                about = self._about(part, message, reasoned=reasoned)
                head = _without(growing, "content")
                if growing and about == head:
                    growing["content"] = [*as_list(growing["content"]), content]
                else:
                    growing = {**about, "content": [content]}
                    items.append(growing)
        while items and items[-1].get("type") == "reasoning":
            items.pop()
        return [_simple(x) for x in items]

    def _raw(self, blob: Blob | None) -> JSONObject:
        """Return what this API sent; empty for anything else."""
        return raw_of(blob, frozenset({self.api})) or {}

    def _own(self, blob: Blob | None, *, reasoned: bool) -> JSONObject:
        """Return what goes back with an item besides what the part itself holds."""
        raw = self._raw(blob)
        about = as_object(raw.get("item"))
        return about if reasoned or not raw.get("reasoned") else _without(about, "id")

    def _reasoning(self, part: Part) -> JSONObject | None:
        """Write reasoning; None if it is not this server's, or it would not know it."""
        raw = self._raw(part.blob) if isinstance(part, ReasoningPart) else {}
        known = self.stored or raw.get(ENCRYPTED) or raw.get("content")
        return raw if raw and known else None

    def _item(self, part: Part, *, reasoned: bool) -> JSONObject | None:
        """Write a part that is an item; None for one that belongs into a message."""
        if isinstance(part, ToolCall):
            return self._call(part, reasoned=reasoned)
        if isinstance(part, ToolResult):
            return {
                "type": "function_call_output",
                **self._raw(part.blob),
                "call_id": part.call_id,
                "output": self._output(part),
            }
        if isinstance(part, ProviderPart):
            raw = self._raw(part.blob)
            inner = "part" in raw or as_text(raw.get("type")).startswith("input_")
            return None if inner else raw
        return self._reasoning(part)

    def _call(self, call: ToolCall, *, reasoned: bool) -> JSONObject:
        """Write a function call of the model's; servers want valid JSON in it."""
        valid = call.arguments.strip() and call.parsed() is not None
        return {
            "type": "function_call",
            **self._own(call.blob, reasoned=reasoned),
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments if valid else "{}",
        }

    def _output(self, result: ToolResult) -> JSON:
        """Write what a tool answered: as text where it is that."""
        if all(isinstance(x, TextPart) for x in result.content):
            return result.text
        return [self._content(x, Role.TOOL) for x in result.content]

    def _about(self, part: Part, message: LLMMessage, *, reasoned: bool) -> JSONObject:
        """Write the message around a part."""
        # A refusal's blob is with the message, for want of a place of its own.
        blob = message.blob if isinstance(part, RefusalPart) else part.blob
        role = Role.USER if message.role is Role.TOOL else message.role
        return self._own(blob, reasoned=reasoned) or {"role": role.value}

    def _content(self, part: Part, role: Role) -> JSONObject | None:
        """Write a part of a message; None for what only another API knows."""
        if isinstance(part, TextPart):
            raw = self._raw(part.blob)
            if role is Role.ASSISTANT:
                rest = as_object(raw.get("part"))
                return {"type": "output_text", "text": part.text, **rest}
            return {"type": "input_text", "text": part.text, **raw}
        if isinstance(part, ImagePart):
            return self._image(part, role)
        if isinstance(part, RefusalPart):
            return {"type": "refusal", "refusal": part.text}
        raw = self._raw(part.blob) if isinstance(part, ProviderPart) else {}
        return as_object(raw.get("part")) or raw or None

    def _image(self, part: ImagePart, role: Role) -> JSONObject:
        """Write an image, its bytes as a data URL."""
        if role is Role.ASSISTANT:
            raise ConfigurationError(
                "the Responses API takes no image in an assistant message: put the "
                "ImagePart into a user message"
            )
        url = part.url or f"data:{part.media_type};base64,{part.base64()}"
        image: JSONObject = {"type": "input_image", "image_url": url}
        if part.detail is not None:
            image["detail"] = part.detail
        return {**image, **self._raw(part.blob)}


def _without(fields: JSONObject, key: str) -> JSONObject:
    """Leave out a key."""
    return {k: v for k, v in fields.items() if k != key}


def _simple(item: JSONObject) -> JSONObject:
    """Write a message that is a single plain text as such."""
    if item.keys() != {"role", "content"}:
        return item
    only, *others = as_list(item["content"])
    plain = not others and as_object(only).keys() == {"type", "text"}
    return {**item, "content": as_object(only)["text"]} if plain else item
