"""Serving the page: a real server on a real port."""

import socket
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from agentflow import UsageError
from agentflow.viewer import LiveTrace, Viewer, open_viewer, serve_viewer
from tests.viewer import traces
from tests.viewer.test_live import started

pytestmark = pytest.mark.anyio

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- for a moment, and behind the token


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on both loops, in real time."""
    return str(request.param)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A small trace file."""
    return traces.write(tmp_path / "run.jsonl", traces.session(1, parts=1))


async def read(viewer: Viewer, path: str = "") -> httpx.Response:
    """Open the viewer's link, and then what lies below it."""
    async with httpx.AsyncClient(follow_redirects=True) as http:
        page = await http.get(viewer.url)
        return await http.get(page.url.join(path)) if path else page


async def test_the_link_opens_the_page(trace: Path) -> None:
    """It listens on the loopback interface, on a free port, and needs the token."""
    with anyio.fail_after(5):
        async with open_viewer(trace) as viewer:
            assert viewer.url.startswith(f"http://127.0.0.1:{viewer.port}/?token=")
            page = await read(viewer)
            assert page.status_code == 200
            assert "token" not in str(page.url)
            records = await read(viewer, "records")
            assert records.text.count('"record": "FlowStarted"') == 1
            bare = viewer.url.partition("?")[0]
            async with httpx.AsyncClient() as http:
                assert (await http.get(bare)).status_code == 403
                headers = {"host": "evil.example"}
                answer = await http.get(viewer.url, headers=headers)
                assert answer.status_code == 403
        with pytest.raises(OSError, match="connect"):
            await anyio.connect_tcp("127.0.0.1", viewer.port)


class Follower:
    """A page that keeps what it is sent until it is told that this was the end."""

    def __init__(self) -> None:
        self.body = b""
        self.seen = anyio.Event()

    async def follow(self, url: str) -> None:
        """Open the link and listen."""
        async with httpx.AsyncClient(follow_redirects=True) as http:
            page = await http.get(url)
            async with http.stream("GET", page.url.join("records")) as answer:
                async for chunk in answer.aiter_bytes():
                    self.body += chunk
                    self.seen.set()


async def fail_while_followed(live: LiveTrace, follower: Follower, tasks: Any) -> None:
    """Record something, and leave the viewer's block by an error at once."""
    async with open_viewer(live) as viewer:
        tasks.start_soon(follower.follow, viewer.url)
        await follower.seen.wait()
        live.record(started(7))
        raise ValueError("mine")


async def test_a_live_page_gets_the_last_records_when_the_viewer_is_left() -> None:
    """Also when the block is left by an error, which leaves bare."""
    follower = Follower()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            with pytest.raises(ValueError, match="mine"):
                await fail_while_followed(LiveTrace(), follower, tasks)
    assert b"flow-7" in follower.body
    assert follower.body.endswith(b"event: end\ndata:\n\n")


async def test_a_viewer_runs_in_a_nursery_until_it_is_cancelled(trace: Path) -> None:
    """`start` returns it as soon as it listens."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            viewer = await tasks.start(serve_viewer, trace)
            assert (await read(viewer)).status_code == 200
            tasks.cancel_scope.cancel("enough")


async def test_token_port_and_host_may_be_chosen(trace: Path) -> None:
    """IPv6 too, where the machine has it."""
    token = "a-token-of-16-or-more"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with anyio.fail_after(5):
        async with open_viewer(trace, token=token, port=port) as viewer:
            assert viewer == Viewer(
                url=f"http://127.0.0.1:{port}/?token={token}", port=port
            )
        async with open_viewer(trace, host=EVERYWHERE, hosts=["localhost"]) as viewer:
            assert viewer.url.startswith("http://localhost:")
            assert (await read(viewer)).status_code == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6_is_written_as_a_browser_wants_it(trace: Path) -> None:
    """In brackets."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with anyio.fail_after(5):
        async with open_viewer(trace, host="::1") as viewer:
            assert viewer.url.startswith("http://[::1]:")
            assert (await read(viewer)).status_code == 200


async def test_a_port_that_is_taken_is_an_error_of_its_own(trace: Path) -> None:
    """No group is put around it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with open_viewer(trace, port=port):
                pytest.fail("it is taken")


async def test_an_open_address_without_names_is_refused(trace: Path) -> None:
    """Whoever opens it to other machines says how they will call it."""
    with pytest.raises(UsageError, match=r"host='0\.0\.0\.0' may be open"):
        async with open_viewer(trace, host=EVERYWHERE):
            pytest.fail("it is open")
