"""What users of events, agents and routes are promised (promises 1 to 17)."""

from collections.abc import AsyncIterator
from threading import get_ident
from time import sleep

import anyio
import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAgent,
    BaseAsyncAgent,
    Event,
    Router,
    RoutingError,
)
from tests.fakes import Collector, Other, Ping, Pong, Sleeper, router_of, takes


class Text(Event):
    text: str
    language: str = "en"


def test_an_event_is_a_class_with_fields() -> None:
    """(E1) No decorator, and a constructor that takes the fields by name."""
    event = Text(source="main", text="hello")
    assert (event.text, event.language) == ("hello", "en")
    with pytest.raises(TypeError):
        Text("main", "hello")  # type: ignore[call-arg]


async def test_the_second_agent_sees_the_event_as_it_was_sent() -> None:
    """(E1) What the first one does to it changes nothing."""
    seen: list[str] = []

    class Vandal(BaseAsyncAgent):
        async def receive_event_async(self, event: Text) -> None:
            for name in ("text", "source", "correlation_id"):
                with pytest.raises(AttributeError):
                    setattr(event, name, "ruined")
                with pytest.raises(AttributeError):
                    delattr(event, name)

    async def reader(event: Text) -> None:
        seen.append(event.text)

    async with AsyncDispatcher(Router({Text: [Vandal(), reader]})) as dispatcher:
        dispatcher.dispatch(Text(source="main", text="intact"))
    assert seen == ["intact"]


async def test_the_source_of_an_event_is_a_type_or_a_string() -> None:
    """(E2) Both arrive as they were given."""
    collector = Collector()
    async with AsyncDispatcher(router_of((Ping, collector))) as dispatcher:
        dispatcher.dispatch(Ping(source="main"))
        dispatcher.dispatch(Ping(source=Collector))
    assert [event.source for event in collector.got] == ["main", Collector]


async def test_what_an_agent_returns_inherits_the_correlation_id() -> None:
    """(E2) Through several agents, for flows that run at the same time."""
    collector = Collector()

    async def first(event: Ping) -> Pong:
        await anyio.sleep(0.1)
        return Pong(source="first", n=event.n)

    async def second(event: Pong) -> Other:
        return Other(source="second", n=event.n)

    router = router_of((Ping, first), (Pong, second), (Other, collector))
    async with AsyncDispatcher(router) as dispatcher:
        roots = [dispatcher.dispatch(Ping(source="x", n=n)) for n in range(5)]
    ids = {event.n: event.correlation_id for event in collector.got}
    assert ids == {root.n: root.correlation_id for root in roots}
    assert len(set(ids.values())) == 5


async def test_every_event_names_the_one_it_came_from() -> None:
    """(E2) parent_id leads back to the root, which has none."""
    collector = Collector()

    async def answer(event: Ping) -> Pong:
        return Pong(source="answer")

    async with AsyncDispatcher(router_of((Ping, answer), (Pong, collector))) as d:
        root = d.dispatch(Ping(source="x"))
    assert root.parent_id is None
    assert [event.parent_id for event in collector.got] == [root.id]


async def test_dispatch_leaves_my_event_alone_and_returns_a_stamped_copy() -> None:
    """(E2) The copy can be traced; the original can be sent again."""
    mine = Ping(source="main", n=3)
    collector = Collector()
    async with AsyncDispatcher(router_of((Ping, collector))) as dispatcher:
        stamped = [dispatcher.dispatch(mine) for _ in range(2)]
    assert (mine.id, mine.correlation_id) == (None, None)
    assert collector.got == stamped
    assert stamped[0].id != stamped[1].id


async def test_an_agent_is_one_async_method_that_takes_an_event_and_returns_events() -> (
    None
):
    """(A1) That is all a person writes."""
    collector = Collector()

    class Greeter(BaseAsyncAgent):
        async def receive_event_async(self, event: Text) -> list[Event]:
            return [Text(source=type(self), text=f"Hi {event.text}", language="de")]

    router = Router()
    router.add_route(Text, Greeter(), when=lambda event: event.language == "en")
    router.add_route(Text, collector, when=lambda event: event.language == "de")
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Text(source="main", text="Ada"))
    assert [event.text for event in collector.got] == ["Hi Ada"]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_an_agent_may_return_no_event_or_many(count: int) -> None:
    """(A1) Each is delivered, in order."""
    collector = Collector()

    async def answer(event: Ping) -> list[Pong]:
        return [Pong(source="x", n=n) for n in range(count)]

    async with AsyncDispatcher(router_of((Ping, answer), (Pong, collector))) as d:
        d.dispatch(Ping(source="x"))
    assert collector.numbers() == list(range(count))


async def test_an_agent_may_stream_its_events() -> None:
    """(A1) The first is handled while the agent still works on the second."""
    times: list[float] = []

    async def stream(event: Ping) -> AsyncIterator[Pong]:
        for n in range(2):
            yield Pong(source="x", n=n)
            await anyio.sleep(1)

    async def note(event: Pong) -> None:
        times.append(anyio.current_time())

    async with AsyncDispatcher(router_of((Ping, stream), (Pong, note))) as dispatcher:
        start = anyio.current_time()
        dispatcher.dispatch(Ping(source="x"))
    assert [round(time - start, 3) for time in times] == [0, 1]


async def test_a_blocking_agent_does_not_block_the_others() -> None:
    """(A3) It works in a thread of its own, while the loop goes on."""
    threads: list[int] = []
    order: list[str] = []

    class Blocking(BaseAgent):
        def receive_event(self, event: Ping) -> Pong:
            threads.append(get_ident())
            sleep(0.05)
            order.append("blocking")
            return Pong(source="x")

    async def quick(event: Ping) -> None:
        order.append("quick")

    async with AsyncDispatcher(Router({Ping: [Blocking(), quick]})) as dispatcher:
        await dispatcher.run(Ping(source="x"), Pong)
    assert order == ["quick", "blocking"]
    assert threads != [get_ident()]


async def test_many_agents_work_on_one_event_at_the_same_time() -> None:
    """(A2, R1) Three agents of 0.2 s each take 0.2 s."""
    agents = [Sleeper(0.2) for _ in range(3)]
    async with AsyncDispatcher(Router({Ping: agents})) as dispatcher:
        with takes(0.2):
            dispatcher.dispatch(Ping(source="x", n=1))
            assert await dispatcher.wait_for_empty_queue()
    assert [agent.ended for agent in agents] == [[1]] * 3


async def test_many_events_are_handled_at_the_same_time() -> None:
    """(A2) A hundred events of 0.2 s each take 0.2 s."""
    agent = Sleeper(0.2, max_concurrency=None)
    async with AsyncDispatcher(router_of((Ping, agent))) as dispatcher:
        with takes(0.2):
            for n in range(100):
                dispatcher.dispatch(Ping(source="x", n=n))
            assert await dispatcher.wait_for_empty_queue()
    assert sorted(agent.ended) == list(range(100))


async def test_an_agent_that_keeps_state_needs_no_lock() -> None:
    """(A2) It is alone in its method, and gets events in their order."""

    class Counter(BaseAsyncAgent):
        def __init__(self) -> None:
            self.count = 0
            self.order: list[int] = []

        async def receive_event_async(self, event: Ping) -> None:
            before = self.count
            await anyio.sleep(0.01 if event.n % 2 else 0)
            self.count = before + 1
            self.order.append(event.n)

    counter = Counter()
    async with AsyncDispatcher(router_of((Ping, counter))) as dispatcher:
        for n in range(20):
            dispatcher.dispatch(Ping(source="x", n=n))
    assert counter.count == 20
    assert counter.order == list(range(20))


async def test_a_router_says_which_agent_gets_which_type() -> None:
    """(R1) Each its own; a route on a base class takes the subclasses, too."""
    pings, all_of_them = Collector(), Collector()
    router = router_of((Ping, pings), (Event, all_of_them))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        dispatcher.dispatch(Pong(source="x"))
    assert [type(event) for event in pings.got] == [Ping]
    assert [type(event) for event in all_of_them.got] == [Ping, Pong]


async def test_routes_may_be_added_while_a_session_runs() -> None:
    """(R2) What is dispatched from then on goes there as well."""
    early, late = Collector(), Collector()
    router = router_of((Ping, early))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        assert await dispatcher.wait_for_empty_queue()
        router.add_route(Ping, late)
        dispatcher.dispatch(Ping(source="x", n=2))
    assert (early.numbers(), late.numbers()) == ([1, 2], [2])


def test_a_mistaken_route_is_refused_when_it_is_made() -> None:
    """(R2) Not when the first event comes."""
    with pytest.raises(RoutingError, match="is a class; route to an instance"):
        Router({Ping: [Collector]})


async def test_an_event_that_nobody_takes_is_no_error() -> None:
    """(R4) It is a result, and it is counted."""

    async def answer(event: Ping) -> Pong:
        return Pong(source="x", n=4)

    async with AsyncDispatcher(router_of((Ping, answer))) as dispatcher:
        assert (await dispatcher.run(Ping(source="x"), Pong)).n == 4
        assert dispatcher.statistics().unrouted == 1
