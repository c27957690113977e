"""The ledger against a naive model of itself: whatever happens, the books agree.

Hypothesis plays session: it accepts, begins, finishes, retries and cuts in any order, and
compares the ledger with a model that only knows lists.
"""

from collections import Counter

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from agentflow._handlers import handler_of
from agentflow._ledger import GONE, Delivery, FlowState, Lane, Ledger, Root, Target
from tests.fakes import Collector, Ping

LIMITS = (1, 1, 2, None)


class Hand:
    """What holds a delivery that is being handled, or that waits for a retry."""

    def __init__(self, *, handling: bool) -> None:
        self.handling = handling
        self.cancelled = False

    def cancel(self, reason: str) -> None:
        self.cancelled = True


def target_of(limit: int | None, name: str) -> Target:
    """Make a target with a lane of its own."""
    agent = Collector()
    return Target(
        handler=handler_of(agent),
        name=name,
        call=agent.receive_event_async,
        lane=Lane(limit),
        retry=None,
    )


class LedgerMachine(RuleBasedStateMachine):
    """Every step of a session, in any order that the session could take."""

    begun: Bundle[Delivery] = Bundle("begun")
    deferred: Bundle[Delivery] = Bundle("deferred")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.targets = [target_of(limit, str(n)) for n, limit in enumerate(LIMITS)]
        self.count = 0
        self.open: dict[str, list[Ping]] = {}
        """The model: by flow, one entry for each delivery that is not over."""
        self.counted: Counter[int] = Counter()
        """The model: open deliveries of each counted root."""
        self.waiting: dict[int, list[int]] = {n: [] for n in range(len(LIMITS))}
        """The model: numbers of events in their order of arrival, by target."""
        self.running: Counter[int] = Counter()
        self.over: Counter[str] = Counter()

    # -- what a session does --

    def _flow(self, name: str) -> FlowState:
        flow = self.ledger.flows.get(name)
        return flow or self.ledger.new_flow(name, 0.0, budget=10**6)

    def _accept(self, root: Root, targets: list[int]) -> None:
        self.count += 1
        event = Ping(source="x", n=self.count, id=f"{self.count:06}")
        self.ledger.accept(event, tuple(self.targets[n] for n in targets), root)
        flow = root.flow.correlation_id
        for n in targets:
            self.open.setdefault(flow, []).append(event)
            self.waiting[n].append(event.n)
            self.counted[id(root)] += root.counted

    def _close(self, root: Root) -> None:
        if self.ledger.close_if_done(root):
            self.ledger.forget(root.flow)

    @rule(
        name=st.sampled_from("abc"),
        agents=st.lists(st.sampled_from(range(len(LIMITS))), unique=True),
        counted=st.booleans(),
    )
    def dispatch(self, name: str, agents: list[int], counted: bool) -> None:
        flow = self._flow(name)
        root = self.ledger.open_root(flow, counted=counted)
        self._accept(root, agents)
        self._close(root)

    def _take(self) -> Delivery | None:
        """Take the next delivery that is ready, as a worker does."""
        while self.ledger.ready:
            delivery = self.ledger.ready.popleft()
            if delivery.runner is None:
                return delivery
            self.ledger.skip(delivery)
        return None

    @rule(target=begun)
    @precondition(lambda self: any(d.runner is None for d in self.ledger.ready))
    def begin(self) -> Delivery:
        delivery = self._take()
        assert delivery is not None
        n = self.targets.index(delivery.target)
        number = number_of(delivery)
        assert number in self.waiting[n]
        if LIMITS[n] == 1:
            assert self.waiting[n][0] == number, "a serial agent keeps the order"
        self.waiting[n].remove(number)
        self.running[n] += 1
        delivery.runner = Hand(handling=True)
        return delivery

    def _end(self, delivery: Delivery) -> None:
        self.open[delivery.root.flow.correlation_id].remove(event_of(delivery))
        self.counted[id(delivery.root)] -= delivery.root.counted
        self.over["handled"] += 1
        self.running[self.targets.index(delivery.target)] -= 1
        if self.ledger.finish(delivery):
            self._close(delivery.root)

    @rule(
        delivery=consumes(begun),
        outputs=st.lists(
            st.lists(st.sampled_from(range(len(LIMITS))), unique=True), max_size=2
        ),
    )
    def finish(self, delivery: Delivery, outputs: list[list[int]]) -> None:
        if delivery.root.flow.status == "open":
            for targets in outputs:
                self._accept(delivery.root, targets)
        self._end(delivery)

    @rule(target=deferred, delivery=consumes(begun))
    def fail_and_retry(self, delivery: Delivery) -> Delivery:
        if delivery.root.flow.status != "open":
            self._end(delivery)
            return delivery
        self.running[self.targets.index(delivery.target)] -= 1
        return self.ledger.defer(delivery, Hand(handling=False))

    @rule(delivery=consumes(deferred))
    def resume(self, delivery: Delivery) -> None:
        if delivery.runner is GONE:
            return
        self.ledger.resume(delivery)
        self.waiting[self.targets.index(delivery.target)].append(number_of(delivery))

    @rule(name=st.sampled_from("abc"))
    def cut(self, name: str) -> None:
        flow = self.ledger.flows.get(name)
        if flow is None:
            return
        waiting_before = [d for d in flow.pending if d.runner is None]
        cut = self.ledger.cut(flow, "cancelled", "enough")
        numbers = [number_of(d) for d in cut.dropped]
        assert numbers == sorted(numbers)
        for delivery in waiting_before:
            self.waiting[self.targets.index(delivery.target)].remove(
                number_of(delivery)
            )
        for delivery in cut.dropped:
            assert delivery.runner is GONE
            self.open[name].remove(event_of(delivery))
            self.counted[id(delivery.root)] -= delivery.root.counted
            self.over["dropped"] += 1
        assert all(d.runner and d.runner.handling for d in cut.running)
        if cut.went_idle:
            assert not self.open[name]
            self.ledger.forget(flow)

    # -- what must always hold --

    @invariant()
    def flows_are_known_as_long_as_they_are_busy(self) -> None:
        busy = {name for name, events in self.open.items() if events}
        assert set(self.ledger.flows) == busy
        assert self.ledger.busy == len(busy)

    @invariant()
    def deliveries_are_neither_lost_nor_invented(self) -> None:
        for name, flow in self.ledger.flows.items():
            known = sorted(number_of(d) for d in flow.pending)
            assert known == sorted(event.n for event in self.open[name])
        assert self.ledger.handled == self.over["handled"]

    @invariant()
    def unfinished_counts_the_roots_at_the_door(self) -> None:
        assert self.ledger.unfinished == sum(n > 0 for n in self.counted.values())

    @invariant()
    def lanes_keep_their_limits_and_their_work(self) -> None:
        for n, target in enumerate(self.targets):
            lane = target.lane
            assert self.running[n] <= lane.running <= lane.limit
            in_ready = sum(d.target is target for d in self.ledger.ready)
            assert lane.running == self.running[n] + in_ready
            live = [number_of(d) for d in lane.backlog if d.runner is None]
            live += [
                number_of(d)
                for d in self.ledger.ready
                if d.target is target and d.runner is None
            ]
            assert sorted(live) == sorted(self.waiting[n])
            if lane.running < lane.limit:
                assert not lane.backlog

    def teardown(self) -> None:
        """Let the session end: everything that waits is taken, and nothing is left."""
        for flow in tuple(self.ledger.flows.values()):
            self.ledger.cut(flow, "cancelled", "the end")
            for delivery in tuple(flow.pending):
                if self.ledger.finish(delivery):
                    self._close(delivery.root)
        assert self._take() is None
        for target in self.targets:
            lane = target.lane
            assert (lane.running, lane.dead, len(lane.backlog)) == (0, 0, 0)
        assert self.ledger.busy == 0
        assert self.ledger.unfinished == 0


def event_of(delivery: Delivery) -> Ping:
    """Return the event of a delivery."""
    assert isinstance(delivery.event, Ping)
    return delivery.event


def number_of(delivery: Delivery) -> int:
    """Return the number of its event."""
    return event_of(delivery).n


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(stateful_step_count=60)


def test_what_is_over_cannot_be_cancelled() -> None:
    """(D5) That would be a bug of the session, and it says so."""
    assert not GONE.handling
    with pytest.raises(AssertionError, match="cancelled what is over: why"):
        GONE.cancel("why")
