"""Reading trace files back (docs/trace-format.md)."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs

from agentflow._errors import EncodingError
from agentflow._events import Event
from agentflow._record_json import record_from_json
from agentflow._records import EventAccepted, Record
from agentflow.tracing._file import FORMAT
from agentflow.tracing._tracer import Tracer


@attrs.frozen(kw_only=True)
class TraceHeader:
    """What the first line of a trace file says.

    Attributes:
        agentflow: The version of agentflow that wrote it.
        wall: Unix time in seconds when it was opened.
        time: The event loop's clock at that moment.
        pid: The process.
        trace: The same in all files of one trace.
        part: Number of the file in its trace, from 0.
    """

    agentflow: str
    wall: float
    time: float
    pid: int
    trace: str = ""
    part: int = 0

    def wall_time(self, record: Record) -> float:
        """Return when a record was made, as Unix time in seconds."""
        return self.wall + (record.time - self.time)


class ReadTrace(Tracer):
    """The records of a trace file, with the questions of a `Tracer`.

    Attributes:
        header: What the oldest of its files says of itself.
        lost: How many records were not written, because they came too fast.
        skipped: How many lines could not be understood: of kinds that this version does
            not know, or broken, as the last one is after a crash.
    """

    def __init__(self, header: TraceHeader, *, limit: int) -> None:
        super().__init__(limit)
        self.header: TraceHeader = header
        self.lost: int = 0
        self.skipped: int = 0
        self._events: dict[str, Event] = {}

    def read_line(self, line: bytes) -> None:
        """Take a line of the file."""
        try:
            data = json.loads(line)
            kind = data["record"]
            if kind == "Header":
                return
            if kind == "Gap":
                self.lost += int(data["lost"])
                return
            record = record_from_json(data, self._events)
        except (ValueError, TypeError, KeyError, RecursionError):
            record = None
        if record is None:
            self.skipped += 1
            return
        if isinstance(record, EventAccepted):
            self._events[record.event.id or ""] = record.event
        self.record(record)


def read_trace(path: str | os.PathLike[str], *, limit: int = 10_000_000) -> ReadTrace:
    """Read a trace file, and the older files of the same trace beside it.

    It blocks; in async code, call it in a worker thread.

    Args:
        path: The file, as it was given to `open_trace_file`.
        limit: How many records to keep, the newest.

    Returns:
        The records, ready to be asked.

    Raises:
        OSError: The file cannot be read.
        EncodingError: It is no trace file, or one of another format.
    """
    files = files_of_trace(Path(path))
    trace = ReadTrace(_header_of(files[0]), limit=limit)
    for file in files:
        for line in _lines(file):
            trace.read_line(line)
    return trace


def files_of_trace(newest: Path) -> list[Path]:
    """Return a trace's files that are still there, the oldest first.

    Args:
        newest: The file, as it was given to `open_trace_file`.

    Returns:
        At least that one.

    Raises:
        OSError: It cannot be read.
        EncodingError: It is no trace file, or one of another format.
    """
    files = [newest]
    header = first = _header_of(newest)
    while first.part:
        older = newest.with_name(f"{newest.name}.{len(files)}")
        before = _header_of(older) if older.exists() else None
        if before is None or before.trace != header.trace:
            break
        first = before
        files.insert(0, older)
    return files


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        yield from lines


def _header_of(file: Path) -> TraceHeader:
    line = next(_lines(file), b"")
    try:
        data = json.loads(line)
        if data["record"] != "Header":
            raise KeyError("Header")  # noqa: TRY301 -- one error for all that is wrong
        fields = cast("dict[str, Any]", data)
        known = {field.name for field in attrs.fields(TraceHeader)}
        header = TraceHeader(**{k: v for k, v in fields.items() if k in known})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EncodingError(
            f"{file} is no trace file: its first line is {line[:80]!r}, and should be the "
            "header that open_trace_file() writes"
        ) from error
    if fields["format"] != FORMAT:
        raise EncodingError(
            f"{file} has format {fields['format']!r}, and this version of agentflow reads "
            f"format {FORMAT}; it was written by agentflow {header.agentflow}"
        )
    return header
