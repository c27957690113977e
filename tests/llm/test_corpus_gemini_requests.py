"""Requests to Gemini as recorded."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeGuard

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
from tests.llm.test_corpus_gemini import CODEC, Property, all_records, canonical


def test_recorded_requests_are_written_with_the_same_meaning(
    record_property: Property,
) -> None:
    """What our types can say of a request is encoded to the JSON that was sent."""
    seen = Counter[str]()
    for record in all_records():
        sent = record.request
        if sent is None:
            seen["no request recorded"] += 1
            continue
        if any(c.get("role") not in {"user", "model"} for c in sent["contents"]):
            seen["refused for its role"] += 1
            continue
        asked = camel(sent)
        asked["model"] = record.fields["request"]["path"].split("/")[-1].split(":")[0]
        request = request_of(asked)
        ours = {**CODEC.encode(request).json, "model": asked["model"]}
        assert meaning(ours) == meaning(asked), record.id
        kind = "with tools of the API's own" if "tools" in request.extra else "whole"
        seen[f"equal, {kind}"] += 1
    record_property("counts", dict(seen))
    assert seen["equal, whole"] > 0


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell a JSON list."""
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell a JSON object."""
    return isinstance(value, dict)


FREE = {"args", "response"}
"""Keys whose values are the user's own."""


def camel(value: Any) -> Any:
    """Write the names of fields in one of the two ways the API takes."""
    if is_list(value):
        return [camel(x) for x in value]
    if not is_object(value):
        return value
    written: dict[str, Any] = {}
    for key, inner in value.items():
        name = re.sub(r"_([a-z])", lambda m: m[1].upper(), key)
        free = name in FREE or "chema" in name or name == "parameters"
        written[name] = inner if free else camel(inner)
    return written


def part_of(part: dict[str, Any]) -> Any:
    """Read one part."""
    part = canonical(part)
    for key, reader in READERS.items():
        if key in part:
            rest = {k: v for k, v in part.items() if k != key}
            return reader(part[key], rest)
    return ProviderPart(kind="part", blob=Blob(api=CODEC.api, raw=part))


def text_of(text: str, rest: dict[str, Any]) -> Any:
    """Read text or thoughts."""
    blob = Blob(api=CODEC.api, raw=rest) if rest else None
    if rest.get("thought"):
        return ReasoningPart(text=text, blob=blob)
    return TextPart(text, blob=blob)


def call_of(call: dict[str, Any], rest: dict[str, Any]) -> ToolCall:
    """Read a call."""
    raw = {"id": call["id"], **rest} if call.get("id") else rest
    return ToolCall(
        id=call.get("id") or call["name"],
        name=call["name"],
        arguments=json.dumps(call["args"]),
        blob=Blob(api=CODEC.api, raw=raw),
    )


def result_of(result: dict[str, Any], rest: dict[str, Any]) -> Any:
    """Read a result."""
    images = [part_of(p) for p in result.get("parts", [])]
    return ToolResult(
        call_id=result.get("id") or result["name"],
        name=result["name"],
        content=[TextPart(json.dumps(result["response"])), *images],
        blob=Blob(api=CODEC.api, raw=rest) if rest else None,
    )


def data_of(data: dict[str, Any], rest: dict[str, Any]) -> Any:
    """Read bytes."""
    if not data["mimeType"].startswith("image/"):
        raw = {"inlineData": data, **rest}
        return ProviderPart(kind="inlineData", blob=Blob(api=CODEC.api, raw=raw))
    return ImagePart(
        url=f"data:{data['mimeType']};base64,{data['data']}",
        blob=Blob(api=CODEC.api, raw=rest) if rest else None,
    )


def file_of(file: dict[str, Any], rest: dict[str, Any]) -> Any:
    """Read a file."""
    if not file["mimeType"].startswith("image/"):
        raw = {"fileData": file, **rest}
        return ProviderPart(kind="fileData", blob=Blob(api=CODEC.api, raw=raw))
    return ImagePart(
        url=file["fileUri"],
        media_type=file["mimeType"],
        blob=Blob(api=CODEC.api, raw=rest) if rest else None,
    )


READERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "text": text_of,
    "functionCall": call_of,
    "functionResponse": result_of,
    "inlineData": data_of,
    "fileData": file_of,
}


def schema_of(schema: Any) -> Any:
    """Read a schema in the API's older words, whose types are in capitals."""
    if is_list(schema):
        return [schema_of(x) for x in schema]
    if not is_object(schema):
        return schema
    written: dict[str, Any] = {}
    for key, value in schema.items():
        name = "propertyOrdering" if key == "property_ordering" else key
        kind = name == "type" and isinstance(value, str)
        written[name] = value.lower() if kind else schema_of(value)
    return written


def tools_of(tools: list[dict[str, Any]]) -> list[ToolSpec] | None:
    """Read tools; None if one of them is more than a function."""
    known = {"name", "description", "parameters", "parametersJsonSchema"}
    specs: list[ToolSpec] = []
    for group in tools:
        if group.keys() != {"functionDeclarations"}:
            return None
        for tool in group["functionDeclarations"]:
            if not tool.keys() <= known:
                return None
            schema: Any = tool.get("parameters") or tool.get("parametersJsonSchema")
            specs.append(
                ToolSpec(
                    name=tool["name"],
                    description=tool["description"],
                    parameters=schema_of(schema or {}),
                )
            )
    return specs


def choice_of(config: dict[str, Any]) -> Any:
    """Read what tools may be called; None if our types cannot say it."""
    call = dict(config.get("functionCallingConfig", {}))
    call["mode"] = call.get("mode", "").upper()
    names = call.get("allowedFunctionNames", [])
    if config.keys() != {"functionCallingConfig"} or len(names) > 1:
        return None
    if names:
        return ForcedTool(names[0]) if call["mode"] == "ANY" else None
    modes = {
        "AUTO": ToolChoice.AUTO,
        "ANY": ToolChoice.REQUIRED,
        "NONE": ToolChoice.NONE,
    }
    return modes.get(call["mode"])


def config_of(config: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Read the settings; return those our types have no place for."""
    names = {
        "temperature": "temperature",
        "topP": "top_p",
        "maxOutputTokens": "max_tokens",
        "seed": "seed",
        "stopSequences": "stop",
    }
    for theirs, ours in names.items():
        if theirs in config:
            options[ours] = config.pop(theirs)
    schema = config.pop("responseSchema", None) or config.pop(
        "responseJsonSchema", None
    )
    if config.get("responseMimeType") == "application/json":
        del config["responseMimeType"]
        options["response_schema"] = ResponseSchema(schema=schema and schema_of(schema))
    elif schema:
        config["responseJsonSchema"] = schema
    thinking = config.get("thinkingConfig", {})
    levels = {"thinkingBudget", "thinkingLevel"}
    if thinking == {"thinkingBudget": 0}:
        options["reasoning_effort"] = "none"
        del config["thinkingConfig"]
    elif thinking.get("includeThoughts") and levels & thinking.keys():
        level = thinking.get("thinkingLevel") or thinking.get("thinkingBudget")
        options["reasoning_effort"] = str(level)
        del config["thinkingConfig"]
    return config


def parts_in(content: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the parts of a content, if there are any."""
    parts: list[dict[str, Any]] | None = (content or {}).get("parts")
    return parts or []


def request_of(sent: dict[str, Any]) -> Request:
    """Read a recorded request as ours."""
    fields = {k: v for k, v in sent.items() if k not in {"contents", "model"}}
    options: dict[str, Any] = {"model": sent["model"]}
    messages: list[LLMMessage] = []
    for content in sent["contents"]:
        role = Role.ASSISTANT if content["role"] == "model" else Role.USER
        parts = [part_of(p) for p in parts_in(content)]
        messages.append(LLMMessage(role=role, content=parts))
    system = parts_in(fields.pop("systemInstruction", None))
    if system:
        content = [part_of(p) for p in system]
        messages.insert(0, LLMMessage(role=Role.SYSTEM, content=content))
    tools = tools_of(fields.get("tools") or [])
    if tools is not None:
        options["tools"] = tools
        fields.pop("tools", None)
    choice = choice_of(fields.get("toolConfig") or {})
    if choice is not None:
        options["tool_choice"] = choice
        del fields["toolConfig"]
    config = config_of(dict(fields.pop("generationConfig", None) or {}), options)
    if config:
        fields["generationConfig"] = config
    return Request(messages=messages, extra=fields, **options)


DROPPED = {"maxLength", "minLength", "pattern", "uniqueItems"}
"""Keywords of schemas that the API ignores; ours go into the description."""


def plain_schema(schema: Any) -> Any:
    """Write a schema without what the API ignores."""
    if is_list(schema):
        return [plain_schema(x) for x in schema]
    if not is_object(schema):
        return schema
    if "$ref" in schema:
        return "a reference, or what stands for it"
    lowered = schema_of(schema)
    written = {k: plain_schema(v) for k, v in lowered.items() if k not in DROPPED}
    words = written.get("description")
    if isinstance(words, str):
        written["description"] = re.sub(r" ?\[\w+: .*\]$", "", words)
    return {k: v for k, v in written.items() if (k, v) != ("description", "")}


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    """Write a request in one form only, of the several that mean the same."""
    meant = {k: v for k, v in body.items() if v is not None}
    config = dict(meant.pop("generationConfig", {}))
    schema = config.pop("responseSchema", None) or config.pop(
        "responseJsonSchema", None
    )
    if schema:
        config["responseJsonSchema"] = plain_schema(schema)
    if config:
        meant["generationConfig"] = config
    contents = [
        {"role": c["role"], "parts": [canonical(p) for p in parts_in(c)]}
        for c in body["contents"]
    ]
    for content in contents:
        full = [p for p in content["parts"] if p != {"text": ""}]
        content["parts"] = full or content["parts"][:1]
    meant["contents"] = [c for c in contents if c["parts"]]
    system = parts_in(meant.pop("systemInstruction", None))
    if system:
        meant["systemInstruction"] = [canonical(p) for p in system]
    if "toolConfig" in meant:
        call = dict(meant["toolConfig"].get("functionCallingConfig", {}))
        call["mode"] = call.get("mode", "").upper()
        meant["toolConfig"] = {**meant["toolConfig"], "functionCallingConfig": call}
    if "tools" in meant:
        meant["tools"] = [plain_tools(t) for t in meant["tools"]]
    return {k: v for k, v in meant.items() if v != []}


def plain_tools(group: dict[str, Any]) -> dict[str, Any]:
    """Write tools with their parameters in one form."""
    if "functionDeclarations" not in group:
        return group
    declared: list[dict[str, Any]] = []
    for tool in group["functionDeclarations"]:
        written = dict(tool)
        schema: Any = written.pop("parameters", None)
        schema = schema or written.pop("parametersJsonSchema", None)
        if schema and schema.get("properties"):
            written["parametersJsonSchema"] = plain_schema(schema)
        declared.append(written)
    return {**group, "functionDeclarations": declared}
