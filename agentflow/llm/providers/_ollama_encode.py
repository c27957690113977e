"""Writing a request for Ollama's chat API.

A message is one text with images beside it, so texts that follow each other become one.
Arguments of tool calls are objects, and a result names its tool. The API knows no choice of
tools: without it the model may always call, or not, those it is offered.
"""

from collections.abc import Iterable, Mapping, Sequence

from agentflow.llm._errors import ConfigurationError
from agentflow.llm._json import JSON, JSONObject
from agentflow.llm._messages import (
    ImagePart,
    LLMMessage,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
)
from agentflow.llm._request import ForcedTool, Request, ToolChoice, ToolSpec
from agentflow.llm.providers._schema_rules import with_tuples
from agentflow.llm.providers._speeches import image_bytes, merge

_THINK: Mapping[str, bool] = {
    "none": False,
    "off": False,
    "false": False,
    "on": True,
    "true": True,
}
"""Efforts that are a yes or a no; models that know levels take others as they are."""


def encode_ollama(request: Request, api: str) -> JSONObject:
    """Write the body of a call.

    Args:
        request: What to ask.
        api: Name of the blobs that go back.

    Returns:
        The body, asking for a stream.

    Raises:
        ConfigurationError: The API cannot express the request.
    """
    body: JSONObject = {
        "model": request.model,
        "messages": [x for m in request.messages for x in _messages(m, api)],
        "stream": True,
    }
    if _offers_tools(request):
        body["tools"] = [_tool(x) for x in request.tools]
    if request.response_schema is not None:
        schema = request.response_schema.schema
        body["format"] = "json" if schema is None else with_tuples(schema, items=False)
    if request.reasoning_effort is not None:
        effort = request.reasoning_effort
        body["think"] = _THINK.get(effort, effort)
    options: JSONObject = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "num_predict": request.max_tokens,
        "seed": request.seed,
        "stop": [*request.stop] or None,
    }
    options = {key: value for key, value in options.items() if value is not None}
    if options:
        body["options"] = options
    return merge(body, request.extra)


def _offers_tools(request: Request) -> bool:
    """Tell whether tools are offered; refuse what the API cannot be told about them."""
    choice = request.tool_choice
    if isinstance(choice, ForcedTool) or choice is ToolChoice.REQUIRED:
        raise ConfigurationError(
            "Ollama cannot be made to call a tool: leave tool_choice= out, or ask for "
            "an object of a schema instead"
        )
    if request.tools and request.parallel_tool_calls is False:
        raise ConfigurationError(
            "Ollama cannot be held to one tool call at a time: leave "
            "parallel_tool_calls= out"
        )
    return bool(request.tools) and choice is not ToolChoice.NONE


def _tool(tool: ToolSpec) -> JSONObject:
    """Write a tool on offer."""
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": with_tuples(tool.parameters, items=False),
        },
    }


def _messages(message: LLMMessage, api: str) -> Iterable[JSONObject]:
    """Write a message; each result in it takes one of its own."""
    results = [x for x in message.content if isinstance(x, ToolResult)]
    rest = [x for x in message.content if not isinstance(x, ToolResult)]
    for result in results:
        yield {
            "role": "tool",
            **_content(result.content, Role.TOOL),
            "tool_name": result.name,
            "tool_call_id": result.call_id,
        }
    if message.role is Role.ASSISTANT:
        yield {**_content(rest, message.role), **_said(rest, api)}
    elif rest or not results:
        # A tool's own message is a result; other text in it is the program's.
        role = Role.USER if message.role is Role.TOOL else message.role
        yield {"role": role.value, **_content(rest, role)}


def _content(parts: Sequence[Part], role: Role) -> JSONObject:
    """Write text and images."""
    texts = [x.text for x in parts if isinstance(x, TextPart | RefusalPart)]
    # The model's texts are pieces of one, anybody else's are paragraphs.
    content: JSONObject = {
        "content": ("" if role is Role.ASSISTANT else "\n\n").join(texts)
    }
    images: list[JSON] = [_image(x) for x in parts if isinstance(x, ImagePart)]
    return {**content, "images": images} if images else content


def _image(part: ImagePart) -> str:
    """Write an image."""
    data = image_bytes(part)
    if data is None:
        raise ConfigurationError(
            f"Ollama does not fetch images: give the ImagePart its bytes with data= "
            f"instead of url={part.url!r}"
        )
    return data[1]


def _said(parts: Sequence[Part], api: str) -> JSONObject:
    """Write what else the model's own message holds."""
    message: JSONObject = {"role": "assistant"}
    thoughts = [
        x.text
        for x in parts
        if isinstance(x, ReasoningPart) and x.blob and x.blob.api == api
    ]
    if thoughts:
        message["thinking"] = "".join(thoughts)
    calls: list[JSON] = [_call(x) for x in parts if isinstance(x, ToolCall)]
    if calls:
        message["tool_calls"] = calls
    return message


def _call(call: ToolCall) -> JSONObject:
    """Write a tool call of the model's."""
    arguments = call.parsed() or {}
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}
