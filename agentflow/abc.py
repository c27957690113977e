"""The ports of agentflow: what a user may bring of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, runtime_checkable

from agentflow._events import Event
from agentflow._joining import Join
from agentflow._records import Record

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
