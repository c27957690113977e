"""Agents: alone in their method, side by side with others, blocking ones in threads."""

import contextvars
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAgent,
    BaseAsyncAgent,
    FlowFailed,
    Router,
)
from agentflow._records import HandlerCancelled, ThreadAbandoned
from agentflow.abc import Agent
from tests.fakes import (
    Collector,
    Log,
    Other,
    Ping,
    Pong,
    Sleeper,
    assert_nothing_left,
    router_of,
    takes,
)


async def test_a_serial_agent_is_alone_in_its_method_and_keeps_the_order() -> None:
    """(A2) One event at a time, started in order of arrival."""
    busy = 0
    order: list[int] = []

    class Alone(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> None:
            nonlocal busy
            busy += 1
            order.append(event.n)
            await anyio.sleep(0.1 if event.n % 3 else 0)
            assert busy == 1
            busy -= 1

    async with AsyncDispatcher(router_of((Ping, Alone()))) as dispatcher:
        for n in range(20):
            dispatcher.dispatch(Ping(source="x", n=n))
        dispatcher.dispatch(Ping(source="x", n=20, correlation_id="one"))
        dispatcher.dispatch(Ping(source="x", n=21, correlation_id="one"))
    assert order == list(range(22))


async def test_a_serial_agent_keeps_the_order_of_what_others_emit() -> None:
    """(A2) Order of arrival also counts between agents and flows."""
    collector = Collector()

    class Relay(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> list[Pong]:
            return [Pong(source="relay", n=10 * event.n + i) for i in range(3)]

    router = router_of((Ping, Relay()), (Pong, collector))
    async with AsyncDispatcher(router, batch_size=2) as dispatcher:
        for n in range(4):
            dispatcher.dispatch(Ping(source="x", n=n))
        await dispatcher.wait_for_empty_queue()
        assert collector.numbers() == [10 * n + i for n in range(4) for i in range(3)]


async def test_ten_agents_handle_one_event_at_the_same_time() -> None:
    """(A2) Ten agents that wait 0.2 s on one event end at 0.2 s."""
    agents = [Sleeper(0.2) for _ in range(10)]
    async with AsyncDispatcher(Router({Ping: agents})) as dispatcher:
        with takes(0.2):
            dispatcher.dispatch(Ping(source="x", n=1))
            assert await dispatcher.wait_for_empty_queue()
    assert all(agent.ended == [1] for agent in agents)


async def test_a_concurrent_agent_handles_twenty_events_at_the_same_time() -> None:
    """(A2) With max_concurrency None, 20 events end at 0.2 s."""
    agent = Sleeper(0.2, max_concurrency=None)
    async with AsyncDispatcher(Router({Ping: [agent]})) as dispatcher:
        with takes(0.2):
            for n in range(20):
                dispatcher.dispatch(Ping(source="x", n=n))
            assert await dispatcher.wait_for_empty_queue()
    assert sorted(agent.ended) == list(range(20))


@pytest.mark.parametrize(("limit", "seconds"), [(1, 1.2), (2, 0.6), (4, 0.4), (6, 0.2)])
async def test_an_agent_takes_as_many_as_it_says(limit: int, seconds: float) -> None:
    """(A2) Six events of 0.2 s take as long as the limit lets them."""
    agent = Sleeper(0.2, max_concurrency=limit)
    async with AsyncDispatcher(Router({Ping: [agent]})) as dispatcher:
        with takes(seconds):
            for n in range(6):
                dispatcher.dispatch(Ping(source="x", n=n))
            assert await dispatcher.wait_for_empty_queue()
    assert agent.started == list(range(6))


async def test_a_function_takes_as_many_as_there_are() -> None:
    """(A2) A plain function holds no state, so it has no limit."""

    async def nap(event: Ping) -> None:
        await anyio.sleep(0.2)

    async with AsyncDispatcher(Router({Ping: [nap]})) as dispatcher:
        with takes(0.2):
            for _ in range(100):
                dispatcher.dispatch(Ping(source="x"))
            assert await dispatcher.wait_for_empty_queue()


async def test_the_session_may_limit_all_handlers_together() -> None:
    """(A2) max_concurrency of the session bounds what runs at a time."""
    agents = [Sleeper(0.2) for _ in range(6)]
    async with AsyncDispatcher(Router({Ping: agents}), max_concurrency=2) as dispatcher:
        with takes(0.6):
            dispatcher.dispatch(Ping(source="x"))
            assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().workers <= 2


variable = contextvars.ContextVar("variable", default="clean")


async def test_a_context_variable_does_not_leak_into_the_next_handler() -> None:
    """(A2) A handler sees what the session saw when it was opened, and its own changes."""
    seen: list[str] = []

    class Setter(BaseAsyncAgent):
        async def receive_event_async(self, event: Ping) -> Pong | None:
            seen.append(variable.get())
            variable.set(f"soiled by {event.n}")
            if event.n % 2:
                await anyio.sleep(0.01)
            assert variable.get() == f"soiled by {event.n}"
            return Pong(source="x") if event.n < 3 else None

    async def reader(event: Pong) -> None:
        seen.append(variable.get())

    token = variable.set("session")
    async with AsyncDispatcher(router_of((Ping, Setter()), (Pong, reader))) as d:
        variable.set("body")
        for n in range(5):
            d.dispatch(Ping(source="x", n=n))
    variable.reset(token)
    assert seen == ["session"] * 8


async def test_a_context_variable_of_a_failed_handler_does_not_leak() -> None:
    """(A2) A worker whose handler raised or was cancelled is as clean as any."""
    seen: list[str] = []

    async def soil(event: Ping) -> None:
        seen.append(variable.get())
        variable.set("soiled")
        if event.n:
            raise ValueError
        await anyio.sleep_forever()

    async with AsyncDispatcher(router_of((Ping, soil))) as dispatcher:
        for _ in range(2):
            with anyio.move_on_after(0.1):
                await dispatcher.run(Ping(source="x", n=0), Pong)
            with pytest.raises(FlowFailed):
                await dispatcher.run(Ping(source="x", n=1), Pong)
    assert seen == ["clean"] * 4


class Blocking(BaseAgent):
    """Says on which thread it ran, and waits there if told to."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.threads: list[int] = []
        self.gate = gate
        self.begun = threading.Event()

    def receive_event(self, event: Ping) -> list[Pong]:
        self.threads.append(threading.get_ident())
        self.begun.set()
        if self.gate is not None:
            self.gate.wait(5)
        return [Pong(source=type(self), n=event.n)]


async def test_a_blocking_agent_runs_in_a_thread() -> None:
    """(A3) Never on the loop, which goes on meanwhile; what it returns is dispatched."""
    gate = threading.Event()
    agent, collector = Blocking(gate), Collector()
    router = router_of((Ping, agent), (Pong, collector))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=3))
        await anyio.to_thread.run_sync(agent.begun.wait)
        gate.set()
    assert collector.numbers() == [3]
    assert agent.threads != [threading.get_ident()]


async def test_a_blocking_generator_runs_in_its_thread_too() -> None:
    """(A3) The body of a generator runs where the agent does."""
    threads: list[int] = []

    class Generator(BaseAgent):
        def receive_event(self, event: Ping) -> Iterator[Pong]:
            threads.append(threading.get_ident())
            yield Pong(source="x", n=1)
            threads.append(threading.get_ident())

    async with AsyncDispatcher(router_of((Ping, Generator()))) as dispatcher:
        assert (await dispatcher.run(Ping(source="x"), Pong)).n == 1
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_a_blocking_agent_that_raises_fails_its_flow() -> None:
    """(A3) An error in a thread is like any other."""

    class Broken(BaseAgent):
        def receive_event(self, event: Ping) -> None:
            raise OSError("disk")

    async with AsyncDispatcher(router_of((Ping, Broken()))) as dispatcher:
        with pytest.raises(FlowFailed) as failed:
            await dispatcher.run(Ping(source="x"), Pong)
    assert failed.value.failures[0].agent == "Broken"


async def test_a_thread_that_cannot_be_cancelled_is_named_and_counted() -> None:
    """(A3) The flow ends at once; the thread runs on, and its outcome is dropped."""
    gate, log = threading.Event(), Log()
    agent, collector = Blocking(gate), Collector()
    router = router_of((Ping, agent), (Pong, collector))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            await anyio.to_thread.run_sync(agent.begun.wait)
            flow.cancel("enough")
        assert dispatcher.statistics().threads_abandoned == 1
        assert_nothing_left(dispatcher)
        gate.set()
        await anyio.to_thread.run_sync(wait_until_ended, dispatcher)
        assert dispatcher.statistics().threads_abandoned == 0
    (record,) = log.of(ThreadAbandoned)
    assert (record.agent, record.event) == ("Blocking", flow_root(log))
    assert log.of(HandlerCancelled)[0].reason == "enough"
    assert collector.got == []


def wait_until_ended(dispatcher: AsyncDispatcher) -> None:
    """Wait, in a thread, until no thread of a cancelled handler runs any more."""
    pause = threading.Event()
    while dispatcher._threads.abandoned:
        pause.wait(0.001)


def flow_root(log: Log) -> object:
    """Return the event that was cancelled."""
    return log.of(HandlerCancelled)[0].event


async def test_a_call_that_is_cancelled_before_its_thread_begins_does_not_run() -> None:
    """(A3) What waits for a thread and is cancelled is not counted as abandoned."""
    gate = threading.Event()
    agent = Blocking(gate)
    agent.max_concurrency = None
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        await anyio.to_thread.run_sync(agent.begun.wait)
        async with dispatcher.open_flow(Ping(source="x")) as late:
            for _ in range(59):
                late.dispatch(Ping(source="x"))
            await anyio.wait_all_tasks_blocked()
            late.cancel()
        abandoned = dispatcher.statistics().threads_abandoned
        gate.set()
        await anyio.to_thread.run_sync(wait_until_ended, dispatcher)
    assert 0 < abandoned < 60
    assert len(agent.threads) == 1 + abandoned


async def test_a_thread_may_dispatch_into_its_flow() -> None:
    """(D8) dispatch in a blocking agent joins the handler's flow, as if returned."""
    collector = Collector()

    class Dispatching(BaseAgent):
        def receive_event(self, event: Ping) -> Other:
            child = dispatcher.dispatch(Pong(source="thread", n=1))
            assert child.correlation_id == event.correlation_id
            assert child.parent_id == event.id
            return Other(source="thread", n=2)

    router = router_of((Ping, Dispatching()), (Pong, collector), (Other, collector))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
    assert collector.numbers() == [1, 2]


async def test_the_thread_of_a_cancelled_handler_dispatches_nothing() -> None:
    """(A3) Its flow is over; a new one must not come of it."""
    gate, over = threading.Event(), threading.Event()
    collector = Collector()
    outcome: list[Any] = []

    class Late(Blocking):
        def receive_event(self, event: Ping) -> list[Pong]:
            super().receive_event(event)
            try:
                outcome.append(dispatcher.dispatch(Pong(source="late")))
            except Exception as error:  # noqa: BLE001 -- whichever it is
                outcome.append(error)
            over.set()
            return []

    agent = Late(gate)
    router = router_of((Ping, agent), (Pong, collector))
    async with AsyncDispatcher(router) as dispatcher:
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            await anyio.to_thread.run_sync(agent.begun.wait)
            flow.cancel()
        gate.set()
        await anyio.to_thread.run_sync(over.wait)
    assert collector.got == []
    assert len(outcome) == 1


def test_any_object_with_the_method_is_an_agent() -> None:
    """(A1) The protocol says so at run time."""
    assert isinstance(Collector(), Agent)
    assert not isinstance(Blocking(), Agent)
    assert Collector().name == "Collector"
    assert Blocking().name == "Blocking"


async def test_a_thread_that_begins_too_late_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """(A3) Its handler was cancelled between the start of the thread and its own."""
    begun: list[Callable[[], object]] = []

    async def begin_later(
        function: Callable[..., object], *args: Any, **_: Any
    ) -> None:
        begun.append(partial(function, *args))
        await anyio.sleep_forever()

    agent = Blocking()
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        monkeypatch.setattr(anyio.to_thread, "run_sync", begin_later)
        async with dispatcher.open_flow(Ping(source="x")) as flow:
            await anyio.wait_all_tasks_blocked()
            flow.cancel()
        assert dispatcher.statistics().threads_abandoned == 0
        assert [begin() for begin in begun] == [None]
    assert agent.threads == []
