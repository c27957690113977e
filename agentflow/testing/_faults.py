"""Faults on purpose: a handler that crashes, is cancelled, or takes its time.

Theory of operation. A handler is a coroutine. Whenever it has to wait, it hands something
to the event loop and is suspended: that is a checkpoint. `_Stepped` stands between the two,
counts the checkpoints, and strikes at the one it was told. A cancellation strikes before
the handler is suspended, so that it is cancelled in that very wait, as it would be from
outside. A crash strikes after the wait: the loop has done what it was asked for, and
knows of nothing.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from typing import Any, Literal, TypeVar, cast

import anyio
import attrs

from agentflow._events import Event

T = TypeVar("T")


FaultKind = Literal["crash", "cancel", "delay"]
"""What can go wrong."""

_REASON = "cancel_at() of the test"


class InjectedFault(Exception):
    """What `crash_at` raises unless it is told otherwise."""


@attrs.define(eq=False)
class Checkpoint:
    """One of a handler's checkpoints, as `every_checkpoint` counts them.

    Attributes:
        number: Which, from 1.
        given: Whether a fault was set to it.
        struck: Whether the handler got there.
    """

    number: int
    given: bool = False
    struck: bool = False


def every_checkpoint() -> Iterator[Checkpoint]:
    """Yield a handler's first checkpoint, then its second, until it has no more.

    ::

        for checkpoint in every_checkpoint():
            async with open_test_session(router) as session:
                session.cancel_at("Payer", checkpoint)
                ...

    The last round is the one in which the handler comes to its end before the fault.

    Yields:
        What `cancel_at` and `crash_at` take in the place of a number.

    Raises:
        AssertionError: No fault was set, or the handler never came to a checkpoint.
    """
    number = 0
    while True:
        number += 1
        checkpoint = Checkpoint(number)
        yield checkpoint
        if not checkpoint.given:
            raise AssertionError(
                "every_checkpoint() goes on until the handler has no more of them, but "
                "nothing was told of this one; write session.cancel_at(agent, checkpoint)"
            )
        if not checkpoint.struck:
            if number == 1:
                raise AssertionError(
                    "the handler never came to a checkpoint: it got no event, or it "
                    "awaits nothing"
                )
            return


@attrs.define(eq=False, kw_only=True)
class Fault:
    """Something that is to go wrong.

    Attributes:
        kind: What it does.
        agent: The agent's name.
        event_type: It strikes at events of this class.
        point: The checkpoint at which it strikes; its number is 0 at the very start.
        in_turn: Whether `every_checkpoint` counts the point.
        times: How many deliveries it may strike; None for all.
        error: What a crash raises.
        seconds: How long a delay takes.
        deliveries: How many deliveries it has looked at.
        reached: The highest checkpoint a handler has come to.
        strikes: How often it has struck.
    """

    kind: FaultKind
    agent: str
    event_type: type[Event] = Event
    point: Checkpoint
    in_turn: bool = False
    times: int | None = 1
    error: Exception | None = None
    seconds: float = 0.0
    deliveries: int = 0
    reached: int = 0
    strikes: int = 0

    def is_for(self, agent: str, event: Event) -> bool:
        """Whether it is to strike at this delivery."""
        return (
            agent == self.agent
            and isinstance(event, self.event_type)
            and (self.times is None or self.strikes < self.times)
        )

    def count_strike(self) -> None:
        """Note that it strikes."""
        self.strikes += 1
        self.point.struck = True

    def never_struck(self) -> str | None:
        """Say why it did not strike; None if it did, or need not."""
        if self.strikes or self.in_turn:
            return None
        what = f"{self.kind}_at({self.agent!r}, {self.point.number})"
        what = (
            f"delay({self.agent!r}, {self.seconds:g})" if self.kind == "delay" else what
        )
        kind = self.event_type.__name__
        return (
            f"{what} never struck: {self.agent} got {self.deliveries} "
            f"{kind}, and came to {self.reached} checkpoints"
        )


class Strike:
    """A fault on its way through one delivery.

    Args:
        fault: The fault; None for a delivery in which nothing goes wrong.
        cancel: Cancels the flow that the delivery belongs to.
        is_open: Whether that flow goes on.
    """

    def __init__(
        self,
        fault: Fault | None,
        cancel: Callable[[str], object],
        is_open: Callable[[], bool],
    ) -> None:
        self.fault: Fault | None = fault
        self._cancel = cancel
        self._is_open = is_open
        self._reached = 0
        if fault is not None:
            fault.deliveries += 1

    async def start(self) -> None:
        """Strike before the handler starts, if that is where.

        Cancellation:
            The handler does not start.
        """
        fault = self.fault
        if fault is None or fault.point.number > 0:
            return  # noqa: ASYNC910 -- most have nothing to do here
        fault.count_strike()
        if fault.kind == "cancel":
            self._cancel(_REASON)
        await anyio.sleep(fault.seconds)
        if fault.error is not None:
            raise fault.error

    def step(self, awaitable: Awaitable[T]) -> Awaitable[T]:
        """Return what to await in the place of a handler, or of a part of it."""
        return awaitable if self.fault is None else _Stepped(awaitable, self)

    def before_wait(self) -> None:
        """Count a checkpoint, and cancel if it is the one."""
        assert self.fault is not None
        self._reached += 1
        self.fault.reached = max(self.fault.reached, self._reached)
        if self._is_now:
            self.fault.count_strike()
            if self.fault.kind == "cancel":
                self._cancel(_REASON)

    def after_wait(self) -> Exception | None:
        """Return what the handler gets to see instead of what it waited for."""
        assert self.fault is not None
        # A handler that is being cancelled must not be stopped from it.
        return self.fault.error if self._is_now and self._is_open() else None

    @property
    def _is_now(self) -> bool:
        return self.fault is not None and self._reached == self.fault.point.number


class _Stepped(Awaitable[T]):
    """A handler that is watched at each checkpoint."""

    def __init__(self, awaitable: Awaitable[T], strike: Strike) -> None:
        self._awaitable = awaitable
        self._strike = strike

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._awaitable.__await__()
        value: object = None
        error: BaseException | None = None
        while True:
            try:
                asked = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as stop:
                return cast("T", stop.value)
            self._strike.before_wait()
            value, error = yield from _suspended(asked)
            error = error or self._strike.after_wait()


def _suspended(
    asked: object,
) -> Generator[object, object, tuple[object, BaseException | None]]:
    """Hand the loop what was asked for; return what comes of it."""
    try:
        return (yield asked), None
    except BaseException as error:  # noqa: ASYNC103, BLE001 -- it goes to the handler
        return None, error  # noqa: ASYNC104 -- likewise


class WatchedStream(AsyncGenerator[object, None]):
    """What a handler yields, one by one.

    Args:
        stream: The handler's own generator.
        strike: The fault, whose checkpoints are counted over the whole of it.
        done: Called when it has come to an end.
    """

    def __init__(
        self,
        stream: AsyncGenerator[object, None],
        strike: Strike,
        done: Callable[[BaseException], object],
    ) -> None:
        self._stream = stream
        self._strike = strike
        self._done = done

    async def asend(self, value: None) -> object:
        """See the generator's own.

        Returns:
            What it yields next.

        Cancellation: the handler is cancelled.
        """
        try:
            return await self._strike.step(self._stream.asend(value))
        except BaseException as error:
            self._done(error)
            raise

    async def athrow(self, *args: Any) -> object:  # noqa: ANN401 -- its overloads
        """See the generator's own.

        Returns:
            What it yields next.

        Cancellation: the handler is cancelled.
        """
        return await self._stream.athrow(*args)

    async def aclose(self) -> None:
        """See the generator's own.

        Cancellation: the handler is cancelled.
        """
        await self._stream.aclose()
