"""The engine of a durable session: every step goes through the journal first.

Theory of operation. The ledger is the same as in any session, and it is fed in one place:
`_take_in` enters an event that is durable by then, whether its root was just sent, a
handler has just returned it, or it was found in the journal after a restart.

- A *root* is appended; its flow counts as busy from then on, and its deliveries enter the
  ledger when the journal has answered.
- When a handler has returned, its delivery leaves its agent's lane, so that the next one
  may start, but stays in ``pending`` as *committing*: its flow is not idle yet. When the
  journal has answered, the outputs enter the ledger and the delivery is struck out. So no
  handler ever sees an event that could be lost, and no flow looks idle too early.
- A commit that was fenced off is somebody else's work by now: it is dropped whole.
- What an agent emits has an id that follows from its delivery and its position, so a
  handler that runs again after a crash emits the same events again, and the journal knows
  those that it has already.

A session that ends, for whatever reason, leaves what it did not finish in the journal. Only
`flow.cancel()`, an error of the owner's block, a passed deadline, `TerminateEvent` and a
failure end a flow for good.
"""

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any

from agentflow._durable_entry import EntryEngine
from agentflow._durable_parts import (
    COMMITTING,
    NO_NOTES,
    Notes,
    Output,
    RetryLater,
    in_words,
    key_of,
)
from agentflow._errors import (
    JournalError,
)
from agentflow._events import AgentFailed, Event, TerminateEvent, stamped
from agentflow._failure import TryAgain
from agentflow._ledger import (
    GONE,
    Delivery,
    FlowState,
    FlowStatus,
    Redelivery,
    Root,
    Target,
)
from agentflow._naming import add_note
from agentflow._packing import child_id
from agentflow._steps import (
    Answer,
    Commit,
    Cut,
    Done,
    Entry,
    Fail,
    FreeJoins,
    Key,
    Refused,
    Release,
    Stored,
    StoredFlow,
)


class DurableEngine(EntryEngine):
    """An engine whose every step is durable before it has consequences."""

    def told_of(self, flow: str) -> int:
        """Return how many of the events of a flow have been taken in."""
        return self._told.get(flow, 0)

    def resume(self, stored: Stored, flow_row: StoredFlow, event: Event) -> Delivery:
        """Enter a delivery that was found in the journal, as if it had just come.

        Args:
            stored: The delivery.
            flow_row: Its flow.
            event: Its event.

        Returns:
            The delivery; it is not in line yet, see `Ledger.resume`.
        """
        target = self.target_of(stored.key.agent, event)  # which may not be known
        known = stored.key.flow in self.ledger.flows
        flow = self.flow_of(stored.key.flow)
        if not known:
            flow.events = self._told[stored.key.flow] = flow_row.events
        root = self.ledger.open_root(flow, counted=True)
        delivery = Redelivery(Delivery(event, target, root))
        delivery.attempt = stored.attempt
        flow.pending[delivery] = None
        root.open = 1
        if stored.memos:
            self.notes_of(delivery).memos.update(stored.memos)
        return delivery

    def target_of(self, agent: str, event: Event) -> Target:
        """Return where a stored delivery goes; the journal knows no other agents."""
        return self.switchboard.named(agent, type(event))

    # -- handlers -------------------------------------------------------------------

    def succeeded(  # noqa: PLR0917 -- as `Engine` has them
        self,
        delivery: Delivery,
        outputs: Sequence[Event],
        since: float,
        now: int,  # noqa: ARG002 -- for new ids, which these are not
    ) -> Delivery | None:
        """Queue what a handler returned for the journal; see `Engine.succeeded`.

        Raises:
            HandlerReturnError: Some of it is no event.
            FlowBudgetExceeded: The flow has accepted all it may.
            EncodingError: An event cannot be written.

        Returns:
            None: nothing can start before it is on disk.
        """
        key = key_of(delivery)
        notes = self.notes.get(key, NO_NOTES)
        if notes.is_settled or delivery.root.flow.status != "open":
            self._not_kept(delivery, outputs)
            if self.recorder is not None:
                self.recorder.finished(delivery, since)
            self._strike_out(delivery)
            self._over(key)
            return None
        entries: tuple[Entry, ...] = ()
        ways: Sequence[Output] = ()
        if outputs:
            children = self._children(delivery, key, outputs, first=notes.emitted)
            entries, ways = self._enter_all(delivery, children)
        if self.recorder is not None:
            self.recorder.finished(delivery, since)
        commit = Commit(
            key=key,
            entries=entries,
            rows=tuple(notes.rows),
            fresh=delivery.__class__ is Delivery,
        )
        self._hand_in(delivery, commit, ways)
        return None

    def _hand_in(
        self, delivery: Delivery, commit: Commit, outputs: Sequence[Output]
    ) -> None:
        """Submit a commit; the delivery's lane is free for the next meanwhile."""
        delivery.runner = COMMITTING
        lane = delivery.target.lane
        if lane.backlog or lane.returning:
            self.ledger.release(lane)
        else:
            lane.running -= 1
        self._submit(commit, partial(self._committed, delivery, commit.key, outputs))

    def _not_kept(self, delivery: Delivery, outputs: Sequence[Event]) -> None:
        if self.recorder is not None:
            for event in outputs:
                self.recorder.output_dropped(
                    event, delivery.target.name, delivery.root.flow
                )

    def _committed(  # noqa: PLR0917 -- keywords would cost, for every hop
        self,
        delivery: Delivery,
        key: Key,
        outputs: Sequence[Output],
        answer: Answer | JournalError,
    ) -> None:
        if not isinstance(answer, Done):
            if self._not_committed(delivery, outputs, answer):
                return
        else:
            self.in_flight -= 1
            if self.alone:
                self._held.append(partial(self._take_all_in, outputs, answer.new))
                self._held.append(partial(self._struck_out, delivery))
                self._over(key)
                return
            if outputs:
                self._take_all_in(outputs, answer.new)
        self._struck_out(delivery)
        self._over(key)
        if self._waiting:
            self._look_again()
        if self.ledger.ready:
            self.wake()

    def _not_committed(
        self,
        delivery: Delivery,
        outputs: Sequence[Output],
        answer: Answer | JournalError,
    ) -> bool:
        """Give a commit up; return whether its delivery goes on nevertheless."""
        is_broken = self._is_broken(answer)
        self._give_up(outputs)
        if is_broken:
            self._leave(delivery, started=True)
        elif isinstance(answer, Refused):
            self._refused(delivery, answer.error)
            return True
        return False

    def release_held(self) -> None:
        """Let everything go on that waited while suspects ran alone."""
        self.alone = False
        held, self._held = self._held, []
        for go_on in held:
            go_on()
        self.wake()

    def _root_done(self, root: Root) -> None:
        if self.others is not None and self.others.keeps(root):
            return
        super()._root_done(root)
        self.on_root_done()

    def no_more_backlog(self) -> None:
        """The journal has nothing more that this session has not taken in."""
        self.ledger.busy -= 1
        if not self.ledger.busy:
            for callback in tuple(self.on_idle):
                callback()

    def set_deadline(self, flow: str, deadline: float) -> None:
        """Note when a flow has to be over.

        Args:
            flow: Its id.
            deadline: The time on the loop's clock.
        """
        if flow not in self.deadlines:
            self.deadlines[flow] = deadline
            self.on_deadline(flow, deadline)

    def _struck_out(self, delivery: Delivery) -> None:
        """Strike out a delivery that has left its lane before."""
        self.ledger.handled += 1
        delivery.runner = GONE
        root = delivery.root
        del root.flow.pending[delivery]
        root.open -= 1
        if not root.open:
            self._root_done(root)
        if self._waiting:
            self.stalls.ended(delivery.root.flow)

    def _refused(self, delivery: Delivery, error: Exception) -> None:
        """Take an error in the user's rows for the handler's."""
        delivery.target.lane.running += 1  # as if the handler had just ended
        self.notes_of(delivery).rows.clear()
        self.failed(delivery, error, since=self.clock(), retry_later=self.retry_later)
        self.wake()

    def _over(self, key: Key) -> None:
        if self.notes:
            self.notes.pop(key, None)
        self.on_settled(key)

    def interrupted(self, delivery: Delivery, since: float) -> None:
        """Strike out a cancelled handler's delivery here; see `Engine.interrupted`."""
        super().interrupted(delivery, since)
        self._over(key_of(delivery))

    def _dropped(self, delivery: Delivery, reason: str) -> None:
        super()._dropped(delivery, reason)
        self._over(key_of(delivery))  # it may be a suspect that others wait for

    # -- failures -------------------------------------------------------------------

    def failed(
        self,
        delivery: Delivery,
        error: Exception,
        *,
        since: float,
        retry_later: RetryLater,
    ) -> None:
        """Give a failure its consequence, in the journal too; see `Engine.failed`."""
        if self.error is not None:
            # It cannot be noted: the next session finds the event as it was, and so the
            # flow has not failed.
            self.interrupted(delivery, since)
            return
        key = key_of(delivery)
        failure = self._failure_of(delivery, error)
        targets, has_route = self.switchboard.failure_targets(failure)
        consequence = self._consequence(delivery, failure, has_route=has_route)
        if self.recorder is not None:
            self.recorder.failed(delivery, error, consequence, since=since)
        if isinstance(consequence, TryAgain):
            self.totals.retried += 1
            due = self.now() + consequence.delay
            text = in_words(error)
            self.note(Fail(key=key, attempt=delivery.attempt, due=due, error=text))
            # The next attempt emits, and changes the memory, from the beginning.
            self.notes[key] = Notes(memos=self.notes_of(delivery).memos)
            retry_later(delivery, consequence.delay)
            return
        self.totals.failed += 1
        add_note(error, delivery)
        if consequence == "fail flow":
            self._fail_flow(failure, delivery)
            if not isinstance(delivery.event, AgentFailed):
                self.ledger.accept(failure, targets, delivery.root)
                self._tell(delivery.root.flow, failure, outside=False)
                if self.recorder is not None:
                    self.recorder.accepted(failure, delivery.root.flow, targets)
            self._strike_out(delivery)
            self._over(key)
            return
        self._hand_over(delivery, failure, targets)

    def _failure_of(self, delivery: Delivery, error: Exception) -> AgentFailed:
        name = delivery.target.name
        key = key_of(delivery)
        failure = AgentFailed(
            source=name,
            agent=name,
            event=delivery.event,
            error=error,
            attempts=delivery.attempt,
        )
        emitted = self.notes_of(delivery).emitted
        return stamped(failure, child_id(key, emitted), key.flow, key.event)

    def _hand_over(
        self, delivery: Delivery, failure: AgentFailed, targets: tuple[Any, ...]
    ) -> None:
        """Commit a failure that a route takes as the output of the delivery."""
        entry = self._pack(failure, targets)
        entries, ways = self._enter_all(delivery, [(failure, targets, entry)])
        fresh = delivery.__class__ is Delivery
        commit = Commit(key=key_of(delivery), entries=entries, fresh=fresh)
        self._hand_in(delivery, commit, ways)

    # -- flows ----------------------------------------------------------------------

    def let_go(self, flow: FlowState, error: BaseException) -> None:
        """Only stop a flow whose owner's block was cancelled: the journal keeps it.

        That may be the end of the whole program. An error of the owner's, or a deadline
        that has passed, ends the flow for good.
        """
        is_overdue = self.clock() >= self.deadlines.get(flow.correlation_id, inf)
        if not isinstance(error, Exception) and not is_overdue:
            self.suspended.add(flow.correlation_id)
            self.note(Release(flow=flow.correlation_id))

    def cut(
        self,
        flow: FlowState,
        status: FlowStatus,
        reason: str,
        *,
        by: Delivery | None = None,
    ) -> None:
        """End a flow here and, unless the session ends, in the journal."""
        first = flow.status == "open"
        if flow.correlation_id in self.suspended:
            self.suspended.remove(flow.correlation_id)
        elif first and not self.closing:
            self.note(_cut_step(flow, status, reason, by=by))
        super().cut(flow, status, reason, by=by)
        if self.others is not None:
            self.others.let_go(flow)

    def _without_targets(self, event: Event, flow: FlowState, *, taken: bool) -> None:
        if isinstance(event, TerminateEvent):
            self._end_if_told(event, flow)
        else:
            super()._without_targets(event, flow, taken=taken)

    def _end(self, flow: FlowState, failures: Sequence[AgentFailed]) -> None:
        self.deadlines.pop(flow.correlation_id, None)
        self._told.pop(flow.correlation_id, None)
        if flow.correlation_id in self.joining:
            self.joining.remove(flow.correlation_id)
            if not self.closing:
                self.note(FreeJoins(flow=flow.correlation_id))
        super()._end(flow, failures)
        self.on_flow_end(flow.correlation_id)

    def cut_all(self, reason: str) -> None:
        """End every flow here; the journal keeps them."""
        self.closing = True
        if self.alone:
            self.release_held()  # into flows that are cut: nothing of it starts
        self.on_closing()
        super().cut_all(reason)


def _cut_step(
    flow: FlowState, status: FlowStatus, reason: str, *, by: Delivery | None
) -> Cut:
    assert status != "open"
    failures = flow.failures
    return Cut(
        flow=flow.correlation_id,
        status=status,
        reason=reason,
        by=None if by is None else key_of(by),
        attempt=1 if by is None else by.attempt,
        error=in_words(failures[-1].error) if failures else "",
    )
