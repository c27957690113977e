"""Following a trace file that a running program writes, as `tail -f` does.

Files tell nobody that they have grown, so this one looks, a few times a second.
"""

import os
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

import anyio
import anyio.to_thread

from agentflow.abc import Observer
from agentflow.tracing import ReadTrace, TraceHeader

_LOOK = 0.25
"""Seconds between two looks at a file that had nothing new."""

_CHUNK = 1 << 18
"""Bytes that are read at once."""


async def follow(path: Path, header: TraceHeader, observer: Observer) -> None:
    """Hand the records of a file to an observer, those to come included, for ever.

    A file that is rotated away is read to its end, then the new one is.

    Args:
        path: The file.
        header: What its first line says.
        observer: Gets the records.

    Raises:
        OSError: The file cannot be read.

    Cancellation:
        The file is closed.
    """
    reader = ReadTrace(header, limit=1)

    def take(line: bytes) -> None:
        reader.read_line(line)
        for record in reader.records():
            observer.record(record)
        reader.clear()

    while True:
        with path.open("rb") as file:
            await _read_to_the_end(file, path, take)


async def _read_to_the_end(
    file: BufferedReader, path: Path, take: Callable[[bytes], None]
) -> None:
    """Read until another file has taken the name of this one."""
    rest = b""
    while True:
        is_old = _is_old(file, path)
        chunk = await anyio.to_thread.run_sync(file.read, _CHUNK)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            take(line)
        if is_old and not chunk:
            return
        if not chunk:
            await anyio.sleep(_LOOK)


def _is_old(file: BufferedReader, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False  # between two names
    mine = os.fstat(file.fileno())
    return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)
