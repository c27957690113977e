"""How events enter a durable session: through the journal, then into the ledger."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, TypeAlias, TypeVar

import anyio

from agentflow._durable_parts import (
    APPENDING,
    Notes,
    Output,
    RetryLater,
    check_flow_open,
    check_room,
    key_of,
    nothing,
    place_of,
)
from agentflow._durable_sharing import Sharing, unless_fenced
from agentflow._engine import Engine
from agentflow._errors import (
    HandlerReturnError,
    JournalError,
    SessionError,
)
from agentflow._events import Event, TerminateEvent, stamped
from agentflow._ledger import GONE, Delivery, FlowState, Target
from agentflow._naming import no_event
from agentflow._packing import Packing, child_id
from agentflow._parking import ParkingStalls
from agentflow._steps import (
    Answer,
    Append,
    Done,
    Entry,
    Key,
    Step,
)
from agentflow.abc import Link

_E = TypeVar("_E", bound=Event)

Child: TypeAlias = tuple[Event, tuple[Target, ...], Entry]
"""A stamped event, where it goes, and how it is stored."""


class EntryEngine(Engine):
    """An engine whose events go through the journal before anybody gets them.

    Args:
        packing: Writes and reads events.
        options: As for `Engine`.
    """

    def __init__(  # noqa: PLR0915 -- fields, each with what it is for
        self,
        *args: Any,  # noqa: ANN401 -- as `Engine` has them
        packing: Packing,
        **options: Any,  # noqa: ANN401 -- likewise
    ) -> None:
        super().__init__(*args, **options)
        self._parking = ParkingStalls(options["max_concurrency"])
        self._parking.is_quiet = lambda: not self.in_flight
        self.stalls = self._parking
        self._waiting = self._parking.waits.by_delivery
        self.ledger.on_queued = self._parking.queued
        self.packing: Packing = packing
        self.link: Link | None = None
        self.error: JournalError | None = None
        """What the journal failed with."""
        self.wake: Callable[[], object] = nothing
        """Brings in a worker when answers have made work."""
        self.retry_later: RetryLater
        self.resume_later: RetryLater
        self.on_settled: Callable[[Key], object] = nothing
        """Told of each delivery that is over."""
        self.notes: dict[Key, Notes] = {}
        self.on_closing: Callable[[], object] = nothing
        """Called when the session stops working."""
        self.on_root_done: Callable[[], object] = nothing
        """Called when a root event is finished."""
        self.on_deadline: Callable[[str, float], object] = nothing
        """Told of the deadline of a flow that was found in the journal."""
        self.deadlines: dict[str, float] = {}
        """When flows have to be over, on the loop's clock."""
        self.others: Sharing | None = None
        """What others do to the flows of this session; None if it is the only one."""
        self.on_flow_end: Callable[[str], object] = nothing
        """Told of each flow that is over here."""
        self.suspended: set[str] = set()
        """Flows that this session has let go of."""
        self.joining: set[str] = set()
        """Flows of which an aggregator has had events."""
        self.in_flight: int = 0
        """Steps that the journal has not answered."""
        self.alone: bool = False
        """Whether a suspect runs, and everything else has to wait."""
        self._names_of: dict[tuple[Target, ...], tuple[str, ...]] = {}
        self._told: dict[str, int] = {}
        """How many events of each flow have been taken in, in the journal's order."""
        self._held: list[Callable[[], object]] = []
        self._early: list[tuple[Step, Callable[[Answer | JournalError], object]]] = []

    # -- the journal ----------------------------------------------------------------

    def connect(self, link: Link) -> None:
        """Begin to use the journal; what was accepted before goes into it now."""
        self.link = link
        early, self._early = self._early, []
        for step, told in early:
            link.submit(step, told)

    def _submit(
        self, step: Step, told: Callable[[Answer | JournalError], object]
    ) -> None:
        self.in_flight += 1
        if self.link is None:
            self._early.append((step, told))
        else:
            self.link.submit(step, told)

    def note(self, step: Step) -> None:
        """Submit a step whose answer changes nothing here."""
        self._submit(step, self._noted)

    def _noted(self, answer: Answer | JournalError) -> None:
        self._is_broken(answer)
        self._look_again()

    def mark(self, told: Callable[[bool | JournalError], object]) -> None:
        """Tell somebody when all that was submitted before is on disk, or is not."""

        def answered(answer: Answer | JournalError) -> None:
            answer = unless_fenced(answer)
            self._noted(answer)
            told(answer if isinstance(answer, JournalError) else True)

        self._submit(Append(entries=()), answered)

    def _is_broken(self, answer: Answer | JournalError) -> bool:
        """Count an answer; if the journal has failed, everything stops, once.

        Returns:
            Whether it has.
        """
        self.in_flight -= 1
        if not isinstance(answer, JournalError):
            return False
        self.broke(answer)
        return True

    def broke(self, error: JournalError) -> None:
        """Stop everything, once, since the journal has failed."""
        if self.error is None:
            self.error = error
            self.cut_all(f"the journal failed: {error}")

    async def ask(self, step: Step) -> Answer:
        """Submit a step and wait for its answer.

        Raises:
            JournalError: The journal has failed, and with it the session.

        Returns:
            The answer.

        Cancellation:
            The step happens all the same.
        """
        assert self.link is not None
        try:
            return await self.link.ask(step)
        except JournalError as error:
            self.broke(error)
            raise

    def notes_of(self, delivery: Delivery) -> Notes:
        """Return what a delivery has besides its event."""
        return self.notes.setdefault(key_of(delivery), Notes())

    def now(self) -> float:
        """Return the Unix time in seconds, as the journal has it."""
        assert self.link is not None
        return self.link.now()

    # -- events in ------------------------------------------------------------------

    def stamp_root(
        self, event: _E, parent: Delivery | None, flow_id: str | None = None
    ) -> _E:
        """Return a stamped copy; the same at each attempt of a handler."""
        if parent is None:
            return super().stamp_root(event, parent, flow_id)
        counts = self.notes_of(parent).here()
        new_id = child_id(place_of(parent), counts.emitted)
        counts.emitted += 1
        flow = flow_id or event.correlation_id or new_id
        return stamped(event, new_id, flow, parent.event.id)

    def next_child(self, delivery: Delivery, event: Event) -> str:
        """Return the flow id of the next flow that a handler starts with an event."""
        n = self.notes_of(delivery).here().emitted
        return event.correlation_id or child_id(place_of(delivery), n)

    def flow_of(self, correlation_id: str) -> FlowState:
        """Return a flow, a new one where there is none."""
        return self.ledger.flows.get(correlation_id) or self._new_flow(correlation_id)

    def hold(self, flow: str) -> FlowState:
        """Become the owner of a flow.

        Returns:
            The flow.

        Raises:
            SessionError: It has one.
        """
        state = self.flow_of(flow)
        if state.held:
            raise SessionError(f"flow {flow} has an owner already")
        state.held = True
        return state

    def enter_root(
        self, event: Event, *, counted: bool, held: bool = False
    ) -> FlowState:
        """Queue a root event for the journal; see `Engine.enter_root`.

        Raises:
            SessionError: The flow has been ended and is winding down.
            FlowBudgetExceeded: The flow has accepted all it may.
            EncodingError: The event cannot be written.
            JournalError: The journal has failed.

        Returns:
            The flow.
        """
        deadline = anyio.current_effective_deadline() if held else inf
        return self.append_root(
            event,
            counted=counted,
            held=held,
            deadline=deadline,
            fresh=event.parent_id is None,
        )

    def append_root(
        self,
        event: Event,
        *,
        counted: bool,
        held: bool = False,
        deadline: float = inf,
        told: Callable[[bool | JournalError], object] | None = None,
        fresh: bool = False,
    ) -> FlowState:
        """Queue a root event for the journal.

        Args:
            event: The stamped event.
            counted: Whether it takes room at the door.
            held: Whether an owner holds the flow.
            deadline: When the flow has to be over, on the loop's clock.
            told: Told when the event is on disk whether it was new, or that it is not.
            fresh: Whether its id is certainly new.

        Returns:
            The flow.

        Raises:
            Exception: As `enter_root`.
        """
        if self.error is not None:
            raise self.error
        known = self.ledger.flows.get(event.correlation_id or "")
        if known is not None:
            check_flow_open(known)
            check_room(known, 1, self._budget)
        targets = self.switchboard.targets(event)
        entry = self._pack(event, targets)
        flow = self.flow_of(event.correlation_id or "")
        flow.held = flow.held or held
        flow.events += 1
        root = self.ledger.open_root(flow, counted=counted)
        deliveries = tuple(Delivery(event, target, root) for target in targets)
        for delivery in deliveries:
            delivery.runner = APPENDING
            flow.pending[delivery] = None
        root.open = len(deliveries)
        output = Output(event, root, targets, outside=True, deliveries=deliveries)
        until = None
        if deadline != inf:
            self.deadlines[flow.correlation_id] = deadline
            until = self.now() + deadline - self.clock()
        self._submit(
            Append(entries=(entry,), deadline=until, fresh=fresh),
            partial(self._appended, [output], told),
        )
        self._end_if_told(event, flow)
        return flow

    def _end_if_told(self, event: Event, flow: FlowState) -> None:
        """End a flow here as soon as that has been asked of the journal."""
        if isinstance(event, TerminateEvent) and flow.status == "open":
            why = f"{type(event).__name__} from {event.source}"
            super().cut(flow, "terminated", why)

    def emit(
        self,
        delivery: Delivery,
        event: _E,
        told: Callable[[bool | JournalError], object] | None = None,
    ) -> _E:
        """Queue what a running handler emits; see `Engine.emit`.

        Args:
            delivery: Whose handler it is.
            event: The event.
            told: As for `append_root`.

        Returns:
            The stamped copy.

        Raises:
            HandlerReturnError: It is no event.
            FlowBudgetExceeded: The flow has accepted all it may.
            EncodingError: The event cannot be written.
        """
        key = key_of(delivery)
        counts = self.notes_of(delivery).here()
        place, first = place_of(delivery), counts.emitted
        children = self._children(delivery, place, [event], first=first)
        counts.emitted += 1
        if delivery.root.flow.status == "open":
            entries, outputs = self._enter_all(delivery, children)
            self._submit(
                Append(entries=entries, by=key, fresh=delivery.__class__ is Delivery),
                partial(self._appended, outputs, told),
            )
            for output in outputs:
                self._end_if_told(output.event, output.root.flow)
        elif told is not None:
            told(False)
        return children[0][0]  # type: ignore[return-value]  # a copy of the event

    def _children(
        self, delivery: Delivery, key: Key, events: Sequence[Event], *, first: int
    ) -> list[Child]:
        """Stamp, route and encode what a handler emits, without any effect.

        Args:
            delivery: Whose handler it is.
            key: How the journal calls it, or the step of it that emits.
            events: What the handler emits.
            first: How many events it has emitted before.

        Returns:
            The stamped copies, where they go, and how they are stored.

        Raises:
            HandlerReturnError: Some of it is no event.
            FlowBudgetExceeded: The flow has accepted all it may.
        """
        own = key.flow
        for event in events:
            if not isinstance(event, Event):
                raise HandlerReturnError(no_event(delivery, event))
        check_room(delivery.root.flow, len(events), self._budget)
        children: list[Child] = []
        for index, event in enumerate(events, first):
            flow = event.correlation_id or own
            child = stamped(event, child_id(key, index), flow, key.event)
            targets = self.switchboard.targets(child)
            entry = self._pack(child, targets)
            children.append((child, targets, entry))
            if entry.terminates and flow == own:
                break  # what comes after it finds the flow ended
        return children

    def _enter_all(
        self,
        delivery: Delivery,
        children: Sequence[Child],
    ) -> tuple[tuple[Entry, ...], list[Output]]:
        """Keep the flows of emitted events busy until the journal has answered.

        The delivery itself does so for its own flow.

        Returns:
            What to submit, and what to take in then.
        """
        entries: list[Entry] = []
        outputs: list[Output] = []
        own = delivery.root.flow
        for child, targets, entry in children:
            flow = own if entry.flow == own.correlation_id else self.flow_of(entry.flow)
            if flow.status != "open":
                if self.recorder is not None:
                    self.recorder.output_dropped(child, delivery.target.name, flow)
                continue
            flow.events += 1
            root = (
                delivery.root
                if flow is own
                else self.ledger.open_root(flow, counted=False)
            )
            entries.append(entry)
            outputs.append(Output(child, root, targets))
        return tuple(entries), outputs

    def _pack(self, event: Event, targets: tuple[Target, ...]) -> Entry:
        names = self._names_of.get(targets)
        if names is None:
            names = self._names_of[targets] = tuple([t.name for t in targets])
        return self.packing.pack(
            event, names, terminates=isinstance(event, TerminateEvent)
        )

    def _appended(
        self,
        outputs: Sequence[Output],
        told: Callable[[bool | JournalError], object] | None,
        answer: Answer | JournalError,
    ) -> None:
        if not outputs or outputs[0].outside:
            answer = unless_fenced(answer)
        if self._is_broken(answer):
            self._give_up(outputs)
            if told is not None:
                assert self.error is not None
                told(self.error)
            return
        new = answer.new if isinstance(answer, Done) else (False,) * len(outputs)
        take_in = partial(self._take_all_in, outputs, new)
        if self.alone and outputs and outputs[0].outside:
            self._held.append(take_in)
        else:
            take_in()
        if told is not None:
            told(any(new))
        self._look_again()
        if self.ledger.ready:
            self.wake()

    def _look_again(self) -> None:
        """See who is stuck, now that nothing more is on its way."""
        if self._waiting and not self.in_flight:
            self._parking.settled()

    def _take_all_in(self, outputs: Sequence[Output], new: Sequence[bool]) -> None:
        for output, is_new in zip(outputs, new, strict=True):
            if is_new:
                self._take_in(output)
        for output in outputs:
            if output.deliveries or not output.root.open:
                self._give_up(outputs)
                break

    def _give_up(self, outputs: Sequence[Output]) -> None:
        """Close the roots that nothing has come into, and those that are done."""
        for output in outputs:
            root = output.root
            for delivery in output.deliveries:
                if delivery.runner is APPENDING:
                    delivery.runner = GONE
                    del root.flow.pending[delivery]
                    root.open -= 1
            if not root.open:
                self._root_done(root)

    def _take_in(self, output: Output) -> None:
        """Enter an event that is durable into the ledger."""
        event, root, targets = output.event, output.root, output.targets
        flow = root.flow
        self._told[flow.correlation_id] = self._told.get(flow.correlation_id, 0) + 1
        if self.others is not None:
            self.others.saw(flow.correlation_id, event.id or "")
        if flow.status != "open" and not isinstance(event, TerminateEvent):
            if self.recorder is not None and not output.outside:
                self.recorder.output_dropped(event, str(event.source), flow)
            return
        if output.outside:
            for delivery in output.deliveries:
                self.ledger.resume(delivery)
        else:
            self.ledger.accept(event, targets, root)
        if self.recorder is not None:
            self.recorder.accepted(event, flow, targets)
        taken = bool(flow.listeners) and self._tell(flow, event, outside=output.outside)
        if not targets:
            self._without_targets(event, flow, taken=taken)
