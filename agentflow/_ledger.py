"""The ledger: what is queued, running and done, per flow, per root and per agent.

Theory of operation.

- A *delivery* is one event on its way to one agent. From the moment its event is accepted
  until it has been handled or dropped it stands in ``pending`` of its flow, and counts as
  ``open`` for its *root*: the event from outside that it descends from.
- A *flow* is the roots of one correlation id. It is idle when none of them is unfinished.
  When a delivery is done, what it emitted has been entered before, so a flow cannot look
  idle in between.
- A *lane* is an agent's way in: so many of its deliveries may be underway, the others
  wait in its backlog in order of arrival. A delivery that got its place in the lane stands
  in ``ready`` until a worker takes it. When it is done, its place passes to the next in
  the backlog.
- *Cutting* a flow drops what is queued and names what is running, so that the session can
  cancel that. A dropped delivery leaves ``pending`` at once; in ``ready`` or a backlog it
  stays as a dead entry until a worker comes across it, so a cut costs as much as the flow
  is large, however much else is queued. Backlogs with more dead entries than live ones
  are swept.
- ``held`` flows stay known while idle, since their owner may still dispatch into them;
  every other flow is forgotten when it becomes idle.

Nothing here awaits, reads a clock or draws a number; each method changes the state in one
step and returns what the session has to act on.
"""

import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeVar

import attrs

from agentflow._events import AgentFailed, Event
from agentflow._failure import Retry
from agentflow._handlers import Handler

FlowStatus = Literal["open", "failed", "cancelled", "terminated"]

Listener = Callable[[Event, bool], object]
"""Told of an event and whether it came from outside; true if it waited for this one."""

_SWEEP_FROM = 32
"""Dead entries below this many are not worth a sweep of the backlog."""


class Runner(Protocol):
    """What a delivery is in the hands of: a worker, or the wait before a retry."""

    @property
    def handling(self) -> bool:
        """Whether the agent has begun, so that a cancellation interrupts it."""
        ...

    def cancel(self, reason: str) -> None:
        """Interrupt it."""
        ...


class _Gone:
    """In the place of a runner: the delivery is handled or dropped."""

    handling = False

    def cancel(self, reason: str) -> None:
        raise AssertionError(f"cancelled what is over: {reason}")


GONE: Runner = _Gone()


class Lane:
    """How many deliveries an agent takes at a time, and those that wait."""

    __slots__ = ("backlog", "dead", "limit", "returning", "running")

    def __init__(self, limit: int | None) -> None:
        self.limit: int = sys.maxsize if limit is None else limit
        self.running: int = 0
        self.backlog: deque[Delivery] = deque()
        self.dead: int = 0
        self.returning: deque[Callable[[], object]] = deque()
        """Handlers that stood aside and want their place back, before any newcomer."""


@attrs.frozen(kw_only=True, slots=True, eq=False)
class Target:
    """One agent as the session sees it, with what one route to it says.

    Attributes:
        handler: The agent.
        name: Its name, unique in the session.
        call: What to await for each event.
        lane: Its way in.
        retry: When to try again; None for never.
        answers_failures: Whether the route is meant for `AgentFailed` (rule F2).
    """

    handler: Handler
    name: str
    call: Callable[[Event], Awaitable[object]]
    lane: Lane
    retry: Retry | None
    answers_failures: bool = False


class Delivery:
    """One event on its way to one agent: the unit of work."""

    __slots__ = ("event", "root", "runner", "target")

    attempt = 1
    """Which attempt at handling it this is."""

    def __init__(self, event: Event, target: Target, root: "Root") -> None:
        self.event: Event = event
        self.target: Target = target
        self.root: Root = root
        self.runner: Runner | None = None

    def surface(self) -> None:
        """Let a failure surface whose handler does not get to it, or not to its end."""
        if isinstance(self.event, AgentFailed) and self.target.answers_failures:
            self.root.flow.keep(self.event)


class Redelivery(Delivery):
    """A delivery whose earlier attempts failed."""

    __slots__ = ("attempt",)

    def __init__(self, before: Delivery) -> None:
        super().__init__(before.event, before.target, before.root)
        self.attempt: int = before.attempt + 1


class Root:
    """An event from outside and everything that came of it."""

    __slots__ = ("counted", "flow", "open")

    def __init__(self, flow: "FlowState", *, counted: bool) -> None:
        self.flow: FlowState = flow
        self.counted: bool = counted
        """Whether it takes room at the door."""
        self.open: int = 0
        """How many deliveries of it are pending; below 0 when it is finished."""


class FlowState:
    """What the session knows of one correlation id.

    Most flows are short and nobody looks at them, so what is seldom there is a tuple that
    is empty, and shared, until something comes.
    """

    __slots__ = (
        "_budget",
        "carried",
        "correlation_id",
        "events",
        "failures",
        "held",
        "is_left",
        "limit",
        "listeners",
        "on_cut",
        "on_idle",
        "pending",
        "reason",
        "started",
        "status",
        "unfinished",
    )

    def __init__(self, correlation_id: str, started: float, budget: int) -> None:
        self.correlation_id: str = correlation_id
        self.started: float = started
        self.events: int = 0
        self.limit: int = budget
        """Up to how many events the engine may take its short way: 0 while somebody
        listens, and when the flow has ended."""
        self._budget = budget
        self.status: FlowStatus = "open"
        self.reason: str = ""
        self.unfinished: int = 0
        """How many roots are; 0 means that the flow is idle."""
        self.pending: dict[Delivery, None] = {}
        """What is queued or running, in order of acceptance."""
        self.failures: tuple[AgentFailed, ...] = ()
        self.held: bool = False
        """Whether an owner has it, in a block or a call."""
        self.is_left: bool = False
        """Whether that owner only waits for its end any more."""
        self.on_cut: Callable[[str], object] | None = None
        self.on_idle: tuple[Callable[[], object], ...] = ()
        self.carried: tuple[object, ...] = ()
        """What it took along from where it was opened; see `_context.carried`."""
        self.listeners: tuple[Listener, ...] = ()
        """Told of each event, and whether it came from outside."""

    def listen(self, listener: "Listener") -> None:
        """Tell somebody of each event from now on."""
        self.listeners = (*self.listeners, listener)
        self.limit = 0

    def unlisten(self, listener: "Listener") -> None:
        """Tell them no more."""
        self.listeners = without(self.listeners, listener)
        if not self.listeners and self.status == "open":
            self.limit = self._budget

    def keep(self, failure: AgentFailed) -> None:
        """Keep a failure for whoever asks, once."""
        if failure not in self.failures:
            self.failures += (failure,)

    def when_idle(self, callback: Callable[[], object]) -> None:
        """Call this each time the flow becomes idle."""
        self.on_idle = (*self.on_idle, callback)

    def not_when_idle(self, callback: Callable[[], object]) -> None:
        """Do so no more."""
        self.on_idle = without(self.on_idle, callback)


@attrs.define
class Cut:
    """What a cut flow was in the middle of.

    Attributes:
        dropped: Deliveries no agent has begun, in order of their events.
        running: Deliveries whose handlers the session has to cancel.
        went_idle: Whether the cut made the flow idle.
    """

    dropped: list[Delivery] = attrs.field(factory=list[Delivery])
    running: list[Delivery] = attrs.field(factory=list[Delivery])
    went_idle: bool = False


class Ledger:
    """The books of one session."""

    __slots__ = ("busy", "flows", "handled", "on_queued", "ready", "unfinished")

    def __init__(self) -> None:
        self.flows: dict[str, FlowState] = {}
        self.ready: deque[Delivery] = deque()
        self.on_queued: Callable[[Lane], object] = _nobody
        """Told of a lane when a delivery queues up in it."""
        self.handled: int = 0
        """Deliveries that have ended, one way or another, but were not dropped."""
        self.busy: int = 0
        """Flows that are not idle."""
        self.unfinished: int = 0
        """Counted roots that are not finished: what ``capacity`` bounds."""

    def new_flow(self, correlation_id: str, now: float, budget: int) -> FlowState:
        """Enter the flow of an id that has none.

        Args:
            correlation_id: The id.
            now: The time in seconds.
            budget: See `FlowState.limit`.

        Returns:
            The flow.
        """
        assert correlation_id not in self.flows
        flow = FlowState(correlation_id, now, budget)
        self.flows[correlation_id] = flow
        return flow

    def open_root(self, flow: FlowState, *, counted: bool) -> Root:
        """Enter a new event from outside; `close_if_done` must follow its deliveries.

        Args:
            flow: Where it belongs.
            counted: Whether it takes room at the door.

        Returns:
            The root for its deliveries.
        """
        if not flow.unfinished:
            self.busy += 1
        flow.unfinished += 1
        self.unfinished += counted
        return Root(flow, counted=counted)

    def accept(self, event: Event, targets: tuple[Target, ...], root: Root) -> None:
        """Enter a delivery of `event` for each target."""
        pending = root.flow.pending
        root.open += len(targets)
        for target in targets:
            delivery = Delivery(event, target, root)
            pending[delivery] = None
            lane = target.lane  # what follows is `_queue`, in line for speed
            if lane.running < lane.limit:
                lane.running += 1
                self.ready.append(delivery)
            else:
                lane.backlog.append(delivery)
                self.on_queued(lane)

    def finish(self, delivery: Delivery) -> bool:
        """Strike out a delivery that was handled.

        What the handler emitted must have been entered before.

        Returns:
            Whether its root is done now; then `close_if_done` must follow.
        """
        self.handled += 1
        delivery.runner = GONE
        lane = delivery.target.lane
        if lane.backlog or lane.returning:
            self.release(lane)
        else:
            lane.running -= 1
        root = delivery.root
        del root.flow.pending[delivery]
        root.open -= 1
        return not root.open

    def close_if_done(self, root: Root) -> bool:
        """Close a root without open deliveries; return whether its flow is idle now."""
        if root.open:
            return False
        root.open = -1
        self.unfinished -= root.counted
        flow = root.flow
        flow.unfinished -= 1
        if flow.unfinished:
            return False
        self.busy -= 1
        return True

    def release(self, lane: Lane) -> None:
        """Give a place in a lane to whoever returns to it, or is next in its backlog."""
        if lane.returning:
            lane.returning.popleft()()
            return
        backlog = lane.backlog
        while backlog:
            delivery = backlog.popleft()
            if delivery.runner is None:
                self.ready.append(delivery)
                return
            self._bury(lane)
        lane.running -= 1

    def skip(self, delivery: Delivery) -> None:
        """Pass over a dead entry that had its place in the lane already."""
        lane = delivery.target.lane
        self._bury(lane)
        self.release(lane)

    @staticmethod
    def _bury(lane: Lane) -> None:
        if lane.dead:  # a sweep has set it to 0 with some still in `ready`
            lane.dead -= 1

    def defer(self, delivery: Delivery, runner: Runner) -> Delivery:
        """Leave the lane until the next attempt; return the delivery for that."""
        again = Redelivery(delivery)
        again.runner = runner
        pending = delivery.root.flow.pending
        pending[again] = None
        del pending[delivery]
        delivery.runner = GONE
        self.release(delivery.target.lane)
        return again

    def resume(self, delivery: Delivery) -> None:
        """Queue a deferred delivery again, behind what has arrived meanwhile."""
        delivery.runner = None
        self._queue(delivery)

    def _queue(self, delivery: Delivery) -> None:
        lane = delivery.target.lane
        if lane.running < lane.limit:
            lane.running += 1
            self.ready.append(delivery)
        else:
            lane.backlog.append(delivery)
            self.on_queued(lane)

    def cut(self, flow: FlowState, status: FlowStatus, reason: str) -> Cut:
        """End a flow: drop what is queued, name what is running.

        The first cut gives the flow its status and reason; a later one only takes what
        has come since.

        Returns:
            What the flow was in the middle of.
        """
        if flow.status == "open":
            flow.status = status
            flow.reason = reason
        flow.limit = 0
        cut = Cut()
        for delivery in tuple(flow.pending):
            runner = delivery.runner
            if runner is not None and runner.handling:
                cut.running.append(delivery)
            else:
                cut.dropped.append(delivery)
                if self._drop(delivery):
                    cut.went_idle = True
        cut.dropped.sort(key=_event_id)
        return cut

    def _drop(self, delivery: Delivery) -> bool:
        """Strike out a delivery that no agent has begun.

        Returns:
            Whether its flow is idle now.
        """
        runner, delivery.runner = delivery.runner, GONE
        root = delivery.root
        del root.flow.pending[delivery]
        root.open -= 1
        if runner is not None:
            runner.cancel("its flow has ended")
        else:
            lane = delivery.target.lane
            lane.dead += 1
            if lane.dead > max(_SWEEP_FROM, len(lane.backlog) // 2):
                self._sweep(lane)
        return self.close_if_done(root)

    @staticmethod
    def _sweep(lane: Lane) -> None:
        lane.backlog = deque(d for d in lane.backlog if d.runner is None)
        lane.dead = 0

    def forget(self, flow: FlowState) -> None:
        """Leave nothing behind of a flow that is idle and has no owner."""
        assert not flow.unfinished
        del self.flows[flow.correlation_id]


_T = TypeVar("_T")


def without(items: tuple[_T, ...], item: _T) -> tuple[_T, ...]:
    """Return the items less the first that equals this one."""
    at = items.index(item)
    return (*items[:at], *items[at + 1 :])


def _nobody(lane: Lane) -> None:
    """Stand in for who will be told."""


def _event_id(delivery: Delivery) -> str:
    return delivery.event.id or ""
