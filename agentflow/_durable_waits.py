"""Waiting for an answer in a durable session: what a handler missed.

A handler cannot be stored. What is stored is how far its flow was when it began to wait;
when the handler runs again after a restart it comes to the same wait again, and finds the
answer among the events that have come since, or goes on waiting.
"""

from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint

from agentflow._durable import DurableEngine
from agentflow._durable_counts import named_here
from agentflow._durable_parts import key_of
from agentflow._errors import JournalError
from agentflow._events import Event
from agentflow._ledger import Delivery
from agentflow._steps import Entry, Look, Looked, Memo


class Recall:
    """Finds answers that came before a handler ran again.

    Args:
        engine: The session's engine.
    """

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine

    async def __call__(
        self, delivery: Delivery, hear: Callable[[Event, bool], bool]
    ) -> None:
        """Let a wait hear what it missed; what it hears from then on, it hears live.

        Args:
            delivery: Whose handler waits.
            hear: Looks at an event, and says whether it was waited for.

        Cancellation:
            The handler runs again, and waits again.
        """
        engine = self._engine
        assert engine.link is not None
        notes = engine.notes_of(delivery)
        counts = notes.here()
        counts.waits += 1
        name = named_here("wait", counts.waits)
        key = key_of(delivery)
        engine.on_settled(key)  # a suspect that waits need not be waited for
        if name not in notes.memos:
            notes.memos[name] = str(await self._position(key.flow))
            engine.note(Memo(key=key, name=name, value=notes.memos[name]))
        else:
            await checkpoint()
        heard = int(notes.memos[name])
        others, entries = engine.others, list[Entry]()
        while (
            heard < engine.told_of(key.flow)
            if others is None
            else not others.has_all(key.flow, entries)
        ):
            entries = await engine.link.events(key.flow)
            if others is not None:
                others.catch_up(delivery.root.flow, entries)
            for entry in entries[heard:]:
                heard += 1
                if hear(engine.packing.unpack(entry.body), entry.parent is None):
                    return
        if others is not None:
            others.look(key.flow)  # for what has come between the reading and now

    async def _position(self, flow: str) -> int:
        """Return how many events a flow has had: they do not count, so let them come."""
        engine = self._engine
        if engine.others is not None:
            looked = await engine.ask(Look(flow=flow))
            assert isinstance(looked, Looked)
            return 0 if looked.flow is None else looked.flow.events
        counts: list[int] = []
        begun = anyio.Event()

        def begin(_: bool | JournalError) -> None:
            counts.append(engine.told_of(flow))
            begun.set()

        engine.mark(begin)
        await begun.wait()
        return counts[0]
