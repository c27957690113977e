"""A real process that has asked a real server is killed: the next one does not ask."""

import json
import os
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from tests.llm.wire import DONE, HEAD, Connection, chunk, event, open_server

ROOT = Path(__file__).parents[2]

CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "look_up", "arguments": '{"word": "hi"}'},
}


def called() -> bytes:
    """Write an answer that calls the tool."""
    choice = {
        "index": 0,
        "delta": {"tool_calls": [CALL]},
        "finish_reason": "tool_calls",
    }
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


async def answer(connection: Connection) -> None:
    """Call the tool, and greet once its result is there."""
    while True:
        body = json.loads(await connection.receive_request())
        has_result = body["messages"][-1]["role"] == "tool"
        said = event("A greeting.", finish="stop") if has_result else called()
        await connection.send(HEAD + chunk(said + DONE) + b"0\r\n\r\n")


async def run_program(path: Path, url: str, *, kill: bool) -> list[str]:
    """Run the program, to its end or until its handler has the answer; return its lines."""
    command = [sys.executable, "-m", "tests.journal.asking_program", str(path), url]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    text = ""
    async with await anyio.open_process(
        command + ["hang"] * kill, cwd=ROOT, env=environment, stderr=None
    ) as process:
        assert process.stdout is not None
        async for piece in TextReceiveStream(process.stdout):
            text += piece
            if "answered\n" in text:
                process.kill()
    assert process.returncode == (-9 if kill else 0)
    return text.splitlines()


@pytest.mark.anyio
async def test_a_killed_process_has_not_paid_in_vain(tmp_path: Path) -> None:
    """(J18) One request for each round and one call of the tool, in both lives together."""
    path = tmp_path / "run.db"
    async with open_server(answer) as server:
        before = await run_program(path, server.url, kill=True)
        asked = len(server.requests)
        after = await run_program(path, server.url, kill=False)
    assert before == ["looked up hi", "answered"]
    assert after == ["the answer: A greeting."]
    assert asked == len(server.requests) == 2
