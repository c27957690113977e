"""Every public coroutine of the kernel is a checkpoint, on both loops.

The test finds them by itself: one that is new fails until it has a case here.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import anyio
import pytest
import trio.testing

import agentflow
from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    Event,
    Router,
    SharedWorkingMemory,
    wait_for,
)
from tests.fakes import Ping, Pong, router_of

Call = Callable[[], Awaitable[object]]
Check = Callable[[Call], Awaitable[None]]

NO_CHECKPOINT = {
    "AsyncAggregatorAgent.process_events": "the user writes it",
    "AsyncAggregatorAgent.receive_event_async": "a worker lets others run in between",
    "BaseAsyncAgent.receive_event_async": "the user writes it",
    "Flow.events": "who subscribes must not miss an event that comes meanwhile",
}


def public_coroutines() -> Iterator[str]:
    """Yield the names of what users of `agentflow` can await or enter."""
    for name, thing in vars(agentflow).items():
        if name.startswith("_") or not callable(thing):
            continue
        if not inspect.isclass(thing):
            if is_async(thing):
                yield name
            continue
        for attribute, method in inspect.getmembers(thing, callable):
            is_ours = str(getattr(method, "__module__", "")).startswith("agentflow.")
            is_public = not attribute.startswith("_") or attribute == "__aenter__"
            if is_ours and is_public and is_async(method):
                yield method.__qualname__.replace("Session.", "AsyncDispatcher.")


def is_async(thing: Any) -> bool:
    """Whether it is awaited, or entered with `async with`."""
    inner = inspect.unwrap(thing)
    wanted = AbstractAsyncContextManager.__name__
    return (
        inspect.iscoroutinefunction(inner)
        or inspect.isasyncgenfunction(inner)
        or any(k in str(inspect.signature(inner)) for k in (wanted, "Awaitable"))
    )


class Joiner(AsyncAggregatorAgent):
    """Wants what never comes."""

    event_types_needed = (Ping, Pong)

    async def process_events(self, events: list[Event]) -> None:
        """Do nothing with it."""


def through(block: Callable[[], AbstractAsyncContextManager[object]]) -> Call:
    """Return a call that enters a block and leaves it at once."""

    async def call() -> None:
        async with block():
            pass

    return call


async def in_session(check: Check) -> None:
    """Check the calls on a session in which nothing has to be waited for."""
    async with AsyncDispatcher(Router()) as dispatcher:
        await check(partial(dispatcher.wait_for_empty_queue))
        await check(partial(dispatcher.wait_for_empty_queue, timeout=1))
        await check(partial(dispatcher.wait_for_empty_queue, correlation_id="none"))


async def send(check: Check) -> None:
    """Check a send for which there is room."""
    async with AsyncDispatcher(Router()) as dispatcher:
        await check(partial(dispatcher.send, Ping(source="x")))


async def run(check: Check) -> None:
    """Check a run that has its result at once."""

    async def answer(event: Ping) -> Pong:
        return Pong(source="x")

    async with AsyncDispatcher(router_of((Ping, answer))) as dispatcher:
        await check(partial(dispatcher.run, Ping(source="x"), Pong))


async def open_flow(check: Check) -> None:
    """Check a flow that is idle at once."""
    async with AsyncDispatcher(Router()) as dispatcher:
        await check(through(partial(dispatcher.open_flow, Ping(source="x"))))


async def result(check: Check) -> None:
    """Check a result that is there already."""

    async def answer(event: Ping) -> Pong:
        return Pong(source="x")

    async with (
        AsyncDispatcher(router_of((Ping, answer))) as dispatcher,
        dispatcher.open_flow(Ping(source="x")) as flow,
    ):
        await flow.result(Pong)
        await check(partial(flow.result, Pong))


async def stop(check: Check) -> None:
    """Check the stop of a session that has nothing to do."""
    async with AsyncDispatcher(Router()) as dispatcher:
        await check(dispatcher.stop)


async def block(check: Check) -> None:
    """Check a session in which nothing happens."""
    await check(through(lambda: AsyncDispatcher(Router())))


async def start(check: Check) -> None:
    """Check the start in a task group of one's own."""
    async with anyio.create_task_group() as tasks:
        dispatcher = AsyncDispatcher(Router())
        await check(partial(dispatcher.start, tasks))
        tasks.cancel_scope.cancel()


async def ask(check: Check) -> None:
    """Check a question whose answer comes from a task of the handler."""

    async def handler(event: Ping) -> None:
        async def answer() -> None:
            await anyio.sleep(0.1)
            dispatcher.dispatch(Pong(source="x"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            await check(partial(wait_for, Pong))

    async with AsyncDispatcher(router_of((Ping, handler))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        assert await dispatcher.wait_for_empty_queue()


async def memory(check: Check) -> None:
    """Check facts that are there already."""
    await check(partial(SharedWorkingMemory().wait_for, lambda facts: True))


async def transaction(check: Check) -> None:
    """Check a transaction that nobody is in the way of."""
    await check(through(SharedWorkingMemory().transaction))


async def wait_for_events(check: Check) -> None:
    """Check a wait that is over at once."""
    await check(partial(Joiner().wait_for_events, "x", timeout=0))


async def on_timeout(check: Check) -> None:
    """Check what is done by default with a set that is overdue."""
    await check(partial(Joiner().on_timeout, []))


CASES: dict[str, Callable[[Check], Awaitable[None]]] = {
    "AsyncAggregatorAgent.on_timeout": on_timeout,
    "AsyncAggregatorAgent.wait_for_events": wait_for_events,
    "AsyncDispatcher.__aenter__": block,
    "AsyncDispatcher.open_flow": open_flow,
    "AsyncDispatcher.run": run,
    "AsyncDispatcher.send": send,
    "AsyncDispatcher.start": start,
    "AsyncDispatcher.stop": stop,
    "AsyncDispatcher.wait_for_empty_queue": in_session,
    "Flow.result": result,
    "SharedWorkingMemory.transaction": transaction,
    "SharedWorkingMemory.wait_for": memory,
    "wait_for": ask,
}


def test_each_public_coroutine_has_a_case() -> None:
    """(D4) Or a reason why it is no checkpoint."""
    assert set(public_coroutines()) == CASES.keys() | NO_CHECKPOINT.keys()


@pytest.mark.parametrize("name", sorted(CASES))
async def test_a_public_coroutine_lets_others_run(name: str, backend: str) -> None:
    """(D4) In any case, even when there is nothing to wait for."""
    checked = 0

    async def check(call: Call) -> None:
        nonlocal checked
        checked += 1
        if backend == "trio":
            with trio.testing.assert_checkpoints():
                await call()
        else:
            turns: list[None] = []
            asyncio.get_running_loop().call_soon(turns.append, None)
            await call()
            assert turns

    await CASES[name](check)
    assert checked


@pytest.mark.parametrize("name", sorted(CASES))
async def test_a_public_coroutine_can_be_cancelled(name: str) -> None:
    """(D4) In a scope that is cancelled already it does not come to its end."""
    checked = 0

    async def check(call: Call) -> None:
        nonlocal checked
        checked += 1
        with anyio.CancelScope() as scope:
            scope.cancel()
            await call()
            raise AssertionError(f"{name} went through")
        assert scope.cancelled_caught

    await CASES[name](check)
    assert checked
