"""Programs for whole sessions, as Hypothesis draws and shrinks them.

A program says what its users do and when; an event carries what its handlers do with it,
so a plan is a tree. Every plan has a number of its own: what came of it can be told apart.
"""

from collections.abc import Iterator
from itertools import chain, count
from typing import Literal

import attrs
from hypothesis import strategies as st

Agent = Literal["serial", "retrying", "pair", "free", "both"]
"""Who takes the plan: an agent that is serial, serial and retried, takes two at a time,
any number; or two at once: the serial one and a function."""

Act = Literal[
    "emit",  # return the children
    "yield",  # yield them, one by one
    "dispatch",  # dispatch them
    "thread",  # dispatch them from a worker thread
    "fail",  # raise, always
    "fail once",  # raise at the first attempt, then return the children
    "nest",  # run a flow with each child, one after the other
    "own",  # run flows with the children side by side, and give up after a while
    "ask",  # yield the children, and wait for an answer of one of them
    "terminate",  # return the children and a TerminateEvent
    "elsewhere",  # return the children into a flow that all programs share
    "give up",  # wait under a deadline of its own, then return the children
]

PAUSES = (0.0, 0.001, 0.002, 0.005)
"""Seconds, few of them, so that much happens at the same time."""


@attrs.frozen
class Plan:
    """What happens to one event.

    Attributes:
        number: Its own, given by `numbered`.
        agent: Who takes it.
        act: What they do with it.
        pause: Seconds they take first; None for not even a checkpoint.
        children: What comes of it.
    """

    agent: Agent
    act: Act
    pause: float | None
    children: "tuple[Plan, ...]" = ()
    number: int = 0

    def all(self) -> "Iterator[Plan]":
        """Yield it and all its descendants."""
        yield self
        for child in self.children:
            yield from child.all()


@attrs.frozen
class Dispatch:
    """Dispatch a plan, and do not wait; through `send` or from a thread."""

    plan: Plan
    how: Literal["dispatch", "send", "thread"] = "dispatch"
    flow: Literal["a", "b"] | None = None


@attrs.frozen
class Run:
    """Run a plan, and give up after some seconds."""

    plan: Plan
    patience: float


@attrs.frozen
class Own:
    """Own the flow of a plan: wait, do something, leave."""

    plan: Plan
    pause: float
    then: Literal["leave", "cancel", "raise", "join", "result", "events", "terminate"]
    patience: float
    more: Plan


@attrs.frozen
class Wait:
    """Wait for an empty queue, or for one flow to be idle, or for a while."""

    timeout: float | None
    flow: Literal["a", "b"] | None = None


@attrs.frozen
class Sleep:
    """Do nothing for some seconds."""

    seconds: float


@attrs.frozen
class Stop:
    """Stop the session."""

    grace: float | None


@attrs.frozen
class Tune:
    """Set the batch size."""

    batch_size: int


@attrs.frozen
class Terminate:
    """End a flow from outside."""

    flow: Literal["a", "b"]


Step = Dispatch | Run | Own | Wait | Sleep | Stop | Tune | Terminate


@attrs.frozen
class Program:
    """One session.

    Attributes:
        users: What each of its users does, one after another.
        early: What is dispatched before it begins.
        batch_size: As for `AsyncDispatcher`.
        capacity: Likewise.
        max_concurrency: Likewise.
        max_events_per_flow: Likewise.
        hears_failures: Whether a route takes `AgentFailed`.
        end: How the block ends, when all users are done.
        cut: Seconds until the session is cancelled; None for never.
        order: Seed of the order in which tasks run.
    """

    users: tuple[tuple[Step, ...], ...]
    early: tuple[Plan, ...] = ()
    batch_size: int = 16
    capacity: int | None = None
    max_concurrency: int | None = None
    max_events_per_flow: int | None = None
    hears_failures: bool = False
    end: Literal["leave", "raise", "wait", "stop"] = "leave"
    cut: float | None = None
    order: int = 0

    def plans(self) -> Iterator[Plan]:
        """Yield every plan in it."""
        roots = list(self.early)
        for step in chain.from_iterable(self.users):
            if isinstance(step, Dispatch | Run | Own):
                roots.append(step.plan)
            if isinstance(step, Own):
                roots.append(step.more)
        for root in roots:
            yield from root.all()


def numbered(program: Program) -> Program:
    """Return the program with a number for each plan."""
    numbers = count(1)

    def of_plan(plan: Plan) -> Plan:
        children = tuple(of_plan(child) for child in plan.children)
        return attrs.evolve(plan, number=next(numbers), children=children)

    def of_step(step: Step) -> Step:
        match step:
            case Own():
                return attrs.evolve(
                    step, plan=of_plan(step.plan), more=of_plan(step.more)
                )
            case Dispatch() | Run():
                return attrs.evolve(step, plan=of_plan(step.plan))
            case _:
                return step

    return attrs.evolve(
        program,
        early=tuple(of_plan(plan) for plan in program.early),
        users=tuple(tuple(of_step(s) for s in steps) for steps in program.users),
    )


# -- what Hypothesis draws ----------------------------------------------------------

_pauses = st.sampled_from(PAUSES)
_flows = st.sampled_from((None, "a", "b"))
_agents = st.sampled_from(Agent.__args__)  # type: ignore[attr-defined]
_acts = st.sampled_from(Act.__args__)  # type: ignore[attr-defined]


def _plans_with(children: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        agent=_agents,
        act=_acts,
        pause=st.none() | _pauses,
        children=st.lists(children, max_size=3).map(tuple),
    )


plans: st.SearchStrategy[Plan] = st.recursive(
    st.builds(Plan, agent=_agents, act=_acts, pause=st.none() | _pauses),
    _plans_with,
    max_leaves=6,
)

steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        Dispatch,
        plan=plans,
        how=st.sampled_from(("dispatch", "send", "dispatch", "send", "thread")),
        flow=_flows,
    ),
    st.builds(Run, plan=plans, patience=_pauses | st.just(1.0)),
    st.builds(
        Own,
        plan=plans,
        pause=_pauses,
        then=st.sampled_from((
            "leave",
            "cancel",
            "raise",
            "join",
            "result",
            "events",
            "terminate",
        )),
        patience=_pauses | st.just(1.0),
        more=plans,
    ),
    st.builds(Wait, timeout=st.none() | _pauses, flow=_flows),
    st.builds(Sleep, seconds=_pauses),
    st.builds(Tune, batch_size=st.sampled_from((1, 2, 16))),
    st.builds(Terminate, flow=st.sampled_from(("a", "b"))),
    st.builds(Stop, grace=st.none() | _pauses),
)

programs: st.SearchStrategy[Program] = st.builds(
    Program,
    users=st.lists(
        st.lists(steps, min_size=1, max_size=4).map(tuple), min_size=1, max_size=4
    ).map(tuple),
    early=st.lists(plans, max_size=2).map(tuple),
    batch_size=st.sampled_from((1, 2, 16)),
    capacity=st.sampled_from((None, 1, 2)),
    max_concurrency=st.sampled_from((None, 1, 3)),
    max_events_per_flow=st.sampled_from((None, 4, 30)),
    hears_failures=st.booleans(),
    end=st.sampled_from(("leave", "raise", "wait", "stop")),
    cut=st.none() | st.none() | _pauses | st.just(0.01),
    order=st.integers(0, 2**32),
).map(numbered)
