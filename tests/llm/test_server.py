"""The child process's program, driven as the parent drives it, without the parent."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentflow.llm import _server
from agentflow.llm._server import ServerAnswer, ServerSettings
from tests.llm.local_fakes import LIMIT, ask_server, model_file, use_fake_wheels


@pytest.fixture(autouse=True)
def _fake_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve no real model here."""
    use_fake_wheels(monkeypatch)


def settings(model: Path, **changes: object) -> ServerSettings:
    """Return settings with an answer for each key."""
    asked = ServerSettings(
        model=str(model),
        port=0,
        slots=2,
        context=100,
        threads=3,
        api_key="",
        chat_template="",
    )
    return ServerSettings(**{**asked, **changes})  # type: ignore[typeddict-item]


@contextmanager
def program() -> Generator[subprocess.Popen[str]]:
    """Run the program with a pipe at each end."""
    with subprocess.Popen(
        [sys.executable, "-P", _server.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def ask(process: subprocess.Popen[str], wanted: ServerSettings) -> ServerAnswer:
    """Send the settings and take the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(wanted) + "\n")
    process.stdin.flush()
    answer: ServerAnswer = json.loads(process.stdout.readline())
    return answer


def refusal(wanted: ServerSettings) -> str:
    """Return why the program serves nothing, after it has ended by itself."""
    with program() as process:
        answer = ask(process, wanted)
        process.communicate(timeout=LIMIT)
        assert process.returncode == 0
    assert not answer["address"]
    return answer["error"]


def test_serves_until_its_input_ends(tmp_path: Path) -> None:
    """A server answers at its address, and its process ends with its input."""
    with program() as process:
        answer = ask(process, settings(model_file(tmp_path)))
        assert answer["error"] == ""
        assert ask_server(answer["address"])
        assert process.poll() is None
        process.communicate(timeout=LIMIT)
        assert process.returncode == 0


def test_ends_when_the_parent_is_gone_before_it_said_anything() -> None:
    """An input without a line means that there is nothing to serve."""
    with program() as process:
        assert process.communicate(timeout=LIMIT) == ("", "")
        assert process.returncode == 0


def test_passes_every_setting_on(tmp_path: Path) -> None:
    """The server is told what was asked for, the context of all slots in one sum."""
    wanted = settings(model_file(tmp_path), api_key="secret", chat_template="{{ x }}")
    with program() as process:
        answer = ask(process, wanted)
        told = ask_server(answer["address"])
    assert told["model"] == {"path": wanted["model"]}
    assert told["hostnames"] == ["127.0.0.1"]
    assert (told["n_parallel"], told["n_ctx"]) == (2, 200)
    assert told["cpuparams"] == told["cpuparams_batch"] == {"n_threads": 3}
    assert told["api_keys"] == ["secret"]
    assert told["chat_template"] == "{{ x }}"


def test_an_empty_key_or_template_is_left_to_the_server(tmp_path: Path) -> None:
    """Empty texts do not replace the defaults of llama.cpp."""
    with program() as process:
        answer = ask(process, settings(model_file(tmp_path)))
        told = ask_server(answer["address"])
    assert "api_keys" not in told
    assert "chat_template" not in told


def test_a_port_that_is_taken_is_named_in_the_answer(tmp_path: Path) -> None:
    """The port is tried before the model is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = refusal(settings(model_file(tmp_path), port=port))
    assert f"port {port} of 127.0.0.1 cannot be had" in error
    assert "0 for any free one" in error


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("refuses", "llama.cpp says: please check the input params"),
        ("sick", "/health answered 503"),
        ("deaf", "/health does not answer: ConnectionRefusedError"),
    ],
)
def test_a_server_that_does_not_serve_is_an_error(
    tmp_path: Path, behaviour: str, error: str
) -> None:
    """The answer says what went wrong with the server."""
    assert error in refusal(settings(model_file(tmp_path, behaviour)))


def test_without_posix_signals_the_input_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Windows the end of the input is seen when the model is loaded."""
    monkeypatch.setattr(sys, "platform", "win32")
    with Path(__file__).open("rb") as stream, _server.ended_by(stream):
        assert stream.readline()


def test_a_port_is_tried_as_the_system_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where an address in use could be taken over, the trial does not do so."""
    monkeypatch.setattr(os, "name", "nt")

    def refuse(wanted: ServerSettings) -> _server.Server:
        raise RuntimeError(wanted["model"])

    answer, server = _server.serve(settings(tmp_path), refuse)
    assert answer == {"address": "", "error": f"llama.cpp says: {tmp_path}"}
    assert server is None
