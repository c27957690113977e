"""The trace file: an observer that writes records to disk and never keeps a flow waiting.

Theory of operation. `record` puts a record into a buffer and wakes a thread, which turns
records into lines and writes them. While it writes, the buffer fills; beyond its bound
records are counted instead of kept, and where they are missing the file says so. Only that
thread ever blocks. It is no thread of the event loop's pool, since those keep the program
from ending when a disk hangs.

What has been recorded is on disk as soon as the thread has come round, so a program that
is killed loses a few milliseconds. It is not synced: a power failure may take more.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from time import time

import anyio
import anyio.to_thread
import attrs

from agentflow._errors import SessionError
from agentflow._lenient import DEFAULT_BOUNDS, JSON, Bounds, dumps
from agentflow._record_json import record_as_json
from agentflow._records import Record
from agentflow.tracing._files import Files

_log = logging.getLogger("agentflow")

FORMAT = 1
"""The format of the lines; a reader refuses another."""


@attrs.frozen
class _Gap:
    """In the place of records that did not fit."""

    time: float
    lost: int


class TraceFile:
    """Writes records to a file; `open_trace_file` makes one.

    Attributes:
        path: Where.
        lost: How many records are not in the file because they came too fast, or because
            it could not be written.
        error: Why the file could not be written any more; None while it can.
    """

    def __init__(
        self, path: Path, files: Files, *, buffer: int, bounds: Bounds
    ) -> None:
        self.path: Path = path
        self.lost: int = 0
        self.error: OSError | None = None
        self._files = files
        self._bounds = bounds
        self._room = buffer
        self._buffer: deque[Record | _Gap] = deque()
        self._missing = 0
        self._missing_since = 0.0
        self._is_awake = False
        self._wake = threading.Event()
        self._is_closing = False
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"trace file {path.name}", daemon=True
        )

    def __repr__(self) -> str:
        return f"<TraceFile {self.path}>"

    def record(self, record: Record, /) -> None:
        """Take a record; a session calls this."""
        if len(self._buffer) >= self._room or self.error is not None:
            self._lose(record)
            return
        if self._missing:
            self._mark_gap()
        self._buffer.append(record)
        if not self._is_awake:
            self._is_awake = True
            self._wake.set()

    def _lose(self, record: Record) -> None:
        self.lost += 1
        if not self._missing:
            self._missing_since = record.time
            if self.lost == 1 and not self._is_closing and self.error is None:
                _log.warning(
                    "%s does not take records as fast as they come; the flows go on, and "
                    "what is missing is marked in it",
                    self.path,
                )
        self._missing += 1

    def _mark_gap(self) -> None:
        self._buffer.append(_Gap(self._missing_since, self._missing))
        self._missing = 0

    async def open(self) -> None:
        """Open the file and start to write.

        Raises:
            OSError: It cannot be written.

        Cancellation:
            It is not open, though it may be made.
        """
        await anyio.to_thread.run_sync(self._files.open, abandon_on_cancel=True)
        self._thread.start()

    async def aclose(self, grace: float) -> None:
        """Write what is left and close the file.

        Args:
            grace: Seconds it may take; then a warning says how much is missing.

        Cancellation:
            It is closed all the same, within its grace.
        """
        if self._missing:
            self._mark_gap()
        self._is_closing = True
        self._wake.set()
        self._room = 0
        is_done = False
        with anyio.CancelScope(shield=True):
            is_done = await anyio.to_thread.run_sync(self._done.wait, grace)
        if not is_done:
            left = self._unwritten()
            self.lost += left
            _log.warning(
                "%s did not take the last %d records within %g s; they are not in it",
                self.path,
                left,
                grace,
            )

    def _unwritten(self) -> int:
        return self._files.unwritten + sum(
            not isinstance(record, _Gap) for record in tuple(self._buffer)
        )

    # -- in the thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._wake.wait()
                self._wake.clear()
                self._is_awake = (
                    False  # before the buffer is looked at: no lost wake-up
                )
                self._write_all()
            self._write_all()
            self._files.close()
        except OSError as error:
            self._give_up(error)
        finally:
            self._done.set()

    def _write_all(self) -> None:
        buffer = self._buffer
        while buffer:
            self._files.write(self._line(buffer.popleft()))
        self._files.flush()

    def _line(self, record: Record | _Gap) -> bytes:
        if isinstance(record, _Gap):
            shown: dict[str, JSON] = {"record": "Gap", **attrs.asdict(record)}
        else:
            shown = record_as_json(record, self._bounds)
        return f"{dumps(shown)}\n".encode()

    def _give_up(self, error: OSError) -> None:
        self.error = error
        self.lost += self._unwritten()
        self._buffer.clear()
        with suppress(OSError):
            self._files.close()
        _log.warning(
            "%s cannot be written: %s; the flows go on, and what they do from here on is "
            "not in it",
            self.path,
            error,
        )


@asynccontextmanager
async def open_trace_file(
    path: str | os.PathLike[str],
    *,
    max_bytes: int = 100_000_000,
    max_files: int = 5,
    buffer: int = 50_000,
    bounds: Bounds = DEFAULT_BOUNDS,
    grace: float = 5.0,
) -> AsyncGenerator[TraceFile]:
    """Write the records of sessions to a file, in lines of JSON.

    ::

        async with (
            open_trace_file("run.jsonl") as trace,
            AsyncDispatcher(router, tracer=trace) as dispatcher,
        ):
            ...

    A file that is in the way is kept as ``run.jsonl.1``. A disk that is slow, full or gone
    costs the flows nothing: a warning says so once, and what could not be written is
    counted.

    Args:
        path: The file; `read_trace` reads it.
        max_bytes: How large it becomes before it is renamed and another begun.
        max_files: How many files are kept, this one included.
        buffer: How many records may wait for the disk; beyond that they are left out.
        bounds: How much of each record is kept.
        grace: Seconds that the end of the block waits for the disk.

    Yields:
        The observer, for the ``tracer`` of one or more sessions.

    Raises:
        OSError: The file cannot be made.
        SessionError: A limit makes no sense.

    Cancellation:
        What has been recorded is written, within `grace`.
    """
    limits = {"max_bytes": max_bytes, "max_files": max_files, "buffer": buffer}
    for name, value in limits.items():
        if value < 1:
            raise SessionError(f"{name} must be 1 or more, not {value!r}")
    place = Path(path)
    files = Files(
        place, max_bytes=max_bytes, max_files=max_files, header=_header_maker()
    )
    trace = TraceFile(place, files, buffer=buffer, bounds=bounds)
    await trace.open()
    try:
        yield trace
    finally:
        await trace.aclose(grace)  # noqa: ASYNC102 -- it shields itself, within grace


def _header_maker() -> Callable[[int], bytes]:
    """Return what makes the first line of each file of one trace, from its number.

    The loop's clock is read now, on the loop; later files are begun by the thread, which
    has no loop, and count from here.
    """
    common: dict[str, JSON] = {
        "record": "Header",
        "format": FORMAT,
        "agentflow": version("trio-agentflow"),
        "wall": time(),
        "time": anyio.current_time(),
        "pid": os.getpid(),
        "trace": token_hex(8),
    }
    return lambda part: f"{dumps({**common, 'part': part})}\n".encode()
