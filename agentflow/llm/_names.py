"""The package's public names, each imported when it is first asked for.

Whoever uses a part of the LLM half, or only names a type of it, need not wait for all of
it and for the HTTP client. Type checkers read the imports that ``__init__`` shows them; a
test holds the two alike.
"""

import sys
from collections.abc import Mapping
from importlib import import_module

_PACKAGE = "agentflow.llm"

_NAMES: Mapping[str, tuple[str, ...]] = {
    "_agent": ("BaseAsyncLLMAgent",),
    "_broker": ("LLMBroker",),
    "_chat": ("ChatSession",),
    "_codec": (
        "Codec",
        "Decoder",
        "HttpCall",
    ),
    "_endpoint": (
        "Endpoint",
        "HttpSettings",
    ),
    "_errors": (
        "AnswerError",
        "AnswerTooLarge",
        "AttemptTimeout",
        "AuthenticationFailed",
        "BadRequest",
        "ConfigurationError",
        "ConnectionFailed",
        "ContentRefused",
        "ContextTooLong",
        "ErrorInfo",
        "IncompleteStream",
        "InvalidObject",
        "LLMError",
        "MalformedAnswer",
        "MissingKey",
        "NotFound",
        "Overloaded",
        "PermissionDenied",
        "ProviderError",
        "RateLimited",
        "SchemaError",
        "ServerFailed",
        "ToolFailed",
        "ToolLoopExceeded",
        "TransportError",
        "UsageLimitExceeded",
    ),
    "_fields": ("Limits",),
    "_gateway": ("Gateway",),
    "_gateways": ("OpenAIGateway",),
    "_http": ("HttpGateway",),
    "_images": ("image",),
    "_limits": (
        "Price",
        "UsageLimit",
    ),
    "_memory_agent": ("BaseAsyncLLMAgentWithMemory",),
    "_messages": (
        "Blob",
        "ImagePart",
        "LLMMessage",
        "ProviderPart",
        "ReasoningPart",
        "RefusalPart",
        "Role",
        "TextPart",
        "ToolCall",
        "ToolResult",
    ),
    "_reply": (
        "Delta",
        "ReasoningDelta",
        "RefusalDelta",
        "Reply",
        "StopReason",
        "TextDelta",
        "ToolCallDelta",
        "Usage",
    ),
    "_request": (
        "ForcedTool",
        "Options",
        "OutputMode",
        "Request",
        "ResponseSchema",
        "ToolChoice",
        "ToolSpec",
    ),
    "_retry": ("RetryPolicy",),
    "_stream": (
        "ReplyStream",
        "ToolSettings",
    ),
    "_tools": (
        "Tool",
        "tool",
    ),
    "_turn": ("TurnLimits",),
}
"""Module by module."""

HOMES: Mapping[str, str] = {
    name: module for module, names in _NAMES.items() for name in names
}
"""The module of each name."""

NAMES = list(HOMES)


def __getattr__(name: str) -> object:
    """Import a name of the package."""
    if name not in HOMES:
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{_PACKAGE}.{HOMES[name]}"), name)
    setattr(sys.modules[_PACKAGE], name, value)
    return value


def __dir__() -> list[str]:
    """List the names of the package, imported or not."""
    return sorted({*vars(sys.modules[_PACKAGE]), *HOMES})
