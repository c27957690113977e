"""Raw trio: one task for each agent, unbounded memory channels in between."""

import math
from collections.abc import Awaitable, Callable
from time import perf_counter, process_time

import trio
import trio.testing

from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import (
    Analysis,
    Combined,
    Joiner,
    Model,
    Summary,
    Text,
    TextAnalysis,
    correct,
    first_text,
)
from benchmarks.workloads.chain import Chain, Token, first_token, next_token
from benchmarks.workloads.waiting import EmptyQueue, Idle


class System:
    """A task and a channel for each agent."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return trio.run(_chain, work)

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return trio.run(_analysis, work)

    def empty_queue(self, work: EmptyQueue) -> Measured:
        """W5."""
        return trio.run(_empty_queue, work)

    def idle(self, work: Idle) -> Measured:
        """W5."""
        return trio.run(_idle, work)


async def _chain(work: Chain) -> Measured:
    channels = [
        trio.open_memory_channel[Token](math.inf) for _ in range(work.agents + 1)
    ]

    async def agent(number: int) -> None:
        send = channels[number + 1][0]
        async for token in channels[number][1]:
            if work.is_suspending:
                await trio.lowlevel.checkpoint()
            await send.send(next_token(token))

    total = 0
    laps = Laps(work.repeats)
    first, last = channels[0][0], channels[-1][1]
    async with trio.open_nursery() as nursery:
        for number in range(work.agents):
            nursery.start_soon(agent, number)
        for _ in laps:
            for number in range(work.tokens):
                await first.send(first_token(number))
            for _ in range(work.tokens):
                total += (await last.receive()).number
        nursery.cancel_scope.cancel()
    return laps.measured(total)


class _Agents:
    """The agents of the text analysis, and the channels between them."""

    def __init__(self, latency: float) -> None:
        self._is_slow = latency > 0
        self._model = Model(latency, trio.sleep)
        self.to_analyser, self._for_analyser = trio.open_memory_channel[Text](math.inf)
        self.to_summariser, self._for_summariser = trio.open_memory_channel[Text](
            math.inf
        )
        self.to_combiner, self._for_combiner = trio.open_memory_channel[
            Text | Analysis | Summary
        ](math.inf)
        self._to_output, self.for_output = trio.open_memory_channel[Combined](math.inf)

    def start(self, nursery: trio.Nursery) -> None:
        """Start a task for each agent."""
        nursery.start_soon(self._ask, self._for_analyser, self._model.analyse)
        nursery.start_soon(self._ask, self._for_summariser, self._model.summarise)
        nursery.start_soon(self._combine)

    async def _ask(
        self,
        events: trio.MemoryReceiveChannel[Text],
        question: Callable[[Text], Awaitable[Analysis | Summary]],
    ) -> None:
        async def handle(event: Text) -> None:
            await self.to_combiner.send(await question(event))

        async with trio.open_nursery() as calls:
            async for event in events:
                if self._is_slow:  # else one call would hold up the next
                    calls.start_soon(handle, event)
                else:
                    await handle(event)

    async def _combine(self) -> None:
        joiner = Joiner()
        async for event in self._for_combiner:
            combined = joiner.add(event)
            if combined is not None:
                await self._to_output.send(combined)

    async def send(self, event: Text) -> None:
        """Send a text to the agents that take it."""
        await self.to_analyser.send(event)
        await self.to_summariser.send(event)
        await self.to_combiner.send(event)


async def _analysis(work: TextAnalysis) -> Measured:
    agents = _Agents(work.latency)
    results: list[str] = []
    laps = Laps(work.repeats)
    async with trio.open_nursery() as nursery:
        agents.start(nursery)
        for _ in laps:
            for number in range(work.flows):
                await agents.send(first_text(number))
            results += [
                (await agents.for_output.receive()).result for _ in range(work.flows)
            ]
        nursery.cancel_scope.cancel()
    return laps.measured(correct(results, work.flows))


async def _empty_queue(work: EmptyQueue) -> Measured:
    to_agent, for_agent = trio.open_memory_channel[Token](math.inf)
    to_main, for_main = trio.open_memory_channel[float](math.inf)

    async def agent() -> None:
        async for _ in for_agent:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            await to_main.send(perf_counter())

    gaps: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent)
        for number in range(work.repeats):
            await to_agent.send(first_token(number))
            ended = await for_main.receive()
            gaps.append(perf_counter() - ended)
        nursery.cancel_scope.cancel()
    return work.measured(gaps)


async def _idle(work: Idle) -> Measured:
    count = 0

    async def agent(tokens: trio.MemoryReceiveChannel[Token]) -> None:
        nonlocal count
        async for _ in tokens:
            count += 1

    async with trio.open_nursery() as nursery:
        for number in range(work.agents):
            send, receive = trio.open_memory_channel[Token](math.inf)
            nursery.start_soon(agent, receive)
            await send.send(first_token(number))
        await trio.testing.wait_all_tasks_blocked()
        before = process_time()
        await trio.sleep(work.seconds)
        taken = process_time() - before
        nursery.cancel_scope.cancel()
    return Measured(amount=taken, count=count)
