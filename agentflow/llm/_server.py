"""The child process's program: a llama.cpp server that lives as long as its parent.

The parent runs this file by its path, so it imports the standard library and xllamacpp
alone and starts at once. The two talk over pipes:

1. The first line of standard input is the ``ServerSettings`` as JSON.
2. The first line of standard output is the ``ServerAnswer`` as JSON, sent when the
   model is loaded and the server says that it is healthy, or when that cannot be.
3. Standard input stays open; its end means that the parent is gone, however it went.
4. Standard error is llama.cpp's log.

Linux could end a child by itself when its parent dies (PR_SET_PDEATHSIG), but takes the
thread that started the child for its parent. Trio starts processes from worker threads,
which end when they have been idle, and the server would end with them.
"""

import contextlib
import http.client
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from typing import BinaryIO, Protocol, TypedDict
from urllib.parse import urlsplit

HOST = "127.0.0.1"
_HTTP_THREADS = 64  # a kept-alive connection holds one for seconds
_HEALTH_TIMEOUT = 10.0  # seconds; the server has loaded its model by then
_ERRORS_ONLY = 1  # llama.cpp's log level


class ServerSettings(TypedDict):
    """What the parent wants.

    Keys:
        model: Path of the GGUF file.
        port: TCP port on the loopback interface; 0 for any free one.
        slots: Requests that are answered at the same time.
        context: Tokens of context for each slot.
        threads: Threads that compute.
        api_key: Key that clients must send; empty for none.
        chat_template: Jinja template of the chat format; empty for the model's own.
    """

    model: str
    port: int
    slots: int
    context: int
    threads: int
    api_key: str
    chat_template: str


class ServerAnswer(TypedDict):
    """What the child has to say: one of the two, the other is empty.

    Keys:
        address: URL at which the healthy server listens.
        error: What keeps it from that.
    """

    address: str
    error: str


class Server(Protocol):
    """The running server; it ends with the process."""

    @property
    def listening_address(self) -> str:
        """URL at which it listens."""
        ...


def start_server(settings: ServerSettings) -> Server:
    """Load the model and start to listen, in threads of its own.

    Args:
        settings: What the parent wants.

    Returns:
        The server, which has loaded its model.
    """
    engine = importlib.import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = [HOST]
    params.port = settings["port"]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.n_threads_http = _HTTP_THREADS
    params.cache_ram_mib = 0  # else gigabytes of old prompts are kept
    params.warmup = False
    params.ui = False
    params.endpoint_slots = True
    params.verbosity = _ERRORS_ONLY
    if settings["api_key"]:
        params.api_keys = [settings["api_key"]]
    if settings["chat_template"]:
        params.chat_template = settings["chat_template"]
    server: Server = engine.Server(params)
    return server


def serve(
    settings: ServerSettings, start: Callable[[ServerSettings], Server]
) -> tuple[ServerAnswer, Server | None]:
    """Start the server and see that it is healthy.

    Args:
        settings: What the parent wants.
        start: Starts the server.

    Returns:
        What to tell the parent, and the server if there is one.
    """
    if fault := _port_fault(settings["port"]):
        return _refusal(fault), None
    try:
        server = start(settings)
    except RuntimeError as error:
        return _refusal(f"llama.cpp says: {error}"), None
    if fault := _health_fault(server.listening_address):
        return _refusal(fault), None
    return ServerAnswer(address=server.listening_address, error=""), server


def _refusal(why: str) -> ServerAnswer:
    """Return the answer of a server that cannot be had."""
    return ServerAnswer(address="", error=why)


def _port_fault(port: int) -> str | None:
    """Try to take the port, since llama.cpp says only in its log that it cannot.

    Returns:
        What is wrong with it, or None.
    """
    with socket.socket() as probe:
        if os.name == "posix":  # a port may be in the wait after its last owner
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return (
                f"port {port} of {HOST} cannot be had ({error.strerror}); "
                f"choose another, or 0 for any free one"
            )
    return None


def _health_fault(address: str) -> str | None:
    """Ask the server itself.

    Returns:
        What is wrong with it, or None.
    """
    connection = http.client.HTTPConnection(
        urlsplit(address).netloc, timeout=_HEALTH_TIMEOUT
    )
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"{address}/health does not answer: {error!r}"
    if status != http.HTTPStatus.OK:
        return f"{address}/health answered {status}"
    return None


@contextlib.contextmanager
def ended_by(stream: BinaryIO) -> Generator[None]:
    """Have the operating system end this process when the stream ends.

    While llama.cpp loads a model, no Python code can run here to see that the parent is
    gone. So the stream's end is made a signal whose default action ends a process.

    Args:
        stream: Standard input, from which nothing more is to come.

    Yields:
        Nothing; the stream is as before when the block is left.
    """
    if sys.platform == "win32":  # there the end waits until the model is loaded
        yield
        return
    import fcntl  # noqa: PLC0415 - Windows has none

    flags = fcntl.fcntl(stream, fcntl.F_GETFL)
    fcntl.fcntl(stream, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(stream, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(stream, fcntl.F_SETFL, flags)


def main() -> None:
    """Serve until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    stdin = sys.stdin.buffer
    settings = stdin.readline()
    if not settings:
        return  # the parent is gone already
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as parent:
        os.dup2(2, 1)  # whatever a library prints belongs to the log
        with ended_by(stdin):
            answer, server = serve(json.loads(settings), start_server)
        print(json.dumps(answer), file=parent)
    if server is None:
        return
    stdin.read()


if __name__ == "__main__":
    main()
    os._exit(0)  # answers in the making have nobody left to go to
