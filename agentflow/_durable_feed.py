"""What a durable session finds in its journal, and how it goes on with it.

Theory of operation. Claimed deliveries enter the ledger as if they had just come, a chunk
at a time, so that the first handler runs at once and memory holds no more than the session
has room for.

A process may have been ended by a handler: by a crash of the interpreter, or by running out
of memory. To find out which, without blaming those that only ran beside it:

1. Normally nothing is written when a handler starts.
2. After an unclean end, recovered deliveries write a start marker before they run.
3. If the process dies again, those that had started are suspects. They run alone, one after
   another, before anything else; who succeeds is cleared.
4. Who ends the process three times while it runs alone is a dead letter. After the first
   time it comes last, and waits for a while before it runs: a process that is killed from
   outside, again and again, is then more likely killed while nothing runs at all.
"""

from collections.abc import Awaitable, Callable

import anyio
import attrs

from agentflow._durable import DurableEngine
from agentflow._durable_parts import key_of
from agentflow._errors import JournalError
from agentflow._events import Event
from agentflow._ledger import Delivery
from agentflow._steps import Claim, Claimed, Key, Start, Stored, StoredFlow

QUIET = 0.2
"""Seconds before a suspect runs that was alone at a crash; twice that after the next."""

CHUNK = 500
"""Deliveries claimed at a time: a few milliseconds each."""


class Feed:
    """Brings what the journal holds into a session.

    Args:
        engine: The session's engine, connected.
        capacity: How many unfinished root events the session holds in memory.
    """

    def __init__(self, engine: DurableEngine, capacity: float) -> None:
        self._engine = engine
        self._capacity = capacity
        self._scope = anyio.CancelScope()
        self._room = anyio.Event()
        self._settled: dict[Key, anyio.Event] = {}
        self._is_busy = False
        self.done: anyio.Event = anyio.Event()
        """Set when everything that was there has been taken in, or the session ends."""

    def begin(self) -> None:
        """Keep the session from looking idle until everything has been taken in."""
        engine = self._engine
        assert engine.link is not None
        opened = engine.link.opened
        if not opened.open:
            self.done.set()
            return
        self._is_busy = True
        engine.ledger.busy += 1
        engine.alone = opened.suspects > 0
        engine.on_settled = self._note_settled
        engine.on_closing = self.end
        engine.on_root_done = self._note_room

    def _note_room(self) -> None:
        self._room.set()

    def end(self) -> None:
        """Take in no more."""
        self._scope.cancel("the session ends")
        self._finish()

    def _finish(self) -> None:
        if self._is_busy:
            self._is_busy = False
            self._engine.no_more_backlog()
        self.done.set()

    async def run(self) -> None:  # noqa: ASYNC910 -- the session may have ended
        """Take everything in.

        Cancellation:
            The rest stays in the journal.
        """
        try:
            with self._scope:
                await self._suspects()
                while await self._claim(CHUNK):
                    await self._wait_for_room()
        except JournalError:
            pass  # the engine has been told
        finally:
            self._finish()

    async def _wait_for_room(self) -> None:  # noqa: ASYNC910 -- there may be room
        while self._engine.ledger.unfinished >= self._capacity:
            self._room = anyio.Event()
            await self._room.wait()

    async def _suspects(self) -> None:  # noqa: ASYNC910 -- there may be none
        while self._engine.alone:
            settled = anyio.Event()
            if not await self._claim(1, suspects=True, settled=settled):
                self._engine.release_held()
                return
            await settled.wait()

    async def _claim(
        self, limit: int, *, suspects: bool = False, settled: anyio.Event | None = None
    ) -> bool:
        """Take in some deliveries; return whether there may be more."""
        claimed = await self._engine.ask(Claim(limit=limit, suspects=suspects))
        assert isinstance(claimed, Claimed)  # a session outlives its feed
        for stored in claimed.deliveries[:limit] if suspects else ():
            if stored.crashes:
                await anyio.sleep(QUIET * 2 ** (stored.crashes - 1))
        self.take(claimed, settled=settled)
        return bool(claimed.deliveries) if suspects else claimed.left

    async def claim_flow(self, flow: str) -> None:
        """Take in what there is of one flow.

        Cancellation:
            It may have been taken in or not.
        """
        for suspects in (False, True):
            claimed = await self._engine.ask(
                Claim(limit=1_000_000, flow=flow, suspects=suspects)
            )
            assert isinstance(claimed, Claimed)  # likewise
            self.take(claimed)

    def take(self, claimed: Claimed, *, settled: anyio.Event | None = None) -> None:
        """Enter what was claimed into the ledger.

        Args:
            claimed: The deliveries.
            settled: Set when the only one of them is over; it runs alone.
        """
        engine = self._engine
        flows = {flow.id: flow for flow in claimed.flows}
        for stored in claimed.deliveries:
            if settled is not None:
                self._settled[stored.key] = settled
            self._enter(stored, flows[stored.key.flow], alone=settled is not None)
        engine.wake()

    def _enter(self, stored: Stored, flow: StoredFlow, *, alone: bool) -> None:
        engine = self._engine
        event = engine.packing.unpack(stored.body)
        delivery = engine.resume(stored, flow, event)
        if stored.recovered or alone:
            call = self._marked(delivery, delivery.target.call, alone=alone)
            delivery.target = attrs.evolve(delivery.target, call=call)
        if flow.deadline is not None:
            # It is not earlier now than when the flow began, whatever the clock says.
            left = flow.deadline - max(engine.now(), flow.started)
            engine.set_deadline(stored.key.flow, engine.clock() + left)
        delay = min(stored.due - engine.now(), _longest(delivery))
        if delay > 0:
            engine.resume_later(delivery, delay)
        else:
            engine.ledger.resume(delivery)

    def _marked(
        self,
        delivery: Delivery,
        call: Callable[[Event], Awaitable[object]],
        *,
        alone: bool,
    ) -> Callable[[Event], Awaitable[object]]:
        """Write a start marker before a handler begins."""
        key = key_of(delivery)

        async def marked(event: Event) -> object:
            await self._engine.ask(Start(key=key, alone=alone))
            return await call(event)

        return marked

    def _note_settled(self, key: Key) -> None:
        settled = self._settled.pop(key, None)
        if settled is not None:
            settled.set()


def _longest(delivery: Delivery) -> float:
    """Return how long the next attempt waits at most, though the clock has gone back."""
    retry = delivery.target.retry
    return 0.0 if retry is None else retry.delay(delivery.attempt - 1, 0.0)
