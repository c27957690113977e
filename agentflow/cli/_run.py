"""`agentflow run`: a flow of the user's on each text."""

from pathlib import Path

from agentflow.cli._exits import CommandUsageError
from agentflow.cli._inputs import read_inputs
from agentflow.cli._program import KIND, is_runnable
from agentflow.cli._running import Settings, run_program
from agentflow.cli._targets import load_kind


def run(
    target: str,
    /,
    *files: str,
    jobs: int = 100,
    trace: Path | None = None,
    view: bool = False,
    quiet: bool = False,
    traceback: bool = False,
) -> int:
    """Run a flow on each text, all side by side.

    MODULE:NAME is a Router, an agentflow.cli.Program, or a function that opens one; it is
    imported from the current directory first. Results go to standard output, progress and
    errors to standard error.

    Ctrl-C finishes what has begun and begins no more; a second one cancels; a third ends
    the process at once. SIGUSR1 prints which agent is at which line, for which flow.

    Exit codes: 0 all done, 1 a flow failed, 2 wrong command line, target or file,
    130 interrupted, 141 nobody reads the output, 143 terminated.

    Args:
        target: What to run, as MODULE:NAME.
        files: Texts in UTF-8, each a flow of its own; "-" or none for what is piped in.
        jobs: How many texts are worked on at a time.
        trace: Write every record to this file; see agentflow trace.
        view: Serve a page that shows the flows live, until you leave it with Ctrl-C.
        quiet: Show results and errors alone.
        traceback: Show the traceback of each error.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: There is no such target, or a file cannot be read.
    """
    found = load_kind(target, is_runnable, KIND)
    if jobs < 1:
        raise CommandUsageError(f"--jobs must be 1 or more, not {jobs}")
    settings = Settings(
        jobs=jobs, trace=trace, view=view, quiet=quiet, traceback=traceback
    )
    return run_program(found, read_inputs(files), settings)
