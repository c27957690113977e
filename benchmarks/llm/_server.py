"""A server that answers every call with the same bytes, in a process of its own.

`python -m benchmarks.llm._server` prints its port. The path names the API; what stands
before it says how long the answer is: `/500/v1/messages` is one of 500 pieces.
"""

import asyncio
import functools
from collections.abc import Mapping

from benchmarks.llm._bodies import made

PIECE = 1400
"""Bytes of a chunk: about what a packet holds."""

APIS: Mapping[str, str] = {
    "/chat/completions": "openai.chat",
    "/v1/messages": "anthropic.messages",
    "/api/chat": "ollama.chat",
}
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@functools.cache
def answer(target: str) -> bytes:
    """Return all that goes over the wire."""
    pieces, _, path = target.removeprefix("/").partition("/")
    body = made(APIS[f"/{path}"], int(pieces))
    chunks = (body[at : at + PIECE] for at in range(0, len(body), PIECE))
    return HEAD + b"".join(b"%x\r\n%b\r\n" % (len(x), x) for x in chunks) + b"0\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the calls that come over one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.lower().split("\r\n")
            sizes = [x.partition(":")[2] for x in lines if x.startswith("content-l")]
            await reader.readexactly(sum(map(int, sizes)))
            writer.write(answer(head.split(" ")[1]))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
