"""Raw asyncio: one task for each agent, unbounded queues in between."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter, process_time

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
    """A task and a queue for each agent."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return asyncio.run(_chain(work))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return asyncio.run(_analysis(work))

    def empty_queue(self, work: EmptyQueue) -> Measured:
        """W5."""
        return asyncio.run(_empty_queue(work))

    def idle(self, work: Idle) -> Measured:
        """W5."""
        return asyncio.run(_idle(work))


async def _chain(work: Chain) -> Measured:
    queues = [asyncio.Queue[Token]() for _ in range(work.agents + 1)]

    async def agent(number: int) -> None:
        mine, following = queues[number], queues[number + 1]
        while True:
            token = await mine.get()
            if work.is_suspending:
                await asyncio.sleep(0)
            following.put_nowait(next_token(token))

    total = 0
    laps = Laps(work.repeats)
    tasks = [asyncio.create_task(agent(number)) for number in range(work.agents)]
    for _ in laps:
        for number in range(work.tokens):
            queues[0].put_nowait(first_token(number))
        for _ in range(work.tokens):
            total += (await queues[-1].get()).number
    for task in tasks:
        task.cancel()
    return laps.measured(total)


class _Agents:
    """The agents of the text analysis, and the queues between them."""

    def __init__(self, latency: float) -> None:
        self._is_slow = latency > 0
        self._model = Model(latency, asyncio.sleep)
        self._to_analyser = asyncio.Queue[Text]()
        self._to_summariser = asyncio.Queue[Text]()
        self._to_combiner = asyncio.Queue[Text | Analysis | Summary]()
        self.to_output = asyncio.Queue[Combined]()

    def start(self) -> list[asyncio.Task[None]]:
        """Start a task for each agent."""
        return [
            asyncio.create_task(self._ask(self._to_analyser, self._model.analyse)),
            asyncio.create_task(self._ask(self._to_summariser, self._model.summarise)),
            asyncio.create_task(self._combine()),
        ]

    async def _ask(
        self,
        events: asyncio.Queue[Text],
        question: Callable[[Text], Awaitable[Analysis | Summary]],
    ) -> None:
        async def handle(event: Text) -> None:
            self._to_combiner.put_nowait(await question(event))

        async with asyncio.TaskGroup() as calls:
            while True:
                event = await events.get()
                if self._is_slow:  # else one call would hold up the next
                    calls.create_task(handle(event))
                else:
                    await handle(event)

    async def _combine(self) -> None:
        joiner = Joiner()
        while True:
            combined = joiner.add(await self._to_combiner.get())
            if combined is not None:
                self.to_output.put_nowait(combined)

    def send(self, event: Text) -> None:
        """Send a text to the agents that take it."""
        self._to_analyser.put_nowait(event)
        self._to_summariser.put_nowait(event)
        self._to_combiner.put_nowait(event)


async def _analysis(work: TextAnalysis) -> Measured:
    agents = _Agents(work.latency)
    tasks = agents.start()
    results: list[str] = []
    laps = Laps(work.repeats)
    for _ in laps:
        for number in range(work.flows):
            agents.send(first_text(number))
        results += [(await agents.to_output.get()).result for _ in range(work.flows)]
    for task in tasks:
        task.cancel()
    return laps.measured(correct(results, work.flows))


async def _empty_queue(work: EmptyQueue) -> Measured:
    to_agent = asyncio.Queue[Token]()
    ended = 0.0

    async def agent() -> None:
        nonlocal ended
        while True:
            await to_agent.get()
            for _ in range(3):
                await asyncio.sleep(0)
            ended = perf_counter()
            to_agent.task_done()

    gaps: list[float] = []
    task = asyncio.create_task(agent())
    for number in range(work.repeats):
        to_agent.put_nowait(first_token(number))
        await to_agent.join()
        gaps.append(perf_counter() - ended)
    task.cancel()
    return work.measured(gaps)


async def _idle(work: Idle) -> Measured:
    async def agent(tokens: asyncio.Queue[Token]) -> None:
        while True:
            await tokens.get()
            tokens.task_done()

    queues = [asyncio.Queue[Token]() for _ in range(work.agents)]
    tasks = [asyncio.create_task(agent(queue)) for queue in queues]
    for number, queue in enumerate(queues):
        queue.put_nowait(first_token(number))
        await queue.join()
    before = process_time()
    await asyncio.sleep(work.seconds)
    taken = process_time() - before
    for task in tasks:
        task.cancel()
    return Measured(amount=taken, count=len(queues))
