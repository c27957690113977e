"""Writing answers as Anthropic Messages does, and reading them."""

import json
from typing import Any

from agentflow.llm import LLMMessage, Reply, Request
from agentflow.llm._codec import decode
from agentflow.llm.providers.anthropic import AnthropicCodec

CODEC = AnthropicCodec()
START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "usage": {"input_tokens": 10, "output_tokens": 1},
    },
}
STOP = {"type": "message_stop"}


def sse(*events: Any) -> bytes:
    """Write a stream."""
    return b"".join(
        f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events
    )


def begun(index: int, **block: Any) -> dict[str, Any]:
    """Write the start of a block."""
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    """Write a piece of a block."""
    piece = {"type": kind, **fields}
    return {"type": "content_block_delta", "index": index, "delta": piece}


def ended(index: int) -> dict[str, Any]:
    """Write the end of a block."""
    return {"type": "content_block_stop", "index": index}


def stopped(reason: str, usage: Any = None, **fields: Any) -> dict[str, Any]:
    """Write the end of the message."""
    change = {"stop_reason": reason, "stop_sequence": None, **fields}
    return {"type": "message_delta", "delta": change, "usage": usage or {}}


def read(*events: Any) -> Reply:
    """Decode a stream that has a start and an end."""
    return decode(CODEC, 200, sse(START, *events, STOP))


def sent_back(reply: Reply) -> Any:
    """Return the content of the reply as the next request holds it."""
    request = Request(model="m", messages=(LLMMessage(content="q"), reply.message))
    messages: Any = CODEC.encode(request).json["messages"]
    return messages[1]["content"]
