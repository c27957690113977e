"""What may stand behind a route, and what a handler may return (A1, A2, R2)."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial, wraps
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import (
    AsyncDispatcher,
    BaseAgent,
    BaseAsyncAgent,
    Event,
    FlowFailed,
    HandlerReturnError,
    Router,
    RoutingError,
)
from agentflow._handlers import handler_of
from tests.fakes import Collector, Ping, Pong, router_of


class NoMethod:
    pass


class WrongParameters:
    async def receive_event_async(self) -> None: ...


class TwoParameters:
    async def receive_event_async(self, event: Event, more: int) -> None: ...


def plain(event: Event) -> None:
    """Block the loop, if it were let."""


async def no_parameter() -> None:
    """Take nothing."""


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (NoMethod(), r"NoMethod .* is no agent: it has no method receive_event_async"),
        (NoMethod, r"NoMethod is a class; route to an instance: NoMethod\(\.\.\.\)"),
        (WrongParameters(), r"WrongParameters cannot be called with one event"),
        (TwoParameters(), r"TwoParameters cannot be called with one event"),
        (plain, r"plain is a plain function; write async def plain\(event\)"),
        (no_parameter, r"no_parameter cannot be called .* signature is \(\) -> None"),
        (None, r"None is no agent"),
    ],
)
def test_what_is_no_agent_is_refused(agent: object, message: str) -> None:
    """(R2) The error names the object and says what to write."""
    with pytest.raises(RoutingError, match=message):
        Router({Ping: [agent]})


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2", True])
def test_a_limit_that_makes_no_sense_is_refused(limit: Any) -> None:
    """(A2) max_concurrency is a whole number from 1, or None."""
    agent = Collector()
    agent.max_concurrency = limit
    with pytest.raises(
        RoutingError, match=r"Collector.max_concurrency must be a whole"
    ):
        handler_of(agent)


def test_the_default_limits() -> None:
    """(A2) Agents take one event at a time, plain functions as many as there are."""

    async def function(event: Event) -> None: ...

    class Blocking(BaseAgent):
        def receive_event(self, event: Event) -> None: ...

    assert handler_of(Collector()).limit == 1
    assert handler_of(Blocking()).limit == 1
    assert handler_of(function).limit is None


def test_names_come_from_the_agent_its_function_or_its_class() -> None:
    """(A1) What errors and records call an agent."""

    async def function(event: Event) -> None: ...

    named = partial(function)
    assert handler_of(function).name == "function"
    assert handler_of(named).name == "partial"
    assert handler_of(Collector()).name == "Collector"
    named.name = "given"  # type: ignore[attr-defined]
    assert handler_of(named).name == "given"


def test_a_callable_without_a_signature_is_taken_on_trust() -> None:
    """(R2) What cannot be looked into shows at its first call."""

    class Opaque:
        async def receive_event_async(self, event: Event) -> None: ...

    class Unsigned:
        __signature__ = "none"

        async def __call__(self, event: Event) -> None: ...

    assert handler_of(Opaque()).kind == "async"
    assert handler_of(Unsigned()).kind == "async"


class Returner(BaseAsyncAgent):
    """Returns what it is told to."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make

    async def receive_event_async(self, event: Ping) -> Any:
        return self.make()


def pong(n: int) -> Pong:
    """Make a Pong."""
    return Pong(source="t", n=n)


async def stream() -> AsyncGenerator[Pong, None]:
    """Yield two events."""
    yield pong(1)
    await checkpoint()
    yield pong(2)


class PlainStream:
    """An async iterable that is no generator."""

    def __init__(self) -> None:
        self._left = iter((1, 2))

    def __aiter__(self) -> AsyncIterator[Pong]:
        return self

    async def __anext__(self) -> Pong:
        for n in self._left:
            return pong(n)
        raise StopAsyncIteration


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: None, []),
        (list[Event], []),
        (lambda: pong(1), [1]),
        (lambda: [pong(1), pong(2)], [1, 2]),
        (lambda: (pong(1), pong(2)), [1, 2]),
        ({1: pong(1)}.values, [1]),
        (lambda: (pong(n) for n in (1, 2)), [1, 2]),
        (stream, [1, 2]),
        (PlainStream, [1, 2]),
    ],
    ids=["none", "no", "one", "list", "tuple", "view", "generator", "agen", "aiter"],
)
async def test_what_a_handler_may_return(
    make: Callable[[], object], expected: list[int]
) -> None:
    """(A1) None, an event, any iterable and an async iterable all serve."""
    collector = Collector()
    router = router_of((Ping, Returner(make)), (Pong, collector))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    assert collector.numbers() == expected


@pytest.mark.parametrize("value", ["text", b"bytes", 7, [pong(1), "text"], Ping])
async def test_anything_else_is_an_error_that_names_the_agent(value: object) -> None:
    """(A1) A handler that returns a string fails its flow, and nothing is dispatched."""
    collector = Collector()
    router = router_of((Ping, Returner(lambda: value)), (Pong, collector))
    async with AsyncDispatcher(router) as dispatcher:
        with pytest.raises(FlowFailed) as failed:
            async with dispatcher.open_flow(Ping(source="x")):
                pass
    (error,) = failed.value.exceptions
    assert isinstance(error, HandlerReturnError)
    assert "Returner returned" in str(error)
    assert collector.got == []


async def test_a_generator_that_yields_no_event_is_an_error() -> None:
    """(A1) What came before is dispatched; the wrong one fails the flow."""
    cleaned: list[str] = []

    async def wrong(event: Ping) -> AsyncIterator[Any]:
        try:
            yield pong(1)
            yield "text"
        finally:
            cleaned.append("up")

    collector = Collector()
    async with AsyncDispatcher(router_of((Ping, wrong), (Pong, collector))) as d:
        with pytest.raises(FlowFailed) as failed:
            async with d.open_flow(Ping(source="x")):
                pass
    assert "wrong returned 'text' where an event should be" in str(
        failed.value.exceptions[0]
    )
    assert cleaned == ["up"]


async def test_each_event_of_a_generator_is_dispatched_as_it_is_yielded() -> None:
    """(A1) Who takes it does not wait for the generator's end."""
    times: list[float] = []

    class Slow(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> AsyncIterator[Pong]:
            for n in range(3):
                yield pong(n)
                await anyio.sleep(0.1)

    async def note(event: Pong) -> None:
        times.append(anyio.current_time() - start)

    async with AsyncDispatcher(router_of((Ping, Slow()), (Pong, note))) as dispatcher:
        start = anyio.current_time()
        dispatcher.dispatch(Ping(source="x"))
    assert times == pytest.approx([0, 0.1, 0.2], abs=1e-6)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that nothing shows what it is."""

    @wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


async def test_a_wrapped_method_works_whatever_it_wraps() -> None:
    """(A1) A decorator may hide a coroutine, a generator or a plain list."""

    class A(BaseAsyncAgent):
        @logged
        async def receive_event_async(self, event: Ping) -> Pong:
            return pong(1)

    class B(BaseAsyncAgent):
        @logged
        async def receive_event_async(self, event: Ping) -> AsyncIterator[Pong]:
            yield pong(2)

    class C(BaseAsyncAgent):
        def receive_event_async(self, event: Ping) -> Any:
            return [pong(3)]

    collector = Collector()
    router = Router({Ping: [A(), B(), C()], Pong: [collector]})
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    assert sorted(collector.numbers()) == [1, 2, 3]


async def test_a_function_that_is_a_generator_is_an_agent() -> None:
    """(A1) @router.on takes async generator functions, and callable objects."""
    router = Router()
    collector = Collector()
    router.add_route(Pong, collector)

    @router.on(Ping)
    async def double(event: Ping) -> AsyncIterator[Pong]:
        yield pong(event.n)
        yield pong(event.n)

    class Called:
        async def __call__(self, event: Ping) -> Iterator[Pong]:
            return iter([pong(9)])

    router.add_route(Ping, Called())
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=4))
    assert sorted(collector.numbers()) == [4, 4, 9]
