"""agentflow with tracing off, on either event loop: all workloads."""

from benchmarks._protocol import Measured
from benchmarks.systems import _agentflow_crowds, _agentflow_waiting
from benchmarks.systems._agentflow_flows import FlowRunner
from benchmarks.workloads.memory import CancelOne, Drift, LiveFlows, WaitingFlows
from benchmarks.workloads.waiting import EmptyQueue, Idle


class System(FlowRunner):
    """A dispatcher that nothing observes."""

    def drift(self, work: Drift) -> Measured:
        """W4."""
        return self.run(_agentflow_crowds.drift, work)

    def waiting(self, work: WaitingFlows) -> Measured:
        """W4."""
        return self.run(_agentflow_crowds.waiting, work)

    def live(self, work: LiveFlows) -> Measured:
        """W4."""
        return self.run(_agentflow_crowds.live, work)

    def cancel_one(self, work: CancelOne) -> Measured:
        """W4."""
        return self.run(_agentflow_crowds.cancel_one, work)

    def empty_queue(self, work: EmptyQueue) -> Measured:
        """W5."""
        return self.run(_agentflow_waiting.empty_queue, work)

    def idle(self, work: Idle) -> Measured:
        """W5."""
        return self.run(_agentflow_waiting.idle, work)
