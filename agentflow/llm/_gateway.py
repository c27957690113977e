"""The port through which the broker reaches models."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from agentflow.llm._reply import Delta, Reply
from agentflow.llm._request import OutputMode, Request

Answer: TypeAlias = AsyncIterator[Delta | Reply]
"""An answer on its way in: deltas, and the whole reply as the last item."""


class Gateway(Protocol):
    """Reaches the models of one provider.

    As an async context manager it keeps what it needs (connections, processes) open for
    several exchanges; without, each exchange opens and closes its own.
    """

    @property
    def name(self) -> str:
        """Name of the provider, for errors and records."""
        ...

    @property
    def output_mode(self) -> OutputMode:
        """How this provider is best brought to answer with an object."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[Answer]:
        """Make one exchange.

        The iterator must not hold a cancel scope or task group open between its items:
        they are read in whatever scopes the reader has. If it has a method
        ``give_whole()``, that is called when nobody wants the deltas: what has not been
        given to anyone may be tried again.

        Args:
            request: What to ask.

        Returns:
            A context manager; leaving it early ends the exchange at once.
        """
        ...

    async def __aenter__(self) -> Self:
        """Open what several exchanges may share. May be entered more than once."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close it when the last one leaves."""
        ...
