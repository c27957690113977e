"""Every error agentflow raises, split by who erred.

::

    AgentFlowError
    ├── UsageError               the calling code: nothing was accepted
    │   ├── EventTypeError       an event class or value that is none (TypeError)
    │   ├── RoutingError         a route, agent or predicate that cannot work (TypeError)
    │   ├── SessionError         the session is not open for this (RuntimeError)
    │   └── WouldDeadlock        a handler waits for itself (RuntimeError)
    ├── QueueFull                no room at the door: slow down or use ``send``
    ├── HandlerReturnError       an agent returned something that is no event (TypeError)
    ├── FlowBudgetExceeded       a flow emitted more events than it may
    ├── FlowStalled              nothing in the flow can make progress any more
    ├── NoResult                 a flow ended without the event asked for
    ├── FlowCancelled            a flow was cancelled by somebody else than its owner
    ├── EncodingError            an event cannot be written as JSON, or not be read back
    ├── RestoredError            stands in for an exception that was read from a file
    ├── JournalError             the journal cannot be read or written; nothing is lost
    │   └── JournalInUse         another session has it
    └── FlowFailed               an ExceptionGroup of what the agents of a flow raised
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from agentflow._events import AgentFailed


class AgentFlowError(Exception):
    """The base of every error that agentflow raises on its own account."""


class UsageError(AgentFlowError):
    """The calling code asked for something that cannot work; nothing was accepted."""


class EventTypeError(UsageError, TypeError):
    """A class or value that should be an event is none, or would be mutable."""


class RoutingError(UsageError, TypeError):
    """A route cannot work: its type, its agent or its predicate is wrong."""


class SessionError(UsageError, RuntimeError):
    """The session is not in a state that allows this call."""


class WouldDeadlock(UsageError, RuntimeError):
    """A handler asked to wait for something that includes the handler itself."""


class QueueFull(AgentFlowError):
    """As many root events are unfinished as the session's ``capacity`` allows."""


class HandlerReturnError(AgentFlowError, TypeError):
    """An agent returned something that is neither an event nor a series of events."""


class FlowBudgetExceeded(AgentFlowError):
    """A flow emitted more events than ``max_events_per_flow`` allows."""


class FlowStalled(AgentFlowError):
    """Nothing a handler waits for can come any more.

    Attributes:
        chain: Who waits for whom, one sentence a link, the waiting handler first.
    """

    def __init__(self, message: str, chain: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.chain: tuple[str, ...] = tuple(chain)


class NoResult(AgentFlowError):
    """A flow ended without an event of the type that was asked for."""


class FlowCancelled(AgentFlowError):
    """A flow was cancelled by somebody else than its owner.

    Attributes:
        reason: Why, in the words of whoever cancelled.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason: str = reason


class JournalError(AgentFlowError):
    """The journal cannot be read or written. What it had accepted is still there."""


class JournalInUse(JournalError):
    """Another session has the journal; one at a time may."""


class EncodingError(AgentFlowError, ValueError):
    """An event cannot be written as JSON, or what was written cannot be read back."""


class RestoredError(AgentFlowError):
    """Stands in for an exception that was read from a file and is not known here.

    Attributes:
        type_name: The class of the exception, as ``module:Qual.Name``.
        traceback_text: Its traceback as it was printed.
    """

    type_name: str = ""
    traceback_text: str = ""


class FlowFailed(AgentFlowError, ExceptionGroup[Exception]):
    """What the agents of one flow, or of several, raised and nobody handled.

    It is an exception group even for one failure, so ``except*`` always works. Each
    member is the agent's own exception with a note that names agent, event and flow.

    Attributes:
        failures: An `AgentFailed` event for each member, in the same order.
    """

    failures: "tuple[AgentFailed, ...]"

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        failures: "Sequence[AgentFailed]" = (),
    ) -> Self:
        """Make the group; `failures` describes `exceptions`, member by member."""
        self = super().__new__(cls, message, exceptions)
        self.failures = tuple(failures)
        return self

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        failures: "Sequence[AgentFailed]" = (),  # noqa: ARG002 -- `__new__` takes it
    ) -> None:
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception], /) -> "FlowFailed":  # type: ignore[override]  # typeshed's overloads
        """Give a part of this group the failures that belong to it."""
        kept = [f for f in self.failures if any(f.error is exc for exc in excs)]
        return FlowFailed(self.message, excs, kept)

    @classmethod
    def of(cls, failures: "Sequence[AgentFailed]", *, unlisted: int = 0) -> Self:
        """Build the group for these failures.

        Args:
            failures: What happened, in order.
            unlisted: How many more failures were counted but not kept.

        Returns:
            A group with the failures' exceptions.
        """
        flows = {failure.correlation_id for failure in failures}
        agents = ", ".join(dict.fromkeys(repr(f.agent) for f in failures))
        what = f"flow {flows.pop()}" if len(flows) == 1 else f"{len(flows)} flows"
        more = f" and {unlisted} more failures not kept" if unlisted else ""
        message = f"{what} failed in {agents}{more}"
        errors = [failure.error for failure in failures]
        if not errors:
            errors = [AgentFlowError(f"{unlisted} failures were counted, but not kept")]
        return cls(message, errors, failures)
