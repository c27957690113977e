"""What a handler of a durable session may ask for: its key, steps that are made once, rows.

Outside of a durable session `once` just makes its step, so the same code runs in both.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from json import dumps, loads
from typing import TypeVar, cast

import attrs
from anyio.lowlevel import checkpoint

from agentflow._context import current_delivery, current_memos, current_step
from agentflow._durable import DurableEngine
from agentflow._durable_counts import step_within
from agentflow._durable_parts import key_of
from agentflow._errors import EncodingError, SessionError
from agentflow._events import Event
from agentflow._ledger import Delivery
from agentflow._steps import Fenced, Memo, Row

_T = TypeVar("_T")


class HandlerMemos:
    """The memos of the handler that runs, in one durable session.

    Args:
        engine: The session's engine.
    """

    def __init__(self, engine: DurableEngine) -> None:
        self.engine: DurableEngine = engine

    def recall(self, name: str) -> str | None:
        """Return what a handler has kept under a name; None if nothing, or no handler."""
        delivery = self.engine.current()
        if delivery is None:
            return None
        return self.engine.notes_of(delivery).memos.get(name)

    async def keep(self, name: str, text: str) -> None:
        """Keep a text for the handler, until its delivery is done.

        Raises:
            SessionError: The delivery is somebody else's by now.
            JournalError: The journal cannot be written.

        Cancellation:
            It is kept all the same.
        """
        delivery = self.engine.current()
        if delivery is None:
            await checkpoint()
            return
        step = Memo(key=key_of(delivery), name=name, value=text)
        if isinstance(await self.engine.ask(step), Fenced):
            raise SessionError(
                f"{delivery.target.name} goes on with an event that is not its own any "
                "more; its flow has ended"
            )
        self.engine.notes_of(delivery).memos[name] = text

    def answers(self) -> dict[str, int] | None:
        """Return how many answers of each kind the running code has had; see `Memos`."""
        delivery = self.engine.current()
        if delivery is None:
            return None
        return self.engine.notes_of(delivery).here().answers

    @staticmethod
    def within(name: str) -> AbstractContextManager[None]:
        """Take the code of a block for a step that is not made again; see `Memos`."""
        return step_within(name)

    def encode(self, value: object) -> str:
        """Return a value as text.

        Raises:
            EncodingError: It is neither an event nor plain data.
        """
        if isinstance(value, Event):
            return dumps({"event": self.engine.packing.pack(value).body})
        try:
            text = dumps({"value": value})
            if loads(text)["value"] == value:
                return text
        except (TypeError, ValueError):
            pass
        raise EncodingError(
            f"once() cannot keep {value!r:.200}; return an event or plain data: dicts with "
            "string keys, lists, strings, numbers, booleans, None"
        )

    def decode(self, text: str) -> object:
        """Return the value that was encoded."""
        data = cast("dict[str, object]", loads(text))
        if "event" in data:
            return self.engine.packing.unpack(str(data["event"]))
        return data["value"]


async def once(name: str, make: Callable[[], Awaitable[_T]]) -> _T:
    """Make a step of a handler once, however often the handler runs.

    ::

        charge = await once("charge", lambda: bank.charge(order.amount))

    Its value is on disk when this returns, for as long as the event is not finished. A
    crash between the step and that moment makes it again: hand `this_delivery().key` to
    whoever can tell two calls from one. In a session without a journal the step is made.

    Args:
        name: What the step is called; each one of a handler has a name of its own.
        make: Makes it, and returns an event or plain data.

    Returns:
        What `make` returned, now or when it was made.

    Raises:
        EncodingError: The value can not be kept.
        SessionError: The event is not the handler's any more.
        JournalError: The journal cannot be written.
        Exception: What `make` raised; then the step counts as not made.

    Cancellation:
        The step may have been made; if it was finished, it is kept.
    """
    memos = current_memos.get()
    if not isinstance(memos, HandlerMemos):
        return await make()
    step = current_step.get()
    memo = f"once:{step}/{name}" if step else f"once:{name}"
    known = memos.recall(memo)
    if known is not None:
        await checkpoint()
        return cast("_T", memos.decode(known))
    with memos.within(f"once:{name}"):
        value = await make()
    await memos.keep(memo, memos.encode(value))
    return value


@attrs.frozen
class DurableDelivery:
    """The delivery whose handler runs, as a durable session has it."""

    _engine: DurableEngine
    _delivery: Delivery

    @property
    def key(self) -> str:
        """The same for each attempt at this event by this agent, and for no other.

        Give it to outside services as idempotency key.
        """
        return f"{self._delivery.event.id}/{self._delivery.target.name}"

    @property
    def attempt(self) -> int:
        """Which attempt this is, as the route's `Retry` counts; the first is 1.

        A run that was cut off by a crash is no attempt.
        """
        return self._delivery.attempt

    def sql(self, statement: str, *parameters: object) -> None:
        """Execute a statement in the transaction that finishes this event.

        It is executed once, when the handler has returned, together with what the
        handler emits; if it is in error, all of that is undone and the handler counts as
        having raised the error. For journals that are SQL databases.

        Args:
            statement: One statement, with ``?`` for each parameter.
            parameters: The values.
        """
        row = Row(statement=statement, parameters=parameters)
        self._engine.notes_of(self._delivery).rows.append(row)


def this_delivery() -> DurableDelivery:
    """Return the delivery whose handler runs this code.

    Raises:
        SessionError: The code is no handler's, or its session has no journal.
    """
    memos, delivery = current_memos.get(), current_delivery.get()
    if not isinstance(memos, HandlerMemos) or delivery is None:
        raise SessionError(
            "this_delivery() is for handlers of a session with a journal; open it with "
            "AsyncDispatcher(router, journal=...)"
        )
    return DurableDelivery(memos.engine, delivery)
