"""The systems by name: where each is written, and how much it can be asked to do."""

from importlib import import_module

import attrs

from benchmarks._protocol import Measured, Work


@attrs.frozen(kw_only=True)
class System:
    """One system, or one way of running it.

    Attributes:
        module: The module under `benchmarks.systems` whose class `System` runs it.
        options: What that class is made with.
        most: The most tokens or flows at a time that it gets through while one waits, by
            method; any number where it does not say.
        rounds: The most rounds that it takes part in; None for any number.
    """

    module: str
    options: dict[str, object] = attrs.field(factory=dict[str, object])
    most: dict[str, int] = attrs.field(factory=dict[str, int])
    rounds: int | None = None

    def share_of(self, work: Work) -> Work | None:
        """Return the work in a size that the system gets done; None if it cannot."""
        most = self.most.get(work.method)
        return work if most is None else work.at_most(most)

    def run(self, work: Work) -> Measured | None:
        """Do the work in this process; None when the system has no way to."""
        runner = import_module(f"benchmarks.systems.{self.module}").System(
            **self.options
        )
        method = getattr(runner, work.method, None)
        return None if method is None else method(work)


def _agentflow(backend: str, *, is_traced: bool = False) -> System:
    module = "agentflow_traced" if is_traced else "agentflow_"
    return System(module=module, options={"backend": backend})


BASE = "agentflow, trio"
CHANNELS = "trio channels"

SYSTEMS = {
    "bare await loop": System(module="bare_loop"),
    BASE: _agentflow("trio"),
    "agentflow, asyncio": _agentflow("asyncio"),
    "agentflow, trio, traced": _agentflow("trio", is_traced=True),
    "agentflow, asyncio, traced": _agentflow("asyncio", is_traced=True),
    CHANNELS: System(module="trio_channels"),
    "trio task per event": System(module="trio_tasks"),
    "trio nursery per flow": System(module="trio_nurseries"),
    "asyncio queues": System(module="asyncio_queues"),
    "autogen-core": System(module="autogen_core_"),
    "pydantic-graph": System(module="pydantic_graph_"),
    "llama-index-workflows": System(module="llama_index_workflows"),
    "langgraph": System(module="langgraph_"),
    "bubus": System(module="bubus_", most={"chain": 20, "analysis": 200}),
    "mojentic": System(
        module="mojentic_", most={"chain": 10, "analysis": 200}, rounds=1
    ),
}
