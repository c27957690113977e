"""What a session says about itself: counts, snapshots and the report of its end."""

from collections.abc import Mapping

import attrs

from agentflow._events import Event


@attrs.define
class Totals:
    """Running counts since the session began.

    Attributes:
        failed: Deliveries whose handler raised for good.
        retried: Attempts that failed and were tried again.
        dropped: Deliveries that no handler got, because their flow had ended.
        unrouted: Events that no route took.
    """

    failed: int = 0
    retried: int = 0
    dropped: int = 0
    unrouted: int = 0


@attrs.frozen(kw_only=True)
class AgentStatistics:
    """One agent at one moment.

    Attributes:
        queued: Deliveries that wait for it.
        running: Deliveries it is handling.
    """

    queued: int
    running: int


@attrs.frozen(kw_only=True)
class FlowStatistics:
    """One flow at one moment.

    Attributes:
        queued: Deliveries that wait for an agent.
        running: Deliveries that are being handled.
        events: Events it has accepted so far.
        age: Seconds since its first event.
    """

    queued: int
    running: int
    events: int
    age: float


@attrs.frozen(kw_only=True)
class DispatcherStatistics:
    """A session at one moment (rule D7).

    Attributes:
        queued: Deliveries that wait for an agent.
        running: Deliveries that are being handled.
        flows: Flows that are not idle.
        agents: The same counts by agent name, for agents that have got an event.
        oldest: Seconds since the oldest unfinished event was accepted, by the wall
            clock; None when there is none.
        unfinished: Root events that are not finished: what ``capacity`` bounds.
        workers: Tasks that handle deliveries or wait for some.
        handled: Deliveries that a handler has ended, one way or another.
        failed: Deliveries whose handler raised for good.
        retried: Attempts that failed and were tried again.
        dropped: Deliveries that no handler got, because their flow had ended.
        unrouted: Events that no route took.
        threads_abandoned: Threads of cancelled synchronous agents that still run.
    """

    queued: int
    running: int
    flows: int
    agents: Mapping[str, AgentStatistics]
    oldest: float | None
    unfinished: int
    workers: int
    handled: int
    failed: int
    retried: int
    dropped: int
    unrouted: int
    threads_abandoned: int


@attrs.frozen(kw_only=True)
class Undelivered:
    """An accepted event that an agent did not get, or did not finish.

    Attributes:
        event: The event.
        agent: The agent's name.
        started: Whether the agent had begun and was cancelled.
    """

    event: Event
    agent: str
    started: bool


@attrs.frozen(kw_only=True)
class StopReport:
    """How a session ended (rule D5).

    Attributes:
        undelivered: What was accepted and not handled, in order of the events; empty
            after a stop that had the time it needed.
    """

    undelivered: tuple[Undelivered, ...] = ()
