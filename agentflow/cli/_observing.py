"""What gets the records of a run, besides the counts: a file."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agentflow.abc import Observer
from agentflow.cli._exits import CommandUsageError
from agentflow.tracing import TraceFile, open_trace_file


@asynccontextmanager
async def open_observers(trace: Path | None) -> AsyncGenerator[list[Observer]]:
    """Open what gets the records.

    Args:
        trace: The file to write them to, if any.

    Yields:
        The observers.

    Raises:
        CommandUsageError: The file cannot be written.

    Cancellation:
        What has been recorded is written.
    """
    async with AsyncExitStack() as stack:
        observers: list[Observer] = []
        if trace is not None:
            observers.append(await _open_file(stack, trace))
        yield observers


async def _open_file(stack: AsyncExitStack, trace: Path) -> TraceFile:
    try:
        return await stack.enter_async_context(open_trace_file(trace))
    except OSError as error:
        raise CommandUsageError(f"cannot write {trace}: {error.strerror}") from error
