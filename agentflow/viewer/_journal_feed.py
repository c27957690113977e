"""The journal of durable sessions, as the page listens to it.

Theory of operation. SQLite tells nobody that a file has changed, but it has a number that
differs when it has: while a page is open, that is looked at a few times a second, and only
then the flows are compared with what they were. What differs is read and told. A file that
changes all the time is looked at less often, so that looking takes no more than a fifth of
the time. Each page has a connection of its own, and no more of the file is held in memory
than what it has been told.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from agentflow._lenient import dumps
from agentflow.journal._sqlite_visit import FlowMark, SQLiteVisit, visiting
from agentflow.viewer._feed import (
    END,
    SILENCE,
    STILL_HERE,
    Price,
    Send,
    event,
    header,
    hello,
)
from agentflow.viewer._journal_records import FlowTelling

_LOOK = 0.25
"""Seconds between two looks."""

_SHARE = 4
"""How many times as long as a look took it is waited for the next one, at least."""

_FLOWS = 100
"""Flows that are told at once."""

MOST = 100_000
"""Events that are told at first: of open and failed flows, then of the newest. A page
begins anew, with as many, when it has got 400,000 records."""


class Watch:
    """What one page has been told of a journal, and what is new; it blocks.

    Args:
        visit: The journal.
        most: How many events to tell at first.
    """

    def __init__(self, visit: SQLiteVisit, most: int = MOST) -> None:
        self._visit = visit
        self._most = most
        self._version = -1
        self._last = 0
        self._marks: dict[str, FlowMark] = {}
        self._tellings: dict[tuple[str, float], FlowTelling] = {}
        """By id and beginning: an id may come again once its flow is forgotten."""

    def changed(self) -> list[str]:
        """Return the flows that may have something new, the oldest first."""
        version = self._visit.version()
        if version == self._version:
            return []
        is_first = self._version == -1
        # Before the rest is read: what changes in between is found the next time.
        self._version = version
        events, self._last = self._visit.new_events(self._last)
        marks = self._visit.marks()
        if is_first:
            found = list(self._some(marks, events))
        else:
            known = self._marks
            found = [f for f, mark in marks if f in events or known.get(f) != mark]
        self._marks = dict(marks)
        return found[::-1]

    def _some(
        self, marks: Sequence[tuple[str, FlowMark]], events: Mapping[str, int]
    ) -> Iterator[str]:
        """Choose flows until there are events enough."""
        left = self._most
        for flow, _ in marks:
            if left > 0:
                yield flow
            left -= events.get(flow, 0)

    def tell(self, flows: Sequence[str]) -> list[bytes]:
        """Return the records that are new of these flows, as lines."""
        lines: list[bytes] = []
        for flow in flows:
            story = self._visit.story(flow)
            if story is None:
                continue  # it has just been forgotten
            which = (flow, story.flow.started)
            telling = self._tellings.setdefault(which, FlowTelling(most=self._most))
            told = telling.tell(story, time.time())
            lines += (dumps(line).encode() for line in told)
        return lines


class JournalFeed:
    """Sends what is in a journal, and then what comes, until it is ended.

    Args:
        path: The file.
        prices: What models cost; a journal has no calls of them.
        silence: Seconds without a record after which it says that it is still there.

    Raises:
        JournalError: It is no journal.
    """

    def __init__(
        self, path: Path, prices: Mapping[str, Price], *, silence: float = SILENCE
    ) -> None:
        with visiting(str(path)):
            pass
        self._path = path
        self._hello = hello(path.name, live=True, prices=prices, tab="graph")
        self._silence = silence
        self._ended = False

    async def pour(self, after: str, send: Send) -> None:  # noqa: ARG002 -- see Feed
        """Send how all flows stand, then what changes.

        Cancellation: nothing more is sent.
        """
        await send(self._hello + event("reset", [b""]) + event("records", [header()]))
        visit = await anyio.to_thread.run_sync(SQLiteVisit, str(self._path))
        try:
            await self._follow(Watch(visit), send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(visit.shut)
        await send(END)

    async def _follow(self, watch: Watch, send: Send) -> None:
        silent = 0.0
        while True:
            is_last = self._ended
            began = time.monotonic()
            flows = await anyio.to_thread.run_sync(watch.changed)
            for start in range(0, len(flows), _FLOWS):
                tell = partial(watch.tell, flows[start : start + _FLOWS])
                lines = await anyio.to_thread.run_sync(tell)
                if lines:
                    await send(event("records", lines))
                    silent = 0.0
            if is_last:
                return
            pause = max(_LOOK, _SHARE * (time.monotonic() - began))
            await anyio.sleep(pause)
            silent += pause
            if silent >= self._silence:
                await send(STILL_HERE)
                silent = 0.0

    def end(self) -> None:
        """Have every `pour` send what there is, and return."""
        self._ended = True
