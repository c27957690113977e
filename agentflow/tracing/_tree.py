"""The causal tree of a flow: which event led to which, and who handled it (rule T3).

Theory of operation. An event's parent is the event whose handler emitted it, so the
accepted events of a flow form a forest: one tree for each root event, and one for each
event whose parent is not known, because it belongs to another flow or has fallen out of
the tracer's window. What happened to an event is kept beside it, in order.
"""

from collections.abc import Iterable, Iterator

import attrs

from agentflow._events import Event, TerminateEvent
from agentflow._records import (
    DeliveryDropped,
    DeliveryRecord,
    EventAccepted,
    FlowEnded,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    Record,
)

_ENDS: tuple[type[DeliveryRecord], ...] = (
    HandlerFinished,
    HandlerFailed,
    HandlerCancelled,
    DeliveryDropped,
)


@attrs.define(eq=False)
class Node:
    """One event, what came of it, and how each of its agents ended with it.

    Attributes:
        event: The event.
        agents: The names of the agents it went to; empty when no route took it.
        handled: What happened to it, agent by agent, in order of time.
        children: The events that its handlers emitted, in order.
    """

    event: Event
    agents: tuple[str, ...]
    handled: list[DeliveryRecord] = attrs.field(factory=list[DeliveryRecord])
    children: "list[Node]" = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.children = []

    def walk(self) -> "Iterator[tuple[int, Node]]":
        """Yield this node and all below it, depth first, each with its depth."""
        todo: list[tuple[int, Node]] = [(0, self)]
        while todo:
            depth, node = todo.pop()
            yield depth, node
            todo += [(depth + 1, child) for child in reversed(node.children)]

    def describe(self) -> str:
        """Say in one line what the event was and what came of it."""
        ends = [_describe_end(r) for r in self.handled if isinstance(r, _ENDS)]
        name = type(self.event).__name__
        if isinstance(self.event, TerminateEvent):
            return f"{name} (ends the flow)"
        if not self.agents:
            return f"{name} (nobody took it)"
        waiting = len(self.agents) - len(ends)
        if waiting > 0:
            ends.append(f"{waiting} not done yet")
        return f"{name} → {'; '.join(ends)}"


def _describe_end(record: DeliveryRecord) -> str:
    if isinstance(record, HandlerFinished):
        return f"{record.agent} {record.duration:.3f} s"
    if isinstance(record, HandlerFailed):
        error = type(record.error).__name__
        return f"{record.agent} raised {error} ({record.consequence})"
    if isinstance(record, HandlerCancelled):
        return f"{record.agent} cancelled: {record.reason}"
    assert isinstance(record, DeliveryDropped)
    return f"{record.agent} dropped: {record.reason}"


@attrs.define(eq=False)
class CausalTree:
    """Everything that is known of one flow.

    Attributes:
        correlation_id: The flow.
        roots: The events that no known event led to.
        end: How the flow ended; None while it goes on.
    """

    correlation_id: str
    roots: list[Node]
    end: FlowEnded | None

    def walk(self) -> Iterator[tuple[int, Node]]:
        """Yield every node, depth first, each with its depth."""
        for root in self.roots:
            yield from root.walk()

    def __str__(self) -> str:
        """Draw the tree as indented lines."""
        lines = [f"flow {self.correlation_id}"]
        lines += [f"{'  ' * depth}  {node.describe()}" for depth, node in self.walk()]
        if self.end is not None:
            why = f": {self.end.reason}" if self.end.reason else ""
            lines.append(f"  {self.end.outcome} after {self.end.duration:.3f} s{why}")
        return "\n".join(lines)


def build_tree(correlation_id: str, records: Iterable[Record]) -> CausalTree:
    """Put the records of one flow together.

    Args:
        correlation_id: The flow.
        records: Its records, in order of time.

    Returns:
        The tree.
    """
    nodes: dict[str, Node] = {}
    end: FlowEnded | None = None
    for record in records:
        if isinstance(record, EventAccepted):
            nodes[record.event.id or ""] = Node(record.event, record.agents)
        elif isinstance(record, DeliveryRecord):
            node = nodes.get(record.event.id or "")
            if node is not None:
                node.handled.append(record)
        elif isinstance(record, FlowEnded):
            end = record
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get(node.event.parent_id or "")
        (roots if parent is None else parent.children).append(node)
    return CausalTree(correlation_id, roots, end)
