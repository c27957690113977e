"""agentflow on W4: drift, waiting flows, live flows, cancelling one of many."""

import gc
from time import perf_counter

import anyio

from agentflow import AsyncDispatcher, BaseAsyncAgent, Event, Router
from agentflow.abc import Outputs
from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.memory import (
    CancelOne,
    Drift,
    LiveFlows,
    WaitingFlows,
    resident_bytes,
)


class Ping(Event):
    """Comes and goes."""

    number: int


class Pong(Event):
    """What follows."""

    number: int


class Stay(Event):
    """Its handlers wait."""

    number: int


class Counting(BaseAsyncAgent):
    """Counts, and says when there have been enough."""

    def __init__(self) -> None:
        self.count = 0
        self.enough_at = -1
        self.enough = anyio.Event()

    def expect(self, more: int) -> None:
        """Say how many are to come."""
        self.enough_at = self.count + more
        self.enough = anyio.Event()

    async def receive_event_async(self, event: Event, /) -> Outputs:
        """Handle an event."""
        del event
        self.count += 1
        if self.count == self.enough_at:
            self.enough.set()
        return []


class Answering(BaseAsyncAgent):
    """Sends a pong for a ping."""

    async def receive_event_async(self, event: Ping, /) -> Outputs:
        """Handle a ping."""
        return [Pong(source="agent", number=event.number)]


class Staying(BaseAsyncAgent):
    """Lets so many wait at its gate, and says when all are there."""

    max_concurrency = None

    def __init__(self, expected: int) -> None:
        self.gate = anyio.Event()
        self.all_wait = anyio.Event()
        self.waiting = 0
        self._expected = expected

    async def receive_event_async(self, event: Stay, /) -> Outputs:
        """Handle what stays."""
        del event
        self.waiting += 1
        if self.waiting == self._expected:
            self.all_wait.set()
        await self.gate.wait()
        return []


class Serial(BaseAsyncAgent):
    """Counts, one at a time, what has passed its gate."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.passed = 0

    async def receive_event_async(self, event: Stay, /) -> Outputs:
        """Handle one that is queued."""
        del event
        await self.gate.wait()
        self.passed += 1
        return []


def _dispatcher(router: Router) -> AsyncDispatcher:
    return AsyncDispatcher(router, capacity=None)


async def drift(work: Drift) -> Measured:
    """Send events by the thousand and see how the process grows."""
    counting = Counting()
    before = 0
    async with _dispatcher(Router({Ping: [counting]})) as dispatcher:
        for start in range(0, work.events, work.at_once):
            for number in range(start, start + work.at_once):
                dispatcher.dispatch(Ping(source="main", number=number))
            await dispatcher.wait_for_empty_queue()
            if start == work.events // 10:
                before = resident_bytes()
        after = resident_bytes()
    return Measured(amount=after - before, count=counting.count)


async def waiting(work: WaitingFlows) -> Measured:
    """Let two handlers of each flow wait."""
    agents = [Staying(work.flows), Staying(work.flows)]
    async with _dispatcher(Router({Stay: agents})) as dispatcher:
        before = resident_bytes()
        for number in range(work.flows):
            dispatcher.dispatch(Stay(source="main", number=number))
        for agent in agents:
            await agent.all_wait.wait()
        after = resident_bytes()
        count = sum(agent.waiting for agent in agents)
        for agent in agents:
            agent.gate.set()
    return Measured(amount=after - before, count=count)


async def live(work: LiveFlows) -> Measured:
    """Send pings beside flows that wait."""
    staying, counting = Staying(work.live), Counting()
    router = Router({Stay: [staying], Ping: [Answering()], Pong: [counting]})
    laps = Laps(work.repeats)
    async with _dispatcher(router) as dispatcher:
        for number in range(work.live):
            dispatcher.dispatch(Stay(source="main", number=number))
        await staying.all_wait.wait()
        gc.collect()
        for _ in laps:
            counting.expect(work.flows)
            for number in range(work.flows):
                dispatcher.dispatch(Ping(source="main", number=number))
            await counting.enough.wait()
        staying.gate.set()
    return laps.measured(counting.count)


async def cancel_one(work: CancelOne) -> Measured:
    """Cancel the flow in the middle of the queue."""
    serial = Serial()
    async with _dispatcher(Router({Stay: [serial]})) as dispatcher:
        for number in range(work.queued // 2):
            dispatcher.dispatch(Stay(source="main", number=number))
        async with dispatcher.open_flow(Stay(source="main", number=-1)) as flow:
            for number in range(work.queued // 2, work.queued - 1):
                dispatcher.dispatch(Stay(source="main", number=number))
            await anyio.sleep(0.1)
            start = perf_counter()
            flow.cancel("measured")
        taken = perf_counter() - start
        serial.gate.set()
    return Measured(amount=taken, count=serial.passed)
