"""Counting records up, agent by agent: what the progress and the summary show."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs

from agentflow._records import (
    DeliveryDropped,
    DeliveryRecord,
    EventAccepted,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    LLMCallFinished,
    Record,
)


@attrs.define(kw_only=True)
class AgentTally:
    """What one agent has to do and has done.

    Attributes:
        queued: Events that wait for it, the ones to be tried again included.
        running: Events it is handling.
        peak: The most it has handled at the same time.
        done: Events it has handled.
        errors: Events it failed with for good.
        undone: Events it did not get, or did not finish, because their flow ended.
        tokens: Tokens that its language model read and wrote.
        busy: Seconds it has spent, summed over all it handled.
    """

    queued: int = 0
    running: int = 0
    peak: int = 0
    done: int = 0
    errors: int = 0
    undone: int = 0
    tokens: int = 0
    busy: float = 0.0


class Tally:
    """Counts the records of a session; an observer.

    Attributes:
        agents: The counts by the agents' names, in the order in which they got events.
    """

    def __init__(self) -> None:
        self.agents: dict[str, AgentTally] = {}

    def record(self, record: Record, /) -> None:
        """Count one record."""
        count = _COUNTS.get(type(record))
        if count is not None:
            count(self, record)

    def agent(self, name: str) -> AgentTally:
        """Return an agent's counts."""
        return self.agents.setdefault(name, AgentTally())

    def rows(self) -> list[Sequence[str]]:
        """Write the counts as rows of a table; `HEADS` are its heads."""
        return [
            (
                name,
                f"{a.queued:,}",
                f"{a.running:,}",
                f"{a.done:,}",
                f"{a.errors:,}",
                f"{a.tokens:,}",
                f"{a.busy:.1f} s",
                f"{a.peak:,}",
            )
            for name, a in self.agents.items()
        ]


HEADS = (
    "agent",
    ">queued",
    ">running",
    ">done",
    ">errors",
    ">tokens",
    ">busy",
    ">at once",
)
"""Of `Tally.rows`: "busy" sums seconds, "at once" is the most handled together."""


def _accepted(tally: Tally, record: EventAccepted) -> None:
    for name in record.agents:
        tally.agent(name).queued += 1


def _started(tally: Tally, record: HandlerStarted) -> None:
    agent = tally.agent(record.agent)
    agent.queued -= 1
    agent.running += 1
    agent.peak = max(agent.peak, agent.running)


def _ended(
    tally: Tally, record: HandlerFinished | HandlerFailed | HandlerCancelled
) -> AgentTally:
    agent = tally.agent(record.agent)
    agent.running -= 1
    agent.busy += record.duration
    return agent


def _finished(tally: Tally, record: HandlerFinished) -> None:
    _ended(tally, record).done += 1


def _failed(tally: Tally, record: HandlerFailed) -> None:
    agent = _ended(tally, record)
    if record.consequence == "retry":
        agent.queued += 1
    else:
        agent.errors += 1


def _cancelled(tally: Tally, record: HandlerCancelled) -> None:
    _ended(tally, record).undone += 1


def _dropped(tally: Tally, record: DeliveryRecord) -> None:
    agent = tally.agent(record.agent)
    agent.queued -= 1
    agent.undone += 1


def _answered(tally: Tally, record: LLMCallFinished) -> None:
    used = record.usage
    tally.agent(record.agent).tokens += used.get("input_tokens", 0) + used.get(
        "output_tokens", 0
    )


_COUNTS = cast(
    "dict[type[Record], Callable[[Tally, Any], None]]",
    {
        EventAccepted: _accepted,
        HandlerStarted: _started,
        HandlerFinished: _finished,
        HandlerFailed: _failed,
        HandlerCancelled: _cancelled,
        DeliveryDropped: _dropped,
        LLMCallFinished: _answered,
    },
)
