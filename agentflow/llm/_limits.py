"""Limits on what models may use, as scopes that nest.

A limit holds for all that is asked inside its block, by this task and those it starts, and
in every flow that is opened inside it, whatever tasks its agents run in. Inside several,
each counts and each must have room.

Requests and tool calls are counted before they are made, so their limits are exact. What an
answer costs is known afterwards only: the one that crosses a limit of tokens or cost is
still given, and the next request is refused.
"""

from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import Self

import attrs

from agentflow._context import carried, carried_now
from agentflow.llm._errors import ConfigurationError, UsageLimitExceeded
from agentflow.llm._json import JSON, as_object
from agentflow.llm._reply import Reply, Usage


@attrs.frozen(kw_only=True)
class Price:
    """What a million tokens cost, in any currency.

    Attributes:
        input: Of the input.
        output: Of the output, reasoning included.
        cached: Of input that was read from a cache; None for as much as other input.
        cache_write: Of input that was written to a cache; None for as much as other input.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None

    def of(self, usage: Usage) -> float:
        """Return what a usage costs."""
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.cache_write is None else self.cache_write
        return (
            max(0, plain) * self.input
            + usage.cached_tokens * cached
            + usage.cache_write_tokens * written
            + usage.output_tokens * self.output
        ) / 1e6


def cost_of(reply: Reply, price: Price | None) -> float | None:
    """Say what an answer cost.

    Args:
        reply: The answer.
        price: The price list; None for what the provider says itself, as few do.

    Returns:
        The cost; None if nobody says.
    """
    if price is not None:
        return price.of(reply.usage)
    told = as_object(reply.metadata.get("usage")).get("cost")
    return _amount(told)


def _amount(value: JSON) -> float | None:
    """Return a number as what it is, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return float(value)


class UsageLimit:
    """Bounds what is asked of models inside its block, and counts it.

    ::

        with UsageLimit(requests=20, tokens=100_000) as limit:
            await dispatcher.run(event, Summary)
        print(limit.usage.total_tokens)

    Without any bound it only counts. What it has counted stays when the block is entered
    again.

    Args:
        requests: How many questions to models; None for any number, here and below.
        tokens: How many tokens, input and output together.
        tool_calls: How many tool calls.
        cost: How much, in the currency of the broker's ``Price``, or the provider's own.

    Attributes:
        requests: How many questions were asked.
        tool_calls: How many tools were called.
        usage: Tokens used.
        cost: What it cost, as far as that is known.

    Raises:
        ConfigurationError: A bound is less than 0.
    """

    def __init__(
        self,
        *,
        requests: int | None = None,
        tokens: int | None = None,
        tool_calls: int | None = None,
        cost: float | None = None,
    ) -> None:
        self._bounds: Mapping[str, float | None] = {
            "requests": requests,
            "tokens": tokens,
            "tool_calls": tool_calls,
            "cost": cost,
        }
        for name, bound in self._bounds.items():
            if bound is not None and not bound >= 0:
                raise ConfigurationError(
                    f"UsageLimit: {name}={bound!r} must be 0 or more"
                )
        self.requests: int = 0
        self.tool_calls: int = 0
        self.usage: Usage = Usage()
        self.cost: float = 0.0
        self._token: Token[tuple[object, ...]] | None = None

    def __repr__(self) -> str:
        """Say the bounds, and what has been used of them."""
        bounds = ", ".join(
            f"{k}={v:g}" for k, v in self._bounds.items() if v is not None
        )
        return (
            f"<UsageLimit({bounds}): {self.requests} requests, "
            f"{self.usage.total_tokens} tokens, {self.tool_calls} tool calls, "
            f"cost {self.cost:g}>"
        )

    def __enter__(self) -> Self:
        """Begin to hold.

        Returns:
            The limit itself.

        Raises:
            ConfigurationError: It is entered already.
        """
        if self._token is not None:
            raise ConfigurationError(
                f"{self!r} is entered already; make one for each block"
            )
        self._token = carried.set((*carried.get(), self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Hold no more for this task; flows opened inside keep it."""
        assert self._token is not None
        carried.reset(self._token)
        self._token = None

    def check_request(self) -> None:
        """Refuse another request if there is no room for it.

        Raises:
            UsageLimitExceeded: There is none.
        """
        self._check("requests", self.requests + 1)
        tokens = self._bounds["tokens"]
        if tokens is not None and self.usage.total_tokens >= tokens:
            self._refuse("tokens")
        cost = self._bounds["cost"]
        if cost is not None and self.cost >= cost:
            self._refuse("cost")

    def check_tool_calls(self, count: int) -> None:
        """Refuse tool calls if there is no room for all of them.

        Raises:
            UsageLimitExceeded: There is none.
        """
        self._check("tool_calls", self.tool_calls + count)

    def _check(self, name: str, wanted: int) -> None:
        bound = self._bounds[name]
        if bound is not None and wanted > bound:
            self._refuse(name)

    def _refuse(self, name: str) -> None:
        raise UsageLimitExceeded(f"no {name} are left of {self!r}")

    def add(self, usage: Usage, cost: float | None) -> None:
        """Count an answer.

        Args:
            usage: Its tokens.
            cost: What it cost; None if nobody says.
        """
        self.usage = self.usage + usage
        self.cost = self.cost + (cost or 0.0)

    def check_cost(self, cost: float | None, *, provider: str) -> None:
        """Refuse to go on where the cost is limited, but unknown.

        Raises:
            ConfigurationError: It is.
        """
        if cost is None and self._bounds["cost"] is not None:
            raise ConfigurationError(
                f"{self!r} limits the cost, but {provider} does not say what an answer "
                "costs; give LLMBroker(price=Price(input=..., output=...))"
            )


def limits_now() -> tuple[UsageLimit, ...]:
    """Return the limits that hold for the running code, the outermost first."""
    return tuple([x for x in carried_now() if isinstance(x, UsageLimit)])


def count_request() -> tuple[UsageLimit, ...]:
    """Count a request that is about to be made.

    Returns:
        The limits that hold for it.

    Raises:
        UsageLimitExceeded: One of them has no room for it; none has counted it.
    """
    limits = limits_now()
    for limit in limits:
        limit.check_request()
    for limit in limits:
        limit.requests += 1
    return limits


def count_tool_calls(count: int) -> None:
    """Count tool calls that are about to be made.

    Raises:
        UsageLimitExceeded: A limit has no room for them; none has counted them.
    """
    limits = limits_now()
    for limit in limits:
        limit.check_tool_calls(count)
    for limit in limits:
        limit.tool_calls += count
