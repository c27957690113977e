"""Aggregators in a durable session: the journal holds their sets, and completes them.

An event of an aggregator is added to its set in the journal, and is finished with that
unless it completes the set. Then its delivery goes on: `process_events` runs as its
handler, and what that returns is committed as usual. After a crash the journal gives the
same set again.
"""

from collections.abc import Awaitable, Callable

import anyio

from agentflow._aggregator import AsyncAggregatorAgent
from agentflow._context import tell_set
from agentflow._durable import DurableEngine
from agentflow._durable_parts import key_of
from agentflow._errors import SessionError
from agentflow._events import Event
from agentflow._steps import Join as JoinStep, Joined

Call = Callable[[Event], Awaitable[object]]


def check_aggregator(agent: AsyncAggregatorAgent) -> None:
    """Refuse an aggregator that would lose something over a restart.

    Raises:
        SessionError: Saying what.
    """
    if agent._timeout is not None:
        raise SessionError(
            f"{agent.name} has timeout={agent._timeout}, which a durable session does not "
            "keep over a restart; leave it out, or run without a journal"
        )
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
        answer = await engine.ask(
            JoinStep(
                key=key_of(delivery),
                places=needs.fitting(type(event)),
                size=len(needs.types),
                quorum=needs.quorum,
            )
        )
        flow = event.correlation_id or ""
        engine.joining.add(flow)
        kept = agent._kept(flow)  # what `wait_for_events` and records look at
        whole = kept.add(event)
        if not isinstance(answer, Joined) or answer.members is None:
            engine.notes_of(delivery).is_settled = True
            return None
        if whole is None:  # it has not seen what came before a restart
            while not kept.is_empty():
                kept.take()
        members = [engine.packing.unpack(body) for body in answer.bodies]
        kept.complete = members
        kept.notify()
        return await self._in_turn(agent, members)

    async def _in_turn(
        self, agent: AsyncAggregatorAgent, members: list[Event]
    ) -> object:
        """Process one set of a flow after the other."""
        place = (agent.name, members[0].correlation_id or "")
        lock, count = self._turns.get(place, (anyio.Lock(), 0))
        self._turns[place] = (lock, count + 1)
        try:
            async with lock:
                tell_set(members)
                return await agent.process_events(members)
        finally:
            lock, count = self._turns.pop(place)
            if count > 1:
                self._turns[place] = (lock, count - 1)
