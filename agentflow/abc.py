"""The ports of agentflow: what a user may bring of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from agentflow._errors import JournalError
from agentflow._events import Event
from agentflow._joining import Join
from agentflow._records import Record
from agentflow._steps import Answer, Entry, News, Opened, Step, StoredFlow

if TYPE_CHECKING:  # it loads cattrs, which who has no journal does without
    from agentflow._encoding import EventRegistry

Outputs = Event | Iterable[Event] | AsyncIterator[Event] | None
"""What a handler may return: one event, several, a stream of them, or none (rule A1)."""


@runtime_checkable
class Agent(Protocol):
    """Anything with this method can stand behind a route."""

    def receive_event_async(
        self,
        event: Any,  # noqa: ANN401 -- each agent narrows it to its own events
        /,
    ) -> Awaitable[Outputs] | AsyncIterator[Event]:
        """Handle one event and return what follows from it."""
        ...


@runtime_checkable
class Observer(Protocol):
    """Gets every record of a session, as it happens, on the event loop."""

    def record(self, record: Record, /) -> None:
        """Take one record. It must not block; if it raises, it gets no more."""
        ...


Deferred = tuple[Any, ...]
"""A record that is not made yet: a function that makes it, and its arguments."""


@runtime_checkable
class LazyObserver(Protocol):
    """An observer that makes the most frequent records itself, when it needs them."""

    @property
    def defer(self) -> Callable[[Deferred], object] | None:
        """Take what a record is made of, in the place of `record`; None to get records."""
        ...


@runtime_checkable
class FlowKeeper(Protocol):
    """An agent that keeps something for each flow, and frees it when the flow ends."""

    def flow_ended(self, correlation_id: str, /) -> Join | None:
        """Free what is kept for this flow; return a join that is still incomplete."""
        ...


class Nursery(Protocol):
    """A trio nursery or an anyio task group, as far as a session needs one."""

    async def start(
        self,
        async_fn: Callable[..., Coroutine[Any, Any, object]],
        /,
        *args: Any,  # noqa: ANN401 -- trio and anyio type it so
    ) -> Any:  # noqa: ANN401 -- likewise
        """Start a task and wait until it says that it is ready.

        Cancellation:
            The task is cancelled.
        """
        ...


class Link(Protocol):
    """One session's connection to a journal; it is the owner of what it claims."""

    @property
    def opened(self) -> Opened:
        """What the session found when it connected."""
        ...

    @property
    def lease(self) -> float | None:
        """Seconds until this owner counts as dead, unless it renews with `Renew`.

        None for an owner that has the journal to itself. An owner with a lease looks at
        the journal for what is idle, since others may work on its flows.
        """
        ...

    def watch(self, told: Callable[[News], object], /) -> None:
        """Tell the session what others change in the journal, on the event loop.

        Args:
            told: Must not block. What it is told only wakes: it may come late, twice, or
                for a change that was undone.
        """
        ...

    def now(self) -> float:
        """Return the Unix time in seconds, as the journal has it."""
        ...

    def submit(
        self, step: Step, told: Callable[[Answer | JournalError], object], /
    ) -> None:
        """Queue a step.

        Steps happen in the order in which they were submitted, each as a whole or not at
        all. When `told` is called, on the event loop and in the same order, the step is
        durable. Once the journal has failed, every step is told that error.
        """
        ...

    async def ask(self, step: Step, /) -> Answer:
        """Queue a step and wait for its answer.

        Raises:
            JournalError: The journal cannot be written.

        Cancellation:
            The step happens all the same.
        """
        ...

    async def events(self, flow: str, /) -> list[Entry]:
        """Return the events of a flow, in order of acceptance.

        Cancellation:
            Nothing has changed.
        """
        ...

    async def flow(self, flow: str, /) -> StoredFlow | None:
        """Return what is known of a flow.

        Cancellation:
            Nothing has changed.
        """
        ...


class Journal(Protocol):
    """Keeps what a session has accepted and not finished, beyond the process.

    It may serve several processes: deliveries are claimed, each step is fenced by its
    owner, and joins, counters and the ends of flows are decided in the journal.
    """

    @property
    def events(self) -> "EventRegistry":
        """How events are encoded."""
        ...

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Become an owner for the length of a block.

        Raises:
            JournalInUse: Another session has the journal, and it serves one at a time.
            JournalError: It cannot be opened.
        """
        ...
