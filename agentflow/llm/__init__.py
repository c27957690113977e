"""The LLM half: language models for agents, or on their own.

General layout, from the inside out:

- values: ``_messages``, ``_reply``, ``_request``, ``_errors``
- types as JSON Schema and back: ``_fields``, ``_unions``, ``_schema``, ``_structure``
- decisions: ``_turn`` (the tool loop), ``_retry``, ``_pressure``
- wire formats: ``_codec`` (the port), ``_sse``, ``_assembly``, ``providers``
- edges: ``_gateway`` (the port), ``_http`` (the one door to the network), ``local``
- providers by name: ``_providers``
- what programs use: ``_tools``, ``_broker``, ``_limits``, ``_chat``, ``_agent``

``_names`` imports each name when it is first asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentflow.llm._agent import BaseAsyncLLMAgent as BaseAsyncLLMAgent
    from agentflow.llm._broker import LLMBroker as LLMBroker
    from agentflow.llm._chat import ChatSession as ChatSession
    from agentflow.llm._codec import (
        Codec as Codec,
        Decoder as Decoder,
        HttpCall as HttpCall,
    )
    from agentflow.llm._endpoint import (
        Endpoint as Endpoint,
        HttpSettings as HttpSettings,
    )
    from agentflow.llm._errors import (
        AnswerError as AnswerError,
        AnswerTooLarge as AnswerTooLarge,
        AttemptTimeout as AttemptTimeout,
        AuthenticationFailed as AuthenticationFailed,
        BadRequest as BadRequest,
        ConfigurationError as ConfigurationError,
        ConnectionFailed as ConnectionFailed,
        ContentRefused as ContentRefused,
        ContextTooLong as ContextTooLong,
        ErrorInfo as ErrorInfo,
        IncompleteStream as IncompleteStream,
        InvalidObject as InvalidObject,
        LLMError as LLMError,
        MalformedAnswer as MalformedAnswer,
        MissingKey as MissingKey,
        NotFound as NotFound,
        Overloaded as Overloaded,
        PermissionDenied as PermissionDenied,
        ProviderError as ProviderError,
        RateLimited as RateLimited,
        SchemaError as SchemaError,
        ServerFailed as ServerFailed,
        ToolFailed as ToolFailed,
        ToolLoopExceeded as ToolLoopExceeded,
        TransportError as TransportError,
        UsageLimitExceeded as UsageLimitExceeded,
    )
    from agentflow.llm._fields import Limits as Limits
    from agentflow.llm._gateway import Gateway as Gateway
    from agentflow.llm._gateways import OpenAIGateway as OpenAIGateway
    from agentflow.llm._http import HttpGateway as HttpGateway
    from agentflow.llm._images import image as image
    from agentflow.llm._limits import Price as Price, UsageLimit as UsageLimit
    from agentflow.llm._memory_agent import (
        BaseAsyncLLMAgentWithMemory as BaseAsyncLLMAgentWithMemory,
    )
    from agentflow.llm._messages import (
        Blob as Blob,
        ImagePart as ImagePart,
        LLMMessage as LLMMessage,
        ProviderPart as ProviderPart,
        ReasoningPart as ReasoningPart,
        RefusalPart as RefusalPart,
        Role as Role,
        TextPart as TextPart,
        ToolCall as ToolCall,
        ToolResult as ToolResult,
    )
    from agentflow.llm._reply import (
        Delta as Delta,
        ReasoningDelta as ReasoningDelta,
        RefusalDelta as RefusalDelta,
        Reply as Reply,
        StopReason as StopReason,
        TextDelta as TextDelta,
        ToolCallDelta as ToolCallDelta,
        Usage as Usage,
    )
    from agentflow.llm._request import (
        ForcedTool as ForcedTool,
        Options as Options,
        OutputMode as OutputMode,
        Request as Request,
        ResponseSchema as ResponseSchema,
        ToolChoice as ToolChoice,
        ToolSpec as ToolSpec,
    )
    from agentflow.llm._retry import RetryPolicy as RetryPolicy
    from agentflow.llm._stream import (
        ReplyStream as ReplyStream,
        ToolSettings as ToolSettings,
    )
    from agentflow.llm._tools import (
        Tool as Tool,
        tool as tool,
    )
    from agentflow.llm._turn import TurnLimits as TurnLimits
else:
    from agentflow.llm._names import (
        NAMES as __all__,  # noqa: F401, N811 -- what a star imports
        __dir__ as __dir__,
        __getattr__ as __getattr__,
    )
