"""Raw trio: each delivery is a task of its own in one nursery."""

import gc
from collections.abc import Awaitable, Callable

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
from benchmarks.workloads.memory import LiveFlows, WaitingFlows, resident_bytes


class System:
    """Starts a task for each delivery."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return trio.run(_chain, work)

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return trio.run(_analysis, work)

    def waiting(self, work: WaitingFlows) -> Measured:
        """W4."""
        return trio.run(_waiting, work)

    def live(self, work: LiveFlows) -> Measured:
        """W4."""
        return trio.run(_live, work)


async def _chain(work: Chain) -> Measured:
    total = 0

    async def handle(token: Token, nursery: trio.Nursery) -> None:
        nonlocal total
        if work.is_suspending:
            await trio.lowlevel.checkpoint()
        after = next_token(token)
        if after.number < work.agents:
            nursery.start_soon(handle, after, nursery)
        else:
            total += after.number

    laps = Laps(work.repeats)
    for _ in laps:
        async with trio.open_nursery() as nursery:
            for number in range(work.tokens):
                nursery.start_soon(handle, first_token(number), nursery)
    return laps.measured(total)


async def _analysis(work: TextAnalysis) -> Measured:
    model, joiner = Model(work.latency, trio.sleep), Joiner()
    results: list[str] = []

    async def ask(
        event: Text,
        question: Callable[[Text], Awaitable[Analysis | Summary]],
        nursery: trio.Nursery,
    ) -> None:
        nursery.start_soon(combine, await question(event), nursery)

    async def combine(event: Text | Analysis | Summary, nursery: trio.Nursery) -> None:
        combined = joiner.add(event)
        if combined is not None:
            nursery.start_soon(output, combined)

    async def output(event: Combined) -> None:
        results.append(event.result)

    laps = Laps(work.repeats)
    for _ in laps:
        async with trio.open_nursery() as nursery:
            for number in range(work.flows):
                text = first_text(number)
                nursery.start_soon(ask, text, model.analyse, nursery)
                nursery.start_soon(ask, text, model.summarise, nursery)
                nursery.start_soon(combine, text, nursery)
    return laps.measured(correct(results, work.flows))


async def _waiting(work: WaitingFlows) -> Measured:
    gate = trio.Event()
    count = 0

    async def handle(token: Token) -> None:
        nonlocal count
        count += 1
        await gate.wait()
        del token

    async with trio.open_nursery() as nursery:
        before = resident_bytes()
        for number in range(work.flows):
            token = first_token(number)
            nursery.start_soon(handle, token)
            nursery.start_soon(handle, token)
        await trio.testing.wait_all_tasks_blocked()
        after = resident_bytes()
        gate.set()
    return Measured(amount=after - before, count=count)


async def _live(work: LiveFlows) -> Measured:
    gate = trio.Event()
    count = 0

    async def stay(token: Token) -> None:
        await gate.wait()
        del token

    async def ping(token: Token, nursery: trio.Nursery) -> None:
        nursery.start_soon(pong, next_token(token))

    async def pong(token: Token) -> None:
        nonlocal count
        count += token.number

    async def pings() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(work.flows):
                nursery.start_soon(ping, first_token(number), nursery)

    laps = Laps(work.repeats)
    async with trio.open_nursery() as staying:
        for number in range(work.live):
            staying.start_soon(stay, first_token(number))
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        for _ in laps:
            await pings()
        gate.set()
    return laps.measured(count)
