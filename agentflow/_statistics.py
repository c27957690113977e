"""Counting up what a session has queued and running (rule D7)."""

from time import time_ns

from agentflow._engine import Engine
from agentflow._ids import age_of
from agentflow._reports import AgentStatistics, DispatcherStatistics


def snapshot(
    engine: Engine, *, workers: int, threads_abandoned: int
) -> DispatcherStatistics:
    """Count what is queued and running now.

    Args:
        engine: The session's state.
        workers: How many workers there are.
        threads_abandoned: How many threads of cancelled handlers still run.

    Returns:
        The snapshot.
    """
    queued: dict[str, int] = dict.fromkeys(engine.switchboard.lanes(), 0)
    running = dict(queued)
    oldest: str | None = None
    for flow in engine.ledger.flows.values():
        for delivery in flow.pending:
            is_running = delivery.runner is not None and delivery.runner.handling
            counts = running if is_running else queued
            counts[delivery.target.name] += 1
            event_id = delivery.event.id
            if event_id and (oldest is None or event_id < oldest):
                oldest = event_id
    totals = engine.totals
    return DispatcherStatistics(
        queued=sum(queued.values()),
        running=sum(running.values()),
        flows=engine.ledger.busy,
        agents={
            name: AgentStatistics(queued=queued[name], running=running[name])
            for name in queued
        },
        oldest=None if oldest is None else age_of(oldest, time_ns()),
        unfinished=engine.ledger.unfinished,
        workers=workers,
        handled=engine.ledger.handled,
        failed=totals.failed,
        retried=totals.retried,
        dropped=totals.dropped,
        unrouted=totals.unrouted,
        threads_abandoned=threads_abandoned,
    )
