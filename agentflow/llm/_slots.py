"""The slots of a gateway: who may exchange with the provider now, who waits.

A slot is held for one HTTP exchange: from the request to the end of its answer, never
while waiting for another try, and never while tools are called.
"""

import anyio

from agentflow.llm._errors import LLMError, Overloaded, RateLimited
from agentflow.llm._pressure import Pressure


class Slots:
    """As many slots as the provider can bear.

    Args:
        ceiling: How many there are at most.
    """

    def __init__(self, ceiling: int) -> None:
        self._pressure = Pressure(ceiling=ceiling)
        self._limiter: anyio.CapacityLimiter | None = None
        self._holders: dict[object, int] = {}

    @property
    def limit(self) -> int:
        """How many there are now."""
        return self._pressure.slots

    def close(self) -> None:
        """Forget the event loop; called when nobody exchanges any more."""
        self._limiter = None

    async def take(  # noqa: ASYNC910 -- a free slot costs no switch
        self, holder: object
    ) -> None:
        """Wait for a slot, in order of arrival.

        Args:
            holder: Who gets it; has none yet.

        Cancellation: the slot is not taken.
        """
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self.limit)
        try:
            self._limiter.acquire_on_behalf_of_nowait(holder)
        except anyio.WouldBlock:
            await self._limiter.acquire_on_behalf_of(holder)
        self._holders[holder] = self._pressure.begin()

    def give_back(self, holder: object) -> None:
        """Let the next one have a slot, if this one has it still."""
        if self._holders.pop(holder, None) is not None:
            assert self._limiter is not None
            self._limiter.release_on_behalf_of(holder)

    def answered(self) -> None:
        """Take notice of an answer."""
        self._pressure.answered()
        self._adjust()

    def failed(self, holder: object, error: LLMError) -> None:
        """Take notice of an error; some mean that there are too many slots."""
        if holder in self._holders and isinstance(error, Overloaded | RateLimited):
            self._pressure.refused(self._holders[holder], len(self._holders))
            self._adjust()

    def _adjust(self) -> None:
        """Have as many slots as there should be."""
        if self._limiter is not None and self._limiter.total_tokens != self.limit:
            self._limiter.total_tokens = self.limit
