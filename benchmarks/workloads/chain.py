"""W1: tokens pass through a chain of agents.

Each agent takes a token and sends on a new one whose number is one higher. The last agent
adds the number up, so the sum is the hops that were made.
"""

from typing import ClassVar, Self

import attrs

from benchmarks._protocol import MICROSECOND, Work

AGENTS = 64


@attrs.frozen(kw_only=True)
class Token:
    """The event of systems that have no event class of their own."""

    source: str
    correlation_id: str
    number: int


def next_token(token: Token) -> Token:
    """Return what an agent makes of a token."""
    return Token(
        source="agent", correlation_id=token.correlation_id, number=token.number + 1
    )


def first_token(number: int) -> Token:
    """Return one of the tokens that go in."""
    return Token(source="main", correlation_id=str(number), number=0)


@attrs.frozen(kw_only=True)
class Chain(Work):
    """Send tokens through a chain, and wait until all have arrived.

    Attributes:
        agents: The length of the chain.
        tokens: How many are on their way at once.
        repeats: Laps.
        is_suspending: Whether each handler awaits one checkpoint of its event loop.
    """

    method: ClassVar[str] = "chain"
    unit: ClassVar[str] = "µs a hop"
    agents: int = AGENTS
    tokens: int
    repeats: int
    is_suspending: bool

    def expected(self) -> int:
        """Return the number of hops."""
        return self.tokens * self.agents

    def per_lap(self) -> float:
        """Return the microseconds of one second for each hop."""
        return self.tokens * self.agents * MICROSECOND

    def at_most(self, size: int) -> Self | None:
        """Return a chain with fewer tokens."""
        return attrs.evolve(self, tokens=min(size, self.tokens))


CASES: dict[str, Work] = {
    f"W1 {tokens} {'token' if tokens == 1 else 'tokens'}, {how}": Chain(
        tokens=tokens, repeats=repeats, is_suspending=how == "suspending"
    )
    for how in ("plain", "suspending")
    for tokens, repeats in ((1, 1000), (100, 10))
}
