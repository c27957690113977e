"""Who waits for whom among the handlers, and whether any of it can still come.

Theory of operation. A handler that awaits something of its own (a model, a socket) can go
on any time; nothing is known of it here. A handler that waits for the session is known:

- *idle*: for another flow to become idle. It can, unless one of that flow's deliveries
  never ends.
- *event*: for an event of a flow. It can come as long as any delivery of that flow, other
  than the waiting one, can go on; or from the flow's owner, while that is in its block; or
  from outside, if the handler said so and the session still takes events.
- *lane*: to have the agent to itself again after an answer. It can, unless every holder of
  a place in that lane is stuck.

A queued delivery can go on unless all places of its lane, or all workers of the session,
are held by stuck handlers. So "stuck" is the greatest set of waits that only depend on
each other. `Waits.stuck` computes that over what one wait can reach, which is little unless
there really is a tangle.

The answer can only change to stuck when a wait begins, when a delivery queues up behind
waiting holders, when a delivery that others count on ends, when an owner leaves its block,
or when the session stops. The session asks at those moments; nothing polls.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeVar

from agentflow._ledger import Delivery, FlowState, Lane

WaitKind = Literal["idle", "event", "lane"]


class Signal(Protocol):
    """An event of the loop's, such as `anyio.Event`."""

    def set(self) -> object:
        """Wake who waits for it."""
        ...

    def is_set(self) -> bool:
        """Return whether it has been set."""
        ...


class Wait:
    """One handler's wait for something of the session.

    Args:
        delivery: What the waiting handler is handling.
        kind: What it waits for.
        flow: The flow that has to become idle, or to accept an event.
        signal: Ends the wait; set when that has happened, though the handler has not run
            yet.
        has_tasks: Whether the handler has other tasks running, which may end the wait in
            ways nobody knows; asked last, since it is not cheap.
        what: In words, for the chain.
    """

    __slots__ = (
        "aside",
        "delivery",
        "error",
        "flow",
        "has_tasks",
        "kind",
        "outside",
        "signal",
        "what",
    )

    def __init__(
        self,
        delivery: Delivery,
        kind: WaitKind,
        flow: FlowState,
        *,
        signal: Signal,
        has_tasks: Callable[[], bool],
        what: str,
    ) -> None:
        self.delivery: Delivery = delivery
        self.kind: WaitKind = kind
        self.flow: FlowState = flow
        self.signal: Signal = signal
        self.has_tasks: Callable[[], bool] = has_tasks
        self.what: str = what
        self.aside: bool = False
        """Whether it has given up its place in the lane meanwhile."""
        self.outside: bool = False
        """Whether what it waits for may come from outside the session."""
        self.error: Exception | None = None

    def describe(self) -> str:
        """Say who waits for what."""
        target, event = self.delivery.target, self.delivery.event
        return (
            f"{target.name}, handling {type(event).__name__} {event.id} of flow "
            f"{event.correlation_id}, waits for {self.what}"
        )


class Waits:
    """All known waits of a session.

    Args:
        max_workers: How many handlers the session runs at a time; None for any number.
    """

    __slots__ = ("_by_flow", "_by_lane", "_max_workers", "by_delivery", "takes_events")

    def __init__(self, max_workers: int | None) -> None:
        self.by_delivery: dict[Delivery, Wait] = {}
        self.takes_events: bool = True
        """Whether events may still come from outside."""
        self._by_flow: dict[FlowState, dict[Wait, None]] = {}
        self._by_lane: dict[Lane, dict[Wait, None]] = {}
        self._max_workers = sys.maxsize if max_workers is None else max_workers

    def add(self, wait: Wait) -> None:
        """Enter a wait that begins."""
        self.by_delivery[wait.delivery] = wait
        self._by_flow.setdefault(wait.flow, {})[wait] = None
        if not wait.aside:
            self._by_lane.setdefault(wait.delivery.target.lane, {})[wait] = None

    def remove(self, wait: Wait) -> None:
        """Strike out a wait that is over."""
        del self.by_delivery[wait.delivery]
        _take_out(self._by_flow, wait.flow, wait)
        _take_out(self._by_lane, wait.delivery.target.lane, wait)

    def on_flow(self, flow: FlowState) -> Iterable[Wait]:
        """Return the waits for something of a flow."""
        return tuple(self._by_flow.get(flow, ()))

    def in_lane(self, lane: Lane) -> Iterable[Wait]:
        """Return the waits that hold a place in a lane."""
        return tuple(self._by_lane.get(lane, ()))

    def all(self) -> Iterable[Wait]:
        """Return every wait."""
        return tuple(self.by_delivery.values())

    def stuck(self, wait: Wait) -> list[Wait] | None:
        """Return the waits that a stuck wait is caught in, itself first; None if it is not.

        The list follows one dependency from each wait to the next.
        """
        caught = self._reach(wait)
        changed = True
        while changed:
            changed = False
            for candidate in tuple(caught):
                if self._can_end(candidate, caught):
                    del caught[candidate]
                    changed = True
            if wait not in caught:
                return None
        return self._chain(wait, caught)

    def _reach(self, start: Wait) -> dict[Wait, None]:
        """Return the waits that could keep `start` from ending, directly or not."""
        found: dict[Wait, None] = {start: None}
        todo = [start]
        while todo:
            for wait in self._depends_on(todo.pop()):
                if wait not in found:
                    found[wait] = None
                    todo.append(wait)
        return found

    def _depends_on(self, wait: Wait) -> list[Wait]:
        if wait.kind == "lane":
            return list(self._by_lane.get(wait.delivery.target.lane, ()))
        waits: list[Wait] = []
        for delivery in wait.flow.pending:
            if delivery.runner is None:
                waits += self._by_lane.get(delivery.target.lane, ())
                if len(self.by_delivery) >= self._max_workers:
                    waits += self.by_delivery.values()
            elif delivery in self.by_delivery and delivery is not wait.delivery:
                waits.append(self.by_delivery[delivery])
        return waits

    def _can_end(self, wait: Wait, caught: dict[Wait, None]) -> bool:
        if wait.signal.is_set() or wait.delivery.root.flow.status != "open":
            return True  # it is over, or its flow has been cut: then it is cancelled
        others = (d for d in wait.flow.pending if d is not wait.delivery)
        if wait.kind == "lane":
            can_end = not self._is_blocked(wait.delivery.target.lane, caught)
        elif wait.kind == "idle":
            can_end = not any(self._is_caught(d, caught) for d in others)
        else:
            can_end = (
                (wait.outside and self.takes_events)
                or (wait.flow.held and not wait.flow.is_left)
                or any(not self._is_caught(d, caught) for d in others)
            )
        return can_end or wait.has_tasks()

    def _is_caught(self, delivery: Delivery, caught: dict[Wait, None]) -> bool:
        if delivery.runner is not None:
            return self.by_delivery.get(delivery) in caught
        stuck_workers = sum(not wait.aside for wait in caught)
        return stuck_workers >= self._max_workers or self._is_blocked(
            delivery.target.lane, caught
        )

    def _is_blocked(self, lane: Lane, caught: dict[Wait, None]) -> bool:
        stuck_holders = sum(wait in caught for wait in self._by_lane.get(lane, ()))
        return stuck_holders >= lane.limit

    def _chain(self, start: Wait, caught: dict[Wait, None]) -> list[Wait]:
        chain = [start]
        while True:
            following = [w for w in self._depends_on(chain[-1]) if w in caught]
            fresh = [w for w in following if w not in chain]
            if not fresh:
                return chain
            chain.append(fresh[0])


_K = TypeVar("_K")


def _take_out(index: dict[_K, dict[Wait, None]], key: _K, wait: Wait) -> None:
    entries = index.get(key)
    if entries is not None:
        entries.pop(wait, None)
        if not entries:
            del index[key]
