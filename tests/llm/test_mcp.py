"""Tools of MCP servers: real ones in child processes, others in this one."""

import importlib.util
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import types
from mcp.server import MCPServer, Server

import agentflow.llm.mcp
from agentflow.llm import (
    ImagePart,
    LLMBroker,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
)
from agentflow.llm.mcp import (
    HttpServer,
    McpError,
    McpServer,
    McpToolError,
    StdioServer,
    open_mcp_tools,
)
from agentflow.testing import ScriptedGateway
from tests.llm import mcp_program

PROGRAM = str(Path(__file__).with_name("mcp_program.py"))
STDIO = StdioServer(
    command=sys.executable, args=[PROGRAM, "stdio"], env={"SECRET": "s"}
)
PNG = b"\x89PNG\r\n\x1a\n"


def named(tools: tuple[Tool[..., object], ...]) -> dict[str, Any]:
    """Return tools by name."""
    return {t.spec.name: t for t in tools}


@asynccontextmanager
async def serving(port: int) -> AsyncGenerator[None]:
    """Run a server that is reached over HTTP."""
    command = [sys.executable, PROGRAM, "http", str(port)]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            while not await is_there(port):  # noqa: ASYNC110 -- it is elsewhere
                await anyio.sleep(0.05)
            yield
        finally:
            process.kill()


async def is_there(port: int) -> bool:
    """Return True if somebody listens."""
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


@pytest.mark.anyio
async def test_tools_of_a_program_are_called_by_a_model() -> None:
    """Side by side; a bad argument goes back to the model; then the program is ended."""
    calls = [
        ToolCall(id="1", name="add", arguments='{"a": 1, "b": 2}'),
        ToolCall(id="2", name="math_fail"),
        ToolCall(id="3", name="add", arguments='{"a": "x"}'),
    ]
    gateway = ScriptedGateway([calls, "three"])
    with anyio.fail_after(30):
        async with open_mcp_tools(STDIO) as tools:
            reply = await LLMBroker("m", gateway=gateway).generate("1+2?", tools=tools)
            by_name = named(tools)
            with anyio.move_on_after(0.1) as scope:
                await by_name["wait"]()
            assert scope.cancelled_caught
            with pytest.raises(McpError, match=r"tool 'die': .*closed"):
                await by_name["die"]()
            with pytest.raises(McpError, match="tool 'add'"):
                await by_name["add"](a=1, b=2)
    assert str(reply) == "three"
    spec = gateway.requests[0].tools[0]
    assert (spec.name, spec.description) == ("add", "Add two numbers.")
    assert spec.parameters["required"] == ["a", "b"]
    results = gateway.requests[1].messages[-1].content
    assert [r.is_error for r in results if isinstance(r, ToolResult)] == [
        False,
        True,
        True,
    ]
    assert isinstance(results[0], ToolResult)
    assert results[0].text == "3"
    assert "SECRET" not in repr(STDIO)


@pytest.mark.anyio
async def test_a_server_is_reached_over_http() -> None:
    """With headers of one's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = HttpServer(
        url=f"http://127.0.0.1:{port}/mcp", headers={"authorization": "Bearer s"}
    )
    assert "Bearer" not in repr(server)
    with anyio.fail_after(40):
        async with serving(port), open_mcp_tools(server, prefix="far.") as tools:
            assert await named(tools)["far_add"](a=1, b=2) == [TextPart("3")]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("server", "words"),
    [
        (StdioServer(command="/no/such/program"), "MCP server '/no/such/program'"),
        (HttpServer(url="http://127.0.0.1:9/mcp"), "MCP server http://127.0.0.1:9/mcp"),
    ],
)
async def test_a_server_that_is_not_there_is_named(
    server: McpServer, words: str
) -> None:
    """With the reason."""
    with pytest.raises(McpError, match=f"{words} cannot be used: .*Error"):
        async with open_mcp_tools(server):
            pytest.fail("there are no tools")


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    """After as long as one likes to wait."""

    async def never(*_: Any) -> types.ListToolsResult:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(
        McpError, match="'slow' did not name its tools within 1 seconds"
    ):
        async with open_mcp_tools(
            Server("slow", on_list_tools=never), connect_timeout=1
        ):
            pytest.fail("there are no tools")


async def test_all_pages_of_tools_are_taken() -> None:
    """A tool without a schema of its own takes no arguments."""
    pages = {
        None: types.ListToolsResult(
            tools=[types.Tool(name="a", input_schema={"type": "object"})],
            next_cursor="more",
        ),
        "more": types.ListToolsResult(
            tools=[types.Tool(name="b" * 99, input_schema={"type": "object"})]
        ),
    }

    async def page(  # noqa: ASYNC124 -- the package awaits it
        _: Any, params: Any
    ) -> types.ListToolsResult:
        return pages[params.cursor if params else None]

    async with open_mcp_tools(Server("paged", on_list_tools=page)) as tools:
        assert list(named(tools)) == ["a", "b" * 64]
        assert tools[0].spec.parameters == {"type": "object", "properties": {}}


async def test_whatever_a_tool_shows_arrives() -> None:
    """As text or image where it is one; else the model is told of it."""
    async with open_mcp_tools(mcp_program.server) as tools:
        by_name = named(tools)
        shown = await by_name["show"]()
        nothing = await by_name["nothing"]()
        with pytest.raises(McpToolError, match="Error executing tool"):
            await by_name["math_fail"]()
    png = ImagePart(data=PNG)
    assert shown[:2] == [TextPart("words"), png]
    assert "image/gif that cannot be read" in shown[2].text
    assert shown[3:5] == [TextPart("notes"), png]
    assert '"type":"resource"' in shown[5].text
    assert '"name":"notes"' in shown[6].text
    assert '"mimeType":"audio/wav"' in shown[7].text
    assert "iVBOR" not in shown[7].text
    assert nothing is None
    with pytest.raises(McpError, match="MCP server 'test server' is gone"):
        await by_name["add"](a=1, b=2)


async def test_what_the_block_raises_leaves_bare() -> None:
    """Not in a group."""
    with pytest.raises(ValueError, match="mine"):
        async with open_mcp_tools(mcp_program.server):
            raise ValueError("mine")


async def test_a_server_that_fails_at_its_end_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the block has made stays good."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncGenerator[None]:
        yield  # noqa: RUF075 -- this is the end that fails
        raise RuntimeError("cannot stop")

    async with open_mcp_tools(MCPServer("bad end", lifespan=lifespan)) as tools:
        assert tools == ()
    assert "'bad end' cannot be used: RuntimeError: cannot stop" in caplog.text


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the error of the import."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    file = agentflow.llm.mcp.__file__
    assert file is not None
    spec = importlib.util.spec_from_file_location("again", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError, match=r"pip install 'trio-agentflow\[mcp\]'"):
        spec.loader.exec_module(module)
