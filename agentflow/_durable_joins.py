"""Aggregators in a durable session: the journal holds their sets, and completes them.

An event of an aggregator is added to its set in the journal, and is finished with that
unless it completes the set. Then its delivery goes on: `process_events` runs as its
handler, and what that returns is committed as usual. After a crash the journal gives the
same set again.

With a `timeout`, an event that waits for the rest of its set is not finished: its delivery
stays open, with the time at which it will have waited long enough. A handler that runs
again waits for what is left of that. When the time is up, and the event is in no set yet,
it completes one with what there is, for `on_timeout`. A set that is smaller than it should
be was overdue: so that is known after a crash, too.
"""

from collections.abc import Awaitable, Callable

import anyio
import attrs

from agentflow._aggregator import AsyncAggregatorAgent
from agentflow._context import tell_set
from agentflow._durable import DurableEngine
from agentflow._durable_parts import key_of
from agentflow._errors import SessionError
from agentflow._events import Event
from agentflow._ledger import Delivery
from agentflow._steps import Answer, Join as JoinStep, Joined, Memo, Sit

Call = Callable[[Event], Awaitable[object]]

UNTIL = "join:until"
"""The memo that keeps until when an event waits for its set."""


def check_aggregator(agent: AsyncAggregatorAgent) -> None:
    """Refuse an aggregator that would lose something over a restart.

    Raises:
        SessionError: Saying what.
    """
    if type(agent).receive_event_async is not AsyncAggregatorAgent.receive_event_async:
        raise SessionError(
            f"{agent.name} has a receive_event_async of its own, which a durable session "
            "would not call; override process_events, or subclass BaseAsyncAgent"
        )


class Joining:
    """The aggregators of one durable session.

    Args:
        engine: The session's engine.
    """

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine
        self._turns: dict[tuple[str, str], tuple[anyio.Lock, int]] = {}
        self._changed: dict[tuple[str, str], anyio.Event] = {}
        """Set when a set with a time limit is complete."""

    def call_for(self, agent: AsyncAggregatorAgent) -> Call:
        """Return what to await for each event of an aggregator.

        Raises:
            SessionError: The journal could not do for it what it does for itself.
        """
        check_aggregator(agent)

        async def call(event: Event) -> object:
            return await self._join(agent, event)

        return call

    async def _join(self, agent: AsyncAggregatorAgent, event: Event) -> object:
        engine, delivery = self._engine, self._engine.current()
        assert delivery is not None
        needs = agent._needs
        step = JoinStep(
            key=key_of(delivery),
            places=needs.fitting(type(event)),
            size=len(needs.types),
            quorum=needs.quorum,
        )
        flow = event.correlation_id or ""
        engine.joining.add(flow)
        kept = agent._kept(flow)  # what `wait_for_events` and records look at
        whole = kept.add(event)
        if agent._timeout is None:
            answer = await engine.ask(step)
        else:
            answer = await self._wait_for_set(step, delivery, agent._timeout)
        if not isinstance(answer, Joined) or answer.members is None:
            engine.notes_of(delivery).is_settled = True
            return None
        if not answer.members:
            return None  # another event has completed the set
        members = [engine.packing.unpack(body) for body in answer.bodies]
        if len(members) < needs.quorum:
            kept.take()
            return await self._in_turn(agent, members, agent.on_timeout)
        if whole is None:  # it has not seen what came before a restart
            while not kept.is_empty():
                kept.take()
        kept.complete = members
        kept.notify()
        return await self._in_turn(agent, members, agent.process_events)

    async def _wait_for_set(
        self,
        step: JoinStep,
        delivery: Delivery,
        timeout: float,  # noqa: ASYNC109 -- the mission's word for it
    ) -> Answer:
        """Wait with an event until it is in a set, of what is there if time is up."""
        engine, key = self._engine, step.key
        place = (key.agent, key.flow)
        memos = engine.notes_of(delivery).memos
        if UNTIL not in memos:
            memos[UNTIL] = repr(engine.now() + timeout)
            engine.note(Memo(key=key, name=UNTIL, value=memos[UNTIL]))
        sit = Sit(key=key, places=step.places, size=step.size, quorum=step.quorum)
        until = anyio.current_time() + float(memos[UNTIL]) - engine.now()
        try:
            while True:
                changed = self._changed.setdefault(place, anyio.Event())
                left = until - anyio.current_time()
                answer = await engine.ask(attrs.evolve(sit, overdue=left <= 0))
                if not isinstance(answer, Joined) or answer.members is not None:
                    return answer
                with anyio.move_on_after(left):
                    await changed.wait()
        finally:
            self._wake(place)

    def _wake(self, place: tuple[str, str]) -> None:
        """Let all that wait for a set ask once more: it may be complete."""
        changed = self._changed.pop(place, None)
        if changed is not None:
            changed.set()

    def look_again(self, flow: str) -> None:
        """Let what waits for sets of a flow ask: another session may have done one."""
        for place in [place for place in self._changed if place[1] == flow]:
            self._wake(place)

    async def _in_turn(
        self,
        agent: AsyncAggregatorAgent,
        members: list[Event],
        process: Callable[[list[Event]], Awaitable[object]],
    ) -> object:
        """Process one set of a flow after the other."""
        place = (agent.name, members[0].correlation_id or "")
        lock, count = self._turns.get(place, (anyio.Lock(), 0))
        self._turns[place] = (lock, count + 1)
        try:
            async with lock:
                tell_set(members)
                return await process(members)
        finally:
            lock, count = self._turns.pop(place)
            if count > 1:
                self._turns[place] = (lock, count - 1)
