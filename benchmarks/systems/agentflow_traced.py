"""agentflow while an observer keeps the latest records: W1 to W3, on either event loop."""

from collections import deque

from agentflow._records import Record
from benchmarks.systems._agentflow_flows import Backend, FlowRunner


class Latest:
    """Keeps the latest records, which is the least that a tracer does."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=100_000)

    def record(self, record: Record, /) -> None:
        """Keep one."""
        self._records.append(record)


class System(FlowRunner):
    """A dispatcher that is observed."""

    def __init__(self, *, backend: Backend) -> None:
        super().__init__(backend=backend, tracer=Latest)
