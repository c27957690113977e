"""Journals of real sessions, and what `agentflow journal` says of them."""

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.conftest import Command
from tests.cli.durable_shop import live
from tests.cli.terminal import ROOT, environment
from tests.conftest import run_on

Make = Callable[..., Path]
LIVE = """
import sys, trio
from tests.cli.durable_shop import main
trio.run(main, *sys.argv[1:])
"""


def again(path: Path, *items: str) -> None:
    """Let a session live for a while."""
    run_on("trio", lambda: live(str(path), *items))


@contextmanager
def living(path: Path, *items: str) -> Generator[subprocess.Popen[str]]:
    """Let another process have a session on the journal."""
    with subprocess.Popen(
        [sys.executable, "-c", LIVE, str(path), *items],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


def shown(command: Command, *arguments: object) -> str:
    """Return what a command that goes well shows."""
    ran = command("journal", *arguments)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def refused(command: Command, *arguments: object) -> str:
    """Return the one line that a command which does nothing says."""
    ran = command("journal", *arguments)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    return line.removeprefix("agentflow: ")


def as_json(command: Command, *arguments: object) -> Any:
    """Return what a command tells programs."""
    return json.loads(shown(command, *arguments, "--json"))
