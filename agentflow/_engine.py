"""The engine: carries out what the ledger and the rules decide, without ever waiting.

Every method changes the session's state in one step, so nothing can come in between:
events are stamped and entered here, failures get their consequence here, flows end here.
The dispatcher and its workers do all the awaiting.
"""

import sys
from collections.abc import Callable, Sequence
from random import random
from sys import getrefcount
from typing import TypeVar

from agentflow._context import carried_now, current_delivery
from agentflow._errors import FlowBudgetExceeded, HandlerReturnError, SessionError
from agentflow._events import (
    KNOWS_HOLDERS,
    AgentFailed,
    Event,
    TerminateEvent,
    stamped,
)
from agentflow._failure import Consequence, TryAgain, consequence_of
from agentflow._ids import IdSource
from agentflow._ledger import GONE, Delivery, FlowState, FlowStatus, Ledger, Root
from agentflow._naming import add_note, budget_spent, no_event
from agentflow._recorder import Recorder, no_time
from agentflow._reports import Totals, Undelivered
from agentflow._stalls import StallWatch
from agentflow._switchboard import Switchboard
from agentflow._unclaimed import Unclaimed

_E = TypeVar("_E", bound=Event)


_NOT_KEPT = 6 if KNOWS_HOLDERS else 0
"""References to an output and its list in `Engine.succeeded` if nobody else has any."""


class Engine:
    """The state of one session and every step it can take.

    Args:
        switchboard: Where events go.
        max_events_per_flow: How many events a flow may accept; None for any number.
        max_concurrency: How many handlers may run at a time; None for any number.
        recorder: Writes down what happens; None while nobody observes.
    """

    def __init__(
        self,
        switchboard: Switchboard,
        *,
        max_events_per_flow: int | None,
        max_concurrency: int | None,
        recorder: Recorder | None,
    ) -> None:
        self.ledger: Ledger = Ledger()
        self.totals: Totals = Totals()
        self.recorder: Recorder | None = recorder
        self.clock: Callable[[], float] = no_time
        """The time in seconds; 0 before the session is open."""
        self.switchboard: Switchboard = switchboard
        self._targets = switchboard.plain
        self._single = switchboard.single
        self._keepers = switchboard.keepers()
        self.stalls: StallWatch = StallWatch(max_concurrency)
        self._waiting = self.stalls.waits.by_delivery
        self.ledger.on_queued = self.stalls.queued
        self.on_idle: list[Callable[[], object]] = []
        """Called when every flow is idle."""
        self.on_room: Callable[[], object] | None = None
        """Called when a root event is finished, while somebody waits for that."""
        self.left: list[Undelivered] = []
        """What was not delivered because the session ended."""
        self.closing: bool = False
        self._budget = (
            sys.maxsize if max_events_per_flow is None else max_events_per_flow
        )
        self._new_id = IdSource()
        self.unclaimed: Unclaimed = Unclaimed()

    def begin(self, clock: Callable[[], float]) -> None:
        """Take the time from this clock, since the session opens now."""
        self.clock = clock
        if self.recorder is not None:
            self.recorder.begin(clock)
        for flow in self.ledger.flows.values():
            flow.started = clock()

    # -- events ---------------------------------------------------------------------

    def stamp_root(
        self, event: _E, parent: Delivery | None, flow_id: str | None = None
    ) -> _E:
        """Return the stamped copy of an event that no agent returned (rule E2)."""
        new_id = self._new_id()
        flow_id = flow_id or event.correlation_id or new_id
        parent_id = event.parent_id if parent is None else parent.event.id
        return stamped(event, new_id, flow_id, parent_id)

    def current(self) -> Delivery | None:
        """Return the delivery whose handler runs this code, if it is this session's."""
        delivery = current_delivery.get()
        if delivery is None:
            return None
        if delivery.runner is None or not delivery.runner.handling:
            return None
        flow = delivery.root.flow
        return delivery if self.ledger.flows.get(flow.correlation_id) is flow else None

    def enter_root(
        self, event: Event, *, counted: bool, held: bool = False
    ) -> FlowState:
        """Accept a stamped root event into its flow, a new one where there is none.

        Args:
            event: The event.
            counted: Whether it takes room at the door.
            held: Whether an owner holds the flow.

        Returns:
            The flow.

        Raises:
            SessionError: The flow has been ended and is winding down.
            FlowBudgetExceeded: The flow has accepted all it may.
        """
        flow_id = event.correlation_id or ""
        flow = self.ledger.flows.get(flow_id)
        if flow is None:
            flow = self._new_flow(flow_id)
        elif flow.status != "open":
            raise SessionError(
                f"flow {flow.correlation_id} takes no more events: it was "
                f"{flow.status} ({flow.reason})"
            )
        if held:
            flow.held = True
        root = self.ledger.open_root(flow, counted=counted)
        try:
            if flow.events >= self._budget:
                raise FlowBudgetExceeded(budget_spent(flow))
            self._admit(event, root, outside=True)
        finally:
            if not root.open:
                self._root_done(root)
        return flow

    def emit(self, delivery: Delivery, event: _E) -> _E:
        """Accept what a handler returned, yielded or dispatched.

        Returns:
            The stamped copy.

        Raises:
            HandlerReturnError: It is no event.
            FlowBudgetExceeded: The flow has accepted all it may.
        """
        if not isinstance(event, Event):
            raise HandlerReturnError(no_event(delivery, event))
        root = delivery.root
        own_id = root.flow.correlation_id
        flow_id = event.correlation_id
        if flow_id is None or flow_id == own_id:
            child = stamped(event, self._new_id(), own_id, delivery.event.id)
            self._enter(child, root, delivery)
            return child
        # An agent may start, or join, another flow (rule E2).
        child = stamped(event, self._new_id(), flow_id, delivery.event.id)
        flow = self.ledger.flows.get(flow_id) or self._new_flow(flow_id)
        root = self.ledger.open_root(flow, counted=False)
        try:
            self._enter(child, root, delivery)
        finally:
            if not root.open:
                self._root_done(root)
        return child

    def _new_flow(self, correlation_id: str) -> FlowState:
        flow = self.ledger.new_flow(correlation_id, self.clock(), self._budget)
        flow.carried = carried_now()
        if self.recorder is not None:
            self.recorder.flow_started(flow)
        return flow

    def _enter(self, event: Event, root: Root, by: Delivery) -> None:
        """Accept an emitted event, unless its flow has ended."""
        flow = root.flow
        if flow.status != "open":
            if self.recorder is not None:
                self.recorder.output_dropped(event, by.target.name, flow)
            return
        if flow.events >= self._budget:
            raise FlowBudgetExceeded(budget_spent(flow))
        self._admit(event, root)

    def _admit(self, event: Event, root: Root, *, outside: bool = False) -> None:
        flow = root.flow
        flow.events += 1
        targets = self._targets.get(event.__class__)
        if targets is None:
            targets = self.switchboard.targets(event)
        self.ledger.accept(event, targets, root)
        if self.recorder is not None:
            self.recorder.accepted(event, flow, targets)
        taken = flow.listeners and self._tell(flow, event, outside=outside)
        if not targets:
            self._without_targets(event, flow, taken=bool(taken))

    def _tell(self, flow: FlowState, event: Event, *, outside: bool) -> bool:
        """Tell who listens to the flow; return whether someone waited for this event."""
        answers = [listen(event, outside) for listen in flow.listeners]
        return any(answers)

    def _without_targets(self, event: Event, flow: FlowState, *, taken: bool) -> None:
        if isinstance(event, TerminateEvent):
            self.cut(flow, "terminated", f"{type(event).__name__} from {event.source}")
        elif not taken:
            self.totals.unrouted += 1

    # -- handlers -------------------------------------------------------------------

    def succeeded(  # noqa: C901, PLR0912, PLR0915, PLR0917 -- see below
        self, delivery: Delivery, outputs: Sequence[Event], since: float, now: int
    ) -> Delivery | None:
        """Accept what a handler returned and strike its delivery out.

        The short way does for the usual single event what `emit` does for every one: it
        is of a class with one known target, it belongs to this flow, nobody listens, and
        the flow is open and within its budget (`FlowState.limit`). It stands here in
        line, with what `Ledger.finish` does, since this is half of every hop and a call
        is a 30th. An event that the handler has not kept is stamped as it is rather than
        copied: nobody is left who could see the difference.

        Args:
            delivery: What was handled.
            outputs: What the handler returned; all of it is accepted, or nothing.
            since: When the handler started; for the recorder.
            now: The time in nanoseconds, for new ids.

        Returns:
            The delivery of its only output, to go straight on with, if there is one.
        """
        root = delivery.root
        flow = root.flow
        follow_up: Delivery | None = None
        if outputs:  # noqa: PLR1702 -- likewise
            output = outputs[0]
            target = self._single.get(output.__class__)
            if (
                target is not None
                and len(outputs) == 1
                and output.correlation_id is None
                and flow.events < flow.limit
            ):
                flow.events += 1
                new_id = self._new_id.at(now)
                if getrefcount(output) + getrefcount(outputs) == _NOT_KEPT:
                    child = output
                    fields = child.__dict__
                    fields["id"] = new_id
                    fields["correlation_id"] = flow.correlation_id
                    fields["parent_id"] = delivery.event.id
                else:
                    child = stamped(
                        output, new_id, flow.correlation_id, delivery.event.id
                    )
                if self.recorder is not None:
                    self.recorder.accepted(child, flow, (target,))
                follow_up = Delivery(child, target, root)
                flow.pending[follow_up] = None
                root.open += 1
                lane = target.lane
                if lane.running < lane.limit:
                    lane.running += 1
                else:
                    lane.backlog.append(follow_up)
                    follow_up = None
                    if self._waiting:
                        self.stalls.queued(lane)
            else:
                follow_up = self._relay(delivery, outputs)
        if self.recorder is not None:
            self.recorder.finished(delivery, since)
        lane = delivery.target.lane
        self.ledger.handled += 1
        if lane.backlog or lane.returning:
            self.ledger.release(lane)
        else:
            lane.running -= 1
        delivery.runner = GONE
        del flow.pending[delivery]
        root.open -= 1
        if not root.open:
            self._root_done(root)
        if self._waiting:
            self.stalls.ended(flow)
        return follow_up

    def _relay(self, delivery: Delivery, outputs: Sequence[Event]) -> Delivery | None:
        """Accept all that a handler returned, or nothing.

        Returns:
            The delivery of the only output, if it can start at once.

        Raises:
            HandlerReturnError: Some of it is no event.
            FlowBudgetExceeded: The flow has accepted all it may.
        """
        for output in outputs:
            if not isinstance(output, Event):
                raise HandlerReturnError(no_event(delivery, output))
        ready = self.ledger.ready
        before = len(ready)
        for output in outputs:
            self.emit(delivery, output)
        return ready.pop() if len(ready) == before + 1 else None

    def interrupted(self, delivery: Delivery, since: float) -> None:
        """Strike out a delivery whose handler was cancelled."""
        flow = delivery.root.flow
        if self.recorder is not None:
            self.recorder.cancelled(
                delivery, since, flow.reason or "the session was cancelled"
            )
        if self.closing or flow.status == "open":
            self._leave(delivery, started=True)
        delivery.surface()
        self._strike_out(delivery)

    def _strike_out(self, delivery: Delivery) -> None:
        if self.ledger.finish(delivery):
            self._root_done(delivery.root)
        if self._waiting:
            self.stalls.ended(delivery.root.flow)

    def _root_done(self, root: Root) -> None:
        if self.ledger.close_if_done(root):
            self._went_idle(root.flow)
        if self.on_room is not None:
            self.on_room()

    # -- failures -------------------------------------------------------------------

    def failed(
        self,
        delivery: Delivery,
        error: Exception,
        *,
        since: float,
        retry_later: Callable[[Delivery, float], None],
    ) -> None:
        """Give a handler's failure its consequence (rules F2 and F5).

        Args:
            delivery: Whose handler raised.
            error: What it raised.
            since: When the handler started; for the recorder.
            retry_later: Takes the delivery and the seconds to wait, if that is it.
        """
        name = delivery.target.name
        failure = stamped(
            AgentFailed(
                source=name,
                agent=name,
                event=delivery.event,
                error=error,
                attempts=delivery.attempt,
            ),
            self._new_id(),
            delivery.root.flow.correlation_id,
            delivery.event.id,
        )
        targets, has_route = self.switchboard.failure_targets(failure)
        consequence = self._consequence(delivery, failure, has_route=has_route)
        if self.recorder is not None:
            self.recorder.failed(delivery, error, consequence, since=since)
        if isinstance(consequence, TryAgain):
            self.totals.retried += 1
            retry_later(delivery, consequence.delay)
            return
        self.totals.failed += 1
        add_note(error, delivery)
        if consequence == "fail flow":
            self._fail_flow(failure, delivery)
        if not isinstance(delivery.event, AgentFailed):
            # Also when the flow fails: whoever routes every event still sees why.
            self.ledger.accept(failure, targets, delivery.root)
            self._tell(delivery.root.flow, failure, outside=False)
            if self.recorder is not None:
                self.recorder.accepted(failure, delivery.root.flow, targets)
        self._strike_out(delivery)

    def _consequence(
        self, delivery: Delivery, failure: AgentFailed, *, has_route: bool
    ) -> Consequence:
        if delivery.root.flow.status != "open" or isinstance(
            failure.error, FlowBudgetExceeded
        ):
            return "fail flow"
        return consequence_of(
            failure.error,
            retry=delivery.target.retry,
            attempt=delivery.attempt,
            in_failure_handler=isinstance(delivery.event, AgentFailed),
            has_failure_route=has_route,
            random=random,
        )

    def _fail_flow(self, failure: AgentFailed, delivery: Delivery) -> None:
        flow = delivery.root.flow
        cause = delivery.event
        if isinstance(cause, AgentFailed):
            flow.keep(cause)  # its handler did not handle it after all
        flow.keep(failure)
        if flow.status == "open":
            error = failure.error
            reason = f"{failure.agent} raised {type(error).__name__}: {error}"
            self.cut(flow, "failed", reason, by=delivery)

    # -- flows ----------------------------------------------------------------------

    def cut(
        self,
        flow: FlowState,
        status: FlowStatus,
        reason: str,
        *,
        by: Delivery | None = None,
    ) -> None:
        """End a flow now: drop its queue, cancel its handlers, tell its owner.

        Args:
            flow: Which; one that has been cut loses what has come since.
            status: How it ends.
            reason: Why.
            by: The delivery whose failure ends it; its handler is over already.
        """
        first = flow.status == "open"
        cut = self.ledger.cut(flow, status, reason)
        for delivery in cut.dropped:
            self._dropped(delivery, reason)
        for delivery in cut.running:
            if delivery is not by and delivery.runner is not None:
                delivery.runner.cancel(reason)
        if first and flow.on_cut is not None and status != "terminated":
            flow.on_cut(reason)
        if cut.went_idle:
            self._went_idle(flow)
        if self.on_room is not None:
            self.on_room()

    def cut_all(self, reason: str) -> None:
        """End every flow, since the session ends."""
        self.closing = True
        for flow in tuple(self.ledger.flows.values()):
            if flow.unfinished:
                self.cut(flow, "cancelled", reason)

    def release(self, flow: FlowState) -> tuple[AgentFailed, ...]:
        """Let go of an idle flow whose owner leaves; return what failed in it."""
        flow.held = False
        failures, flow.failures = flow.failures, ()
        self._end(flow, failures)
        return failures

    def _dropped(self, delivery: Delivery, reason: str) -> None:
        self.totals.dropped += 1
        delivery.surface()
        if self.closing:
            self._leave(delivery, started=False)
        if self.recorder is not None:
            self.recorder.dropped(delivery, reason)

    def _leave(self, delivery: Delivery, *, started: bool) -> None:
        agent = delivery.target.name
        left = Undelivered(event=delivery.event, agent=agent, started=started)
        self.left.append(left)

    def _went_idle(self, flow: FlowState) -> None:
        for callback in flow.on_idle:
            callback()
        if not flow.held:
            if flow.failures:
                self.unclaimed.add(flow.failures)
            self._end(flow, flow.failures)
        if self.on_idle and not self.ledger.busy:
            for callback in tuple(self.on_idle):
                callback()

    def _end(self, flow: FlowState, failures: Sequence[AgentFailed]) -> None:
        self.ledger.forget(flow)
        for name, keeper in self._keepers:
            join = keeper.flow_ended(flow.correlation_id)
            if join is not None and self.recorder is not None:
                self.recorder.set_incomplete(name, flow.correlation_id, join)
        if self.recorder is not None:
            outcome = "failed" if failures else flow.status
            self.recorder.flow_ended(flow, "finished" if outcome == "open" else outcome)
