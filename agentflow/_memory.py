"""Working memory that agents share (rule A5)."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any, Protocol, cast

import anyio
import anyio.lowlevel


class Keeper(Protocol):
    """Keeps facts beyond the process."""

    def check(self, facts: Mapping[str, Any], /) -> None:
        """Refuse facts that cannot be kept."""
        ...

    def begins(self) -> bool:
        """Return whether a change is to be made; false if it has been already."""
        ...

    def changed(self, facts: Mapping[str, Any], names: Iterable[str], /) -> None:
        """Take all facts, and the names of those that have changed."""
        ...


class SharedWorkingMemory:
    """Facts that agents read as snapshots and change in atomic steps.

    A merge goes into nested mappings, so two agents that each add one fact under the same
    key both keep it. Reading never waits and gives a copy: what is done to it changes
    nothing.

    Args:
        initial: The first facts; they are copied.
    """

    def __init__(self, initial: Mapping[str, Any] | None = None) -> None:
        self._facts: dict[str, Any] = deepcopy(dict(initial or {}))
        self._writing = anyio.Lock()
        self._waiting: list[Callable[[], None]] = []
        self._keeper: Keeper | None = None

    def replace(self, facts: Mapping[str, Any], keeper: Keeper) -> None:
        """Put other facts in the place of all, and have a session keep every change.

        Args:
            facts: The facts.
            keeper: Told of each change.
        """
        self._facts = deepcopy(dict(facts))
        self._keeper = keeper

    def __repr__(self) -> str:
        return f"SharedWorkingMemory({self._facts!r})"

    def get_working_memory(self) -> dict[str, Any]:
        """Return a copy of all facts as they are now."""
        return deepcopy(self._facts)

    def merge_to_working_memory(self, facts: Mapping[str, Any]) -> None:
        """Merge facts in, at once and as a whole.

        Nested mappings are merged key by key; any other value replaces the one before. A
        transaction that is open goes on with the facts it began with; where both change
        the same fact, the transaction wins.

        Args:
            facts: What to add or replace; it is copied.
        """
        keeper = self._keeper
        if keeper is not None:
            keeper.check(facts)
            if not keeper.begins():
                return
        _merge(self._facts, deepcopy(dict(facts)))
        if keeper is not None:
            keeper.changed(self._facts, facts)
        for wake in tuple(self._waiting):
            wake()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[dict[str, Any]]:
        """Read and change as one step; other transactions wait until it is over.

        ::

            async with memory.transaction() as facts:
                facts["count"] = facts.get("count", 0) + 1

        Yields:
            A copy of the facts to change at will. It becomes the new state when the
            block ends, keys that were removed included; if the block raises, nothing
            changes.

        Cancellation:
            Nothing changes when the block is cancelled.
        """
        async with self._writing:
            before = self.get_working_memory()
            draft = deepcopy(before)
            yield draft  # noqa: RUF075 -- a block that raises changes nothing
            keeper = self._keeper
            if keeper is not None:
                keeper.check(draft)
                if not keeper.begins():
                    return
            _apply_changes(self._facts, before, deepcopy(draft))
            if keeper is not None:
                names = [n for n in before | draft if _differ(n, before, draft)]
                keeper.changed(self._facts, names)
            for wake in tuple(self._waiting):
                wake()

    async def wait_for(
        self, predicate: Callable[[Mapping[str, Any]], bool]
    ) -> dict[str, Any]:
        """Wait until the facts satisfy a predicate.

        Args:
            predicate: Looks at the facts, which it must not change. It is asked at once
                and after each change.

        Returns:
            A copy of the facts that satisfied it.

        Cancellation:
            Leaves the memory as it is.
        """
        await anyio.lowlevel.checkpoint()
        while not predicate(self._facts):
            changed = anyio.Event()
            self._waiting.append(changed.set)
            try:
                await changed.wait()
            finally:
                self._waiting.remove(changed.set)
        return self.get_working_memory()


def _differ(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    missing = object()
    return bool(before.get(name, missing) != after.get(name, missing))


def _merge(into: dict[str, Any], facts: Mapping[str, Any]) -> None:
    for key, value in facts.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            _merge(cast("dict[str, Any]", old), cast("Mapping[str, Any]", value))
        else:
            into[key] = value


def _apply_changes(
    into: dict[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Change `into` as `before` was changed to `after`, and leave the rest of it."""
    for key in before.keys() - after.keys():
        into.pop(key, None)
    for key, value in after.items():
        old, current = before.get(key), into.get(key)
        if key in before and old == value:
            continue
        if all(isinstance(part, dict) for part in (old, value, current)):
            _apply_changes(
                cast("dict[str, Any]", current),
                cast("dict[str, Any]", old),
                cast("dict[str, Any]", value),
            )
        else:
            into[key] = value
