"""Random graphs of agents, what must come of them, and a judge of the records.

Everything an agent does follows from the seed and the event it gets, so the deliveries of
a *calm* flow can be counted beforehand. *Wild* flows fail, retry, terminate, are cancelled
by their owners or nest; of those the judge knows what holds for every session:

- each delivery that was accepted ends exactly once: handled, failed, cancelled or dropped;
- a serial agent begins events in the order in which they were accepted;
- no agent, and no session, handles more events at a time than its limit;
- each flow ends as often as it starts, and its end comes after all of its deliveries;
- a flow in which an agent failed for good ends as failed, and somebody is told;
- who is told that the queue is empty finds nothing open.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from random import Random
from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    BaseAgent,
    Event,
    FlowBudgetExceeded,
    FlowCancelled,
    FlowFailed,
    FlowStalled,
    NoResult,
    QueueFull,
    Retry,
    Router,
    SessionError,
    StopReport,
    TerminateEvent,
    _records as records,
    wait_for,
)
from tests.fakes import Log, assert_nothing_left


class Token(Event):
    key: int
    ttl: int
    wild: bool = False


class Token0(Token):
    pass


class Token1(Token):
    pass


class Token2(Token):
    pass


class Token3(Token):
    pass


TYPES: tuple[type[Token], ...] = (Token0, Token1, Token2, Token3)


class Oops(Exception):
    """What an agent raises on purpose."""


EXPECTED = (
    Oops,
    NoResult,
    FlowCancelled,
    FlowBudgetExceeded,
    FlowStalled,
    QueueFull,
    SessionError,  # the session is being stopped, or the flow has ended
)


class Graph:
    """Agents and routes that follow from a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.log = Log()
        rng = Random(seed)
        self.asks = rng.random() < 0.3
        self.dispatcher: AsyncDispatcher | None = None
        self.attempts: Counter[tuple[str, str | None]] = Counter()
        self.nodes = [Node(self, n, rng.choice((1, 1, 2, None))) for n in range(5)]
        self.router = Router()
        self.takers: dict[type[Token], list[Node]] = {}
        for token_type in TYPES:
            takers = rng.sample(self.nodes, rng.randint(1, 2))
            self.takers[token_type] = takers
            for node in takers:
                retry = (
                    Retry(attempts=3, on=Oops, initial=0.01) if node.retries else None
                )
                self.router.add_route(token_type, node, retry=retry)
        if rng.random() < 0.3:
            self.router.add_route(Event, seen_all)
        if rng.random() < 0.3:
            self.router.add_route(Token3, Threaded(), when=lambda event: not event.wild)
        if rng.random() < 0.3:
            self.router.add_route(AgentFailed, seen_all)

    def rng(self, *what: object) -> Random:
        """Return the randomness that belongs to something."""
        return Random(repr((self.seed, *what)))

    def children(self, node: "Node", event: Token) -> list[Token]:
        """Return what an agent answers to an event."""
        if event.ttl <= 0:
            return []
        rng = self.rng("children", node.name, event.key)
        return [
            rng.choice(TYPES)(
                source=node.name,
                key=rng.getrandbits(40),
                ttl=event.ttl - 1,
                wild=event.wild,
            )
            for _ in range(rng.choice((0, 1, 1, 1, 2)))
        ]

    def expected(self, event: Token) -> int:
        """Count the deliveries to nodes that a calm event leads to."""
        return sum(
            1 + sum(self.expected(child) for child in self.children(node, event))
            for node in self.takers[type(event)]
        )


async def seen_all(event: Event) -> None:
    """Take everything, and do nothing."""
    await checkpoint()


class Threaded(BaseAgent):
    """Works in a thread now and then."""

    def receive_event(self, event: Token) -> None:
        """Do nothing there."""


class Node:
    """One agent of a graph."""

    def __init__(self, graph: Graph, number: int, limit: int | None) -> None:
        self.graph = graph
        self.name = f"node{number}"
        self.max_concurrency = limit
        self.retries = number % 2 == 0

    async def receive_event_async(self, event: Token) -> list[Event]:
        """Wait, answer, and if the flow is wild, misbehave."""
        rng = self.graph.rng("act", self.name, event.key)
        pause = rng.choice((None, 0.0, 0.001, 0.01))
        if pause is not None:
            await anyio.sleep(pause)
        outputs: list[Event] = [*self.graph.children(self, event)]
        if event.wild:
            outputs += await self._misbehave(event, rng)
        return outputs

    async def _misbehave(self, event: Token, rng: Random) -> list[Event]:
        what = rng.random()
        tries = self.graph.attempts
        dispatcher = self.graph.dispatcher
        assert dispatcher is not None
        if what < 0.1:
            tries[self.name, event.id] += 1
            if tries[self.name, event.id] < 3 or what < 0.03:
                raise Oops(event.key)
        elif what < 0.13:
            return [TerminateEvent(source=self.name)]
        elif what < 0.18:
            dispatcher.dispatch(Token0(source=self.name, key=event.key + 1, ttl=0))
        elif what < 0.2:
            shared = "a shared flow"
            return [Token1(source=self.name, key=0, ttl=0, correlation_id=shared)]
        elif what < 0.24:
            await dispatcher.run(Token2(source=self.name, key=event.key, ttl=1), Token)
        elif what < 0.28 and self.graph.asks:
            await wait_for(Token)
        return []


async def live(graph: Graph) -> tuple[StopReport, Counter[str]]:
    """Let a session live through everything that the seed brings; return its end."""
    rng = graph.rng("session")
    calm: Counter[str] = Counter()
    async with AsyncDispatcher(
        graph.router,
        tracer=graph.log,
        batch_size=rng.choice((1, 2, 16)),
        capacity=rng.choice((3, 1000)),
        max_concurrency=rng.choice((None, 3)),
        max_events_per_flow=rng.choice((200, None)),
    ) as dispatcher:
        graph.dispatcher = dispatcher
        async with anyio.create_task_group() as tasks:
            for n in range(rng.randint(5, 15)):
                tasks.start_soon(_one_user, graph, n, calm)
            if rng.random() < 0.4:
                await anyio.sleep(rng.choice((0.001, 0.005, 0.02, 0.03)))
                await _ignoring_failures(dispatcher.stop, rng.choice((0, 0.005)))
        await _ignoring_failures(dispatcher.wait_for_empty_queue)
        assert not _open(graph.log), "a false True"
        if not dispatcher.stop_report.undelivered:
            assert_nothing_left(dispatcher)
        await _ignoring_failures(dispatcher.stop)
    assert_nothing_left(dispatcher)
    assert dispatcher.statistics().workers == 0
    return dispatcher.stop_report, calm


async def _ignoring_failures(call: Any, *args: Any) -> None:
    try:
        await call(*args)
    except FlowFailed as failed:
        _check_is_ours(failed)


def _check_is_ours(failed: ExceptionGroup[Exception]) -> None:
    for error in failed.exceptions:
        if isinstance(error, ExceptionGroup):
            _check_is_ours(cast("ExceptionGroup[Exception]", error))
        elif not isinstance(error, EXPECTED):
            raise error


async def _one_user(graph: Graph, n: int, calm: Counter[str]) -> None:
    """Dispatch a token, in one way or another, and wait for its flow or not."""
    rng = graph.rng("user", n)
    dispatcher = graph.dispatcher
    assert dispatcher is not None
    await anyio.sleep(rng.choice((0.0, 0.001, 0.02)))
    wild = rng.random() < 0.6
    event = rng.choice(TYPES)(
        source="user", key=rng.getrandbits(40), ttl=rng.randint(0, 4), wild=wild
    )
    try:
        if not wild:
            root = await dispatcher.send(event)
            flow = root.correlation_id or ""
            calm[flow] = graph.expected(event)
            if await dispatcher.wait_for_empty_queue(0.5, flow):
                assert not _open(graph.log, flow), "a false True"
        elif rng.random() < 0.5:
            await dispatcher.send(event)
        else:
            await _own(dispatcher, event, rng)
    except ExceptionGroup as group:
        _check_is_ours(group)
    except EXPECTED:
        return


async def _own(dispatcher: AsyncDispatcher, event: Token, rng: Random) -> None:
    with anyio.move_on_after(rng.choice((0.0, 0.005, 1.0))):
        async with dispatcher.open_flow(event) as flow:
            await anyio.sleep(rng.choice((0.0, 0.005)))
            what = rng.random()
            if what < 0.2:
                flow.cancel("enough")
            elif what < 0.4:
                raise Oops("owner")
            elif what < 0.6:
                flow.dispatch(Token0(source="owner", key=event.key, ttl=1))
            elif what < 0.8:
                await flow.result(Token)


# -- the judge ----------------------------------------------------------------------


def judge(graph: Graph, report: StopReport, calm: Counter[str]) -> None:
    """Check everything that must hold for what has been recorded."""
    log = graph.log
    ends = _ends(log)
    for (event_id, agent), count in _accepted(log).items():
        assert ends[event_id, agent] == count, f"{event_id} to {agent}: {ends}"
    assert sum(ends.values()) == sum(_accepted(log).values())
    _check_reported(log, report)
    _check_order_and_limits(graph, log)
    _check_flows(log)
    handled: Counter[str] = Counter()
    for record in log.of(records.HandlerFinished):
        handled[record.correlation_id] += record.agent.startswith("node")
    cut = {r.correlation_id for r in log.of(records.DeliveryDropped)}
    cut |= {r.correlation_id for r in log.of(records.HandlerCancelled)}
    cut |= {r.correlation_id for r in log.of(records.OutputDropped)}
    for flow, expected in calm.items():
        assert handled[flow] == expected or flow in cut, f"{flow}: {handled[flow]}"


def _accepted(log: Log) -> Counter[tuple[str | None, str]]:
    return Counter(
        (record.event.id, agent)
        for record in log.of(records.EventAccepted)
        for agent in record.agents
    )


def _ends(log: Log) -> Counter[tuple[str | None, str]]:
    ended: list[records.DeliveryRecord] = [
        *log.of(records.HandlerFinished),
        *log.of(records.HandlerCancelled),
        *log.of(records.DeliveryDropped),
        *(r for r in log.of(records.HandlerFailed) if r.consequence != "retry"),
    ]
    return Counter((record.event.id, record.agent) for record in ended)


def _open(log: Log, flow: str | None = None) -> Counter[tuple[str | None, str]]:
    """Return the deliveries that have not ended, of one flow or of all."""
    mine = Log()
    mine.records = [r for r in log.records if flow in {None, r.correlation_id}]
    return _accepted(mine) - _ends(mine)


def _check_reported(log: Log, report: StopReport) -> None:
    reported = Counter((u.event.id, u.agent) for u in report.undelivered)
    assert all(count == 1 for count in reported.values())
    why = "the session ended"
    lost: list[records.DeliveryDropped | records.HandlerCancelled] = [
        *(r for r in log.of(records.DeliveryDropped) if r.reason.startswith(why)),
        *(r for r in log.of(records.HandlerCancelled) if r.reason.startswith(why)),
    ]
    assert {(r.event.id, r.agent) for r in lost} <= set(reported)


def _check_order_and_limits(graph: Graph, log: Log) -> None:
    limits = {node.name: node.max_concurrency for node in graph.nodes}
    running: Counter[str] = Counter()
    begun: dict[str, list[str]] = defaultdict(list)
    for record, change in _changes(log):
        running[record.agent] += change
        limit = limits.get(record.agent)
        if limit is not None and not graph.asks:  # who asks stands aside
            assert running[record.agent] <= limit, record.agent
        if isinstance(record, records.HandlerStarted) and record.attempt == 1:
            begun[record.agent].append(record.event.id or "")
    accepted: dict[str, dict[str, int]] = defaultdict(dict)
    for n, entry in enumerate(log.of(records.EventAccepted)):
        for agent in entry.agents:
            accepted[agent][entry.event.id or ""] = n
    for name, limit in limits.items():
        if limit == 1:
            places = [accepted[name][event_id] for event_id in begun[name]]
            assert places == sorted(places), f"{name} began out of order"


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
        elif not isinstance(record, records.OutputDropped):
            assert record.correlation_id in open_flows
    assert not open_flows
    failed = [r for r in log.of(records.HandlerFailed) if r.consequence == "fail flow"]
    ends = {
        r.correlation_id for r in log.of(records.FlowEnded) if r.outcome == "failed"
    }
    assert {record.correlation_id for record in failed} <= ends


async def live_and_judge(seed: int) -> int:
    """Let one random session live, judge it, and return how much happened."""
    graph = Graph(seed)
    report, calm = await live(graph)
    judge(graph, report, calm)
    return len(graph.log.records)


async def cancel_and_judge(seed: int, ticks: int) -> None:
    """Cancel a random session after so many turns of the loop, and judge what it left."""
    graph = Graph(seed)
    scope = anyio.CancelScope()

    async def session() -> None:
        try:
            with scope:
                await live(graph)
        except ExceptionGroup as group:
            _check_is_ours(group)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session)
        for _ in range(ticks):
            await checkpoint()
        scope.cancel("cut short")
    if graph.dispatcher is not None:
        assert_nothing_left(graph.dispatcher)
        judge(graph, graph.dispatcher.stop_report, Counter())
