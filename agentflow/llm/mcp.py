"""Tools of MCP servers, through the official ``mcp`` package: the extra ``mcp``.

::

    files = StdioServer(command="npx", args=["-y", "@modelcontextprotocol/server-git"])
    async with open_mcp_tools(files) as tools:
        print(await llm.generate("What changed last week?", tools=tools))

One task of its own enters and leaves each connection, so that a server which dies takes
nobody else's scopes with it: its tools then answer with an error. The errors::

    LLMError
    └── McpError                the server cannot be reached, or is gone
        └── McpToolError        a tool answered with an error; the model is told
"""

import base64
import binascii
import logging
import math
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import anyio
import attrs

from agentflow.llm._errors import LLMError
from agentflow.llm._json import JSON, JSONObject, dumps
from agentflow.llm._messages import ImagePart, TextPart
from agentflow.llm._request import ToolSpec
from agentflow.llm._tools import AnyTool, Tool

try:
    import httpx2
    from mcp import Client, StdioServerParameters, types
    from mcp.client.streamable_http import streamable_http_client
    from mcp.server import MCPServer, Server
except ImportError as _error:
    raise ImportError(
        "agentflow.llm.mcp needs the package mcp: pip install 'trio-agentflow[mcp]'"
    ) from _error

__all__ = [
    "HttpServer",
    "McpError",
    "McpServer",
    "McpToolError",
    "StdioServer",
    "open_mcp_tools",
]

_NAME = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64
_TIMEOUT = 300.0
"""Seconds a server may be silent; the broker bounds each tool call more tightly."""
_log = logging.getLogger("agentflow")


class McpError(LLMError):
    """An MCP server cannot be reached, or is gone."""


class McpToolError(McpError):
    """A tool of an MCP server answered with an error."""


@attrs.frozen(kw_only=True)
class StdioServer:
    """A server that is started as a child process, and ended with the block.

    Attributes:
        command: The program.
        args: Its arguments.
        env: Environment variables beyond the harmless ones, such as PATH, that it gets.
        cwd: Its working directory; None for ours.
    """

    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    cwd: Path | str | None = None


@attrs.frozen(kw_only=True)
class HttpServer:
    """A server that is reached over streamable HTTP.

    Attributes:
        url: Its URL, as in "http://localhost:8000/mcp".
        headers: Headers of every request, for its key say.
    """

    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)


McpServer: TypeAlias = StdioServer | HttpServer | MCPServer[Any] | Server[Any]
"""Where tools come from; a server of the ``mcp`` package's own runs in this process."""


@asynccontextmanager
async def open_mcp_tools(
    server: McpServer, *, prefix: str = "", connect_timeout: float = 30.0
) -> AsyncGenerator[tuple[AnyTool, ...]]:
    """Connect to an MCP server and take its tools.

    Args:
        server: The server.
        prefix: What the names of the tools begin with, to tell those of several servers
            apart; nothing by default.
        connect_timeout: Seconds until the server must have named its tools.

    Yields:
        The tools, as the server has them now, for ``generate`` and agents.

    Raises:
        McpError: The server cannot be reached.

    Cancellation: the connection is closed, and a child process is ended.
    """
    connection = _Connection(server, prefix)
    raised: Exception | None = None
    # What the body raises must leave as it is, not in the group's exception group.
    async with anyio.create_task_group() as group:
        group.start_soon(connection.run, connect_timeout)
        await connection.ready.wait()
        if connection.client is not None:
            try:
                yield connection.tools
            except Exception as error:  # noqa: BLE001 - raised again below
                raised = error
        connection.closing.set()
    if raised is not None:
        raise raised
    if connection.failure is not None:
        if not connection.tools_taken:
            raise connection.failure
        # Whoever called a tool meanwhile was told; what the body made stays good.
        _log.warning("%s", connection.failure)


class _Connection:
    """A connection, and the task that owns it."""

    def __init__(self, server: McpServer, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self.ready = anyio.Event()
        self.closing = anyio.Event()
        self.client: Client | None = None
        self.tools: tuple[AnyTool, ...] = ()
        self.tools_taken = False
        self.failure: McpError | None = None

    async def run(self, seconds: float) -> None:  # noqa: ASYNC910 -- a task's own body
        """Enter the connection, keep it, leave it."""
        deadline = anyio.current_time() + seconds
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                await self._keep(scope)
            if not self.tools_taken:
                self.failure = McpError(
                    f"{self} did not name its tools within {seconds:g} seconds"
                )
        except Exception as error:  # noqa: BLE001 - whatever the package raises
            self.failure = McpError(f"{self} cannot be used: {_words(error)}")
            self.failure.__cause__ = error
        finally:
            self.client = None
            self.ready.set()

    def __str__(self) -> str:
        if isinstance(self._server, MCPServer | Server):
            return f"MCP server {self._server.name!r}"
        if isinstance(self._server, StdioServer):
            return f"MCP server {self._server.command!r}"
        return f"MCP server {self._server.url}"

    async def _keep(self, scope: anyio.CancelScope) -> None:
        """Hold the connection open until it is wanted no more."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(await _client(self._server, stack))
            listed = await _list_tools(client)
            self.tools = tuple([self._tool(x) for x in listed])
            self.client = client
            self.tools_taken = True
            scope.deadline = math.inf
            self.ready.set()
            await self.closing.wait()

    def _tool(self, listed: types.Tool) -> AnyTool:
        """Make a tool of ours of one of theirs."""

        async def call(**arguments: object) -> object:
            return await self._call(listed.name, arguments)

        schema: JSONObject = {"type": "object", "properties": {}, **listed.input_schema}
        name = _NAME.sub("_", self._prefix + listed.name)[:_LONGEST_NAME]
        spec = ToolSpec(
            name=name, description=listed.description or "", parameters=schema
        )
        # The server judges the arguments itself.
        return Tool(spec=spec, function=call, bind=lambda given: given)

    async def _call(self, name: str, arguments: dict[str, object]) -> object:
        """Call a tool."""
        client = self.client
        if client is None:
            raise McpError(f"{self} is gone; its tool {name!r} cannot be called")
        try:
            result = await client.call_tool(name, arguments)
        except Exception as error:
            raise McpError(f"{self}, tool {name!r}: {_words(error)}") from error
        parts = [_part(x) for x in result.content]
        if result.is_error:
            words = "\n".join(p.text for p in parts if isinstance(p, TextPart))
            raise McpToolError(words or f"tool {name!r} failed without a word")
        return parts or cast("JSON", result.structured_content)


async def _client(server: McpServer, stack: AsyncExitStack) -> Client:
    """Make the client for a server; what it needs is entered on the stack."""
    if isinstance(server, MCPServer | Server):
        return Client(server, cache=None)  # noqa: ASYNC910 -- entering it awaits
    if isinstance(server, StdioServer):
        parameters = StdioServerParameters(
            command=server.command,
            args=list(server.args),
            env=dict(server.env),
            cwd=server.cwd,
        )
        return Client(parameters, cache=None)  # noqa: ASYNC910 -- likewise
    http = httpx2.AsyncClient(headers=dict(server.headers), timeout=_TIMEOUT)
    await stack.enter_async_context(http)
    return Client(streamable_http_client(server.url, http_client=http), cache=None)


async def _list_tools(client: Client) -> Iterable[types.Tool]:
    """List all tools, page by page."""
    page = await client.list_tools()
    tools = list(page.tools)
    while page.next_cursor:
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools


def _part(content: types.ContentBlock) -> TextPart | ImagePart:
    """Take one block of a tool's answer as part of a message."""
    if isinstance(content, types.TextContent):
        return TextPart(content.text)
    if isinstance(content, types.ImageContent):
        return _image(content.data, content.mime_type)
    if isinstance(content, types.EmbeddedResource):
        resource = content.resource
        if isinstance(resource, types.TextResourceContents):
            return TextPart(resource.text)
        media_type = resource.mime_type or ""
        if media_type.startswith("image/"):
            return _image(resource.blob, media_type)
    # What models cannot be shown they are told of.
    told = content.model_dump(mode="json", by_alias=True, exclude_none=True)
    return TextPart(dumps({k: v for k, v in told.items() if k != "data"}))


def _image(data: str, media_type: str) -> TextPart | ImagePart:
    """Take an image, if it is one."""
    try:
        return ImagePart(
            data=base64.b64decode(data, validate=True), media_type=media_type
        )
    except binascii.Error:
        return TextPart(f"[an image of type {media_type} that cannot be read]")


def _words(error: Exception) -> str:
    """Say what went wrong inside the package's own exception groups."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return f"{type(error).__name__}: {error}"
