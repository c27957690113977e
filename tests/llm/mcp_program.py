"""An MCP server as a program: ``stdio``, or ``http PORT``."""

import base64
import os
import sys

import anyio
from mcp.server import MCPServer
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
server = MCPServer("test server")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="math.fail")
def fail() -> str:
    """Fail."""
    raise ValueError("no numbers today")


@server.tool(structured_output=False)
def show() -> list[object]:
    """Show one of everything."""
    file = "file:///notes.txt"
    text = TextResourceContents(uri=file, text="notes")
    picture = BlobResourceContents(uri=file, blob=PNG, mime_type="image/png")
    blob = BlobResourceContents(uri=file, blob=PNG)
    return [
        TextContent(type="text", text="words"),
        ImageContent(type="image", data=PNG, mime_type="image/png"),
        ImageContent(type="image", data="%", mime_type="image/gif"),
        EmbeddedResource(type="resource", resource=text),
        EmbeddedResource(type="resource", resource=picture),
        EmbeddedResource(type="resource", resource=blob),
        ResourceLink(type="resource_link", name="notes", uri=file),
        AudioContent(type="audio", data=PNG, mime_type="audio/wav"),
    ]


@server.tool(structured_output=False)
def nothing() -> list[object]:
    """Return nothing."""
    return []


@server.tool()
async def wait() -> str:
    """Wait for ever."""
    await anyio.sleep_forever()
    return ""


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
