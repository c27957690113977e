"""What gets the records of a run, besides the counts: a file, and the page."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agentflow.abc import Observer
from agentflow.cli._exits import CommandUsageError
from agentflow.cli._page import open_page
from agentflow.tracing import TraceFile, open_trace_file


@asynccontextmanager
async def open_observers(
    trace: Path | None, view: Callable[[str], object] | None = None
) -> AsyncGenerator[list[Observer]]:
    """Open what gets the records.

    Args:
        trace: The file to write them to, if any.
        view: Called with the link to the page, if there is to be one.

    Yields:
        The observers.

    Raises:
        CommandUsageError: The file cannot be written, or the page not be served.

    Cancellation:
        What has been recorded is written; the page is gone.
    """
    async with AsyncExitStack() as stack:
        observers: list[Observer] = []
        if trace is not None:
            observers.append(await _open_file(stack, trace))
        if view is not None:
            page = await stack.enter_async_context(open_page())
            observers += page.observers
            view(page.url)
        yield observers


async def _open_file(stack: AsyncExitStack, trace: Path) -> TraceFile:
    try:
        return await stack.enter_async_context(open_trace_file(trace))
    except OSError as error:
        raise CommandUsageError(f"cannot write {trace}: {error.strerror}") from error
