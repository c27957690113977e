"""Where the command line begins and ends: no traceback, whatever happens.

This is the console script. It imports the commands only once it knows that what they are
made of is installed.
"""

import os
import sys
from pathlib import Path

from agentflow._errors import AgentFlowError, UsageError
from agentflow.cli._exits import (
    DONE,
    FAILED,
    INTERRUPTED,
    PIPE_CLOSED,
    USAGE,
    CommandError,
    leaves,
)
from agentflow.cli._words import clean, describe

INSTALL_COMMAND = "python3 -m pip install 'trio-agentflow[cli]'"
"""Installs what the command line is made of."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows the program's name; by default what it was called with.

    Returns:
        The exit code.
    """
    _make_streams_safe()
    code = _guarded(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = PIPE_CLOSED
    if code == PIPE_CLOSED:  # else the interpreter complains when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _guarded(arguments: list[str]) -> int:
    try:
        from agentflow.cli._app import find_command  # noqa: PLC0415 -- see above

        code = find_command(arguments)()
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "rich"}:
            raise
        return _say(f"the command line needs {error.name}: {INSTALL_COMMAND}", USAGE)
    except BaseException as error:  # noqa: ASYNC103, BLE001 -- no loop is running
        return _ended(error)  # noqa: ASYNC104 -- likewise; a bug is raised again
    return code if isinstance(code, int) else DONE


def _ended(error: BaseException) -> int:
    """Say what ended a command; a bug is raised again, for its traceback."""
    found = list(leaves(error))
    if any(isinstance(leaf, BrokenPipeError) for leaf in found):
        return PIPE_CLOSED
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in found):
        return _say("interrupted", INTERRUPTED)
    code = DONE
    for leaf in found:
        if isinstance(leaf, SystemExit):
            code = leaf.code if isinstance(leaf.code, int) else FAILED
        elif isinstance(leaf, CommandError):
            code = _say(str(leaf), leaf.code)
        elif isinstance(leaf, AgentFlowError):
            wrong = isinstance(leaf, UsageError)
            code = _say(describe(leaf), USAGE if wrong else FAILED)
        else:
            raise error
    return code


def _say(words: str, code: int) -> int:
    sys.stderr.write(f"agentflow: {clean(words)}\n")
    return code


def _make_streams_safe() -> None:
    """Let no character end the program: what a terminal lacks is shown as an escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            swallow = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, swallow)
        else:
            stream.reconfigure(errors="backslashreplace")
