"""The package's public names, each imported when it is first asked for.

Whoever uses a part of the LLM half, or only names a type of it, need not wait for all of
it and for the HTTP client. Type checkers read the imports that ``__init__`` shows them; a
test holds the two alike.
"""

from agentflow._lazy import lazily

__getattr__, __dir__, NAMES = lazily(
    "agentflow.llm",
    {
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
    },
)
