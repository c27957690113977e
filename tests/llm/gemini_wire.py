"""Writing answers as Gemini does, and reading them."""

import json
from typing import Any

from agentflow.llm import Reply, Request
from agentflow.llm._codec import decode
from agentflow.llm.providers.gemini import GeminiCodec

CODEC = GeminiCodec()


def sse(*chunks: Any) -> bytes:
    """Write a stream, with the line ends Google uses."""
    return b"".join(f"data: {json.dumps(c)}\r\n\r\n".encode() for c in chunks)


def chunk(*parts: Any, finish: Any = None, **fields: Any) -> dict[str, Any]:
    """Write a response with some parts."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [*parts]}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [{**candidate, **fields}], "responseId": "r1"}


def call(**fields: Any) -> dict[str, Any]:
    """Write a part that is a call."""
    return {"functionCall": fields}


def piece(path: str, *, more: bool = True, **value: Any) -> dict[str, Any]:
    """Write a part with a piece of a call's arguments."""
    return call(partialArgs=[{"jsonPath": path, **value}], willContinue=more)


def read(*chunks: Any) -> Reply:
    """Decode a stream."""
    return decode(CODEC, 200, sse(*chunks))


def sent_back(reply: Reply) -> Any:
    """Return the parts of the reply as the next request holds them."""
    request = Request(model="gemini-3-flash", messages=(reply.message,))
    contents: Any = CODEC.encode(request).json["contents"]
    return contents[0]["parts"] if contents else []
