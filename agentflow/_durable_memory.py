"""The shared memory of a durable session: each change is in the journal, and made once.

Changes go to the journal in the order in which they are made. A change that a handler makes
is noted with its delivery in the same step, and counted: when the handler runs again after
a crash, its first, second, … changes are left out as far as they have been made.
"""

from collections.abc import Iterable, Mapping
from json import dumps, loads
from typing import Any

from agentflow._durable import DurableEngine
from agentflow._durable_counts import named_here
from agentflow._durable_parts import key_of
from agentflow._errors import EncodingError
from agentflow._memory import SharedWorkingMemory
from agentflow._steps import Remember


class FactKeeper:
    """Keeps the facts of one session's memory in its journal.

    Args:
        engine: The session's engine.
        memory: The memory.
    """

    def __init__(self, engine: DurableEngine, memory: SharedWorkingMemory) -> None:
        self._engine = engine
        self._memory = memory

    def restore(self, stored: Iterable[tuple[str, str]]) -> None:
        """Give the memory what the journal has, or the journal what the memory has.

        Args:
            stored: The facts in the journal; they replace all that the memory has.

        Raises:
            EncodingError: A fact of the memory is no plain data.
        """
        facts = {name: loads(text) for name, text in stored}
        own = self._memory.get_working_memory()
        self.check(own)
        self._memory.replace(facts or own, self)
        if own and not facts:
            self.changed(own, own)

    @staticmethod
    def check(facts: Mapping[str, Any]) -> None:
        """Refuse facts that would not come back as they are.

        Raises:
            EncodingError: One is no plain data.
        """
        for name, value in facts.items():
            try:
                same = loads(dumps(value)) == value
            except (TypeError, ValueError):
                same = False
            if not same or not isinstance(name, str):
                raise EncodingError(
                    f"fact {name!r} of the shared memory is no plain data and cannot be "
                    "kept in a journal; use dicts with string keys, lists, strings, "
                    "numbers, booleans and None"
                )

    def begins(self) -> bool:
        """Return whether a change is to be made; false if it was, before a crash."""
        delivery = self._engine.current()
        if delivery is None:
            return True
        notes = self._engine.notes_of(delivery)
        counts = notes.here()
        counts.changes += 1
        return named_here("memory", counts.changes) not in notes.memos

    def changed(self, facts: Mapping[str, Any], names: Iterable[str]) -> None:
        """Put facts into the journal.

        Args:
            facts: All of them, after the change.
            names: Those that have changed.
        """
        delivery = self._engine.current()
        changed = tuple(
            (name, dumps(facts[name]) if name in facts else None) for name in names
        )
        if delivery is None:
            self._engine.note(Remember(facts=changed))
            return
        notes = self._engine.notes_of(delivery)
        name = named_here("memory", notes.here().changes)
        key = key_of(delivery)
        notes.memos[name] = ""
        self._engine.note(Remember(facts=changed, key=key, name=name))
