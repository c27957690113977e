"""pydantic-graph: each token or text is one run of a graph, without instrumentation."""

# Type checkers need not have the peers, not all of which are typed.
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

from pydantic_graph import Graph, GraphBuilder, StepContext, reduce_list_append

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

Part = Text | Analysis | Summary


class System:
    """A graph; the runs of a lap are gathered."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return asyncio.run(_chain(work))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return asyncio.run(_analysis(work))


def _chain_graph(work: Chain) -> Graph[None, None, Token, Token]:
    builder = GraphBuilder(input_type=Token, output_type=Token, auto_instrument=False)

    async def take(ctx: StepContext[None, None, Token]) -> Token:
        if work.is_suspending:
            await asyncio.sleep(0)
        return next_token(ctx.inputs)

    steps = [builder.step(take, node_id=f"agent{n}") for n in range(work.agents)]
    builder.add(builder.edge_from(builder.start_node).to(steps[0]))
    for mine, following in pairwise(steps):
        builder.add(builder.edge_from(mine).to(following))
    builder.add(builder.edge_from(steps[-1]).to(builder.end_node))
    return builder.build()


async def _chain(work: Chain) -> Measured:
    graph = _chain_graph(work)
    total = 0
    laps = Laps(work.repeats)
    for _ in laps:
        runs = [
            graph.run(inputs=first_token(number), infer_name=False)
            for number in range(work.tokens)
        ]
        total += sum(token.number for token in await asyncio.gather(*runs))
    return laps.measured(total)


def _analysis_graph(
    work: TextAnalysis, output: Callable[[Combined], Awaitable[None]]
) -> Graph[None, None, Text, None]:
    model = Model(work.latency, asyncio.sleep)
    builder = GraphBuilder(input_type=Text, auto_instrument=False)

    async def analyse(ctx: StepContext[None, None, Text]) -> Part:
        return await model.analyse(ctx.inputs)

    async def summarise(ctx: StepContext[None, None, Text]) -> Part:
        return await model.summarise(ctx.inputs)

    async def combine(ctx: StepContext[None, None, list[Part]]) -> Combined:
        joiner = Joiner()
        *first, last = ctx.inputs
        for part in first:
            joiner.add(part)
        combined = joiner.add(last)
        assert combined is not None
        return combined

    async def take(ctx: StepContext[None, None, Combined]) -> None:
        await output(ctx.inputs)

    analyser, summariser = builder.step(analyse), builder.step(summarise)
    combiner, collector = builder.step(combine), builder.step(take)
    join = builder.join(reduce_list_append, initial_factory=list[Part])
    builder.add(
        builder.edge_from(builder.start_node).to(analyser, summariser, join),
        builder.edge_from(analyser, summariser).to(join),
        builder.edge_from(join).to(combiner),
        builder.edge_from(combiner).to(collector),
        builder.edge_from(collector).to(builder.end_node),
    )
    return builder.build()


async def _analysis(work: TextAnalysis) -> Measured:
    results: list[str] = []

    async def output(event: Combined) -> None:
        results.append(event.result)

    graph = _analysis_graph(work, output)
    laps = Laps(work.repeats)
    for _ in laps:
        runs = [
            graph.run(inputs=first_text(number), infer_name=False)
            for number in range(work.flows)
        ]
        await asyncio.gather(*runs)
    return laps.measured(correct(results, work.flows))
