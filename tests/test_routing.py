"""The router: which agent gets which event, and what it refuses (R1, R2, R4)."""

from typing import Any

import pytest

from agentflow import (
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    EventTypeError,
    FlowFailed,
    Retry,
    Router,
    RoutingError,
    TerminateEvent,
)
from agentflow._records import EventAccepted
from tests.fakes import (
    Boom,
    Collector,
    Log,
    Other,
    Ping,
    Pong,
    assert_nothing_left,
    router_of,
)


class LoudPing(Ping):
    pass


async def test_a_mapping_an_added_route_and_a_decorated_function_all_route() -> None:
    """(R1) The three ways to write a route do the same."""
    first, second = Collector(), Collector()
    router = Router({Ping: [first]})
    router.add_route(Ping, second)
    seen: list[int] = []

    @router.on(Ping, Pong)
    async def third(event: Ping | Pong) -> None:
        seen.append(event.n)

    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        dispatcher.dispatch(Pong(source="x", n=2))
    assert first.numbers() == second.numbers() == [1]
    assert sorted(seen) == [1, 2]
    assert [route.event_type for route in router.routes] == [Ping, Ping, Ping, Pong]
    assert repr(router) == "<Router with 4 routes>"


async def test_a_route_on_a_base_class_takes_its_subclasses() -> None:
    """(R1) A route on Event takes all, one on a subclass not its base."""
    all_of_them, pings, loud = Collector(), Collector(), Collector()
    router = router_of((Event, all_of_them), (Ping, pings), (LoudPing, loud))
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        dispatcher.dispatch(LoudPing(source="x", n=2))
        dispatcher.dispatch(Other(source="x", n=3))
    assert all_of_them.numbers() == [1, 2, 3]
    assert pings.numbers() == [1, 2]
    assert loud.numbers() == [2]


async def test_an_agent_gets_an_event_once_however_many_routes_match() -> None:
    """(R1) Two routes to one agent are one delivery."""
    agent = Collector()
    router = router_of((Event, agent), (Ping, agent), (LoudPing, agent))
    event = LoudPing(source="x")
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(event)
    assert len(agent.got) == 1
    assert router.get_agents(event) == [agent]


def test_the_order_is_that_of_registration() -> None:
    """(R1) Agents get an event in the order of their routes, not of their classes."""
    agents = [Collector() for _ in range(4)]
    router = router_of(
        (Event, agents[0]), (LoudPing, agents[1]), (Pong, agents[2]), (Ping, agents[3])
    )
    assert router.get_agents(LoudPing(source="x")) == [agents[0], agents[1], agents[3]]


async def test_a_predicate_looks_at_the_event() -> None:
    """(R1) A route takes what its predicate accepts; another may take the rest."""
    even, any_of_two = Collector(), Collector()
    router = Router()
    router.add_route(Ping, even, when=lambda event: event.n % 2 == 0)
    router.add_route(Ping, any_of_two, when=lambda event: event.n == 1)
    router.add_route(Ping, any_of_two, when=lambda event: event.n == 2)
    async with AsyncDispatcher(router) as dispatcher:
        for n in range(5):
            dispatcher.dispatch(Ping(source="x", n=n))
    assert even.numbers() == [0, 2, 4]
    assert any_of_two.numbers() == [1, 2]
    assert router.get_agents(Ping(source="x", n=3)) == []


async def test_a_predicate_that_raises_fails_its_agent() -> None:
    """(R1) The error names the agent whose route could not be asked."""
    other = Collector()
    router = router_of((Ping, other))
    agent = Collector()
    router.add_route(Ping, agent, when=lambda event: 1 / event.n > 0)
    async with AsyncDispatcher(router) as dispatcher:
        with pytest.raises(FlowFailed) as failed:
            async with dispatcher.open_flow(Ping(source="x")):
                pass
        dispatcher.dispatch(Ping(source="x", n=1))
    (error,) = failed.value.exceptions
    assert isinstance(error, ZeroDivisionError)
    assert any("when= of a route to 'Collector-2'" in n for n in error.__notes__)
    assert agent.numbers() == [1]
    assert other.numbers() in ([0, 1], [1])


@pytest.mark.parametrize(
    ("routes", "error", "message"),
    [
        ({int: [Collector()]}, EventTypeError, "int is no event class"),
        ({"Ping": [Collector()]}, EventTypeError, "got 'Ping'"),
        ({Ping: Collector()}, RoutingError, r"agents of Ping must be a list, not"),
        ({Ping: [3]}, RoutingError, "3 is no agent"),
        ({Ping: [Collector]}, RoutingError, r"route to an instance: Collector\(...\)"),
    ],
)
def test_a_wrong_mapping_is_refused(
    routes: Any, error: type[Exception], message: str
) -> None:
    """(R2) The constructor names what is wrong in the mapping."""
    with pytest.raises(error, match=message):
        Router(routes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"when": "yes"}, "when= must be a function of one event, not 'yes'"),
        ({"retry": 3}, r"retry= must be a Retry\(...\), not 3"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    """(R2) add_route names the option that cannot work."""
    with pytest.raises(RoutingError, match=message):
        Router().add_route(Ping, Collector(), **options)


def test_an_unknown_type_is_refused_when_it_is_added() -> None:
    """(R2) add_route takes event classes only, and nothing is registered."""
    router = Router()
    with pytest.raises(EventTypeError, match="str is no event class"):
        router.add_route(str, Collector())  # type: ignore[type-var]
    assert router.routes == ()


def test_a_route_for_terminate_events_is_refused() -> None:
    """(R2) Nobody gets a TerminateEvent, so a route for it would be a mistake."""

    class Done(TerminateEvent):
        pass

    with pytest.raises(RoutingError, match="Done ends its flow and is delivered to"):
        Router({Done: [Collector()]})


def test_a_decorator_without_an_event_class_is_refused() -> None:
    """(R2) @router.on and @router.on() say what to write."""
    router = Router()
    with pytest.raises(RoutingError, match=r"@router.on\(TextEvent\)"):
        router.on()
    with pytest.raises(RoutingError, match="name the event class"):

        @router.on  # type: ignore[arg-type]
        async def forgotten(event: Ping) -> None: ...


def test_the_decorated_function_stays_what_it_is() -> None:
    """(R1) A routed function can be called as before, and carries its options."""
    router = Router()

    async def agent(event: Ping) -> None: ...

    retry = Retry(attempts=2)
    assert router.on(Ping, when=bool, retry=retry)(agent) is agent
    (route,) = router.routes
    assert (route.handler.agent, route.when, route.retry) == (agent, bool, retry)


async def test_routes_may_be_added_while_a_session_runs() -> None:
    """(R2) A new route takes every event that is accepted after it was added."""
    router = Router()
    agent, early = Collector(), Collector()
    router.add_route(Ping, early)
    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=1))
        assert await dispatcher.wait_for_empty_queue()
        router.add_route(Ping, agent)
        dispatcher.dispatch(Ping(source="x", n=2))
        assert await dispatcher.wait_for_empty_queue()
    assert early.numbers() == [1, 2]
    assert agent.numbers() == [2]


async def test_a_handler_may_add_a_route_for_what_it_returns() -> None:
    """(R2) The route is in force before the handler's own output is accepted."""
    router = Router()
    agent = Collector()

    @router.on(Ping)
    async def grow(event: Ping) -> Pong:
        router.add_route(Pong, agent)
        return Pong(source="grow", n=event.n)

    async with AsyncDispatcher(router) as dispatcher:
        dispatcher.dispatch(Ping(source="x", n=5))
    assert agent.numbers() == [5]


async def test_an_event_that_no_route_takes_is_counted_and_recorded() -> None:
    """(R4) It is normal, it leaves nothing behind, and run() may return it."""
    log = Log()

    async def answer(event: Ping) -> Pong:
        return Pong(source="answer")

    async with AsyncDispatcher(router_of((Ping, answer)), tracer=log) as dispatcher:
        await dispatcher.run(Ping(source="x"), Pong)
        dispatcher.dispatch(Boom(source="x"))
        assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().unrouted == 2
        assert_nothing_left(dispatcher)
    unrouted = [r.event for r in log.of(EventAccepted) if not r.agents]
    assert [type(event) for event in unrouted] == [Pong, Boom]


async def test_an_event_for_another_flow_that_nobody_takes_leaves_nothing() -> None:
    """(R4, E2) The flow that an agent starts with it ends at once."""

    async def start(event: Ping) -> Pong:
        return Pong(source="start", correlation_id="another")

    async with AsyncDispatcher(router_of((Ping, start))) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        assert await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().unrouted == 1
        assert_nothing_left(dispatcher)


async def test_agents_of_one_name_are_told_apart() -> None:
    """(R1) Records and statistics number agents that share a name."""
    log = Log()
    router = router_of((Ping, Collector()), (Ping, Collector()), (Pong, Collector()))
    async with AsyncDispatcher(router, tracer=log) as dispatcher:
        dispatcher.dispatch(Ping(source="x"))
        dispatcher.dispatch(Pong(source="x"))
    names = [r.agents for r in log.of(EventAccepted)]
    assert names == [("Collector", "Collector-2"), ("Collector-3",)]


async def test_two_sessions_may_use_one_router() -> None:
    """(R1) A router holds no state of a session."""
    agent = Collector()
    router = router_of((Ping, agent))
    for n in range(2):
        async with AsyncDispatcher(router) as dispatcher:
            dispatcher.dispatch(Ping(source="x", n=n))
    assert agent.numbers() == [0, 1]


async def test_an_agent_shaped_object_serves() -> None:
    """(R1) Any object with the method is an agent; it need not know agentflow."""

    class Shaped:
        async def receive_event_async(self, event: Ping) -> list[Event]:
            return [Pong(source=type(self), n=event.n + 1)]

    assert not isinstance(Shaped(), BaseAsyncAgent)
    async with AsyncDispatcher(Router({Ping: [Shaped()]})) as dispatcher:
        assert (await dispatcher.run(Ping(source="x"), Pong)).n == 1
