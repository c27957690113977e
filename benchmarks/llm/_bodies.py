"""The answers to read: streams as providers send them, recorded or made up here.

Recordings are short answers by the hundred, with all that real servers do; they are found
where the tests find them, and need not be there. A made one is as long as it is asked for,
in the shape that the provider itself sends.
"""

import gzip
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

APIS = ("openai.chat", "openai.responses", "anthropic.messages", "ollama.chat")
"""By the names of the recordings."""

BESIDE = Path(__file__).parents[3] / "shared" / "corpus"
STREAMS = {"sse", "ndjson"}
WORDS = (" the", " model", ",", " said", ' "yes"', "\n\n", " é", "tok", "en")


def recorded(api: str) -> Iterator[bytes]:
    """Yield the recorded streams of an API; none if there are no recordings."""
    root = Path(os.environ.get("AGENTFLOW_CORPUS") or BESIDE) / "dev"
    path = root / f"{api}.jsonl.gz"
    if not path.exists():
        return
    with gzip.open(path) as lines:
        for record in map(json.loads, lines):
            response = record["response"]
            if response["status"] == 200 and response["kind"] in STREAMS:
                yield str(response["text"]).encode()


def words(count: int) -> Iterator[str]:
    """Yield the pieces of an answer."""
    return (WORDS[n % len(WORDS)] for n in range(count))


def made(api: str, pieces: int) -> bytes:
    """Write a stream.

    Args:
        api: In which format.
        pieces: How many of a text it holds.
    """
    return b"".join(MAKERS[api](pieces))


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _event(value: Mapping[str, object]) -> bytes:
    return f"event: {value['type']}\n".encode() + b"data: " + _line(value) + b"\n\n"


def _chat(pieces: int) -> Iterator[bytes]:
    def chunk(delta: Mapping[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        value = {
            "id": "chatcmpl-B1",
            "object": "chat.completion.chunk",
            "created": 1790000000,
            "model": "m",
            "service_tier": "default",
            "system_fingerprint": "fp_1",
            "choices": [choice],
            "obfuscation": "aZ3kQ",
        }
        return b"data: " + _line(value) + b"\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for word in words(pieces):
        yield chunk({"content": word})
    yield chunk({}, "stop") + b"data: [DONE]\n\n"


def _responses(pieces: int) -> Iterator[bytes]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    text = "".join(words(pieces))
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant"}
    whole = item | {"status": "completed", "content": [part]}
    answer = {"id": "resp_1", "object": "response", "created_at": 1790000000}
    answer |= {"model": "m", "parallel_tool_calls": True, "tool_choice": "auto"}
    answer |= {"tools": [], "output": []}
    begun = answer | {"status": "in_progress"}
    empty = part | {"text": ""}
    ended = answer | {"status": "completed", "output": [whole]}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0}
        | {"item": item | {"status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **place, "part": empty},
        *(
            {"type": "response.output_text.delta", **place, "delta": word}
            | {"logprobs": [], "obfuscation": "aZ3kQ"}
            for word in words(pieces)
        ),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": ended},
    ]
    for number, event in enumerate(events):
        yield _event(event | {"sequence_number": number})


def _messages(pieces: int) -> Iterator[bytes]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    message |= {"usage": {"input_tokens": 9, "output_tokens": 1}}
    yield _event({"type": "message_start", "message": message})
    block = {"type": "text", "text": ""}
    yield _event({"type": "content_block_start", "index": 0, "content_block": block})
    for word in words(pieces):
        delta = {"type": "text_delta", "text": word}
        yield _event({"type": "content_block_delta", "index": 0, "delta": delta})
    yield _event({"type": "content_block_stop", "index": 0})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"output_tokens": pieces}
    yield _event({"type": "message_delta", "delta": end, "usage": usage})
    yield _event({"type": "message_stop"})


def _ollama(pieces: int) -> Iterator[bytes]:
    head = {"model": "m", "created_at": "2026-01-01T00:00:00.123456789Z"}
    for word in words(pieces):
        message = {"role": "assistant", "content": word}
        yield _line(head | {"message": message, "done": False}) + b"\n"
    message = {"role": "assistant", "content": ""}
    end = head | {"message": message, "done": True, "done_reason": "stop"}
    counts = {"total_duration": 9, "prompt_eval_count": 9, "eval_count": pieces}
    yield _line(end | counts) + b"\n"


MAKERS: Mapping[str, Callable[[int], Iterator[bytes]]] = {
    "openai.chat": _chat,
    "openai.responses": _responses,
    "anthropic.messages": _messages,
    "ollama.chat": _ollama,
}
