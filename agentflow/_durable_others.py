"""A durable session beside others on one journal: what they do to its flows.

Theory of operation. Deliveries have one owner each, but the deliveries of one flow may have
several: another session sent an event into it, or took over what a dead one had. The
journal knows how far the flow is; this session knows its own part. So:

- When the last root of a flow is finished here, it is *kept*: the flow stays busy, and the
  journal is asked. If nothing of the flow is open, the root is let go of, and the flow is
  idle as in any session; if not, it is asked again whenever there is news of the flow.
- Each answer also tells whether somebody else has ended the flow. Then it is cut here, and
  the journal is not told, for it knows. What the session has of the flow by then, because
  a root of its own has opened the flow again, is released and taken in once more.
- Events that others accept are read when somebody here listens to the flow, and told in
  the journal's order. Of each flow, so many events from the beginning are *read*, and
  those of this session that come after are *ahead*.
- A handler here may wait for an event that somebody else emits. Before such a wait is
  called stuck, the journal is asked whether the flow has deliveries elsewhere.

What others tell only wakes. A question is asked through the session's own queue of steps,
so its answer has everything in it that the session did before; and while it is on its way,
news of the same flow lead to one more.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import anyio

from agentflow._durable import DurableEngine
from agentflow._durable_feed import Feed
from agentflow._durable_parts import nothing
from agentflow._durable_sharing import fenced_out
from agentflow._errors import JournalError
from agentflow._ledger import FlowState, FlowStatus, Root
from agentflow._steps import (
    Answer,
    Entry,
    Fenced,
    Look,
    Looked,
    News,
    Release,
    Renew,
    StoredFlow,
)
from agentflow._waits import Wait

ENDS = frozenset({"failed", "cancelled", "terminated"})

RENEWALS = 3
"""How often a lease is renewed while it lasts: two of them may be late."""


class Others:
    """What one session does about the others.

    Args:
        engine: The session's engine, connected.
        feed: Brings in what nobody has.
        lease: Seconds until the session counts as dead, unless it renews.
    """

    def __init__(self, engine: DurableEngine, feed: Feed, lease: float) -> None:
        self._engine = engine
        self._feed = feed
        self._lease = lease
        self._kept: dict[str, Root] = {}
        self._leaving: Root | None = None
        self._asked: dict[str, bool] = {}
        """Flows that the journal is being asked about: whether to ask once more."""
        self._read: dict[str, int] = {}
        self._ahead: dict[str, set[str]] = {}
        self._unread: set[str] = set()
        self._is_here: dict[str, bool] = {}
        """Whether all that is open of a flow is here, as far as it has been asked."""
        self.on_news: Callable[[str], object] = nothing
        """Told of each flow that others have changed."""
        self._more = anyio.Event()
        self._changed = anyio.Event()
        self._scope = anyio.CancelScope()

    # -- what the engine asks ---------------------------------------------------------

    def keeps(self, root: Root) -> bool:
        """Keep the last root of a flow until the journal has been asked.

        Returns:
            Whether the flow stays busy with it.
        """
        flow = root.flow
        name = flow.correlation_id
        if root is self._leaving or self._engine.closing:
            return False
        if flow.status != "open":
            self.let_go(flow)
            return False
        kept = self._kept.get(name)
        if kept is None and flow.unfinished > 1:
            return False
        self.look(name)  # what was done here may have been the last of it
        if kept is None:
            self._kept[name] = root
        return kept in {None, root}

    def saw(self, flow: str, event: str) -> None:
        """Note that this session has taken in an event of its own."""
        self._ahead.setdefault(flow, set()).add(event)

    def let_go(self, flow: FlowState) -> None:
        """Let a flow be idle as soon as it is here."""
        root = self._kept.pop(flow.correlation_id, None)
        if root is not None:
            before, self._leaving = self._leaving, root
            self._engine._root_done(root)
            self._leaving = before

    def only_kept(self) -> bool:
        """Return whether nothing runs here or is queued; flows may be kept busy."""
        flows = self._engine.ledger.flows
        busy = self._engine.ledger.busy - self._feed.is_busy
        return busy <= len(self._kept) and not any(
            flows[name].pending for name in self._kept
        )

    def may_go_on_elsewhere(self, wait: Wait) -> bool:
        """Return whether a handler may wait for what others do; ask if that is unknown."""
        flow = wait.flow.correlation_id
        if flow not in self._is_here:
            self.look(flow)
        return not self._is_here.get(flow, False)

    # -- flows ----------------------------------------------------------------------

    def joined(self, row: StoredFlow) -> None:
        """Note how many events a flow has whose first deliveries come in now."""
        if row.id not in self._engine.ledger.flows:
            self._read[row.id] = row.events

    def attend(self, flow: FlowState) -> None:
        """Keep a flow busy for its owner here as long as it is so in the journal."""
        if not flow.unfinished:
            root = self._engine.ledger.open_root(flow, counted=False)
            self._kept[flow.correlation_id] = root
        self.look(flow.correlation_id)

    def forget(self, flow: str) -> None:
        """Keep nothing of a flow that is over here."""
        self._read.pop(flow, None)
        self._ahead.pop(flow, None)
        self._unread.discard(flow)
        self._is_here.pop(flow, None)

    def hear(self, news: News) -> None:
        """Take news."""
        for flow in news.flows:
            self.on_news(flow)
            self._is_here.pop(flow, None)
            if flow in self._engine.ledger.flows:
                self.look(flow)
        if news.work:
            self._feed.wake()
        self.wake()

    def wake(self) -> None:
        """Let those who wait for others look again."""
        self._changed.set()
        self._changed = anyio.Event()

    def look(self, flow: str) -> None:
        """Ask the journal how far a flow is."""
        if flow in self._asked:
            self._asked[flow] = True
            return
        self._asked[flow] = False
        self._engine._submit(Look(flow=flow), partial(self._looked, flow))

    def _looked(self, name: str, answer: Answer | JournalError) -> None:
        engine = self._engine
        is_broken = engine._is_broken(answer)
        again = self._asked.pop(name)
        flow = engine.ledger.flows.get(name)
        if is_broken or flow is None:
            return
        looked = cast("Looked", answer)
        if again:  # and yet judged: on a slow journal it is always being asked again
            self.look(name)
        elif not engine.in_flight:
            self._is_here[name] = looked.working + looked.free <= len(flow.pending)
        self._judge(flow, looked.flow)
        engine._look_again()

    def _judge(self, flow: FlowState, row: StoredFlow | None) -> None:
        name = flow.correlation_id
        if flow.status != "open" or row is None:
            self.let_go(flow)
        elif row.status in ENDS:
            self._cut(flow, cast("FlowStatus", row.status), row.reason)
        else:
            flow.events = max(flow.events, row.events)
            if flow.listeners and row.events > self.told_of(name):
                self._unread.add(name)
                self._is_here.pop(name, None)
                self._more.set()
            else:
                self._settle(flow, row)

    def _settle(self, flow: FlowState, row: StoredFlow) -> None:
        if not row.open:
            self.let_go(flow)
            return
        if not flow.unfinished:
            self.attend(flow)
        if flow.correlation_id in self._kept:
            self._feed.reclaim(flow.correlation_id)

    def _cut(self, flow: FlowState, status: FlowStatus, reason: str) -> None:
        """End a flow here that somebody else has ended."""
        name = flow.correlation_id
        engine = self._engine
        engine.suspended.add(name)  # the journal need not be told
        engine.cut(flow, status, reason)
        engine._submit(Release(flow=name), self._released)

    def _released(self, answer: Answer | JournalError) -> None:
        if not self._engine._is_broken(answer):
            self._feed.wake()

    # -- events of others -------------------------------------------------------------

    def told_of(self, flow: str) -> int:
        """Return how many events of a flow have been told here."""
        return self._read.get(flow, 0) + len(self._ahead.get(flow, ()))

    def has_all(self, flow: str, entries: Sequence[Entry]) -> bool:
        """Return whether these are at least the events that have been told here."""
        ids = {entry.id for entry in entries}
        read, ahead = self._read.get(flow, 0), self._ahead.get(flow, set[str]())
        return len(entries) >= read and ahead <= ids

    def catch_up(self, flow: FlowState, entries: Sequence[Entry]) -> None:
        """Tell those who listen to a flow what they have missed.

        Args:
            flow: The flow.
            entries: Its events, in the journal's order.
        """
        name = flow.correlation_id
        ahead = self._ahead.get(name, set[str]())
        read = self._read.get(name)
        if read is None:  # what was there before this session had part in it is old
            read = next(
                (n for n, e in enumerate(entries) if e.id in ahead), len(entries)
            )
        unheard = [entry for entry in entries[read:] if entry.id not in ahead]
        ahead.difference_update([entry.id for entry in entries[read:]])
        for entry in unheard if flow.listeners else ():
            event = self._engine.packing.unpack(entry.body)
            self._engine._tell(flow, event, outside=entry.parent is None)
        self._read[name] = max(read, len(entries))

    async def _read_on(self) -> None:
        link = self._engine.link
        assert link is not None
        while True:
            await self._more.wait()
            self._more = anyio.Event()
            for name in tuple(self._unread):
                entries = await link.events(name)
                self._unread.discard(name)
                flow = self._engine.ledger.flows.get(name)
                if flow is not None:  # pragma: no branch -- it seldom ends meanwhile
                    self.catch_up(flow, entries)
                    self.look(name)

    # -- being one of several -----------------------------------------------------------

    async def run(self) -> None:  # noqa: ASYNC910 -- the session may have ended
        """Renew the lease, and read what others have accepted, until the session ends.

        Cancellation:
            The session counts as dead when its lease has run out.
        """
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._renew)
                tasks.start_soon(self._read_on)

    def end(self) -> None:
        """Stop renewing."""
        self._scope.cancel("the session ends")
        self.wake()

    async def _renew(self) -> None:
        engine = self._engine
        while True:
            await anyio.sleep(self._lease / RENEWALS)
            try:
                answer = await engine.ask(Renew(until=engine.now() + self._lease))
            except JournalError:
                return
            if isinstance(answer, Fenced):
                engine.broke(fenced_out())
                return
            # Nobody tells when a lease has run out, and news may have been lost.
            self._feed.look()
            for name, flow in engine.ledger.flows.items():
                if name in self._kept or flow.listeners:
                    self.look(name)
            self.wake()

    # -- waiting for all of them --------------------------------------------------------

    async def idle_or_news(self, flow: str | None) -> bool:
        """Ask whether a flow, or everything, is idle; if not, wait until that may change.

        Deliveries that nobody has, and that this session does not want, count as idle.

        Returns:
            Whether it was idle.

        Raises:
            JournalError: The journal has failed, or takes the session for dead.

        Cancellation:
            Leaves everything as it is.
        """
        changed = self._changed
        looked = cast("Looked", await self._engine.ask(Look(flow=flow)))
        if looked.working:
            await changed.wait()
            return False
        return not looked.free or not await self._feed.claim_what_is_free()
