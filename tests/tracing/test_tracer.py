"""The tracer's window, its questions and the causal tree."""

import anyio
import pytest

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    Event,
    FlowFailed,
    Router,
    SessionError,
    TerminateEvent,
)
from agentflow._records import (
    EventAccepted,
    FlowEnded,
    FlowStarted,
    HandlerFinished,
    HandlerStarted,
    Record,
)
from agentflow.tracing import Tracer


class Text(Event):
    text: str = ""


class Part(Event):
    n: int


class Result(Event):
    pass


def splitting() -> Router:
    """Route a text to two parts, and each part to a result."""
    router = Router()

    @router.on(Text)
    async def split(event: Text) -> list[Part]:
        await anyio.sleep(1)
        return [Part(source="split", n=n) for n in range(2)]

    @router.on(Part)
    async def work(event: Part) -> Result:
        await anyio.sleep(1 + event.n)
        return Result(source="work")

    return router


async def test_the_causal_tree_of_a_flow() -> None:
    """(T3) Each event stands below the one whose handler emitted it."""
    tracer = Tracer()
    async with AsyncDispatcher(splitting(), tracer=tracer) as dispatcher:
        root = dispatcher.dispatch(Text(source="main"))
    assert root.correlation_id is not None
    tree = tracer.tree(root.correlation_id)
    assert [(depth, type(node.event)) for depth, node in tree.walk()] == [
        (0, Text),
        (1, Part),
        (2, Result),
        (1, Part),
        (2, Result),
    ]
    assert tree.end is not None
    assert tree.end.outcome == "finished"
    assert str(tree).splitlines() == [
        f"flow {root.correlation_id}",
        "  Text → split 1.000 s",
        "    Part → work 1.000 s",
        "      Result (nobody took it)",
        "    Part → work 2.000 s",
        "      Result (nobody took it)",
        "  finished after 3.000 s",
    ]


async def test_a_tree_says_what_went_wrong() -> None:
    """(T3) Failures, cancellations and drops stand where they happened."""
    tracer = Tracer()
    router = Router()

    @router.on(Text)
    async def fail(event: Text) -> None:
        await anyio.sleep(1)
        raise ValueError("no")

    @router.on(Text)
    async def wait(event: Text) -> None:
        await anyio.sleep_forever()

    with pytest.raises(FlowFailed):
        async with AsyncDispatcher(router, tracer=tracer, max_concurrency=2) as d:
            for _ in range(2):
                d.dispatch(Text(source="main", correlation_id="flow"))
    lines = str(tracer.tree("flow")).splitlines()
    assert lines[1] == (
        "  Text → fail raised ValueError (fail flow); "
        "wait cancelled: fail raised ValueError: no"
    )
    assert lines[2] == "    AgentFailed (nobody took it)"
    assert lines[3] == (
        "  Text → fail dropped: fail raised ValueError: no; "
        "wait dropped: fail raised ValueError: no"
    )
    assert lines[-1] == "  failed after 1.000 s: fail raised ValueError: no"


async def test_a_tree_of_what_still_runs() -> None:
    """(T3) A tree may be asked for at any time."""
    tracer = Tracer()
    router = splitting()
    async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
        event = dispatcher.dispatch(Text(source="main"))
        tree = tracer.tree(event.correlation_id or "")
        assert str(tree).splitlines()[1:] == ["  Text → 1 not done yet"]
        assert tree.end is None


async def test_a_parent_that_is_not_known_makes_a_root() -> None:
    """(T3) It is of another flow, or has fallen out of the window."""
    tracer = Tracer(limit=3)
    async with AsyncDispatcher(splitting(), tracer=tracer) as dispatcher:
        event = dispatcher.dispatch(Text(source="main"))
    assert len(tracer) == 3
    assert tracer.is_full
    tree = tracer.tree(event.correlation_id or "")
    assert [type(node.event) for node in tree.roots] == [Result]
    tracer.clear()
    assert not tracer.records()


async def test_questions_by_type_flow_agent_and_time() -> None:
    """(T3) Conditions may be combined."""
    seen: list[Record] = []
    tracer = Tracer(on_record=seen.append)
    async with AsyncDispatcher(splitting(), tracer=tracer) as dispatcher:
        start = anyio.current_time()
        one = dispatcher.dispatch(Text(source="main"))
        two = dispatcher.dispatch(Text(source="main"))
    assert list(tracer.flows()) == [one.correlation_id, two.correlation_id]
    assert tracer.records() == seen
    ended = tracer.records(FlowEnded, correlation_id=two.correlation_id)
    assert [record.outcome for record in ended] == ["finished"]
    finished = tracer.records(
        HandlerFinished, agent="work", correlation_id=one.correlation_id
    )
    assert [record.duration for record in finished] == pytest.approx([1, 2])
    assert {type(r) for r in tracer.records(until=start + 0.5)} == {
        FlowStarted,
        EventAccepted,
        HandlerStarted,
    }
    late = tracer.records(HandlerStarted, since=start + 0.5)
    assert {record.agent for record in late} == {"work"}


async def test_handled_failures_and_terminate_are_in_the_tree() -> None:
    """(T3) An `AgentFailed` event stands below the event that was being handled."""
    tracer = Tracer()
    router = Router()

    @router.on(Text)
    async def fail(event: Text) -> None:
        raise ValueError("no")

    @router.on(AgentFailed)
    async def mend(event: AgentFailed) -> TerminateEvent:
        return TerminateEvent(source="mend")

    async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
        event = dispatcher.dispatch(Text(source="main"))
    tree = tracer.tree(event.correlation_id or "")
    assert [type(node.event) for _, node in tree.walk()] == [
        Text,
        AgentFailed,
        TerminateEvent,
    ]
    lines = str(tree).splitlines()
    assert lines[-2] == "      TerminateEvent (ends the flow)"
    assert lines[-1].startswith("  terminated after")


def test_a_window_of_nothing_is_refused() -> None:
    """(T3) The limit is a number from 1."""
    with pytest.raises(SessionError, match="limit"):
        Tracer(limit=0)


async def test_what_is_kept_unmade_equals_what_others_were_told() -> None:
    """(T1, T3) A tracer makes its records late, of what was so when they happened."""
    told: list[Record] = []
    tracer, telling = Tracer(), Tracer(on_record=told.append)
    for observer in (tracer, telling):
        async with AsyncDispatcher(splitting(), tracer=observer) as dispatcher:
            await dispatcher.run(Part(source="main", n=0), Result)

    def seen(records: list[Record]) -> list[str]:
        """Say what was recorded, whatever the order in which tasks ran."""
        return sorted(
            f"{type(r).__name__} {getattr(r, 'agent', '')} {getattr(r, 'agents', '')}"
            for r in records
        )

    assert seen(tracer.records()) == seen(told) == seen(telling.records())
    assert tracer.records() == tracer.records()
    assert all(a is b for a, b in zip(tracer.records(), tracer.records(), strict=True))


async def test_a_tracer_of_ones_own_is_told_every_record() -> None:
    """(T1) A subclass that overrides record() gets each of them as it happens."""

    class Counting(Tracer):
        count = 0

        def record(self, record: Record, /) -> None:
            self.count += 1
            super().record(record)

    tracer = Counting()
    async with AsyncDispatcher(splitting(), tracer=tracer) as dispatcher:
        await dispatcher.run(Text(source="main"), Result)
    assert tracer.count == len(tracer) == len(tracer.records())
