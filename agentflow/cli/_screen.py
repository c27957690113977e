"""The screen: results on standard output, all else on standard error; the door to rich.

A terminal gets colour and live tables as wide as it is. A pipe gets plain text that is
never cut. Rich itself heeds NO_COLOR, FORCE_COLOR, TERM and COLUMNS.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agentflow.cli._words import clean

_ENDLESS = 100_000
"""Characters in a line of a pipe: a table there is as wide as it needs to be."""


@attrs.frozen(kw_only=True)
class Grid:
    """A table.

    Attributes:
        heads: The column heads; one that begins with ">" is for numbers.
        rows: The cells, as many to a row as there are heads.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def drawn(self) -> Table:
        """Return it for rich."""
        table = Table(
            box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold"
        )
        for head in self.heads:
            is_number = head.startswith(">")
            table.add_column(
                Text(head.removeprefix(">")),
                justify="right" if is_number else "left",
                no_wrap=is_number,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        return table


class Screen:
    """Where a command shows what it has to say.

    Attributes:
        is_live: Whether standard error is a terminal that can be drawn on.
    """

    def __init__(self) -> None:
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)
        self.is_live: bool = self._err.is_terminal and not self._err.is_dumb_terminal
        self._live: Live | None = None
        self._is_within_line = False

    def say(self, text: str, *, style: str = "") -> None:
        """Print a result to standard output, above what is live."""
        console = self._err if self._live and self._out.is_terminal else self._out
        console.print(Text(clean(text), style=style), soft_wrap=True)

    def raw(self, text: str) -> None:
        """Write for programs: no colour, nothing escaped."""
        sys.stdout.write(text)

    def piece(self, text: str, *, is_thought: bool = False) -> None:
        """Write a piece of a line to standard output; thoughts are dimmed."""
        words = clean(text)
        if is_thought:
            words = f"\x1b[2m{words}\x1b[22m" if self._out.is_terminal else ""
        sys.stdout.write(words)
        sys.stdout.flush()
        self._is_within_line = bool(words)

    def end_piece(self) -> None:
        """End the line that pieces have begun."""
        if self._is_within_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._is_within_line = False

    def aside(self, text: str) -> None:
        """Say on a line of its own what is no part of the pieces."""
        self.end_piece()
        self.note(f"- {text}", style="cyan")

    def ask(self, prompt: str) -> str:
        """Read a line from a terminal.

        Args:
            prompt: What to show before it.

        Returns:
            The line.

        Raises:
            EOFError: Ctrl-D.
        """
        if self._out.is_terminal:
            return input(prompt)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    def note(self, text: str, *, style: str = "") -> None:
        """Print what is no result to standard error."""
        self._err.print(Text(clean(text), style=style), soft_wrap=True)

    def error(self, text: str) -> None:
        """Print what went wrong to standard error."""
        self.note(text, style="red")

    def table(self, grid: Grid, *, is_result: bool = True) -> None:
        """Print a table to standard output, or to standard error."""
        (self._out if is_result else self._err).print(grid.drawn())

    @contextmanager
    def board(
        self, draw: Callable[[], Iterable[str | Grid]]
    ) -> Generator[Callable[[], None]]:
        """Show lines and tables that change, for the length of a block.

        Args:
            draw: Says what is to be seen now.

        Yields:
            Call it to draw anew; without a terminal it does nothing.
        """
        if self.is_live:
            with self._drawn(draw) as redraw:
                yield redraw
        else:
            yield _nothing

    @contextmanager
    def _drawn(
        self, draw: Callable[[], Iterable[str | Grid]]
    ) -> Generator[Callable[[], None]]:

        def drawn() -> Group:
            return Group(*(_part(part) for part in draw()))

        live = self._live = Live(
            drawn(),
            console=self._err,
            auto_refresh=False,  # that would be a thread; the caller has a task
            redirect_stdout=self._out.is_terminal,  # a pipe gets what agents print
        )
        try:
            with live:
                yield lambda: live.update(drawn(), refresh=True)
        finally:
            self._live = None


def _nothing() -> None:
    """Draw nothing."""


def _part(part: str | Grid) -> Text | Table:
    return Text(clean(part)) if isinstance(part, str) else part.drawn()


class _Console(Console):
    """A console that leaves it to us what happens when nobody reads any more."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console
