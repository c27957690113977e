"""agentflow on W5: who waits for the end is told soon, and waiting costs nothing."""

from time import perf_counter, process_time

import anyio
from anyio.lowlevel import checkpoint

from agentflow import AsyncDispatcher, BaseAsyncAgent, Event, Router
from agentflow.abc import Outputs
from benchmarks._protocol import Measured
from benchmarks.workloads.waiting import EmptyQueue, Idle


class Ping(Event):
    """Starts a flow."""


class Ending(BaseAsyncAgent):
    """Notes when it has handled an event."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    async def receive_event_async(self, event: Ping, /) -> Outputs:
        """Handle one, when whoever waits is waiting."""
        del event
        for _ in range(3):
            await checkpoint()
        self.ended.append(perf_counter())
        return []


async def empty_queue(work: EmptyQueue) -> Measured:
    """Wait for one event after the other."""
    ending = Ending()
    gaps: list[float] = []
    async with AsyncDispatcher(Router({Ping: [ending]})) as dispatcher:
        for _ in range(work.repeats):
            dispatcher.dispatch(Ping(source="main"))
            await dispatcher.wait_for_empty_queue()
            gaps.append(perf_counter() - ending.ended[-1])
    return work.measured(gaps)


async def idle(work: Idle) -> Measured:
    """Do nothing for a while, with a dispatcher open that has worked."""
    agents = [Ending() for _ in range(work.agents)]
    async with AsyncDispatcher(Router({Ping: agents})) as dispatcher:
        dispatcher.dispatch(Ping(source="main"))
        await dispatcher.wait_for_empty_queue()
        before = process_time()
        await anyio.sleep(work.seconds)
        taken = process_time() - before
    return Measured(amount=taken, count=sum(len(agent.ended) for agent in agents))
