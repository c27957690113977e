"""A server on the loopback interface that sends what a test says, byte by byte."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
import attrs

Handler = Callable[["Connection"], Awaitable[None]]

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    """Frame data as one chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(text: str, *, finish: str | None = None) -> bytes:
    """Write a Chat Completions chunk with some text."""
    reason = f'"{finish}"' if finish else "null"
    data = '{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}'
    return b"data: " + (data % (text, reason)).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WHOLE = HEAD + chunk(event("Hi") + event("", finish="stop") + DONE) + b"0\r\n\r\n"


@attrs.define
class Connection:
    """The server's end of one connection."""

    stream: anyio.abc.SocketStream
    requests: list[bytes]
    closed: anyio.Event

    async def receive_request(self) -> bytes:
        """Read one whole request; raise EndOfStream when the client is gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self.stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += await self.stream.receive()
        self.requests.append(head + b"\r\n\r\n" + body)
        return body

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send(data)

    async def wait_closed(self) -> None:
        """Wait until the client has closed its end."""
        try:
            while True:
                await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.closed.set()


@attrs.define
class Server:
    """A running server.

    Attributes:
        url: Base URL for a gateway.
        requests: All requests so far, head and body.
        connections: How many connections were made.
        closed: Set when a handler saw the client close its end.
    """

    url: str
    requests: list[bytes] = attrs.field(factory=list[bytes])
    connections: int = 0
    closed: anyio.Event = attrs.field(factory=anyio.Event)


@asynccontextmanager
async def open_server(handler: Handler) -> AsyncGenerator[Server, None]:
    """Run a server that calls ``handler`` for each connection."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django
    server = Server(f"http://127.0.0.1:{port}/v1")

    async def serve(stream: anyio.abc.SocketStream) -> None:
        server.connections += 1
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await handler(Connection(stream, server.requests, server.closed))

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        try:
            yield server
        finally:
            group.cancel_scope.cancel("the test is over")


async def answer_whole(connection: Connection) -> None:
    """Answer every request of a connection with the same two words."""
    while True:
        await connection.receive_request()
        await connection.send(WHOLE)
