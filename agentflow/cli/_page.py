"""The trace page, as the command line serves it; the door to agentflow.viewer.

It is imported when it is wanted, so that the rest needs no web server.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs

from agentflow.abc import Observer
from agentflow.cli._exits import CommandUsageError

INSTALL_COMMAND = "python3 -m pip install 'trio-agentflow[viewer]'"
"""Installs what the page is served with."""


@attrs.frozen(kw_only=True)
class Page:
    """A page that is being served.

    Attributes:
        url: The link to open; whoever has it sees the trace.
        observers: What a live page gets its records by; of a file's there are none.
    """

    url: str
    observers: tuple[Observer, ...]


@asynccontextmanager
async def open_page(file: Path | None = None, *, port: int = 0) -> AsyncGenerator[Page]:
    """Serve the page on this machine for the length of a block.

    Args:
        file: The trace file or journal to show; None for what the page's observer gets.
        port: The port to listen on; 0 for a free one.

    Yields:
        The page.

    Raises:
        CommandUsageError: The extra is not installed, or the port is taken.
        UsageError: There is no such file.
        JournalError: It is a database, and no journal.

    Cancellation:
        The pages lose their connection.
    """
    try:
        from agentflow.viewer import LiveTrace, open_viewer  # noqa: PLC0415 -- see above
    except ImportError as error:
        what = f"the page needs the extra viewer ({error}): {INSTALL_COMMAND}"
        raise CommandUsageError(what) from error
    live = LiveTrace()
    async with AsyncExitStack() as stack:
        serving = open_viewer(live if file is None else file, port=port)
        try:
            viewer = await stack.enter_async_context(serving)
        except OSError as error:
            what = f"the page cannot be served on port {port}: {error.strerror}"
            raise CommandUsageError(what) from error
        yield Page(url=viewer.url, observers=(live,) if file is None else ())
