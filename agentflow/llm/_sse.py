"""Cutting a body of bytes into lines, and lines into server-sent events.

Works on bytes, because a cut may fall inside a UTF-8 sequence or between CR and LF. Lines
end in LF, CRLF or CR alone and nowhere else: text splitters also split on U+2028 and its
like, which models do write. Memory is bounded: a line, an event, and the noise between two
events (comments, unknown fields, blank lines) each have a limit.
See https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.
"""

from typing import TypeAlias

from agentflow.llm._errors import AnswerTooLarge

MAX_LINE = 32 * 2**20
"""Bytes of one line or one event: images come as base64 on a single line."""

MAX_NOISE = 2**20
"""Bytes without an event: keep-alive comments of a day fit, a flood of them does not."""

_BOM = b"\xef\xbb\xbf"


class LineSplitter:
    """Gives back whole lines of a body that comes in pieces."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._pending = bytearray()
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes.

        Args:
            data: Any number of bytes, cut anywhere.

        Returns:
            The lines they completed, without their ends.

        Raises:
            AnswerTooLarge: A line is longer than it may be.
        """
        if not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return []
        self._after_cr = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._pending:
            self._pending += lines[0]
            lines[0] = bytes(self._pending)
            self._pending.clear()
        self._pending += rest
        if len(self._pending) > self._max_line:
            self._pending.clear()
            raise AnswerTooLarge(
                f"a line of the answer is longer than {self._max_line:,} bytes"
            )
        return lines

    def close(self) -> bytes:
        """Take the end of the body.

        Returns:
            The last line, if it had no end; else nothing.
        """
        rest = bytes(self._pending)
        self._pending.clear()
        return rest


SseEvent: TypeAlias = tuple[str, bytes]
"""One server-sent event: its type, empty if the server gave it none, and its data, still
undecoded. A plain tuple, since there are many."""


class NdjsonReader:
    """Gives back the lines of a stream of JSON lines, as events without a name."""

    def __init__(self, max_line: int = MAX_LINE, max_noise: int = MAX_NOISE) -> None:
        self._lines = LineSplitter(max_line)
        self._max_noise = max_noise
        self._noise = 0

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take the next bytes.

        Args:
            data: Any number of bytes, cut anywhere.

        Returns:
            The lines they completed; blank ones are skipped.

        Raises:
            AnswerTooLarge: A line, or a run of blank ones, has no end.
        """
        events: list[SseEvent] = []
        for line in self._lines.feed(data):
            if line.strip():
                self._noise = 0
                events.append(("", line))
            else:
                self._noise += len(line) + 1
                if self._noise > self._max_noise:
                    raise AnswerTooLarge(
                        f"{self._max_noise:,} bytes of the answer held blank lines only"
                    )
        return events

    def close(self) -> SseEvent | None:
        """Take the end of the body; see ``SseReader.close``."""
        rest = self._lines.close()
        return ("", rest) if rest.strip() else None


class SseReader:
    """Gives back the events of a stream that comes in pieces."""

    def __init__(self, max_line: int = MAX_LINE, max_noise: int = MAX_NOISE) -> None:
        self._lines = LineSplitter(max_line)
        self._max_event = max_line
        self._max_noise = max_noise
        self._started = False
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._noise = 0

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take the next bytes.

        Args:
            data: Any number of bytes, cut anywhere.

        Returns:
            The events they completed.

        Raises:
            AnswerTooLarge: A line, an event or the noise between events has no end.
        """
        events: list[SseEvent] = []
        lines = self._lines.feed(data)
        if lines and not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if line.startswith(b"data: "):
                # Nearly all of any stream, so it skips what other lines may need.
                self._data.append(line[6:])
                self._count_data(len(line))
            elif line:
                self._take(line)
            elif self._data:
                events.append(self._event())
            else:
                self._name = ""
                self._count_noise(1)
        return events

    def close(self) -> SseEvent | None:
        """Take the end of the body.

        Returns:
            The event that the end cut off, if any: several servers forget the blank line
            behind the last one.
        """
        rest = self._lines.close()
        if not self._started:
            rest = rest.removeprefix(_BOM)
        if rest:
            self._take(rest)
        return self._event() if self._data else None

    def _event(self) -> SseEvent:
        """Hand out the event whose lines have been collected."""
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = (self._name, data)
        self._name = ""
        self._data = []
        self._size = self._noise = 0
        return event

    def _take(self, line: bytes) -> None:
        """Take one line that is not blank."""
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._count_data(len(line))
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", "replace")
            self._count_noise(len(line))
        else:
            self._count_noise(len(line))

    def _count_data(self, size: int) -> None:
        """Count the bytes of a line that belongs to an event."""
        self._size += size
        if self._size > self._max_event:
            raise AnswerTooLarge(
                f"an event of the answer is larger than {self._max_event:,} bytes"
            )

    def _count_noise(self, size: int) -> None:
        """Count bytes that bring no event nearer."""
        self._noise += size
        if self._noise > self._max_noise:
            raise AnswerTooLarge(
                f"{self._max_noise:,} bytes of the answer held comments only"
            )
