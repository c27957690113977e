"""The door: how many root events may be unfinished, and who waits for room (rule D3).

Back-pressure stands here and nowhere else. What agents emit never waits, since bounded
channels between agents deadlock as soon as agents form a circle.
"""

import sys
from collections import deque

import anyio
from anyio.lowlevel import checkpoint

from agentflow._engine import Engine
from agentflow._errors import QueueFull


class _Ticket:
    """A sender's place in the line."""

    __slots__ = ("call",)

    def __init__(self) -> None:
        self.call: anyio.Event = anyio.Event()


class Door:
    """Lets root events in.

    Args:
        engine: The session's engine.
        capacity: How many root events may be unfinished; None for any number.
    """

    def __init__(self, engine: Engine, capacity: int | None) -> None:
        self._engine = engine
        self._capacity = sys.maxsize if capacity is None else capacity
        self._line: deque[_Ticket] = deque()
        self._is_closed = False

    def check(self) -> None:
        """Refuse an event for which there is no room.

        Raises:
            QueueFull: As many root events are unfinished as there may be.
        """
        if self._engine.ledger.unfinished >= self._capacity:
            raise QueueFull(
                f"{self._capacity} root events are unfinished; wait for room with "
                "await dispatcher.send(event), or raise capacity"
            )

    def _is_full(self) -> bool:
        return self._engine.ledger.unfinished >= self._capacity

    async def wait(self) -> None:
        """Wait for room, first come, first served; a handler passes freely.

        The caller enters its event before its next checkpoint and then calls `call_next`.

        Cancellation:
            The place in the line is given up.
        """
        await checkpoint()
        if self._engine.current() is not None or not (self._is_full() or self._line):
            return
        ticket = _Ticket()
        self._line.append(ticket)
        self._engine.on_room = self.call_next
        try:
            while not self._is_closed and (
                self._line[0] is not ticket or self._is_full()
            ):
                ticket.call = anyio.Event()
                await ticket.call.wait()
        except BaseException:
            self._line.remove(ticket)
            self.call_next()
            raise
        self._line.remove(ticket)

    def call_next(self) -> None:
        """Call the first in line if there is room."""
        if not self._line:
            self._engine.on_room = None
        elif not self._is_full():
            self._line[0].call.set()

    def close(self) -> None:
        """Let everybody pass who waits; the session will turn them away."""
        self._is_closed = True
        for ticket in self._line:
            ticket.call.set()
