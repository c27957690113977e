"""The base classes of agents (rules A1 to A3)."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from agentflow._context import session_memory
from agentflow._events import Event
from agentflow._memory import SharedWorkingMemory
from agentflow.abc import Outputs


class _InSession:
    """What both kinds of agents have."""

    name: str = ""
    max_concurrency: int | None = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in cls.__dict__:
            cls.name = cls.__name__

    @property
    def shared_working_memory(self) -> SharedWorkingMemory:
        """The memory of the session in which the agent is handling an event (rule A5).

        Raises:
            SessionError: The agent is not being run by a session.
        """
        return session_memory(self.name)


class BaseAsyncAgent(_InSession, ABC):
    """An agent: one async method that takes an event and returns events.

    ::

        class Greeter(BaseAsyncAgent):
            async def receive_event_async(self, event: TextEvent) -> list[Event]:
                return [GreetingEvent(source=type(self), text=f"Hi {event.text}")]

    Attributes:
        name: What errors and records call it; by default the class's name.
        max_concurrency: How many events it takes at a time, in order of arrival; None
            for as many as there are. The default of 1 lets the method keep state without
            locks.
    """

    @abstractmethod
    def receive_event_async(
        self,
        event: Any,  # noqa: ANN401 -- each agent narrows it to its own events
        /,
    ) -> Awaitable[Outputs] | AsyncIterator[Event]:
        """Handle one event; write it as ``async def``.

        Args:
            event: The event; annotate it with the class that the routes name.

        Returns:
            The events that follow: a list or any other iterable, one event, or None.
            The method may also be an async generator, each event of which is dispatched
            as it is yielded.

        Raises:
            Exception: Anything; it fails the flow, unless a route takes `AgentFailed`.

        Cancellation:
            When the flow ends early the method is cancelled where it awaits, and what it
            has not returned or yielded is never dispatched.
        """


class BaseAgent(_InSession, ABC):
    """A blocking agent: its method runs in a worker thread, never on the event loop.

    Attributes:
        name: As for `BaseAsyncAgent`.
        max_concurrency: As for `BaseAsyncAgent`.
    """

    @abstractmethod
    def receive_event(
        self,
        event: Any,  # noqa: ANN401 -- each agent narrows it to its own events
        /,
    ) -> Outputs:
        """Handle one event; as `BaseAsyncAgent.receive_event_async`, but blocking.

        When the flow is cancelled the thread cannot be stopped: it runs on, is counted
        in ``statistics().threads_abandoned``, and what it returns is dropped.
        """
