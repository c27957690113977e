"""Which open deliveries the owners of an SQLite store have: its fence, kept in memory.

Theory of operation. One process has the file, so what its owners have claimed or entered,
and not finished, can be known without asking the file. That saves looking a delivery up
by three texts, and tells the answers to a batch before it is written. A restart begins with
nothing: then nobody has anything until it has claimed it.
"""

from collections.abc import Container

from agentflow._steps import Key


class Held:
    """What is held of one flow.

    Attributes:
        no: The flow's number in the file.
        deliveries: For each `Key` the number of its event and its owner.
    """

    __slots__ = ("deliveries", "no")

    def __init__(self, no: int) -> None:
        self.no: int = no
        self.deliveries: dict[tuple[str, str, str], tuple[int, int]] = {}


class Holdings:
    """What all owners have."""

    def __init__(self) -> None:
        self.flows: dict[str, Held] = {}

    def event_of(self, owner: int, key: Key) -> int | None:
        """Return the number of a delivery's event if the owner has it: the fence."""
        held = self.flows.get(key.flow)
        if held is None:
            return None
        found = held.deliveries.get(key)
        return None if found is None or found[1] != owner else found[0]

    def take(self, owner: int, key: Key, *, flow: int, event: int) -> None:
        """Give a delivery to an owner."""
        held = self.flows.get(key.flow)
        if held is None:
            held = self.flows[key.flow] = Held(flow)
        held.deliveries[key] = (event, owner)

    def sweep(self, flow: str) -> None:
        """Forget a flow of which nothing is held."""
        held = self.flows.get(flow)
        if held is not None and not held.deliveries:
            del self.flows[flow]

    def free(self, owners: Container[int], flow: str | None = None) -> None:
        """Let go of what owners have, of one flow that is held or of all."""
        for name in list(self.flows) if flow is None else [flow]:
            held = self.flows[name]
            held.deliveries = {
                key: (event, owner)
                for key, (event, owner) in held.deliveries.items()
                if owner not in owners
            }
            self.sweep(name)
