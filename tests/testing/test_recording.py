"""Recording what a server says over HTTP, and saying it again."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import anyio
import attrs
import pytest

from agentflow.llm import (
    BadRequest,
    ConnectionFailed,
    HttpSettings,
    IncompleteStream,
    LLMBroker,
    LLMMessage,
    OpenAIGateway,
    Request,
    RetryPolicy,
    TextDelta,
)
from agentflow.testing import (
    FlowCheckFailed,
    RecordedLLM,
    open_recording,
    open_test_session,
    run_virtual,
)
from agentflow.testing._tape import Asked, Chunk, Exchange, dump
from tests.cli.fake_openai import KEY, FakeOpenAI, open_fake_openai
from tests.fakes import Ping, Pong, router_of, takes


@attrs.frozen
class Summary:
    summary: str


@pytest.fixture
def server() -> Generator[FakeOpenAI]:
    """Serve a model that answers at once."""
    with open_fake_openai() as server:
        yield server


def broker(recorded: RecordedLLM, url: str, **settings: Any) -> LLMBroker:
    """Ask that server, or its recording."""
    return recorded.broker(
        "compatible:m",
        base_url=url,
        **settings,
        http_settings=HttpSettings(retry=RetryPolicy(retries=0)),
    )


def sse(*texts: str) -> list[Chunk]:
    """Return a streamed answer, with a second before each piece."""
    lines = [
        f'data: {{"choices":[{{"delta":{{"content":"{t}"}}}}]}}\n\n' for t in texts
    ]
    end = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    return [Chunk(i + 1.0, line.encode()) for i, line in enumerate([*lines, end])]


def tape(path: Path, *chunks: Chunk, is_cut: bool = False, times: int = 1) -> None:
    """Write a recording in which somebody asked "Hello?"."""
    gateway = OpenAIGateway(base_url="http://localhost/v1")
    call = gateway._endpoint.codec.encode(request())
    exchange = Exchange(
        asked=Asked(
            method="POST",
            url="http://localhost/v1/chat/completions",
            headers={},
            body=call.json,
        ),
        status=200,
        headers={"content-type": "text/event-stream"},
        chunks=list(chunks),
        is_cut=is_cut,
    )
    path.write_text(dump([exchange] * times), encoding="utf-8")


def request() -> Request:
    """Return what is asked in the recordings of `tape`."""
    return Request(model="m", messages=[LLMMessage(content="Hello?")])


async def test_what_was_recorded_once_is_said_again_without_a_server(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    """The same objects, on a clock that is virtual, and without the key."""
    path = tmp_path / "deep" / "a.json"
    with open_recording(path, "once") as recorded:
        assert recorded.is_recording
        llm = broker(recorded, server.base_url, api_key=KEY)
        first = await llm.generate_object("Read this.", Summary)
        with pytest.raises(BadRequest, match="I do not read this"):
            await llm.generate_object("poison", Summary)
    assert KEY not in path.read_text("utf-8")
    for mode in ("none", "once"):
        with open_recording(path, cast("Any", mode)) as recorded:
            assert not recorded.is_recording
            llm = broker(recorded, "http://localhost:1/v1")
            assert len(recorded.unused()) == 2
            assert await llm.generate_object("Read this.", Summary) == first
            with pytest.raises(BadRequest, match="I do not read this"):
                await llm.generate_object("poison", Summary)
            assert (recorded.unused(), recorded.unexpected()) == ([], [])


async def test_new_requests_are_added_and_all_are_replaced(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    """Each way to record does what its name says."""
    path = tmp_path / "a.json"
    for mode, text in (
        ("once", "One"),
        ("new", "One"),
        ("new", "Two"),
        ("all", "Three"),
    ):
        with open_recording(path, cast("Any", mode)) as recorded:
            llm = broker(recorded, server.base_url, api_key=KEY)
            await llm.generate_object(text, Summary)
    said = path.read_text("utf-8")
    assert '"Three"' in said
    assert '"One"' not in said
    assert '"Two"' not in said


async def test_new_keeps_what_there_is(server: FakeOpenAI, tmp_path: Path) -> None:
    """And asks only for what is not there."""
    path = tmp_path / "a.json"
    for text in ("One", "Two"):
        with open_recording(path, "new") as recorded:
            llm = broker(recorded, server.base_url, api_key=KEY)
            await llm.generate_object(text, Summary)
    said = path.read_text("utf-8")
    assert said.count('"One"') == said.count('"Two"') == 1


async def test_an_unreachable_server_is_not_recorded(tmp_path: Path) -> None:
    """Nothing was said, so there is no file."""
    path = tmp_path / "a.json"
    with open_recording(path, "once") as recorded, pytest.raises(ConnectionFailed):
        await broker(recorded, "http://127.0.0.1:9/v1").generate("Hello?")
    assert not path.exists()


async def test_an_answer_nobody_reads_on_is_cut_in_the_recording(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    """And breaks off there when it is said again."""
    path = tmp_path / "a.json"
    with open_recording(path, "once") as recorded:
        client = recorded.http_client
        asked = {"messages": [{"content": "Hello?"}]}
        async with client.stream("POST", server.base_url, json=asked) as response:
            assert response.status_code == 401
    assert '"is_cut": true' in path.read_text("utf-8")
    tape(path, *sse("He", "llo")[:2], is_cut=True)
    with open_recording(path) as recorded, pytest.raises(IncompleteStream):
        await broker(recorded, "http://localhost/v1").generate("Hello?")


async def test_chunks_come_at_their_pace_in_virtual_time(tmp_path: Path) -> None:
    """A second before each."""
    tape(path := tmp_path / "a.json", *sse("He", "llo"))
    with open_recording(path) as recorded:
        llm = broker(recorded, "http://localhost/v1")
        start = anyio.current_time()
        async with llm.stream("Hello?") as answer:
            came = [
                (item.text, round(anyio.current_time() - start, 3))
                async for item in answer
                if isinstance(item, TextDelta)
            ]
    assert came == [("He", 1), ("llo", 2)]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_on_a_real_clock_they_come_at_once(backend: str, tmp_path: Path) -> None:
    """Tests are not to wait."""
    tape(path := tmp_path / "a.json", *sse("He", "llo"))

    async def main() -> None:
        with open_recording(path) as recorded, anyio.fail_after(0.9):
            llm = broker(recorded, "http://localhost/v1")
            assert (await llm.generate("Hello?")).text == "Hello"

    anyio.run(main, backend=backend)


async def test_a_connection_may_break_while_it_is_replayed(tmp_path: Path) -> None:
    """Before the answer, or within; what handles that is the code for real servers."""
    tape(path := tmp_path / "a.json", *sse("He", "llo"), times=3)
    with open_recording(path) as recorded:
        recorded.drop_connection()
        recorded.drop_connection(after=1)
        llm = broker(recorded, "http://localhost/v1")
        with pytest.raises(ConnectionFailed, match="drop_connection"):
            await llm.generate("Hello?")
        with pytest.raises(IncompleteStream):
            await llm.generate("Hello?")
        assert (await llm.generate("Hello?")).text == "Hello"


async def test_a_changed_request_fails_the_test_with_a_diff(tmp_path: Path) -> None:
    """Bare, and once more at the end if the agent swallows it."""
    tape(path := tmp_path / "a.json", *sse("Hi"))

    async def ask(event: Ping) -> Pong:
        return Pong(source=(await llm.generate("Hello!")).text)

    recorded = RecordedLLM(path)
    llm = broker(recorded, "http://localhost/v1")
    with pytest.raises(AssertionError, match="an unexpected call") as caught:
        async with open_test_session(
            router_of((Ping, ask)), checked=[recorded]
        ) as session:
            await session.run(Ping(source="test"), Pong)
    assert not isinstance(caught.value, FlowCheckFailed)
    assert '"content": "Hello?"' in str(caught.value)
    assert '"content": "Hello!"' in str(caught.value)
    assert recorded.unexpected() == [str(caught.value)]
    assert "an unused reply: " in recorded.unused()[0]


def test_a_way_to_record_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """With those there are."""
    with pytest.raises(ValueError, match="none, once, new, all, not 'some'"):
        RecordedLLM(tmp_path / "a.json", cast("Any", "some"))


async def test_the_embedded_model_is_not_needed_to_replay_it(tmp_path: Path) -> None:
    """Neither its wheels nor its process."""
    tape(path := tmp_path / "a.json", *sse("Hi"))
    with open_recording(path) as recorded, takes(2):
        async with recorded.open_local_model() as gateway:
            llm = LLMBroker("m", gateway=gateway)
            assert (await llm.generate("Hello?")).text == "Hi"


def test_runs_of_a_recording_are_alike(tmp_path: Path) -> None:
    """On both loops, with any seed."""
    tape(path := tmp_path / "a.json", *sse("He", "llo"))
    texts: list[str] = []

    async def main() -> None:
        with open_recording(path) as recorded:
            llm = broker(recorded, "http://localhost/v1")
            texts.append((await llm.generate("Hello?")).text)

    run_virtual(main, backend="trio", seed=1)
    run_virtual(main, backend="asyncio", seed=2)
    assert texts == ["Hello", "Hello"]
