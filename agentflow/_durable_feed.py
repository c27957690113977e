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

Deliveries may become free while the session lives: dead letters are retried, or another
session that shares the journal has died or ended. The feed is woken then, and claims what
there is. Of suspects it takes care when nothing else is to do, so that they do run alone.
What it cannot use now it gives back when it has seen everything: deliveries of a flow that
winds down here, and of flows that the session was told to leave.
"""

from collections.abc import Awaitable, Callable

import anyio
import attrs
from anyio.lowlevel import checkpoint

from agentflow._durable import DurableEngine
from agentflow._durable_parts import key_of, nothing
from agentflow._durable_sharing import fenced_out
from agentflow._errors import EncodingError, JournalError
from agentflow._events import Event
from agentflow._ledger import Delivery
from agentflow._steps import (
    Claim,
    Claimed,
    Fenced,
    Key,
    Release,
    Start,
    Stored,
    StoredFlow,
)

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
        self._woken = anyio.Event()
        self._rested = anyio.Event()
        self._is_over = False
        self._is_wanted = False
        """Whether it is to take in what is known to have become free."""
        self._taken = 0
        self._back: set[str] = set()
        self._left: set[str] = set()
        """Flows that the session was told to leave to others."""
        self._winding: set[str] = set()
        """Flows that have deliveries, but have been ended here and are not yet over."""
        self._owes_suspects = False
        self.is_busy: bool = False
        """Whether it keeps the session from looking idle."""
        self.may_run_alone: Callable[[], bool] | None = None
        """Whether nothing else runs; None if suspects are there at the start only."""
        self.on_joined: Callable[[StoredFlow], object] = nothing
        """Told of each flow that deliveries come from."""
        self.on_ended: Callable[[str], object] = nothing
        """Told of each flow that is over here."""
        self.done: anyio.Event = anyio.Event()
        """Set when everything that was there has been taken in, or the session ends."""

    def begin(self) -> None:
        """Keep the session from looking idle until everything has been taken in."""
        engine = self._engine
        assert engine.link is not None
        opened = engine.link.opened
        engine.on_flow_end = self._note_end
        if opened.open:
            engine.alone = opened.suspects > 0
            self._hook()
            self.wake()
        else:
            self.done.set()

    def _hook(self) -> None:
        """Have the engine tell what only matters when the journal holds something."""
        self._engine.on_settled = self._note_settled
        self._engine.on_root_done = self._note_room

    def _note_room(self) -> None:
        self._room.set()
        if self._owes_suspects and self.may_run_alone is not None:
            self._owes_suspects = not self.may_run_alone()
            if not self._owes_suspects:
                self.look()

    def _note_end(self, flow: str) -> None:
        self.on_ended(flow)
        if flow in self._winding:
            self._winding.remove(flow)
            self.wake()

    def wake(self) -> None:
        """Take in what has become free; until then the session does not look idle."""
        if not (self.is_busy or self._is_over):
            self.is_busy = True
            self._engine.ledger.busy += 1
        self._is_wanted = True
        self.look()

    def look(self) -> None:
        """Take in what has become free, if anything has."""
        self._woken.set()

    def end(self) -> None:
        """Take in no more."""
        self._is_over = True
        self._scope.cancel("the session ends")
        self._rest()

    def _rest(self) -> None:
        """Let the session look idle, unless there is more already."""
        self.done.set()
        if self.is_busy and (self._is_over or not self._is_wanted):
            self.is_busy = False
            self._engine.no_more_backlog()
            self._rested.set()
            self._rested = anyio.Event()

    async def run(self) -> None:  # noqa: ASYNC910 -- the session may have ended
        """Take everything in, and later what becomes free, until the session ends.

        Cancellation:
            The rest stays in the journal.
        """
        try:
            with self._scope:
                if self.is_busy:
                    await self._suspects()
                while True:
                    await self._woken.wait()
                    self._woken, self._is_wanted = anyio.Event(), False
                    self._hook()
                    await self._round()
                    self._rest()
        except JournalError:
            pass  # the engine has been told
        finally:
            self.end()

    async def _round(self) -> None:  # noqa: ASYNC910 -- it has claimed
        while await self._claim(CHUNK):
            await self._wait_for_room()
        if self.may_run_alone is not None:
            self._owes_suspects = not self.may_run_alone()
            if not self._owes_suspects:
                self._engine.alone = True
                await self._suspects()
        self._give_back()

    async def claim_what_is_free(self) -> bool:
        """Take in what nobody has.

        Returns:
            Whether there was anything that this session can use.

        Cancellation:
            It is taken in all the same.
        """
        await checkpoint()
        before = self._taken
        self.wake()
        while self.is_busy:
            await self._rested.wait()
        return self._taken > before

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
        claimed = await self._ask(Claim(limit=limit, suspects=suspects))
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
            self.take(
                await self._ask(Claim(limit=1_000_000, flow=flow, suspects=suspects))
            )
        self._give_back()

    async def _ask(self, claim: Claim) -> Claimed:
        answer = await self._engine.ask(claim)
        if isinstance(answer, Fenced):
            error = fenced_out()
            self._engine.broke(error)
            raise error
        assert isinstance(answer, Claimed)
        return answer

    # -- what is not for this session, or not now -------------------------------------

    def leave(self, flow: str) -> None:
        """Leave a flow to others, or to the next session."""
        self._left.add(flow)

    def reclaim(self, flow: str) -> None:
        """Do not leave a flow to others any more."""
        if flow in self._left:
            self._left.remove(flow)
            self.wake()

    def _is_for_now(self, flow: str) -> bool:
        state = self._engine.ledger.flows.get(flow)
        if state is not None and state.status != "open":
            self._winding.add(flow)
        elif flow not in self._left:
            return True
        self._back.add(flow)
        return False

    def _give_back(self) -> None:
        for flow in self._back:
            self._engine.note(Release(flow=flow))
        self._back.clear()

    def take(self, claimed: Claimed, *, settled: anyio.Event | None = None) -> None:
        """Enter what was claimed into the ledger.

        Args:
            claimed: The deliveries.
            settled: Set when the only one of them is over; it runs alone.
        """
        engine = self._engine
        flows = {flow.id: flow for flow in claimed.flows}
        for stored in claimed.deliveries:
            if not self._is_for_now(stored.key.flow):
                if settled is not None:
                    settled.set()
                continue
            self._taken += 1
            if settled is not None:
                self._settled[stored.key] = settled
            self._enter(stored, flows[stored.key.flow], alone=settled is not None)
        engine.wake()

    def _enter(self, stored: Stored, flow: StoredFlow, *, alone: bool) -> None:
        engine = self._engine
        self.on_joined(flow)
        try:
            event = engine.packing.unpack(stored.body)
            delivery = engine.resume(stored, flow, event)
        except (EncodingError, LookupError) as error:
            broken = JournalError(
                f"this program cannot take an event for {stored.key.agent} that another "
                f"session has left ({error}); let all sessions of a journal have the "
                "same agents and events"
            )
            engine.broke(broken)
            raise broken from error
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
