"""The lower bound: one task awaits each agent in turn. No concurrency, no routing."""

import trio

from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import (
    Combined,
    Joiner,
    Model,
    TextAnalysis,
    correct,
    first_text,
)
from benchmarks.workloads.chain import Chain, Token, first_token, next_token


class System:
    """Awaits one agent after the other."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return trio.run(_chain, work)

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2."""
        return trio.run(_analysis, work)


async def _chain(work: Chain) -> Measured:
    async def plain(token: Token) -> Token:
        return next_token(token)

    async def suspending(token: Token) -> Token:
        await trio.lowlevel.checkpoint()
        return next_token(token)

    agents = [suspending if work.is_suspending else plain] * work.agents
    total = 0
    laps = Laps(work.repeats)
    for _ in laps:
        for number in range(work.tokens):
            token = first_token(number)
            for agent in agents:
                token = await agent(token)
            total += token.number
    return laps.measured(total)


async def _analysis(work: TextAnalysis) -> Measured:
    model, joiner = Model(work.latency, trio.sleep), Joiner()
    results: list[str] = []

    async def output(event: Combined) -> None:
        results.append(event.result)

    laps = Laps(work.repeats)
    for _ in laps:
        for number in range(work.flows):
            text = first_text(number)
            joiner.add(text)
            joiner.add(await model.analyse(text))
            combined = joiner.add(await model.summarise(text))
            if combined is not None:
                await output(combined)
    return laps.measured(correct(results, work.flows))
