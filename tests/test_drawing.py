"""The drawing of a router (R3)."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agentflow import BaseAgent, BaseAsyncAgent, Event, Router, TerminateEvent
from tests.fakes import Boom, Collector, Other, Ping, Pong

if TYPE_CHECKING:
    from fractions import Fraction


class Answerer(BaseAsyncAgent):
    async def receive_event_async(self, event: Ping) -> list[Pong | Other]:
        return []


class Streamer(BaseAsyncAgent):
    async def receive_event_async(self, event: Pong) -> AsyncIterator[Boom]:
        yield Boom(source="streamer")


class Ender(BaseAgent):
    def receive_event(self, event: Boom) -> TerminateEvent | None:
        return None


class CallableAgent:
    async def __call__(self, event: Other) -> Pong | None:
        return None


def test_types_agents_and_outputs_are_drawn() -> None:
    """(R3) Nodes for types and agents, arrows in, and arrows out from annotations."""
    router = Router({Ping: [Answerer()], Pong: [Streamer()], Boom: [Ender()]})
    assert router.to_mermaid() == (
        "flowchart LR\n"
        '    event0(["Ping"])\n'
        '    event1(["Pong"])\n'
        '    event2(["Boom"])\n'
        '    event3(["Other"])\n'
        '    event4(["TerminateEvent"])\n'
        '    agent0["Answerer"]\n'
        '    agent1["Streamer"]\n'
        '    agent2["Ender"]\n'
        "    event0 --> agent0\n"
        "    event1 --> agent1\n"
        "    event2 --> agent2\n"
        "    agent0 --> event1\n"
        "    agent0 --> event3\n"
        "    agent1 --> event2\n"
        "    agent2 --> event4\n"
        "    classDef untaken stroke-dasharray: 4\n"
        "    class event3 untaken\n"
    )


def test_outputs_that_nobody_takes_are_named() -> None:
    """(R3) A TerminateEvent needs no route; a route on a base class takes the output."""
    router = Router({Ping: [Answerer()], Boom: [Ender()]})
    assert router.untaken() == (Pong, Other)
    router.add_route(Event, Collector())
    assert router.untaken() == ()
    assert "untaken" not in router.to_mermaid()


def test_an_unprecise_annotation_counts_as_taken() -> None:
    """(R3) list[Event] says nothing precise, so a route on a subclass is enough."""

    async def vague(event: Ping) -> list[Event]:
        return []

    assert Router({Ping: [vague]}).untaken() == ()


def test_a_callable_object_is_drawn_by_its_call() -> None:
    """(R3) The annotation of ``__call__`` counts, and the class names the agent."""
    drawing = Router({Other: [CallableAgent()]}).to_mermaid()
    assert 'agent0["CallableAgent"]' in drawing
    assert "agent0 --> event1" in drawing


def test_annotations_that_cannot_be_read_are_left_out() -> None:
    """(R3) A name that only type checkers know says nothing, and breaks nothing."""

    async def typed_elsewhere(event: Ping) -> "Fraction | None":
        return None

    async def silent(event: Ping):  # type: ignore[no-untyped-def]
        return None

    drawing = Router({Ping: [typed_elsewhere, silent]}).to_mermaid()
    assert drawing.count("-->") == 2


def test_an_agent_on_two_routes_is_one_node() -> None:
    """(R3) It has an arrow for each route, and each arrow once."""
    agent = Answerer()
    router = Router({Ping: [agent], Boom: [agent]})
    router.add_route(Ping, agent, when=lambda event: bool(event.n))
    drawing = router.to_mermaid()
    assert drawing.count("agent0[") == 1
    assert drawing.count("event0 --> agent0") == 1


def test_odd_names_do_not_break_the_drawing() -> None:
    """(R3) Quotes and markup in an agent's name are quoted."""

    class Odd(Collector):
        name = 'a "b" <c> & d'

    drawing = Router({Ping: [Odd()]}).to_mermaid()
    assert 'agent0["a #quot;b#quot; #lt;c> #amp; d"]' in drawing
