"""Writing a request as Gemini's ``generateContent``.

System text stands outside of the conversation, arguments and results are objects, and the
results of a round of tool calls make a message of their own. Calls have ids only where the
model gave them one; else results belong to calls by name and place.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from agentflow.llm._json import JSON, InvalidJSON, JSONObject, as_object, loads
from agentflow.llm._messages import (
    ImagePart,
    LLMMessage,
    Part,
    ProviderPart,
    ReasoningPart,
    ToolCall,
    ToolResult,
)
from agentflow.llm._request import ForcedTool, Request, ToolChoice, ToolSpec
from agentflow.llm.providers._schema_rules import SchemaRules, fit_schema, with_tuples
from agentflow.llm.providers._speeches import (
    Speech,
    arguments_of,
    image_bytes,
    merge,
    raw_of,
    speeches,
    system_parts,
)

_RULES = SchemaRules(
    keywords=frozenset({
        "$anchor",
        "$defs",
        "$id",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "default",
        "definitions",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "nullable",
        "prefixItems",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    }),
)

_CHOICES: Mapping[ToolChoice, str] = {
    ToolChoice.AUTO: "AUTO",
    ToolChoice.REQUIRED: "ANY",
    ToolChoice.NONE: "NONE",
}

_OLD = re.compile(r"(?:models/)?gemini-[12]\b")
"""Models that neither check signatures nor take images in a tool's result."""

_NO_SIGNATURE = "skip_thought_signature_validator"
"""Documented as the signature of a call that the model did not make itself, such as one
of another provider's; models that check signatures refuse a call without one."""

_MEDIA_TYPES = {
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
}


def encode_contents(request: Request, *, api: str) -> JSONObject:
    """Write the body of a call.

    Args:
        request: What to ask.
        api: Name of the API whose blobs go back.

    Returns:
        The body; the model and the wish for a stream stand in the path.

    Raises:
        SchemaError: The response schema, or that of a tool, cannot be expressed.
    """
    writer = _Conversation(request, frozenset({api}))
    body: JSONObject = {"contents": [*writer.write()]}
    system: list[JSON] = [{"text": p.text} for p in system_parts(request.messages)]
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.tools:
        declared: list[JSON] = [_declaration(t) for t in request.tools]
        body["tools"] = [{"functionDeclarations": declared}]
    if request.tool_choice is not None:
        choice = _choice(request.tool_choice)
        body["toolConfig"] = {"functionCallingConfig": choice}
    config = _config(request)
    if config:
        body["generationConfig"] = config
    return merge(body, request.extra)


def _config(request: Request) -> JSONObject:
    """Write the settings."""
    config: dict[str, JSON] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "seed": request.seed,
        "stopSequences": [*request.stop] or None,
    }
    config = {key: value for key, value in config.items() if value is not None}
    if request.reasoning_effort is not None:
        config["thinkingConfig"] = _thinking(request.reasoning_effort)
    response = request.response_schema
    if response is not None:
        config["responseMimeType"] = "application/json"
        if response.schema is not None:
            config["responseJsonSchema"] = _schema(response.schema)
    return config


def _thinking(effort: str) -> JSONObject:
    """Write how hard to think: a level, a number of tokens, or not at all."""
    if effort == "none":
        return {"thinkingBudget": 0}
    if re.fullmatch(r"-?\d+", effort):
        return {"thinkingBudget": int(effort), "includeThoughts": True}
    return {"thinkingLevel": effort, "includeThoughts": True}


def _choice(choice: ToolChoice | ForcedTool) -> JSONObject:
    """Write whether tools may, must or must not be called, or which must."""
    if isinstance(choice, ForcedTool):
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    return {"mode": _CHOICES[choice]}


def _declaration(tool: ToolSpec) -> JSONObject:
    """Write a tool on offer."""
    written: JSONObject = {"name": tool.name, "description": tool.description}
    if as_object(tool.parameters.get("properties")) or "$ref" in tool.parameters:
        # An object without properties is refused.
        written["parametersJsonSchema"] = _schema(tool.parameters)
    return written


def _schema(schema: Mapping[str, JSON]) -> JSONObject:
    """Write a schema; an array without a schema for its items is refused."""
    return fit_schema(with_tuples(schema, items=True), _RULES)


def _image(part: ImagePart, apis: frozenset[str]) -> JSONObject:
    """Write an image."""
    extra = raw_of(part.blob, apis) or {}
    data = image_bytes(part)
    if data is not None:
        return {"inlineData": {"mimeType": data[0], "data": data[1]}, **extra}
    url = part.url or ""
    kind = part.media_type
    if kind == "image/png":
        # That may be the default, and the name may know better.
        path = url.partition("?")[0].lower()
        kinds = (k for end, k in _MEDIA_TYPES.items() if path.endswith(end))
        kind = next(kinds, kind)
    return {"fileData": {"mimeType": kind, "fileUri": url}, **extra}


class _Conversation:
    """Writes a conversation, and knows the calls in it by id."""

    def __init__(self, request: Request, apis: frozenset[str]) -> None:
        self._messages: Sequence[LLMMessage] = request.messages
        self._apis = apis
        self._old = _OLD.match(request.model) is not None
        self._calls: dict[str, ToolCall] = {}

    def write(self) -> Iterable[JSONObject]:
        """Write the messages."""
        for speech in speeches(self._messages):
            results = [self._result(r) for r in speech.results]
            if results:
                yield {"role": "user", "parts": results}
            parts: list[JSON] = [*self._images_of_results(speech)]
            parts += self._parts(speech)
            if not parts and not results and not speech.by_model:
                parts = [{"text": ""}]
            if parts:
                role = "model" if speech.by_model else "user"
                yield {"role": role, "parts": parts}

    def _parts(self, speech: Speech) -> Iterable[JSON]:
        """Write all that is no result."""
        signed = self._old
        for part in speech.parts:
            written = self._part(part)
            if isinstance(part, ToolCall) and written is not None:
                self._calls[part.id] = part
                # Of calls side by side, the first one carries the signature.
                if not signed and raw_of(part.blob, self._apis) is None:
                    written["thoughtSignature"] = _NO_SIGNATURE
                signed = True
            if written is not None:
                yield written

    def _part(self, part: Part) -> JSONObject | None:
        """Write a part; None for what this API does not take."""
        if isinstance(part, ImagePart):
            return _image(part, self._apis)
        if isinstance(part, ToolCall):
            return self._call(part)
        if isinstance(part, ProviderPart):
            return raw_of(part.blob, self._apis)
        text = str(getattr(part, "text", ""))
        raw = raw_of(getattr(part, "blob", None), self._apis)
        if isinstance(part, ReasoningPart) and raw is None:
            return None
        return {"text": text, **(raw or {})} if text or raw else None

    def _call(self, call: ToolCall) -> JSONObject:
        """Write a call of the model's."""
        marks = {**(raw_of(call.blob, self._apis) or {})}
        function: JSONObject = {"name": call.name, "args": arguments_of(call)}
        if "id" in marks:
            function["id"] = marks.pop("id")
        return {"functionCall": function, **marks}

    def _result(self, result: ToolResult) -> JSON:
        """Write what a tool answered."""
        call = self._calls.get(result.call_id)
        name = result.name or (call.name if call else "")
        function: JSONObject = {"name": name, "response": _response(result)}
        given = raw_of(call.blob, self._apis) if call else None
        if given and "id" in given:
            function["id"] = given["id"]
        if not self._old:
            images: list[JSON] = [*self._images(result)]
            if images:
                function["parts"] = images
        return {"functionResponse": function, **(raw_of(result.blob, self._apis) or {})}

    def _images_of_results(self, speech: Speech) -> Iterable[JSON]:
        """Write images that a model does not take inside of a result behind it."""
        for result in speech.results if self._old else ():
            yield from self._images(result)

    def _images(self, result: ToolResult) -> Iterable[JSON]:
        """Write the images of a result."""
        for part in result.content:
            if isinstance(part, ImagePart):
                yield _image(part, self._apis)


def _response(result: ToolResult) -> JSONObject:
    """Write the text of a result: as the object it is, else under the key for it."""
    if result.is_error:
        return {"error": result.text}
    try:
        value = loads(result.text)
    except InvalidJSON:
        value = result.text
    return value if isinstance(value, dict) else {"output": value}
