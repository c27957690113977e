"""What the engine of a durable session has to know of others that use its journal."""

from collections.abc import Sequence
from typing import Protocol

from agentflow._errors import JournalError
from agentflow._ledger import FlowState, Root
from agentflow._steps import Answer, Entry, Fenced


class Sharing(Protocol):
    """The flows of a session as far as others may work on them."""

    def keeps(self, root: Root) -> bool:
        """Return whether a root that is finished here keeps its flow busy for now."""
        ...

    def saw(self, flow: str, event: str) -> None:
        """Note that this session has taken in an event of its own."""
        ...

    def look(self, flow: str) -> None:
        """Ask the journal how far a flow is."""
        ...

    def has_all(self, flow: str, entries: Sequence[Entry]) -> bool:
        """Return whether these are at least the events that have been told here."""
        ...

    def catch_up(self, flow: FlowState, entries: Sequence[Entry]) -> None:
        """Tell those who listen to a flow what they have missed."""
        ...

    def let_go(self, flow: FlowState) -> None:
        """Let a flow be idle as soon as it is here: it has been ended."""
        ...


def unless_fenced(answer: Answer | JournalError) -> Answer | JournalError:
    """Return the answer to a step that only a dead owner is refused."""
    return fenced_out() if isinstance(answer, Fenced) else answer


def fenced_out() -> JournalError:
    """Return the error of a session that others have taken for dead."""
    return JournalError(
        "the journal takes this session for dead, and others go on with its work: it did "
        "not renew its lease in time, since something held up its event loop or the "
        "journal, or a session without a lease has been opened. Nothing is lost; begin "
        "another session"
    )
