"""Servers that send what no memory could hold, or what no parser should see.

Each is cut off: a typed error, a bounded amount of memory, the connection closed. The
servers would go on for as long as somebody listens.
"""

import json
import tracemalloc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from typing import Any

import anyio
import attrs
import pytest

from agentflow.llm import (
    AnswerTooLarge,
    AttemptTimeout,
    BadRequest,
    ConnectionFailed,
    HttpSettings,
    LLMBroker,
    LLMError,
    MalformedAnswer,
    RetryPolicy,
    _assembly,
)
from agentflow.llm._providers import PROVIDERS
from agentflow.llm._sse import NdjsonReader, SseReader
from agentflow.llm.providers import (
    _answers,
    _gemini_calls,
    _object_events,
    _ollama_decode,
    _responses_items,
)
from tests.llm.wire import Connection, open_server

pytestmark = pytest.mark.anyio

APIS = ("openai", "openai-responses", "anthropic", "gemini", "ollama")
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
PIECE = 2**16
FOREVER = 10 * 2**30 // PIECE
MIB = 2**20
SLACK = 16 * MIB  # what the sockets' buffers hold, and what is being looked at
LINE = 32 * MIB  # bytes that one line or one event may have
BLANK = MIB  # bytes that bring no event
# What these tests allow of the same, and of all events, characters and parts together:
SHORT = 4 * MIB
NOISE = MIB // 16
EVENTS = 8 * MIB
CHARS = MIB
PARTS = 256
HUGE = "x" * (10 * MIB)


@attrs.define
class Flood:
    """A handler that sends until it is stopped.

    Attributes:
        pieces: What it sends; after them it waits for the client to go.
        sent: Bytes that went out.
        closed: Set when the client has closed the connection.
    """

    pieces: Iterator[bytes]
    sent: int = 0
    closed: anyio.Event = attrs.field(factory=anyio.Event)

    async def __call__(self, connection: Connection) -> None:
        await connection.receive_request()
        try:
            for piece in self.pieces:
                await connection.send(piece)
                self.sent += len(piece)
            await connection.wait_closed()
        except anyio.BrokenResourceError:
            pass  # it closed while we were sending
        self.closed.set()


def broker(api: str, url: str, seconds: float = 30) -> LLMBroker:
    """Make a broker that tries once."""
    settings = HttpSettings(attempt_timeout=seconds, retry=RetryPolicy(retries=0))
    return LLMBroker(
        f"{api}:m", base_url=url, api_key="k", http_settings=settings, max_tokens=9
    )


@contextmanager
def memory(limit: int) -> Generator[None]:
    """Hold what is in use at any time to a limit, in bytes."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit


async def failure(api: str, flood: Flood) -> LLMError:
    """Ask such a server, and return the error there has to be."""
    async with open_server(flood) as server:
        with pytest.raises(LLMError) as caught:
            await broker(api, server.url).generate("hello")
        with anyio.fail_after(5):
            await flood.closed.wait()
    assert len(str(caught.value)) < 1000
    return caught.value


def answer(*pieces: bytes) -> Iterator[bytes]:
    """Send an answer."""
    return chain([OK], pieces)


def event(api: str, value: Any) -> bytes:
    """Write an event that holds a value, as an API frames it."""
    return framed(api, json.dumps(value).encode())


def framed(api: str, data: bytes) -> bytes:
    """Write an event."""
    return data + b"\n" if api == "ollama" else b"data: " + data + b"\n\n"


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow less of everything than really, which is quicker to send."""
    sse, lines = partial(SseReader, SHORT, NOISE), partial(NdjsonReader, SHORT, NOISE)
    monkeypatch.setattr(_answers, "SseReader", sse)
    monkeypatch.setattr(_ollama_decode, "NdjsonReader", lines)
    monkeypatch.setattr(_answers, "MAX_BODY", SHORT)
    monkeypatch.setattr(_answers, "MAX_NOISE", NOISE)
    for module in (_assembly, _responses_items, _gemini_calls):
        monkeypatch.setattr(module, "MAX_CHARS", CHARS)
    for module in (_assembly, _responses_items):
        monkeypatch.setattr(module, "MAX_PARTS", PARTS)


LONG = {"a line": b"data: ", "a body": b'{"choices": "', "a list": b'[{"x": "'}


@pytest.mark.parametrize("start", LONG.values(), ids=list(LONG))
@pytest.mark.parametrize("api", APIS)
@pytest.mark.usefixtures("_small")
async def test_ten_gigabytes_without_a_newline(api: str, start: bytes) -> None:
    """A line may be long, since images stand on one, but not that long."""
    flood = Flood(chain(answer(start), repeat(b"x" * PIECE, FOREVER)))
    with memory(2 * SHORT + SLACK):
        error = await failure(api, flood)
    assert isinstance(error, MalformedAnswer)
    if api != "ollama" or start.startswith(b"{"):
        assert isinstance(error, AnswerTooLarge)
    assert flood.sent < SHORT + SLACK


@pytest.mark.parametrize("start", LONG.values(), ids=list(LONG))
@pytest.mark.parametrize("api", APIS)
def test_how_long_a_line_may_really_be(api: str, start: bytes) -> None:
    """As long as the largest images make it."""
    decoder = PROVIDERS[api].codec.decoder()
    decoder.feed(start)
    for _ in range((LINE - MIB) // PIECE):
        decoder.feed(b"x" * PIECE)
    with pytest.raises(AnswerTooLarge):
        for _ in range(2 * MIB // PIECE):
            decoder.feed(b"x" * PIECE)


@pytest.mark.parametrize("api", APIS)
def test_how_long_an_answer_may_really_be_silent(api: str) -> None:
    """A day of keep-alive comments fits."""
    decoder = PROVIDERS[api].codec.decoder()
    for _ in range(BLANK // PIECE - 1):
        decoder.feed(b"\n" * PIECE)
    with pytest.raises(AnswerTooLarge):
        for _ in range(3):
            decoder.feed(b"\n" * PIECE)


NESTED = {
    "open": b'{"a":' + b"[" * 100_000,
    "lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("data", NESTED.values(), ids=list(NESTED))
@pytest.mark.parametrize("api", APIS)
async def test_a_hundred_thousand_brackets(api: str, data: bytes) -> None:
    """JSON that is nested too deeply is no answer, and does not end the program."""
    flood = Flood(answer(framed(api, data)))
    with memory(SLACK):
        error = await failure(api, flood)
    assert type(error) is MalformedAnswer
    assert "nested too deeply" in str(error)


SILENCE = {
    "comments": b": keep-alive\n\n",
    "blank lines": b"\n",
    "spaces": b" ",
    "unknown fields": b"x: y\n",
    "names": b"event: x\n",
    "ids": b"id: 1\n\n",
}


@pytest.mark.parametrize("noise", SILENCE.values(), ids=list(SILENCE))
@pytest.mark.parametrize("api", APIS)
@pytest.mark.usefixtures("_small")
async def test_an_endless_stream_of_nothing(api: str, noise: bytes) -> None:
    """Signs of life are good for so many bytes."""
    piece = noise * (PIECE // len(noise))
    hello = b"{}\n" if api == "ollama" else b": hello\n\n"
    flood = Flood(chain(answer(hello), repeat(piece, FOREVER)))
    error = await failure(api, flood)
    # Lines of JSON know no comments.
    silent = not noise.strip()
    expected = AnswerTooLarge if api != "ollama" or silent else MalformedAnswer
    assert type(error) is expected
    # Spaces alone are the line that has no end.
    assert flood.sent < (SHORT if noise == b" " else NOISE) + SLACK


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("noise", [b" ", b"\n", b"\r\n"])
@pytest.mark.usefixtures("_small")
async def test_an_endless_wait_for_the_first_word(api: str, noise: bytes) -> None:
    """White space before an answer is a sign of life, too."""
    flood = Flood(chain(answer(), repeat(noise * (PIECE // len(noise)), FOREVER)))
    error = await failure(api, flood)
    assert isinstance(error, AnswerTooLarge)
    assert flood.sent < (SHORT if api == "ollama" and noise == b" " else NOISE) + SLACK


async def test_comments_that_come_slowly() -> None:
    """They do not put off the deadline of a try."""
    closed = anyio.Event()

    async def serve(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(OK)
        try:
            while True:
                await connection.send(b": keep-alive\n\n")
                await anyio.sleep(0.01)
        except anyio.BrokenResourceError:
            closed.set()

    async with open_server(serve) as server:
        with pytest.raises(AttemptTimeout):
            await broker("openai", server.url, 0.2).generate("hello")
        with anyio.fail_after(5):
            await closed.wait()


PAD = "x" * MIB
PADDED: dict[str, Any] = {
    "openai": {"choices": [{"index": 1, "delta": {"content": PAD}}]},
    "openai-responses": {"type": "response.unheard_of", "x": PAD},
    "anthropic": {"type": "unheard_of", "x": PAD},
    "gemini": {"x": PAD},
    "ollama": {"message": {"x": PAD}},
}


@pytest.mark.parametrize("api", APIS)
async def test_an_endless_stream_of_what_is_no_text(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an API's events hold beside texts and calls is kept, but not without end."""
    monkeypatch.setattr(_object_events, "MAX_ANSWER", EVENTS)
    monkeypatch.setattr(_ollama_decode, "MAX_ANSWER", EVENTS)
    flood = Flood(chain(answer(), repeat(event(api, PADDED[api]), FOREVER)))
    with memory(2 * EVENTS + SLACK):
        error = await failure(api, flood)
    assert isinstance(error, AnswerTooLarge)
    assert flood.sent < EVENTS + SLACK


def chat_call(**function: str) -> Any:
    """Write a piece of a call as Chat Completions has it."""
    call = {"index": 0, "id": "c", "function": function}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


def responses_call(**fields: Any) -> Any:
    """Write the beginning of a call as Responses has it."""
    item = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", **fields}
    return {"type": "response.output_item.added", "output_index": 0, "item": item}


def argued(text: str) -> Any:
    """Write a piece of a call's arguments as Responses has it."""
    kind = "response.function_call_arguments.delta"
    return {"type": kind, "output_index": 0, "item_id": "i", "delta": text}


def block(**fields: Any) -> Any:
    """Write an event about a block as Anthropic has it."""
    return {"index": 0, **fields}


CALL: dict[str, object] = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
BEGUN = block(type="content_block_start", content_block=CALL)


def argument(text: str) -> Any:
    """Write a piece of a call's arguments as Anthropic has it."""
    piece = {"type": "input_json_delta", "partial_json": text}
    return block(type="content_block_delta", delta=piece)


FUNCTION = {"name": "f", "args": {"a": HUGE}}
SAME = {"name": "f", "arguments": {"a": HUGE}}
WHOLE: dict[str, list[Any]] = {
    "openai": [chat_call(name="f", arguments=HUGE)],
    "openai-responses": [responses_call(arguments=""), argued(HUGE)],
    "anthropic": [BEGUN, argument(HUGE)],
    "gemini": [{"candidates": [{"content": {"parts": [{"functionCall": FUNCTION}]}}]}],
    "ollama": [{"message": {"role": "assistant", "tool_calls": [{"function": SAME}]}}],
}
BIT = "x" * 10_000
ARGUED = {"jsonPath": "$.a", "stringValue": BIT, "willContinue": True}


def gemini_part(part: Any) -> Any:
    """Write a part of the answer as Gemini has it."""
    return {"candidates": [{"content": {"parts": [part]}}]}


PIECES: dict[str, Any] = {
    "openai": chat_call(arguments=BIT),
    "openai-responses": argued(BIT),
    "anthropic": argument(BIT),
    "gemini": gemini_part({
        "functionCall": {"partialArgs": [ARGUED], "willContinue": True}
    }),
}
TEXTS: dict[str, Any] = {
    "openai": {"choices": [{"index": 0, "delta": {"content": BIT}}]},
    "openai-responses": {"type": "response.output_text.delta", "delta": BIT},
    "anthropic": block(
        type="content_block_delta", delta={"type": "text_delta", "text": BIT}
    ),
    "gemini": gemini_part({"text": BIT}),
    "ollama": {"message": {"content": BIT}},
}
CALLS: dict[str, Any] = {
    "openai": {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]},
    "openai-responses": responses_call(arguments="{}"),
    "anthropic": BEGUN,
    "gemini": gemini_part({"functionCall": {"name": "f"}}),
    "ollama": {"message": {"tool_calls": [{"function": {"name": "f"}}]}},
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.usefixtures("_small")
async def test_a_text_without_end(api: str) -> None:
    """It has what memory there is for an answer."""
    flood = Flood(chain(answer(), repeat(event(api, TEXTS[api]) * 5, FOREVER)))
    with memory(8 * CHARS + SLACK):
        error = await failure(api, flood)
    assert isinstance(error, AnswerTooLarge)
    assert flood.sent < 2 * CHARS + SLACK


@pytest.mark.parametrize("api", APIS)
@pytest.mark.usefixtures("_small")
async def test_calls_without_end(api: str) -> None:
    """More than any answer has are not made."""
    flood = Flood(chain(answer(), repeat(event(api, CALLS[api]) * 100, FOREVER)))
    with memory(SLACK):
        error = await failure(api, flood)
    assert isinstance(error, AnswerTooLarge)
    assert "parts" in str(error)
    assert flood.sent < SLACK


@pytest.mark.parametrize("api", APIS)
async def test_a_call_with_a_huge_argument(api: str) -> None:
    """Ten megabytes in one event: no tool gets to see them."""
    events = b"".join(event(api, x) for x in WHOLE[api])
    flood = Flood(answer(events))
    with memory(8 * len(HUGE) + SLACK):
        error = await failure(api, flood)
    assert isinstance(error, AnswerTooLarge)
    assert "characters" in str(error)


@pytest.mark.parametrize("api", PIECES)
@pytest.mark.usefixtures("_small")
async def test_an_argument_without_end(api: str) -> None:
    """The same in small pieces."""
    begin = b"".join(event(api, x) for x in WHOLE[api][:-1])
    if api == "gemini":
        begin = event(
            api, gemini_part({"functionCall": {"name": "f", "willContinue": True}})
        )
    piece = event(api, PIECES[api]) * 5
    flood = Flood(chain(answer(begin), repeat(piece, FOREVER)))
    with memory(8 * CHARS + SLACK):
        error = await failure(api, flood)
    assert isinstance(error, AnswerTooLarge)
    assert flood.sent < 2 * CHARS + SLACK


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("junk", [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\x00"])
async def test_bytes_that_are_no_text(api: str, junk: bytes) -> None:
    """What is not UTF-8 is not JSON, and neither is a bare control character."""
    flood = Flood(answer(framed(api, b'{"choices": "' + junk + b'"}')))
    error = await failure(api, flood)
    assert type(error) is MalformedAnswer
    assert "not valid JSON" in str(error)


@pytest.mark.parametrize("api", APIS)
async def test_an_endless_error(api: str) -> None:
    """A status that is an error does not make its body worth reading to the end."""
    start = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    flood = Flood(chain([start], repeat(b"[" * PIECE, FOREVER)))
    with memory(SLACK):
        error = await failure(api, flood)
    assert isinstance(error, BadRequest)
    assert flood.sent < SLACK


async def test_endless_headers() -> None:
    """An answer that never comes to its point was none."""
    start = b"HTTP/1.1 200 OK\r\n"
    flood = Flood(chain([start], repeat(b"x-filler: y\r\n" * 1000, FOREVER)))
    with memory(SLACK):
        error = await failure("openai", flood)
    assert isinstance(error, ConnectionFailed)
    assert flood.sent < SLACK
