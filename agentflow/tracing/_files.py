"""The files of one trace on disk: opening, writing, rotating. It blocks.

Files rotate as logs do: `trace.jsonl` is the one being written, `trace.jsonl.1` the one
before. What is in the way when a trace begins is rotated, too, so that each file belongs
to one trace and begins with its header.
"""

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

_CHUNK = 1 << 18
"""Bytes that are gathered for one call of the operating system."""


def parts_of(path: Path, count: int) -> list[Path]:
    """Return the names of a trace's files, the newest first."""
    return [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, count))]


class Files:
    """Writes to the newest file and rotates it when it is full.

    Args:
        path: The newest file.
        max_bytes: When to begin another.
        max_files: How many there are at most.
        header: Makes the first line of each file, from its number.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        max_files: int,
        header: Callable[[int], bytes],
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._paths = parts_of(path, max_files)
        self._header = header
        self._part = 0
        self._size = 0
        self._pending = bytearray()
        self._file: FileIO | None = None
        self._rotates = True

    def open(self) -> None:
        """Open the first file.

        Raises:
            OSError: It cannot be written.
        """
        if self._path.exists():
            self._rotates = self._path.is_file()
            if self._rotates and self._path.stat().st_size:
                self._shift()
        self._begin()

    def write(self, line: bytes) -> None:
        """Write a line, into a new file if this one is full.

        Raises:
            OSError: It cannot be written.
        """
        if self._rotates and self._size + len(line) > self._max_bytes:
            self.flush()
            self.close()
            self._shift()
            self._begin()
        self._pending += line
        self._size += len(line)
        if len(self._pending) > _CHUNK:
            self.flush()

    @property
    def unwritten(self) -> int:
        """How many lines the operating system has not taken yet."""
        return self._pending.count(b"\n")

    def flush(self) -> None:
        """Hand what has been written to the operating system.

        Raises:
            OSError: It does not take it.
        """
        assert self._file is not None
        while self._pending:
            written = self._file.write(self._pending)
            del self._pending[:written]

    def close(self) -> None:
        """Close the file that is open, if one is."""
        assert self._file is not None
        self._file.close()

    def _begin(self) -> None:
        # A pipe that nobody reads would have us wait for ever: it is an error instead.
        opener = _open_at_once if self._path.is_fifo() else None
        self._file = open(  # noqa: SIM115 -- it outlives the call; Path has no opener
            self._path, "ab", buffering=0, opener=opener
        )
        self._pending += self._header(self._part)
        self._size = len(self._pending)
        self._part += 1
        try:
            self.flush()
        except OSError:
            self.close()
            raise

    def _shift(self) -> None:
        """Move each file to the next name; the oldest goes."""
        names = self._paths
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)


def _open_at_once(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor
