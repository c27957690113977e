"""A judge of records: what holds for every session, whatever happened in it.

- each delivery that was accepted ends exactly once: handled, failed, cancelled or dropped;
- a serial agent begins events in the order in which they were accepted;
- no agent handles more events at a time than its limit;
- each flow ends as often as it starts, and its end comes after all of its deliveries;
- a flow in which an agent failed for good ends as failed;
- what the session's end cut off is in its report, once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from agentflow import StopReport, _records as records
from tests.fakes import Log

Deliveries = Counter[tuple[str | None, str]]
"""How often what went, or ended, by event id and agent."""


def check_books(log: Log, report: StopReport) -> None:
    """Check that each delivery ended once, each flow ended, and the end was reported."""
    went, ended = accepted(log), ends(log)
    for (event_id, agent), count in went.items():
        assert ended[event_id, agent] == count, f"{event_id} to {agent}: {ended}"
    assert ended.total() == went.total()
    _check_reported(log, report)
    _check_flows(log)


def accepted(log: Log) -> Deliveries:
    """Return the deliveries that were accepted."""
    return Counter(
        (record.event.id, agent)
        for record in log.of(records.EventAccepted)
        for agent in record.agents
    )


def ends(log: Log) -> Deliveries:
    """Return the deliveries that ended, in whichever way."""
    ended: list[records.DeliveryRecord] = [
        *log.of(records.HandlerFinished),
        *log.of(records.HandlerCancelled),
        *log.of(records.DeliveryDropped),
        *(r for r in log.of(records.HandlerFailed) if r.consequence != "retry"),
    ]
    return Counter((record.event.id, record.agent) for record in ended)


def still_open(log: Log, flow: str | None = None) -> Deliveries:
    """Return the deliveries that have not ended, of one flow or of all."""
    mine = Log()
    mine.records = [r for r in log.records if flow in {None, r.correlation_id}]
    return accepted(mine) - ends(mine)


def _check_reported(log: Log, report: StopReport) -> None:
    reported = Counter((u.event.id, u.agent) for u in report.undelivered)
    assert all(count == 1 for count in reported.values())
    why = "the session ended"
    lost: list[records.DeliveryDropped | records.HandlerCancelled] = [
        *(r for r in log.of(records.DeliveryDropped) if r.reason.startswith(why)),
        *(r for r in log.of(records.HandlerCancelled) if r.reason.startswith(why)),
    ]
    assert {(r.event.id, r.agent) for r in lost} <= set(reported)


def check_order(log: Log, limits: Mapping[str, int | None]) -> None:
    """Check that agents with a limit of 1 began their events in order of acceptance.

    Args:
        log: The records.
        limits: How many events each agent takes at a time, by name.
    """
    begun: dict[str, list[str]] = defaultdict(list)
    for record in log.of(records.HandlerStarted):
        if record.attempt == 1:
            begun[record.agent].append(record.event.id or "")
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for n, entry in enumerate(log.of(records.EventAccepted)):
        for agent in entry.agents:
            places[agent][entry.event.id or ""] = n
    for name, limit in limits.items():
        if limit == 1:
            order = [places[name][event_id] for event_id in begun[name]]
            assert order == sorted(order), f"{name} began out of order"


def check_limits(
    log: Log, limits: Mapping[str, int | None], in_all: int | None = None
) -> None:
    """Check that nobody handled more events at a time than allowed.

    Args:
        log: The records, of a session in which no handler asks: who asks stands aside.
        limits: How many events each agent takes at a time, by name.
        in_all: How many the session does.
    """
    running: Counter[str] = Counter()
    for record, change in _changes(log):
        running[record.agent] += change
        limit = limits.get(record.agent)
        assert limit is None or running[record.agent] <= limit, record.agent
        assert in_all is None or running.total() <= in_all


def _changes(log: Log) -> Iterator[tuple[records.DeliveryRecord, int]]:
    over = (records.HandlerFinished, records.HandlerFailed, records.HandlerCancelled)
    for record in log.records:
        if isinstance(record, records.HandlerStarted):
            yield record, 1
        elif isinstance(record, over):
            yield record, -1


def _check_flows(log: Log) -> None:
    open_flows: set[str] = set()
    for record in log.records:
        if isinstance(record, records.FlowStarted):
            assert record.correlation_id not in open_flows
            open_flows.add(record.correlation_id)
        elif isinstance(record, records.FlowEnded):
            open_flows.remove(record.correlation_id)
        elif not isinstance(record, (records.OutputDropped, records.ThreadAbandoned)):
            assert record.correlation_id in open_flows
    assert not open_flows
    failed = [r for r in log.of(records.HandlerFailed) if r.consequence == "fail flow"]
    outcomes = {
        r.correlation_id for r in log.of(records.FlowEnded) if r.outcome == "failed"
    }
    assert {record.correlation_id for record in failed} <= outcomes
