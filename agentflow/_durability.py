"""What makes a session durable: its journal, from the opening to the end."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from math import inf
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from agentflow._aggregator import AsyncAggregatorAgent
from agentflow._context import current_memos, current_recall
from agentflow._durable import DurableEngine
from agentflow._durable_calls import HandlerMemos
from agentflow._durable_feed import Feed
from agentflow._durable_joins import Joining, check_aggregator
from agentflow._durable_memory import FactKeeper
from agentflow._durable_others import Others
from agentflow._durable_waits import Recall
from agentflow._errors import JournalError, SessionError
from agentflow._events import Event, stamped
from agentflow._handlers import Handler
from agentflow._ledger import Delivery, FlowState
from agentflow._memory import SharedWorkingMemory
from agentflow._packing import Packing, keyed_id
from agentflow._routing import Router
from agentflow._tasks import Tasks
from agentflow._workers import Backoff, Workers
from agentflow.abc import Journal, Link

_E = TypeVar("_E", bound=Event)

Call = Callable[[Event], Awaitable[object]]


class Durability:
    """The journal's side of one session.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self.engine: DurableEngine
        self.feed: Feed
        self.others: Others | None = None
        self._journal = journal
        self._router: Router
        self._capacity: float
        self._joining: Joining
        self._connection: AbstractAsyncContextManager[Link]

    def make_engine(
        self,
        *args: Any,  # noqa: ANN401 -- as `Engine` has them
        **options: Any,  # noqa: ANN401 -- likewise
    ) -> DurableEngine:
        """Return an engine for the session."""
        self.engine = DurableEngine(
            *args, packing=Packing(self._journal.events), **options
        )
        self._joining = Joining(self.engine)
        return self.engine

    def attach(self, router: Router, *, capacity: int | None) -> None:
        """Learn what else the session has.

        Args:
            router: Its routes.
            capacity: How many unfinished root events it holds in memory.
        """
        self._router = router
        self._capacity = inf if capacity is None else capacity

    async def open(self, memory: SharedWorkingMemory) -> None:
        """Connect, and see whether this program can go on with what is there.

        Args:
            memory: The session's facts; what the journal has goes over them.

        Raises:
            JournalInUse: Another session has the journal.
            JournalError: It cannot be opened.
            SessionError: The routes do not fit what is there.
            EncodingError: Types of events are unknown, or have changed.

        Cancellation:
            It is not connected.
        """
        self._check_names()
        connection = self._journal.connect()
        link = await connection.__aenter__()
        try:
            opened = link.opened
            self._check_agents(opened.agents)
            self.engine.packing.check(opened.kinds)
            FactKeeper(self.engine, memory).restore(opened.facts)
        except BaseException:
            await connection.__aexit__(None, None, None)  # noqa: ASYNC102 -- short
            raise
        self._connection = connection
        self.engine.connect(link)
        feed = self.feed = Feed(self.engine, self._capacity)
        self.engine.on_closing = self._closing
        if link.lease is None:
            link.watch(lambda news: feed.wake() if news.work else None)
        else:
            self._share(link, link.lease)
        feed.begin()

    def _share(self, link: Link, lease: float) -> None:
        """Be one of several sessions of a journal."""
        engine, feed = self.engine, self.feed
        others = self.others = Others(engine, feed, lease)
        link.watch(others.hear)
        engine.others = others
        engine._parking.goes_on_elsewhere = others.may_go_on_elsewhere
        others.on_news = self._joining.look_again
        feed.on_joined = others.joined
        feed.on_ended = others.forget
        feed.may_run_alone = others.only_kept

    def _closing(self) -> None:
        self.feed.end()
        if self.others is not None:
            self.others.end()

    def _check_agents(self, names: Iterable[str]) -> None:
        """Refuse to begin without the agents that events wait for.

        Raises:
            SessionError: One is missing.
        """
        known = {route.handler.name for route in self._router.routes}
        missing = [name for name in names if name not in known]
        if missing:
            raise SessionError(
                f"the journal holds events for {', '.join(missing)}, and no route names "
                "such an agent; give it that name, or drop the flows"
            )

    def _check_names(self) -> None:
        """Refuse agents that the journal could not tell apart.

        Raises:
            SessionError: Two agents have one name.
        """
        agents: dict[str, object] = {}
        for route in self._router.routes:
            name, agent = route.handler.name, route.handler.agent
            if agents.setdefault(name, agent) is not agent:
                raise SessionError(
                    f"two agents are called {name!r}; in a durable session each needs a "
                    "name of its own, so that events find it again: set agent.name"
                )
            if isinstance(agent, AsyncAggregatorAgent):
                check_aggregator(agent)

    def call_for(self, handler: Handler) -> Call | None:
        """Return what to await for each event of a handler, if it is not as usual."""
        if isinstance(handler.agent, AsyncAggregatorAgent):
            return self._joining.call_for(handler.agent)
        return None

    def begin(self, workers: Workers, tasks: Tasks, context: Context) -> None:
        """Go on with what the journal holds.

        Args:
            workers: The session's workers.
            tasks: Where its tasks run.
            context: The context variables that they start with.
        """
        engine = self.engine
        context.run(current_recall.set, Recall(engine))
        context.run(current_memos.set, HandlerMemos(engine))
        engine.wake = workers.wake
        engine.retry_later = workers._retry_later

        def resume_later(delivery: Delivery, delay: float) -> None:
            backoff = Backoff()
            delivery.runner = backoff
            context.run(
                tasks.start_soon, workers._wait_and_resume, delivery, backoff, delay
            )

        def watch(flow: str, deadline: float) -> None:
            context.run(tasks.start_soon, self._until, flow, deadline)

        engine.resume_later = resume_later
        engine.on_deadline = watch
        context.run(tasks.start_soon, self.feed.run)
        if self.others is not None:
            context.run(tasks.start_soon, self.others.run)

    async def _until(self, flow: str, deadline: float) -> None:
        """Cancel a flow that was found in the journal when its time is up."""
        state = self.engine.ledger.flows[flow]
        with anyio.CancelScope() as scope:
            state.when_idle(scope.cancel)
            await anyio.sleep_until(deadline)
            self.engine.cut(state, "cancelled", "its deadline has passed")

    # -- what the dispatcher asks --------------------------------------------------

    def send(self, event: _E, name: str | None, receipt: "Receipt") -> _E:
        """Accept an event, and say on a receipt when it is on disk.

        Args:
            event: The event.
            name: Under which it is accepted once; None for any number of times.
            receipt: Where to say it.

        Returns:
            The stamped copy.

        Raises:
            SessionError: A handler sends, and gives a name.
            Exception: As `DurableEngine.enter_root` and `emit` do.
        """
        engine = self.engine
        delivery = engine.current()
        if delivery is not None:
            if name is not None:
                raise SessionError("send(key=...) is for events from outside a handler")
            return engine.emit(delivery, event, receipt.tell)
        child = engine.stamp_root(event, None) if name is None else _named(event, name)
        fresh = name is None and child.parent_id is None
        engine.append_root(child, counted=True, told=receipt.tell, fresh=fresh)
        return child

    async def known(self, event: _E, name: str) -> _E | None:
        """Return the stamped copy of an event if one of that name is known already.

        Cancellation:
            Nothing has changed.
        """
        link = self.engine.link
        assert link is not None
        child = _named(event, name)
        entries = await link.events(child.correlation_id or "")
        return child if any(entry.id == child.id for entry in entries) else None

    @staticmethod
    def receipt() -> "Receipt":
        """Return a receipt for `send`."""
        return Receipt()

    async def is_idle(self, flow: str | None) -> bool:
        """Wait until a flow, or everything, is idle on disk; or that may have changed.

        Args:
            flow: A flow that is idle here, or None if all of them are.

        Returns:
            Whether it is idle; if not, something has happened.

        Raises:
            JournalError: The journal cannot be written.

        Cancellation:
            Leaves everything as it is.
        """
        if self.others is None or self.engine.closing:
            await self.until_kept()
            return True
        return await self.others.idle_or_news(flow)

    def let_go(self, flow: FlowState, error: BaseException) -> None:
        """Only stop a flow whose owner's block was cancelled; see `DurableEngine`."""
        self.engine.let_go(flow, error)
        if flow.correlation_id in self.engine.suspended:
            self.feed.leave(flow.correlation_id)

    async def until_kept(self) -> None:
        """Wait until everything that has been accepted so far is on disk.

        Raises:
            JournalError: The journal cannot be written.

        Cancellation:
            It will be, all the same.
        """
        receipt = Receipt()
        self.engine.mark(receipt.tell)
        await receipt.wait()

    async def take_in(self, flow: str | None) -> None:
        """Have what the journal holds of a flow in memory, if it is not yet.

        Cancellation:
            It may be or not.
        """
        waiting = not self.feed.done.is_set()
        if waiting and flow is not None and flow not in self.engine.ledger.flows:
            await self.feed.claim_flow(flow)
        else:
            await checkpoint()

    async def take_hold(self, flow: str) -> FlowState:
        """Become the owner of a flow that the journal has.

        Returns:
            The flow.

        Raises:
            SessionError: It is not known, has an owner, or has failed.

        Cancellation:
            The flow is as it was.
        """
        link = self.engine.link
        assert link is not None
        ledger = self.engine.ledger
        self.feed.reclaim(flow)
        if flow not in ledger.flows:
            row = await link.flow(flow)
            if row is None:
                raise SessionError(f"the journal knows no flow {flow}")
            if row.status == "failed":
                raise SessionError(
                    f"flow {flow} failed: {row.reason}; retry or drop it in the journal"
                )
            await self.feed.claim_flow(flow)
        state = self.engine.hold(flow)
        if self.others is not None:
            self.others.attend(state)
        if not state.unfinished:
            await checkpoint()
        return state  # noqa: ASYNC910 -- whose owner waits in its block

    async def emitted(self, flow: str) -> list[Event]:
        """Return what agents have emitted in a flow so far.

        Cancellation:
            Nothing has changed.
        """
        link = self.engine.link
        assert link is not None
        entries = await link.events(flow)
        if self.others is not None:
            self.others.catch_up(self.engine.ledger.flows[flow], entries)
        unpack = self.engine.packing.unpack
        return [unpack(entry.body) for entry in entries if entry.parent is not None]

    async def started_before(self, event: Event) -> str | None:
        """Return the flow that a handler started for this event before it ran again.

        Cancellation:
            Nothing has changed.
        """
        delivery = self.engine.current()
        link = self.engine.link
        if delivery is None or link is None:
            await checkpoint()
            return None
        child = self.engine.next_child(delivery, event)
        known = await link.flow(child)
        if known is not None:
            self.engine.notes_of(delivery).here().emitted += 1
        return None if known is None else child

    async def close(self) -> None:
        """Write what is queued, and let go of the journal.

        Cancellation:
            It happens all the same.
        """
        await self._connection.__aexit__(None, None, None)

    @property
    def error(self) -> JournalError | None:
        """What the journal failed with, if it did."""
        return self.engine.error


def _named(event: _E, name: str) -> _E:
    known = keyed_id(name)
    return stamped(event, known, event.correlation_id or known, event.parent_id)


class Receipt:
    """Says when an event is on disk."""

    def __init__(self) -> None:
        self._come = anyio.Event()
        self._error: JournalError | None = None

    def tell(self, answer: bool | JournalError) -> None:
        """Take what the journal says."""
        if isinstance(answer, JournalError):
            self._error = answer
        self._come.set()

    async def wait(self) -> None:
        """Wait until the event is on disk.

        Raises:
            JournalError: It is not.

        Cancellation:
            It may be or not.
        """
        await self._come.wait()
        if self._error is not None:
            raise self._error
