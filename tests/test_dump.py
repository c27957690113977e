"""Dumps: where every handler of a session stands (D7)."""

import sys
import threading
from collections.abc import AsyncIterator
from typing import Any, Self

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAgent,
    BaseAsyncAgent,
    Retry,
    RunningHandler,
    SessionError,
)
from agentflow._frames import places_in_stack, places_of
from agentflow.tracing import Tracer
from tests.fakes import Boom, Other, Ping, Pong, fail, router_of


async def hang() -> None:
    """Wait for ever."""
    await anyio.sleep_forever()  # the line it hangs at


class Hanging(BaseAsyncAgent):
    async def receive_event_async(self, event: Ping) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(hang, name="helper")
            await hang()


async def stream(event: Pong) -> AsyncIterator[Ping]:
    """Hang before the first item."""
    await anyio.sleep_forever()
    yield Ping(source="stream")


class Blocking(BaseAgent):
    def __init__(self) -> None:
        self.started = threading.Event()
        self.go_on = threading.Event()

    def receive_event(self, event: Other) -> None:
        self.started.set()
        self.go_on.wait()  # the line it blocks at


def only(handlers: tuple[RunningHandler, ...]) -> RunningHandler:
    """Return the only one."""
    (handler,) = handlers
    return handler


async def test_a_dump_names_agent_event_flow_and_line() -> None:
    """(D7) From the handler itself down to where it waits, and the tasks it started."""
    router = router_of((Ping, Hanging()))
    async with AsyncDispatcher(router) as dispatcher:
        event = dispatcher.dispatch(Ping(source="t"))
        dispatcher.dispatch(Ping(source="t"))
        await anyio.sleep(2)
        dump = dispatcher.dump()
        await dispatcher.stop(grace=0)
    handler = only(dump.handlers)
    assert (handler.agent, handler.event, handler.attempt) == ("Hanging", event, 1)
    assert (handler.running, handler.waits_for_retry) == (None, False)
    assert handler.age >= 0
    assert handler.places[0].function == "Hanging.receive_event_async"
    assert handler.places[0].code == "await hang()"
    assert handler.places[1].code.endswith("# the line it hangs at")
    (task,) = handler.tasks
    assert task.name == "helper"
    assert any(place.function == "hang" for place in task.places)
    assert (dump.queued, dump.flows) == ({"Hanging": 1}, 2)
    first, second, *_ = str(dump).splitlines()
    assert first == "1 handlers in 2 flows; queued: 1 for Hanging"
    assert second.startswith(
        f"Hanging handles Ping {event.id} of flow {event.correlation_id}, attempt 1, acc"
    )
    assert "test_dump.py" in str(dump)
    assert "    task helper" in str(dump)


async def test_an_observed_session_knows_how_long_handlers_run() -> None:
    """(D7) In seconds of the event loop."""
    router = router_of((Pong, stream))
    async with AsyncDispatcher(router, tracer=Tracer()) as dispatcher:
        dispatcher.dispatch(Pong(source="t"))
        await anyio.sleep(2)
        dump = dispatcher.dump()
        await dispatcher.stop(grace=0)
    handler = only(dump.handlers)
    assert handler.running == pytest.approx(2)
    assert "for 2.000 s, accepted" in str(dump)
    assert handler.places[0].function == "stream"
    assert handler.places[0].code == "await anyio.sleep_forever()"
    assert "queued: nothing" in str(dump)


async def test_a_blocking_agent_is_found_in_its_thread() -> None:
    """(A3) The line that its thread is at."""
    agent = Blocking()
    async with AsyncDispatcher(router_of((Other, agent))) as dispatcher:
        dispatcher.dispatch(Other(source="t"))
        await anyio.to_thread.run_sync(agent.started.wait)
        dump = dispatcher.dump()
        agent.go_on.set()
    handler = only(dump.handlers)
    codes = [place.code for place in handler.places]
    assert "self.go_on.wait()  # the line it blocks at" in codes
    assert handler.places[0].function == "Blocking.receive_event"


class Method:
    def __init__(self, agent: Blocking) -> None:
        self.agent = agent

    def __call__(self, event: Other) -> None:
        self.agent.receive_event(event)


class Pretender(Method):
    """Says it has code that no thread runs."""

    __code__ = hang.__code__


class Wrapped:
    """Its method is an object that has no code of its own."""

    def __init__(self, method: type[Method]) -> None:
        self.inner = Blocking()
        self.receive_event = method(self.inner)


@pytest.mark.parametrize("method", [Method, Pretender])
async def test_a_handler_without_code_is_shown_where_it_is_awaited(
    method: type[Method],
) -> None:
    """(A3) Its thread cannot be told from others."""
    agent = Wrapped(method)
    async with AsyncDispatcher(router_of((Other, agent))) as dispatcher:
        dispatcher.dispatch(Other(source="t"))
        await anyio.to_thread.run_sync(agent.inner.started.wait)
        dump = dispatcher.dump()
        agent.inner.go_on.set()
    assert "blocks at" not in str(dump)
    assert only(dump.handlers).agent == "Wrapped"


async def test_a_delivery_that_waits_for_a_retry_is_in_the_dump() -> None:
    """(F5) With the attempt that comes next."""
    router = router_of()
    router.add_route(Boom, fail, retry=Retry(attempts=2, initial=9, jitter=0))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Boom(source="t", correlation_id="c"))
        await anyio.sleep(1)
        dump = dispatcher.dump()
        await dispatcher.stop(grace=0)
    handler = only(dump.handlers)
    assert (handler.waits_for_retry, handler.attempt) == (True, 2)
    assert (handler.places, handler.tasks) == ((), ())
    assert "fail waits to try again with Boom" in str(dump)


async def test_a_session_that_is_not_open_has_no_dump() -> None:
    """(D7) As it has no tasks."""
    with pytest.raises(SessionError, match="not open"):
        AsyncDispatcher(router_of()).dump()


async def test_a_coroutine_that_has_ended_stands_nowhere() -> None:
    """(D7) Nor does what is none."""
    coroutine = anyio.sleep(1)
    await coroutine
    assert places_of(coroutine) == []
    assert places_of(3) == []


class Circular:
    """An awaitable, and its iterator, that knows who awaits it."""

    __slots__ = ("waiter",)

    waiter: object

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> None:
        return None


async def test_a_coroutine_that_waits_for_what_knows_it_is_read_once() -> None:
    """(D7) Following who refers to whom comes to an end."""
    circular = Circular()

    async def wait() -> None:
        await circular

    coroutine = wait()
    circular.waiter = coroutine
    coroutine.send(None)
    (place,) = places_of(coroutine)
    assert place.code == "await circular"
    refers = [coroutine]
    assert places_of(refers) == [place]
    coroutine.close()
    assert places_in_stack(sys._getframe(), hang.__code__) == []
