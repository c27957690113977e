"""How a run is shown while it goes on, and what is said of it in the end.

A terminal has a table of the agents that changes in place. Elsewhere a line on standard
error says when a text begins and ends, and now and then one what the agents do.
"""

import traceback
from collections.abc import Iterable, Mapping
from typing import cast

import trio

from agentflow._errors import FlowFailed
from agentflow._reports import StopReport
from agentflow.cli._flows import Outcome
from agentflow.cli._screen import Grid, Screen
from agentflow.cli._tally import HEADS, Tally
from agentflow.cli._words import count, describe, listed, seconds

FRAME = 0.1
"""Seconds between two frames on a terminal."""

PULSE = 5.0
"""Seconds between two lines about the agents where there is no terminal."""

_LISTED = 10
"""How many undelivered events are named."""


class Progress:
    """Shows how the texts of a run fare; see `_flows.Watcher`.

    Args:
        screen: Where.
        tally: What the agents have done.
        total: How many texts there are.
        is_quiet: Show results and errors alone.
        is_detailed: Show the traceback of each error.
    """

    def __init__(
        self,
        screen: Screen,
        tally: Tally,
        *,
        total: int,
        is_quiet: bool = False,
        is_detailed: bool = False,
    ) -> None:
        self._screen = screen
        self._tally = tally
        self._total = total
        self._is_quiet = is_quiet
        self._is_detailed = is_detailed
        self._began: dict[str, float] = {}
        self._ended = 0
        self._start = 0.0
        self._is_draining = False
        self._failures: dict[str, list[str]] = {}

    # -- what happens -----------------------------------------------------------------

    def began(self, name: str) -> None:
        """Show that a text's flow has begun."""
        self._began[name] = trio.current_time()
        self._line(f"{name}: begun")

    def result(self, name: str, text: str) -> None:
        """Show what came of a text."""
        lines = "\n".join(f"  {line}" for line in text.splitlines())
        self._screen.say(f"{name}\n{lines}")

    def ended(self, name: str, outcome: Outcome, error: Exception | None) -> None:
        """Show that a text's flow has ended."""
        took = trio.current_time() - self._began[name]
        self._ended += 1
        self._line(f"{name}: {outcome} after {seconds(took)}")
        if error is not None:
            self.failed(error, name)

    def draining(self) -> None:
        """Show that no further text is begun."""
        self._is_draining = True
        self._screen.note("finishing what has begun; interrupt again to cancel it")

    def cancelling(self) -> None:
        """Show that what has begun is cancelled."""
        self._screen.note("cancelling; interrupt again to end at once")

    def dumped(self, text: str) -> None:
        """Show what the agents are at."""
        self._screen.note(text)

    def failed(self, error: Exception, name: str = "") -> None:
        """Keep an error for the end; the same one of several texts is said once."""
        for words in failures_of(error):
            names = self._failures.setdefault(words, [])
            if not names and self._is_detailed:
                self._screen.note("".join(traceback.format_exception(error)))
            names.extend(filter(None, [name]))

    # -- what is seen -----------------------------------------------------------------

    async def show(self) -> None:
        """Show what the agents do until cancelled.

        Cancellation:
            The last picture stays.
        """
        self._start = trio.current_time()
        if self._is_quiet:
            await trio.sleep_forever()
        with self._screen.board(self._picture) as draw:
            try:
                while True:
                    await trio.sleep(FRAME if self._screen.is_live else PULSE)
                    draw()
                    self._line(f"agents: {self._agents()}")
            finally:
                draw()

    def _picture(self) -> Iterable[str | Grid]:
        running = len(self._began) - self._ended
        state = "finishing, " if self._is_draining else ""
        took = seconds(trio.current_time() - self._start)
        yield (
            f"{state}{self._ended:,} of {count(self._total, 'flow')} ended, "
            f"{running:,} running, {took}"
        )
        yield Grid(heads=HEADS, rows=self._tally.rows())

    def _agents(self) -> str:
        return "; ".join(
            f"{name} {a.queued} queued, {a.running} running, {a.done} done"
            for name, a in self._tally.agents.items()
        )

    def _line(self, text: str) -> None:
        if not (self._screen.is_live or self._is_quiet):
            self._screen.note(f"... {text}")

    # -- the end ----------------------------------------------------------------------

    def summary(self, outcomes: Mapping[str, Outcome], report: StopReport) -> None:
        """Say how the run ended: the agents, what was left undone, and every error."""
        if not (self._is_quiet or self._screen.is_live) and self._tally.agents:
            self._screen.table(
                Grid(heads=HEADS, rows=self._tally.rows()), is_result=False
            )
        self._left(outcomes, report)
        for words, names in self._failures.items():
            where = f" ({', '.join(names)})" if names else ""
            self._screen.error(f"{words}{where}")

    def _left(self, outcomes: Mapping[str, Outcome], report: StopReport) -> None:
        left: dict[Outcome, list[str]] = {"cancelled": [], "not begun": []}
        for name, outcome in outcomes.items():
            if outcome in left:
                left[outcome].append(name)
        for outcome, names in left.items():
            if names:
                self._screen.note(f"{outcome}: {_some(names)}")
        undelivered = [
            f"{type(u.event).__name__} to {u.agent}{' (had begun)' if u.started else ''}"
            for u in report.undelivered
        ]
        if undelivered:
            self._screen.note(f"not delivered: {_some(undelivered)}")


def _some(names: list[str]) -> str:
    """List names, the first few of many."""
    more = len(names) - _LISTED
    return listed(names if more <= 0 else [*names[:_LISTED], f"{more:,} more"])


def failures_of(error: BaseException) -> list[str]:
    """Say in a line each what went wrong, and in which agent."""
    if isinstance(error, FlowFailed) and error.failures:
        return [f"{f.agent}: {describe(f.error)}" for f in error.failures]
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [line for one in group.exceptions for line in failures_of(one)]
    return [describe(error)]
