"""Calls: whole ones, one after another over a kept connection to a server on this machine.

Every side asks for a stream and reads it event by event, agentflow on asyncio and on trio,
the SDKs on asyncio. Bare httpx sends the same request and throws the bytes away: what lies
below agentflow's figure is not its own.
"""

import asyncio
import functools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)

import anthropic
import httpx
import ollama
import openai
import trio

from agentflow.llm import LLMBroker, TextDelta
from benchmarks._protocol import Wrong
from benchmarks.llm._bodies import words
from benchmarks.llm._laps import OURS, Lap, Rounds
from benchmarks.llm._texts import anthropic_text, chat_text, ollama_text

LENGTHS = {1: 100, 500: 10}
"""Calls of a lap, by the pieces of text in an answer."""

KEY = "key"
SDK = "SDK"
TRIO = "agentflow on trio"
BARE = "httpx"
ASK = [{"role": "user", "content": "hello"}]
PATHS = {
    "openai": "/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}

Call = Callable[[], Awaitable[str]]
"""Asks and reads; returns the text."""

Open = Callable[[str, str], AbstractAsyncContextManager[Call]]
"""Opens a client of a provider at a URL."""


@asynccontextmanager
async def open_ours(name: str, url: str) -> AsyncIterator[Call]:
    """Open a broker."""
    llm = LLMBroker(f"{name}:m", api_key=KEY, base_url=url, max_tokens=9)

    async def call() -> str:
        async with llm.stream("hello") as answer:
            texts = [x.text async for x in answer if isinstance(x, TextDelta)]
        return "".join(texts)

    async with llm:
        yield call


@asynccontextmanager
async def open_bare(name: str, url: str) -> AsyncIterator[Call]:
    """Open a client of httpx's own."""
    body = json.dumps({"model": "m", "messages": ASK, "stream": True}).encode()
    target = httpx.URL(url + PATHS[name])

    async def call() -> str:
        request = client.build_request("POST", target, content=body)
        response = await client.send(request, stream=True)
        async for _ in response.aiter_raw():
            pass
        return ""

    async with httpx.AsyncClient() as client:
        yield call


@asynccontextmanager
async def open_sdk(name: str, url: str) -> AsyncIterator[Call]:
    """Open the client of a provider's SDK."""
    async with SDKS[name](url) as call:
        yield call


@asynccontextmanager
async def _openai(url: str) -> AsyncIterator[Call]:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=url) as client:

        async def call() -> str:
            stream = await client.chat.completions.create(
                model="m", messages=ASK, max_completion_tokens=9, stream=True
            )
            return "".join([chat_text(chunk) async for chunk in stream])

        yield call


@asynccontextmanager
async def _anthropic(url: str) -> AsyncIterator[Call]:
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=url) as client:

        async def call() -> str:
            stream = await client.messages.create(
                model="m", messages=ASK, max_tokens=9, stream=True
            )
            return "".join([anthropic_text(event) async for event in stream])

        yield call


@asynccontextmanager
async def _ollama(url: str) -> AsyncIterator[Call]:
    async with AsyncExitStack() as stack:
        client = ollama.AsyncClient(url)
        stack.push_async_callback(client.close)

        async def call() -> str:
            stream = await client.chat(model="m", messages=ASK, stream=True)
            return "".join([ollama_text(part) async for part in stream])

        yield call


SDKS: Mapping[str, Callable[[str], AbstractAsyncContextManager[Call]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
}
SIDES: Mapping[str, Open] = {
    OURS: open_ours,
    TRIO: open_ours,
    SDK: open_sdk,
    BARE: open_bare,
}


async def lap(open_client: Open, name: str, *, url: str, pieces: int) -> Lap:
    """Time a call, the mean of several on one connection, and see that each is answered."""
    calls = LENGTHS[pieces]
    text = "" if open_client is open_bare else "".join(words(pieces))
    async with open_client(name, url) as call:
        await call()
        start = Lap.now()
        for _ in range(calls):
            if await call() != text:
                raise Wrong(f"{name}: a call was answered with something else")
        return Lap.now().since(start, calls)


@contextmanager
def server() -> Iterator[str]:
    """Run the server; give its URL."""
    command = [sys.executable, "-m", "benchmarks.llm._server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def row(name: str, url: str, *, pieces: int, rounds: int) -> str:
    """Measure all sides on one kind of call; return a row of the table."""
    laps = Rounds(SIDES)
    for _ in range(rounds):
        for side, open_client in SIDES.items():
            run = functools.partial(
                lap, open_client, name, url=f"{url}/{pieces}", pieces=pieces
            )
            laps.add(side, trio.run(run) if side == TRIO else asyncio.run(run()))
    cells = [laps.median(side) for side in SIDES]
    times = laps.times(SDK)
    return (
        f"| {name}, {pieces} pieces | "
        + " | ".join(f"{x.cpu * 1e6:,.0f} / {x.wall * 1e6:,.0f}" for x in cells)
        + f" | {times.cpu:.2f} | {times.wall:.2f} | {laps.times(SDK, TRIO).cpu:.2f} |"
    )


def measure_calls(rounds: int) -> Iterator[str]:
    """Measure each API that has an SDK; yield the rows of a table."""
    yield (
        f"| a call, µs CPU / wall | {' | '.join(SIDES)} "
        "| SDK takes times, CPU | wall | of trio, CPU |"
    )
    yield "|---|" + "---:|" * (len(SIDES) + 3)
    with server() as url:
        for name in SDKS:
            for pieces in LENGTHS:
                yield row(name, url, pieces=pieces, rounds=rounds)
