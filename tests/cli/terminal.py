"""A terminal with a program in it: a pseudo-terminal, and an emulator that reads it."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyte

ROOT = Path(__file__).parents[2]
_TELLING = {"CI", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "PYTHONUNBUFFERED"}
LIMIT = 40.0
"""Seconds to wait for words on a machine that has other things to do."""


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which the program finds the package and these tests."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    plain = {name: value for name, value in os.environ.items() if name not in _TELLING}
    path = os.pathsep.join(filter(None, paths))
    return {**plain, "PYTHONPATH": path, "TERM": "xterm-256color", **changes}


# Makes the terminal that a program is given its controlling one, so that Ctrl-C is a
# signal; forking in a process that has threads is no way to do that.
_LAUNCH = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal in which a program runs.

    Attributes:
        raw: All that the program has written.
    """

    def __init__(
        self, *arguments: object, env: Mapping[str, str], size: tuple[int, int]
    ) -> None:
        self.raw: bytes = b""
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, size)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(theirs)
        self._screen = pyte.HistoryScreen(size[1], size[0], history=1000)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """What is to be seen, with what has scrolled out at the top."""
        width = self._screen.columns
        above = [
            "".join(line[n].data for n in range(width)).rstrip()
            for line in self._screen.history.top
        ]
        return above + [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)

    def wait_for(self, words: str) -> None:
        """Read until some words can be seen."""
        end = time.monotonic() + LIMIT
        while words not in self.text:
            assert time.monotonic() < end, f"no {words!r} in:\n{self.text}"
            assert self._read(), f"ended without {words!r}:\n{self.text}"

    def wait_for_prompt(self) -> None:
        """Read until the last line is a prompt with nothing behind it."""
        end = time.monotonic() + LIMIT
        while self.text.rstrip().rpartition("\n")[2] != ">":
            assert time.monotonic() < end, f"no prompt in:\n{self.text}"
            assert self._read(), f"ended without a prompt:\n{self.text}"

    def type(self, keys: str) -> None:
        r"""Press keys; "\x03" is Ctrl-C."""
        os.write(self._ours, keys.encode())

    def send(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        self._process.send_signal(number)

    def resize(self, lines: int, columns: int) -> None:
        """Make the terminal larger or smaller."""
        termios.tcsetwinsize(self._ours, (lines, columns))
        self._screen.resize(lines, columns)

    def wait(self) -> int:
        """Read until the program ends; return its exit code, a signal's as negative."""
        end = time.monotonic() + LIMIT
        while self._read():
            assert time.monotonic() < end, f"no end of:\n{self.text}"
        return self._process.wait(LIMIT)

    def close(self) -> None:
        """Kill the program if it still runs."""
        self._process.kill()
        self._process.wait(LIMIT)
        os.close(self._ours)

    def _read(self) -> bool:
        """Take in what has been written; return False at the end."""
        ready, _, _ = select.select([self._ours], [], [], 0.1)
        if not ready:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # what Linux makes of the end
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)


@contextmanager
def open_terminal(
    *arguments: object,
    program: tuple[str, ...] = (sys.executable, "-m", "agentflow"),
    size: tuple[int, int] = (30, 100),
    env: Mapping[str, str] | None = None,
    is_killed: bool = False,
) -> Generator[Terminal]:
    """Run the command line with these arguments, or another program, in a terminal.

    One that is killed must not measure coverage: half a file of it would be left.
    """
    command = (*program, *arguments)
    settings = environment(**(env or {}))
    if is_killed:
        settings.pop("COVERAGE_PROCESS_CONFIG", None)
    terminal = Terminal(*command, env=settings, size=size)
    try:
        yield terminal
    finally:
        terminal.close()
