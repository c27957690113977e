"""Events of the Responses API, as its servers send them."""

import json
from collections.abc import Sequence
from typing import Any

from agentflow.llm import Blob, Delta, Reply
from agentflow.llm._codec import decode
from agentflow.llm.providers.openai_responses import ResponsesCodec

CODEC = ResponsesCodec()
API = "openai-responses/openai"


def event(kind: str, index: int | None = None, **fields: Any) -> dict[str, Any]:
    """Write an event about an item."""
    place = {} if index is None else {"output_index": index}
    return {"type": f"response.{kind}", **place, **fields}


def added(index: int | None, **item: Any) -> dict[str, Any]:
    """Write the event that announces an item."""
    return event("output_item.added", index, item=item)


def done(index: int | None, **item: Any) -> dict[str, Any]:
    """Write the event that sends an item whole."""
    return event("output_item.done", index, item=item)


def said(text: str, index: int = 0, part: int = 0, **fields: Any) -> dict[str, Any]:
    """Write a piece of a message."""
    return event("output_text.delta", index, content_index=part, delta=text, **fields)


def thought(text: str, index: int = 0, part: int = 0) -> dict[str, Any]:
    """Write a piece of a summary of reasoning."""
    return event("reasoning_summary_text.delta", index, summary_index=part, delta=text)


def argued(text: str, index: int | None = 0, **fields: Any) -> dict[str, Any]:
    """Write a piece of a call's arguments."""
    return event("function_call_arguments.delta", index, delta=text, **fields)


def last(*output: Any, kind: str = "completed", **fields: Any) -> dict[str, Any]:
    """Write the last event."""
    return event(kind, response={"status": kind, "output": output, **fields})


def blob(raw: Any) -> Blob:
    """Mark what goes back."""
    return Blob(api=API, raw=raw)


def sse(*events: Any, names: bool = False) -> bytes:
    """Write a stream, with the names of its events or without."""
    lines = [
        f"event: {x['type']}\ndata: {json.dumps(x)}\n\n"
        if names
        else f"data: {json.dumps(x)}\n\n"
        for x in events
    ]
    return "".join(lines).encode()


def read(*events: Any) -> Reply:
    """Decode a stream."""
    return decode(CODEC, 200, sse(*events))


def deltas(*events: Any) -> Sequence[Delta]:
    """Return the deltas of a stream."""
    return CODEC.decoder().feed(sse(*events))


def message(text: str, **fields: Any) -> dict[str, Any]:
    """Write a message item."""
    content: Any = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content, **fields}


def call(arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    """Write a function call."""
    item = {"type": "function_call", "call_id": "c1", "name": "add"}
    return {**item, "arguments": arguments, **fields}
