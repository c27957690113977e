"""Serving the trace page by itself; the one file that imports anycorn."""

import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self, TypedDict, Unpack, cast

import anyio
import anyio.abc
import attrs

from agentflow._errors import UsageError
from agentflow.viewer._app import Cancellable, app_of
from agentflow.viewer._feed import Feed, Price
from agentflow.viewer._gate import LOOPBACK, Gate, new_token
from agentflow.viewer._source import Source, feed_of

try:
    import anycorn
    from anycorn.typing import ASGIFramework
except ImportError as _error:
    raise ImportError(
        "agentflow.viewer needs anycorn: pip install 'trio-agentflow[viewer]'"
    ) from _error

_GRACE = 2.0
"""Seconds that pages have to take the last records when the viewer is left."""


@attrs.frozen(kw_only=True)
class Viewer:
    """A page that is being served.

    Attributes:
        url: The link to open, the token included: whoever has it sees the trace.
        port: The port it listens on.
    """

    url: str
    port: int


class ViewerOptions(TypedDict, total=False):
    """Settings of a viewer; all may be left out.

    Attributes:
        host: The address to listen on; "127.0.0.1" by default, which only programs on
            this machine reach.
        port: The port to listen on; 0, the default, takes a free one.
        token: See `create_app`; by default a new one that nobody can guess.
        hosts: See `create_app`. Needed where `host` is not a loopback address.
        prices: See `create_app`.
    """

    host: str
    port: int
    token: str
    hosts: Sequence[str]
    prices: Mapping[str, Price]


@asynccontextmanager
async def open_viewer(
    source: Source, **options: Unpack[ViewerOptions]
) -> AsyncGenerator[Viewer, None]:
    """Serve the page as long as the block runs.

    ::

        async with open_viewer("run.jsonl") as viewer:
            print(viewer.url)
            await trio.sleep_forever()

    Args:
        source: See `create_app`.
        options: See `ViewerOptions`.

    Yields:
        The viewer, which is listening.

    Raises:
        UsageError: There is no such file, the token will not do, or `host` is open to
            other machines and no `hosts` are named.
        JournalError: It is a database, and no journal.
        OSError: The port is taken.

    Cancellation: the pages lose their connection at once. When the block is left
    otherwise, they have 2 seconds to take what was recorded last.
    """
    served = _Served.of(source, options)
    stop = anyio.Event()
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(served.serve, stop)
        try:
            yield served.viewer
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001
            failure = error  # raised below, where no group is put around it
        stop.set()
    if failure is not None:
        raise failure


async def serve_viewer(  # noqa: ASYNC114 -- it calls `started` itself
    source: Source,
    *,
    task_status: anyio.abc.TaskStatus[Viewer] = anyio.TASK_STATUS_IGNORED,
    **options: Unpack[ViewerOptions],
) -> None:
    """Serve the page until cancelled; for ``viewer = await nursery.start(...)``.

    Args:
        source: See `create_app`.
        task_status: Gets the viewer as soon as it is listening.
        options: See `ViewerOptions`.

    Raises:
        UsageError: See `open_viewer`.
        JournalError: Likewise.
        OSError: The port is taken.

    Cancellation: the pages lose their connection at once.
    """
    served = _Served.of(source, options)
    async with anyio.create_task_group() as tasks:
        await tasks.start(served.serve, anyio.Event())
        task_status.started(served.viewer)


@attrs.frozen(kw_only=True)
class _Served:
    """A feed behind its gate, and the socket that listens for it."""

    feed: Feed
    gate: Gate
    listener: socket.socket
    viewer: Viewer

    @classmethod
    def of(cls, source: Source, options: ViewerOptions) -> Self:
        """Check the settings and take the port, before any task is started."""
        host = options.get("host", LOOPBACK[0])
        hosts = list(options.get("hosts", ()))
        shown = f"[{host}]" if ":" in host else host
        if shown not in LOOPBACK and not hosts:
            raise UsageError(
                f"host={host!r} may be open to other machines: name in hosts=[...] how "
                "they will call it, or leave host out"
            )
        gate = Gate.of(options.get("token") or new_token(), hosts)
        feed = feed_of(source, options.get("prices", {}))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, options.get("port", 0)), family=family)
        port: int = listener.getsockname()[1]
        name = shown if shown in LOOPBACK else hosts[0]
        viewer = Viewer(url=f"http://{name}:{port}/?token={gate.token}", port=port)
        return cls(feed=feed, gate=gate, listener=listener, viewer=viewer)

    async def serve(  # noqa: ASYNC128 -- anycorn calls `started`
        self,
        stop: anyio.Event,
        *,
        task_status: anyio.abc.TaskStatus[object] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop` is set."""

        async def stopped() -> None:
            await stop.wait()
            self.feed.end()

        with self.listener:
            config = anycorn.Config()
            # Handed over open: a port that is taken is then no group of errors.
            config.bind = [f"fd://{self.listener.dup().detach()}"]
            config.errorlog = None
            config.graceful_timeout = _GRACE
            config.include_server_header = False
            await anycorn.serve(  # pyright: ignore[reportUnknownMemberType]
                cast("ASGIFramework", Cancellable(app_of(self.feed, self.gate))),
                config,
                shutdown_trigger=stopped,
                task_status=task_status,
            )
