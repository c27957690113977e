"""`agentflow view`: a trace, or a journal, as a web page."""

import webbrowser
from functools import partial
from pathlib import Path

import trio

from agentflow._errors import EncodingError, JournalError
from agentflow.cli._exits import DONE, TERMINATED, CommandUsageError
from agentflow.cli._follow import follow
from agentflow.cli._page import open_page
from agentflow.cli._screen import Screen
from agentflow.cli._signals import open_interrupts
from agentflow.journal._sqlite import is_database
from agentflow.journal._sqlite_visit import visiting
from agentflow.tracing import TraceHeader, read_trace


def view(
    file: Path, /, *, live: bool = False, port: int = 0, browser: bool = False
) -> int:
    """Show a trace or a journal as a web page: flows, causes, agents, messages, errors.

    The page is served on this machine alone, and only to who has the link, which goes to
    standard output. It is there until you leave with Ctrl-C. What a program that runs here
    does is shown by agentflow run --view.

    A journal is followed: the page shows what is open, what failed, and what changes.

    Exit codes: 0 left with Ctrl-C, 2 the command line is wrong, or this is neither.

    Args:
        file: What agentflow run --trace, open_trace_file() or SQLiteJournal has written,
            or writes.
        live: Follow a trace file while a program writes it, instead of reading it anew
            for each visit.
        port: The port to listen on; any free one by default.
        browser: Open the page in a browser.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is neither, or the port is taken.
    """
    return trio.run(partial(_view, file, live=live, port=port, browser=browser))


async def _view(file: Path, *, live: bool, port: int, browser: bool) -> int:
    header = await trio.to_thread.run_sync(_header_of, file)
    is_followed = live and header is not None
    left = trio.Event()
    async with (
        open_interrupts() as interrupts,
        trio.open_nursery() as nursery,
        open_page(None if is_followed else file, port=port) as page,
    ):
        interrupts.then(left.set)
        if header is not None:
            for observer in page.observers:
                nursery.start_soon(follow, file, header, observer)
        screen = Screen()
        screen.say(page.url)
        screen.note("Ctrl-C leaves")
        if browser:
            await trio.to_thread.run_sync(webbrowser.open, page.url)
        await left.wait()
        nursery.cancel_scope.cancel("the page has been left")
    return TERMINATED if interrupts.code == TERMINATED else DONE


def _header_of(file: Path) -> TraceHeader | None:
    """Return what a trace file says of itself; None for a journal."""
    try:
        if is_database(str(file)):
            with visiting(str(file)):
                return None
        return read_trace(file, limit=1).header
    except OSError as error:
        raise CommandUsageError(f"cannot read {file}: {error.strerror}") from error
    except (EncodingError, JournalError) as error:
        raise CommandUsageError(str(error)) from error
