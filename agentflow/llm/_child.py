"""The parent's side of the child process that serves a model: start, watch, end.

The child's log is read all the time, so that the child never blocks on a full pipe, and
its end is kept for the error that may need it. When the log ends, so has the child; the
block that needs it is then cancelled, as the body of a nursery is when a task fails.
"""

import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import Process
from anyio.lowlevel import checkpoint
from anyio.streams.buffered import BufferedByteReceiveStream

from agentflow.llm._errors import LLMError
from agentflow.llm._server import ServerAnswer, ServerSettings

_LOG_SIZE = 2000  # bytes of the log's end to keep
_LONGEST = 65536  # bytes of the child's one line
_END_GRACE = 5.0  # seconds; a killed process is gone long before


class LocalModelError(LLMError):
    """The embedded model cannot be had; the message says why and what to do."""


class LocalModelDied(LocalModelError):
    """The process of the embedded model ended, at its start or later."""


class Child:
    """A child process that answers one line, and then serves until it is ended.

    Attributes:
        process_id: Its number with the operating system.
        address: Where it listens; empty until ``start`` has returned.
    """

    def __init__(self, process: Process, name: str) -> None:
        self.process_id: int = process.pid
        self.address: str = ""
        self._process = process
        self._name = name
        self._log = b""
        self._ended = anyio.Event()

    async def start(self, settings: ServerSettings, limit: float) -> None:
        """Tell the child what to serve, and wait until it does.

        Args:
            settings: What to serve.
            limit: Seconds it may take.

        Raises:
            LocalModelDied: It ended instead.
            LocalModelError: It took too long.

        Cancellation:
            The child is told, or not; it is to be ended in either case.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with anyio.move_on_after(limit) as scope:
            await checkpoint()  # what follows may fail at once
            with contextlib.suppress(anyio.BrokenResourceError):  # it ended already
                await self._process.stdin.send(json.dumps(settings).encode() + b"\n")
            answer = ServerAnswer(address="", error="")
            with contextlib.suppress(anyio.IncompleteRead):  # it ended without one
                lines = BufferedByteReceiveStream(self._process.stdout)
                answer = json.loads(await lines.receive_until(b"\n", _LONGEST))
            if not answer["address"]:
                await self._ended.wait()
            if self._ended.is_set():
                raise LocalModelDied(self.obituary(answer["error"]))
            self.address = answer["address"]
        if scope.cancelled_caught:
            raise LocalModelError(
                f"{self._name} was not ready within {limit:g} s{self._last_words()}"
            )

    async def watch(self, body: anyio.CancelScope) -> None:
        """Read the log until the child ends, and cancel the block that needs it.

        Args:
            body: The scope of the block.

        Cancellation:
            The child is no longer watched.
        """
        assert self._process.stderr is not None
        async for chunk in self._process.stderr:
            self._log = (self._log + chunk)[-_LOG_SIZE:]
        await self._process.wait()
        self._ended.set()
        if self.address:
            body.cancel(f"{self._name} ended")

    @property
    def ended(self) -> bool:
        """Whether the child was seen to end."""
        return self._ended.is_set()

    def obituary(self, cause: str = "") -> str:
        """Say in a line how the child ended, and after that what its log said last.

        Args:
            cause: What the child gave as its reason; empty if it gave none.

        Returns:
            The text of an error.
        """
        how = cause or f"its process ended with exit code {self._process.returncode}"
        what = "is gone" if self.address else "could not start"
        return f"{self._name} {what}: {how}{self._last_words()}"

    def _last_words(self) -> str:
        """Return the end of the log, led in; empty if there is none."""
        words = self._log.decode("utf-8", "replace").strip()
        return f"; its log ends with:\n{words}" if words else ""


@asynccontextmanager
async def open_child(
    command: Sequence[str], settings: ServerSettings, *, name: str, start_limit: float
) -> AsyncGenerator[Child]:
    """Start a child process that serves, and end it with the block.

    Args:
        command: The program and its arguments.
        settings: What it is to serve.
        name: What to call it in errors.
        start_limit: Seconds it may take to be ready.

    Yields:
        The child, which serves.

    Raises:
        LocalModelDied: It ended before the block did. What the block itself raised
            leaves bare, with a note.
        LocalModelError: It was not ready in time.

    Cancellation:
        The child is killed, and waited for.
    """
    async with _open_process(command) as process:
        child = Child(process, name)
        async with _watched(child):
            await child.start(settings, start_limit)
            yield child


@asynccontextmanager
async def _open_process(command: Sequence[str]) -> AsyncGenerator[Process]:
    """Start a process; kill it and wait for it at the end of the block.

    Yields:
        The process.
    """
    # A session of its own keeps a Ctrl-C at the terminal from reaching it before us.
    process = await anyio.open_process(command, start_new_session=True)
    try:
        yield process
    finally:
        with anyio.move_on_after(_END_GRACE, shield=True):
            with contextlib.suppress(ProcessLookupError):  # it ended before
                process.kill()
            await process.aclose()


@asynccontextmanager
async def _watched(child: Child) -> AsyncGenerator[None]:
    """Watch the child during the block; what the block raises leaves bare.

    Yields:
        Nothing.

    Raises:
        LocalModelDied: The child ended, and the block was cancelled for it.
    """
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.watch, tasks.cancel_scope)
            try:
                yield
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001
                failure = error  # raised below, where no group is put around it
            tasks.cancel_scope.cancel("the block that needs the model is over")
    finally:
        if failure is not None:
            if child.ended and child.address:
                failure.add_note(child.obituary())
            raise failure
    if child.ended:
        raise LocalModelDied(child.obituary())
