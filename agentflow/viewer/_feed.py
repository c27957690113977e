"""What the page listens to: a trace as server-sent events.

Theory of operation. A feed sends ``hello`` (JSON: what is shown, and prices), then
``reset``, which tells the page to forget what it has, then ``records``: lines of JSONL, as
many as there are, up to a bound. A feed that has no more to say sends ``end``. A page that
has lost its connection comes back with the id of the last message it got; if what follows
that is still there it goes on, else it starts over with a ``reset``. So a slow page costs
no memory here: nothing is kept for it but a number.
"""

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import anyio
import anyio.to_thread
import attrs

from agentflow._errors import EncodingError
from agentflow._lenient import JSON, dumps
from agentflow._record_json import record_as_json
from agentflow._records import Record
from agentflow.tracing._reading import files_of_trace
from agentflow.viewer._live import LiveTrace

Send: TypeAlias = Callable[[bytes], Awaitable[object]]
"""Sends bytes to the page; it waits while the page is slow."""

_CHUNK = 256 * 1024
"""Bytes of a file that are read and sent at once."""

_BATCH = 200
"""Records that are written at once; some ten microseconds each on the event loop."""
_PAUSE = 0.05
"""Seconds between two messages of a live trace, so that they carry more than one record."""
SILENCE = 15.0
"""Seconds; proxies give up on a connection that is silent for a minute."""

END = b"event: end\ndata:\n\n"
STILL_HERE = b": still here\n\n"


@attrs.frozen(kw_only=True)
class Price:
    """What a model costs, in any currency, for a million tokens.

    Attributes:
        input: Of what goes in.
        output: Of what comes out, reasoning included.
        cached: Of input that was read from a cache; None for the price of other input.
    """

    input: float
    output: float
    cached: float | None = None


class Feed(Protocol):
    """Something the page can listen to."""

    async def pour(self, after: str, send: Send) -> None:
        """Send the trace, from the message `after` on, until it ends.

        Cancellation: nothing more is sent.
        """
        ...

    def end(self) -> None:
        """Have every `pour` send what there is, and return."""
        ...


def event(name: str, lines: Iterable[bytes], message_id: str = "") -> bytes:
    """Write one server-sent event; a carriage return would end its line."""
    head = f"event: {name}\n" + (f"id: {message_id}\n" if message_id else "")
    data = (b"data: " + line.rstrip(b"\r\n").replace(b"\r", b" ") for line in lines)
    return head.encode() + b"\n".join((*data, b"", b""))


def hello(
    name: str, *, live: bool, prices: Mapping[str, Price], tab: str = "lanes"
) -> bytes:
    """Write the first event of a feed.

    Args:
        name: What is shown.
        live: Whether more is to come.
        prices: What models cost.
        tab: What the page shows first: "lanes" or "graph".

    Returns:
        The event.
    """
    told: dict[str, JSON] = {
        model: {
            "input": price.input,
            "output": price.output,
            "cached": price.input if price.cached is None else price.cached,
        }
        for model, price in prices.items()
    }
    about: JSON = {"name": name, "live": live, "prices": told, "tab": tab}
    return event("hello", [dumps(about).encode()])


class FileFeed:
    """Sends a trace file, as it is on disk when the page asks for it.

    Args:
        path: A file of JSONL; the older files of its trace beside it are sent first.
        prices: What models cost.
    """

    def __init__(self, path: Path, prices: Mapping[str, Price]) -> None:
        self._path = path
        self._hello = hello(path.name, live=False, prices=prices)
        self._ended = False

    async def pour(self, after: str, send: Send) -> None:  # noqa: ARG002 -- see Feed
        """Send the whole trace: a file is quickly read again.

        Cancellation: nothing more is sent.
        """
        await send(self._hello + event("reset", [b""]))
        for path in await anyio.to_thread.run_sync(_parts, self._path):
            await self._pour_file(path, send)
        await send(END)

    async def _pour_file(self, path: Path, send: Send) -> None:
        async with await anyio.open_file(path, "rb") as file:
            while not self._ended:
                lines = await anyio.to_thread.run_sync(file.wrapped.readlines, _CHUNK)
                if not lines:
                    break
                await send(event("records", lines))

    def end(self) -> None:
        """Stop reading."""
        self._ended = True


def _parts(path: Path) -> list[Path]:
    """Return the files of a trace; of something else, what is there."""
    try:
        return files_of_trace(path)
    except EncodingError:
        return [path]


class LiveFeed:
    """Sends the records of a session as they come.

    Args:
        trace: What keeps them.
        prices: What models cost.
        silence: Seconds without a record after which it says that it is still there.
    """

    def __init__(
        self,
        trace: LiveTrace,
        prices: Mapping[str, Price],
        *,
        silence: float = SILENCE,
    ) -> None:
        self._trace = trace
        self._hello = hello("live session", live=True, prices=prices)
        # A page that was connected to another feed must not go on here in the middle.
        self._name = secrets.token_hex(4)
        self._silence = silence
        self._ended = False

    async def pour(self, after: str, send: Send) -> None:
        """Send all records that are kept, then each as it comes.

        Cancellation: nothing more is sent.
        """
        await send(self._hello)
        number = self._number(after)
        while True:
            if number is None or number < self._trace.first:
                number = self._trace.first
                now = anyio.current_time()
                await send(event("reset", [b""]) + event("records", [header(now)]))
            records = self._trace.since(number, _BATCH)
            number += len(records)
            if records:
                lines = map(_line, records)
                await send(event("records", lines, f"{self._name}-{number}"))
            elif self._ended:
                break
            else:
                await self._wait(send)
        await send(END)

    def end(self) -> None:
        """Have every `pour` send what there is, and return."""
        self._ended = True
        self._trace.wake()

    def _number(self, after: str) -> int | None:
        """Return which record follows the message `after`, if it was one of ours."""
        name, _, number = after.partition("-")
        if name != self._name or not number.isdecimal():
            return None
        return min(int(number), self._trace.end)

    async def _wait(self, send: Send) -> None:
        """Wait for records, and meanwhile notice when nobody reads any more."""
        with anyio.move_on_after(self._silence) as silence:
            await self._trace.wait_changed()
            if not self._ended:
                await anyio.sleep(_PAUSE)
        if silence.cancelled_caught:
            await send(STILL_HERE)


def _line(record: Record) -> bytes:
    return dumps(record_as_json(record)).encode()


def header(now: float | None = None) -> bytes:
    """Say how the records' clock goes with the time of day, as a trace file does.

    Args:
        now: What the records' clock says; None if that is the time of day.

    Returns:
        The line.
    """
    wall = time.time()
    told: JSON = {
        "record": "Header",
        "format": 1,
        "wall": wall,
        "time": wall if now is None else now,
        "pid": os.getpid(),
    }
    return dumps(told).encode()
