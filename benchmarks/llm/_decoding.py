"""Decoding: the same bytes through our decoders and through the SDKs' own stream classes.

Bodies come from memory, in pieces as a network brings them. agentflow puts the whole reply
together on the way; the SDKs hand out events and keep nothing, which is their fastest way.
Ollama's has no stream class, so its figure holds a call of its synchronous client: little
in a long stream, much in a short one.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

import anthropic
import httpx
import httpx2
import ollama
import openai
from anthropic.types import RawMessageStreamEvent
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from agentflow.llm import Codec, LLMError
from agentflow.llm.providers import ChatCodec
from agentflow.llm.providers.anthropic import AnthropicCodec
from agentflow.llm.providers.ollama import OllamaCodec
from agentflow.llm.providers.openai_responses import ResponsesCodec
from benchmarks._protocol import Wrong
from benchmarks.llm._bodies import APIS, made, recorded
from benchmarks.llm._laps import OURS, Lap, Rounds
from benchmarks.llm._texts import (
    anthropic_text,
    chat_text,
    ollama_text,
    responses_text,
)

PIECE = 1400
"""Bytes of a piece: about what a packet holds."""

LONG = 5000
"""Pieces of text in a made stream."""

KEY = "key"
SDK = "SDK"
SSE = {"content-type": "text/event-stream"}
REQUEST = httpx2.Request("POST", "http://model.test/v1")

Read = Callable[[bytes], tuple[int, str]]
"""Reads a body: how many events there were, and the text of the answer."""

CODECS: Mapping[str, Codec] = {
    "openai.chat": ChatCodec(),
    "openai.responses": ResponsesCodec(),
    "anthropic.messages": AnthropicCodec(),
    "ollama.chat": OllamaCodec(),
}


def pieces(body: bytes) -> Iterator[bytes]:
    """Cut a body."""
    return (body[at : at + PIECE] for at in range(0, len(body), PIECE))


def our_reader(codec: Codec) -> Read:
    """Read as the HTTP door does; deltas are what it counts."""

    def read(body: bytes) -> tuple[int, str]:
        decoder = codec.decoder()
        deltas = 0
        for piece in pieces(body):
            deltas += len(decoder.feed(piece))
        return deltas, decoder.finish().text

    return read


def sdk_reader(
    open_stream: Callable[..., Iterable[object]], text_of: Callable[..., str]
) -> Read:
    """Read with the stream class of an SDK that has one."""

    def read(body: bytes) -> tuple[int, str]:
        response = httpx2.Response(
            200, headers=SSE, content=pieces(body), request=REQUEST
        )
        texts = [text_of(event) for event in open_stream(response=response)]
        return len(texts), "".join(texts)

    return read


def ollama_reader() -> Read:
    """Read with Ollama's client."""
    bodies: list[bytes] = []

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=pieces(bodies.pop()))

    client = ollama.Client("http://model.test", transport=httpx.MockTransport(answer))

    def read(body: bytes) -> tuple[int, str]:
        bodies.append(body)
        parts = client.chat(model="m", messages=[], stream=True)
        texts = [ollama_text(part) for part in parts]
        return len(texts), "".join(texts)

    return read


def readers() -> Mapping[str, Read]:
    """Return the SDKs' readers."""
    gpt = openai.OpenAI(api_key=KEY)
    claude = anthropic.Anthropic(api_key=KEY)
    chat = functools.partial(openai.Stream, cast_to=ChatCompletionChunk, client=gpt)
    responses = functools.partial(
        openai.Stream, cast_to=ResponseStreamEvent, client=gpt
    )
    messages = functools.partial(
        anthropic.Stream, cast_to=RawMessageStreamEvent, client=claude
    )
    return {
        "openai.chat": sdk_reader(chat, chat_text),
        "openai.responses": sdk_reader(responses, responses_text),
        "anthropic.messages": sdk_reader(messages, anthropic_text),
        "ollama.chat": ollama_reader(),
    }


def agreed(ours: Read, theirs: Read, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the recordings that both read, to the same text."""
    left_out: list[str] = []
    for body in bodies:
        try:
            texts = ours(body)[1], theirs(body)[1]
        except (LLMError, openai.OpenAIError, anthropic.AnthropicError):
            left_out.append("it holds an error")
        except Exception as error:  # noqa: BLE001 - the SDKs raise all sorts of things
            left_out.append(f"the SDK raised {type(error).__name__}")
        else:
            if texts[0] == texts[1]:
                yield body
            else:
                left_out.append("the texts differ")
    for reason in sorted(set(left_out)):
        print(f"left out {left_out.count(reason)}: {reason}", file=sys.stderr)


def lap(read: Read, bodies: Iterable[bytes], expected: str) -> Lap:
    """Time reading all of them, and see that all was read."""
    start = Lap.now()
    texts = [read(body)[1] for body in bodies]
    taken = Lap.now().since(start)
    if "".join(texts) != expected:
        raise Wrong("a text has changed between two readings")
    return taken


def row(
    name: str, sides: tuple[Read, Read], *, bodies: list[bytes], rounds: int
) -> str:
    """Measure both sides on some bodies; return a row of the table."""
    ours, theirs = sides
    events = sum(theirs(body)[0] for body in bodies)
    expected = "".join(theirs(body)[1] for body in bodies)
    size = sum(map(len, bodies)) / 1e6
    laps = Rounds((OURS, SDK))
    for _ in range(rounds):
        laps.add(OURS, lap(ours, bodies, expected))
        laps.add(SDK, lap(theirs, bodies, expected))
    mine, other, times = laps.median(OURS), laps.median(SDK), laps.times(SDK)
    return (
        f"| {name}, {len(bodies)} | {events:,} "
        f"| {events / mine.cpu:,.0f} | {size / mine.cpu:.1f} "
        f"| {events / other.cpu:,.0f} | {size / other.cpu:.1f} "
        f"| {times.cpu:.1f} | {times.wall:.1f} |"
    )


def measure_decoding(rounds: int) -> Iterator[str]:
    """Measure each API; yield the rows of a table."""
    yield (
        "| streams | events | agentflow, events/s | MB/s | SDK, events/s | MB/s "
        "| SDK takes times, CPU | wall |"
    )
    yield "|---|" + "---:|" * 7
    sdks = readers()
    for api in APIS:
        sides = our_reader(CODECS[api]), sdks[api]
        for kind, bodies in (
            ("recorded", list(agreed(*sides, recorded(api)))),
            ("made", [made(api, LONG)]),
        ):
            if bodies:
                yield row(f"{api}, {kind}", sides, bodies=bodies, rounds=rounds)
