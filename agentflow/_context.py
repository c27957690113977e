"""Which delivery and which session the running code belongs to.

The session sets this before each handler, so that what a handler calls, however deep, and
the tasks it starts, know their event and flow. It is how LLM calls find theirs, and the
recorder that is to be told of them.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Protocol

import anyio

from agentflow._errors import SessionError
from agentflow._events import Event
from agentflow._ledger import Delivery
from agentflow._memory import SharedWorkingMemory
from agentflow._records import Record, SetCompleted


class Teller(Protocol):
    """What takes the records of a session."""

    def tell(self, record: Record) -> None:
        """Take one record."""
        ...


class Memos(Protocol):
    """What the running handler keeps under names, beyond a crash."""

    def recall(self, name: str) -> str | None:
        """Return what has been kept; None if nothing, or no handler runs."""
        ...

    async def keep(self, name: str, text: str) -> None:
        """Keep a text; nothing if no handler runs.

        Cancellation:
            It is kept all the same.
        """
        ...

    def answers(self) -> dict[str, int] | None:
        """Return how many answers of each kind the running code has had so far.

        It is counted anew each time the handler runs, and in each step for itself.

        Returns:
            The counts, to be changed; None if no handler runs.
        """
        ...

    def within(self, name: str) -> AbstractContextManager[None]:
        """Take the code of a block for a step that is not made again."""
        ...


current_delivery: ContextVar[Delivery | None] = ContextVar(
    "agentflow_delivery", default=None
)
current_memory: ContextVar[SharedWorkingMemory | None] = ContextVar(
    "agentflow_memory", default=None
)
current_recorder: ContextVar[Teller | None] = ContextVar(
    "agentflow_recorder", default=None
)
current_recall: ContextVar[
    Callable[[Delivery, Callable[[Event, bool], bool]], Awaitable[None]] | None
] = ContextVar("agentflow_recall", default=None)
"""In a durable session: lets a wait hear what came before its handler ran again."""
current_memos: ContextVar[Memos | None] = ContextVar("agentflow_memos", default=None)
"""In a durable session: what its handlers keep until their events are done."""
current_step: ContextVar[str] = ContextVar("agentflow_step", default="")
"""In a durable session: the step of the handler whose code runs, if it is one that is not
made again."""
carried: ContextVar[tuple[object, ...]] = ContextVar("agentflow_carried", default=())
"""What flows that are opened here take along to wherever their handlers run."""


def carried_now() -> tuple[object, ...]:
    """Return what is carried here: by the running task, and by the flow it works for."""
    own = carried.get()
    delivery = current_delivery.get()
    if delivery is None:
        return own
    flow = delivery.root.flow.carried
    return (*flow, *[x for x in own if not any(x is y for y in flow)])


def tell_set(events: Sequence[Event]) -> None:
    """Record that the aggregator which runs this code begins to process a set."""
    teller, delivery = current_recorder.get(), current_delivery.get()
    if teller is not None and delivery is not None:
        teller.tell(
            SetCompleted(
                time=anyio.current_time(),
                correlation_id=delivery.root.flow.correlation_id,
                event=delivery.event,
                agent=delivery.target.name,
                events=tuple(events),
            )
        )


def session_memory(agent: str) -> SharedWorkingMemory:
    """Return the memory of the session that runs this code.

    Raises:
        SessionError: No session does.
    """
    memory = current_memory.get()
    if memory is None:
        raise SessionError(
            f"{agent} has a shared_working_memory only while a session runs its handler"
        )
    return memory
