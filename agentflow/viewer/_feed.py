"""What the page listens to: a trace as server-sent events.

Theory of operation. A feed sends ``hello`` (JSON: what is shown, and prices), then
``reset``, which tells the page to forget what it has, then ``records``: lines of JSONL, as
many as there are, up to a bound. A feed that has no more to say sends ``end``. A page that
has lost its connection comes back with the id of the last message it got; if what follows
that is still there it goes on, else it starts over with a ``reset``. So a slow page costs
no memory here: nothing is kept for it but a number.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import anyio
import anyio.to_thread
import attrs

Send: TypeAlias = Callable[[bytes], Awaitable[object]]
"""Sends bytes to the page; it waits while the page is slow."""

_CHUNK = 256 * 1024
"""Bytes of a file that are read and sent at once."""

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


def hello(name: str, *, live: bool, prices: Mapping[str, Price]) -> bytes:
    """Write the first event of a feed."""
    told = {
        model: {
            "input": price.input,
            "output": price.output,
            "cached": price.input if price.cached is None else price.cached,
        }
        for model, price in prices.items()
    }
    about = {"name": name, "live": live, "prices": told}
    return event("hello", [json.dumps(about).encode()])


class FileFeed:
    """Sends a trace file, as it is on disk when the page asks for it.

    Args:
        path: A file of JSONL.
        prices: What models cost.
    """

    def __init__(self, path: Path, prices: Mapping[str, Price]) -> None:
        self._path = path
        self._hello = hello(path.name, live=False, prices=prices)
        self._ended = False

    async def pour(self, after: str, send: Send) -> None:  # noqa: ARG002 -- see Feed
        """Send the whole file: a file is quickly read again.

        Cancellation: nothing more is sent.
        """
        await send(self._hello + event("reset", [b""]))
        async with await anyio.open_file(self._path, "rb") as file:
            while not self._ended:
                lines = await anyio.to_thread.run_sync(file.wrapped.readlines, _CHUNK)
                if not lines:
                    break
                await send(event("records", lines))
        await send(END)

    def end(self) -> None:
        """Stop reading."""
        self._ended = True
