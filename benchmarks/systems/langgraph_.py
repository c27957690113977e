"""langgraph: each token or text is one invocation of a compiled graph, no checkpoints.

Its nodes share a state instead of sending events; the state holds what an event would.
"""

# Type checkers need not have the peers, not all of which are typed.
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import asyncio
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from benchmarks._protocol import Laps, Measured
from benchmarks.workloads.analysis import TextAnalysis, combination, correct, text_of
from benchmarks.workloads.chain import Chain


class System:
    """A compiled graph; the invocations of a lap are gathered."""

    def chain(self, work: Chain) -> Measured:
        """W1."""
        return asyncio.run(_chain(work))

    def analysis(self, work: TextAnalysis) -> Measured:
        """W2 and W3."""
        return asyncio.run(_analysis(work))


class TokenState(TypedDict):
    """What a token holds."""

    source: str
    correlation_id: str
    number: int


def _chain_graph(work: Chain) -> CompiledStateGraph[TokenState]:
    async def take(state: TokenState) -> TokenState:
        if work.is_suspending:
            await asyncio.sleep(0)
        return TokenState(
            source="agent",
            correlation_id=state["correlation_id"],
            number=state["number"] + 1,
        )

    graph = StateGraph(TokenState)
    names = [f"agent{position}" for position in range(work.agents)]
    for name in names:
        graph.add_node(name, take)
    for mine, following in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(mine, following)
    return graph.compile()


async def _chain(work: Chain) -> Measured:
    graph = _chain_graph(work)
    total = 0
    laps = Laps(work.repeats)
    for _ in laps:
        runs = [
            graph.ainvoke(
                TokenState(source="main", correlation_id=str(number), number=0),
                {"recursion_limit": work.agents + 2},
            )
            for number in range(work.tokens)
        ]
        total += sum(state["number"] for state in await asyncio.gather(*runs))
    return laps.measured(total)


class TextState(TypedDict):
    """What the events of a flow hold."""

    source: str
    correlation_id: str
    text: str
    analysis: str
    summary: str
    result: str


def _analysis_graph(
    work: TextAnalysis, results: list[str]
) -> CompiledStateGraph[TextState]:
    async def ask(prompt: str) -> str:
        if work.latency:
            await asyncio.sleep(work.latency)
        return f"<{prompt}>"

    async def analyse(state: TextState) -> dict[str, str]:
        return {"analysis": await ask(f"analyse {state['text']}")}

    async def summarise(state: TextState) -> dict[str, str]:
        return {"summary": await ask(f"summarise {state['text']}")}

    async def combine(state: TextState) -> dict[str, str]:
        result = combination(state["text"], state["analysis"], state["summary"])
        return {"result": result}

    async def output(state: TextState) -> dict[str, str]:
        results.append(state["result"])
        return {}

    graph = StateGraph(TextState)
    graph.add_node("analyser", analyse)
    graph.add_node("summariser", summarise)
    graph.add_node("combiner", combine)
    graph.add_node("output", output)
    graph.add_edge(START, "analyser")
    graph.add_edge(START, "summariser")
    graph.add_edge(["analyser", "summariser"], "combiner")
    graph.add_edge("combiner", "output")
    graph.add_edge("output", END)
    return graph.compile()


async def _analysis(work: TextAnalysis) -> Measured:
    results: list[str] = []
    graph = _analysis_graph(work, results)
    laps = Laps(work.repeats)
    for _ in laps:
        runs = [
            graph.ainvoke(
                TextState(
                    source="main",
                    correlation_id=str(number),
                    text=text_of(number),
                    analysis="",
                    summary="",
                    result="",
                )
            )
            for number in range(work.flows)
        ]
        await asyncio.gather(*runs)
    return laps.measured(correct(results, work.flows))
