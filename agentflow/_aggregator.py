"""Agents that join several events of one flow (rule A4)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import anyio
from anyio.lowlevel import checkpoint

from agentflow._agents import BaseAsyncAgent
from agentflow._context import tell_set
from agentflow._errors import RoutingError
from agentflow._events import Event, check_event_type
from agentflow._joining import Join, Needs
from agentflow.abc import Outputs


class _Collected(Join):
    """What the aggregator keeps for one correlation id."""

    __slots__ = ("complete", "is_processing", "turns", "watching")

    def __init__(self, needs: Needs) -> None:
        super().__init__(needs)
        self.complete: list[Event] | None = None
        """The latest complete set."""
        self.watching: tuple[anyio.Event, ...] = ()
        """Set when a set is complete, or the flow has ended."""
        self.is_processing: bool = False
        self.turns: tuple[anyio.Event, ...] = ()
        """Complete sets that wait until the one before them has been processed."""

    def notify(self) -> None:
        """Wake who waits for a complete set."""
        for watcher in self.watching:
            watcher.set()

    async def change(self) -> None:
        """Wait for the next complete set, or the flow's end."""
        changed = anyio.Event()
        self.watching = (*self.watching, changed)
        try:
            await changed.wait()
        finally:
            self.watching = tuple(w for w in self.watching if w is not changed)

    async def take_turn(self) -> None:  # noqa: ASYNC910 -- when it is its turn already
        """Wait until it is this set's turn; no checkpoint when it is already."""
        if self.is_processing:
            turn = anyio.Event()
            self.turns = (*self.turns, turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    self.pass_turn()
                self.turns = tuple(t for t in self.turns if t is not turn)
                raise
        self.is_processing = True

    def pass_turn(self) -> None:
        """Let the next set be processed."""
        if self.turns:
            following, *others = self.turns
            self.turns = tuple(others)
            following.set()
        else:
            self.is_processing = False


class AsyncAggregatorAgent(BaseAsyncAgent):
    """Collects events per correlation id and processes each complete set.

    ::

        class Combiner(AsyncAggregatorAgent):
            event_types_needed = [TextEvent, AnalysisEvent, SummaryEvent]

            async def process_events(self, events: list[Event]) -> list[Event]:
                text, analysis, summary = events
                return [CombinedEvent(source="combiner", ...)]

    Events count in any order, and for their base classes too; a type listed twice is
    needed twice. Sets of one id are processed one at a time, those of different ids side
    by side. All that is kept for an id is freed when its flow ends.

    Args:
        event_types_needed: The event classes of a set; by default those of the class.
        timeout: Seconds from the first event of a set until `on_timeout` gets what is
            there; None waits as long as the flow lasts.
        quorum: How many events make a set; None needs one for each type listed.

    Raises:
        RoutingError: The types, the timeout or the quorum make no sense.
    """

    max_concurrency: int | None = None
    event_types_needed: ClassVar[Sequence[type[Event]]] = ()

    def __init__(
        self,
        event_types_needed: Sequence[type[Event]] | None = None,
        *,
        timeout: float | None = None,
        quorum: int | None = None,
    ) -> None:
        needed = tuple(
            self.event_types_needed
            if event_types_needed is None
            else event_types_needed
        )
        if not needed:
            raise RoutingError(
                f"{self.name} needs no event types; pass event_types_needed=[...]"
            )
        for event_type in needed:
            check_event_type(event_type)
        if quorum is not None and not 1 <= quorum <= len(needed):
            raise RoutingError(
                f"{self.name}: quorum must be from 1 to {len(needed)}, not {quorum}"
            )
        if timeout is not None and not timeout > 0:
            raise RoutingError(f"{self.name}: timeout must be above 0 s, not {timeout}")
        self._needs = Needs(needed, quorum)
        self._timeout = timeout
        self._collected: dict[str, _Collected] = {}

    @abstractmethod
    async def process_events(self, events: list[Event], /) -> Outputs:
        """Process one complete set.

        Args:
            events: The set, in the order of the types listed.

        Returns:
            The events that follow, as for `receive_event_async`.

        Raises:
            Exception: As for `receive_event_async`. The set is gone.

        Cancellation:
            The set is gone.
        """

    async def on_timeout(
        self,
        events: list[Event],  # noqa: ARG002 -- for those who override it
        /,
    ) -> Outputs:
        """Process a set that was not complete in time; by default drop it.

        Args:
            events: What came in time, in the order of the types listed.

        Returns:
            The events that follow, as for `receive_event_async`.

        Cancellation:
            The set is gone.
        """
        await checkpoint()
        return None

    async def receive_event_async(self, event: Event, /) -> Outputs:
        """Add an event, and process the set that it completes.

        Args:
            event: An event of one of the types needed.

        Returns:
            What `process_events` returned, or nothing as long as the set is incomplete.

        Cancellation:
            The event stays collected; a set that was being processed is gone.
        """
        flow_id = event.correlation_id or ""
        kept = self._collected.get(flow_id)
        if kept is None:
            kept = self._collected[flow_id] = _Collected(self._needs)
        members = kept.add(event)
        if members is not None:
            kept.complete = members
            if kept.watching:
                kept.notify()
            if kept.is_processing:
                await kept.take_turn()
            kept.is_processing = True
            tell_set(members)
            try:
                return await self.process_events(list(members))
            finally:
                if kept.turns:
                    kept.pass_turn()
                else:
                    kept.is_processing = False
        if self._timeout is not None:
            return await self._until_overdue(event, kept, self._timeout)
        return None  # noqa: ASYNC910 -- the worker yields between deliveries

    async def _until_overdue(
        self,
        event: Event,
        kept: _Collected,
        timeout: float,  # noqa: ASYNC109 -- the mission's word for it
    ) -> Outputs:
        """Wait with an event until its set is complete, or use what is there.

        Each waiting event has its own deadline, and that of the first is the earliest; so
        a set that begins with leftovers of the one before is timed right, too.

        Returns:
            What `on_timeout` returned, if time was up.
        """
        with anyio.move_on_after(timeout):  # noqa: ASYNC912 -- the event is held
            while kept.holds(event):
                await kept.change()
        await kept.take_turn()
        try:
            if kept.holds(event):
                overdue = kept.take()
                tell_set(overdue)
                return await self.on_timeout(overdue)
        finally:
            kept.pass_turn()
        return None

    async def wait_for_events(
        self,
        correlation_id: str,
        timeout: float | None = None,  # noqa: ASYNC109 -- it answers, it does not raise
    ) -> list[Event]:
        """Wait for the complete set of a flow.

        Args:
            correlation_id: The flow.
            timeout: Seconds to wait; None waits for ever.

        Returns:
            The latest complete set in the order of the types listed, as often as asked;
            or, when time is up or the flow ends first, what has come so far. A flow that
            has ended has left nothing.

        Cancellation:
            Leaves everything as it is.
        """
        await checkpoint()
        kept = self._kept(correlation_id)
        if kept.complete is None:
            try:
                with anyio.move_on_after(timeout):
                    await kept.change()
            finally:
                self._free_if_unused(correlation_id, kept)
        return list(kept.collected() if kept.complete is None else kept.complete)

    def flow_ended(self, correlation_id: str, /) -> Join | None:
        """Free what is kept for a flow; return a join that is still incomplete."""
        kept = self._collected.pop(correlation_id, None)
        if kept is None:
            return None
        if kept.watching:
            kept.notify()
        return None if kept.is_empty() else kept

    def _kept(self, correlation_id: str) -> _Collected:
        kept = self._collected.get(correlation_id)
        if kept is None:
            kept = _Collected(self._needs)
            self._collected[correlation_id] = kept
        return kept

    def _free_if_unused(self, correlation_id: str, kept: _Collected) -> None:
        """Keep nothing of an id that was only asked for."""
        unused = kept.complete is None and kept.is_empty() and not kept.watching
        if unused and self._collected.get(correlation_id) is kept:
            del self._collected[correlation_id]
