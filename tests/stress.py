"""Random graphs of agents, and what must come of them.

Everything an agent does follows from the seed and the event it gets, so the deliveries of
a *calm* flow can be counted beforehand, those to aggregators and the sets they complete
included. *Wild* flows fail, retry, terminate, ask, nest, run out of budget, or are
cancelled or left by their owners; `judge` knows what holds for those. Who is told that the
queue is empty must find nothing open.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint

from agentflow import (
    AgentFailed,
    AsyncAggregatorAgent,
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
from tests.judge import check_books, check_limits, check_order, still_open


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


class Joined(Event):
    pass


TYPES: tuple[type[Token], ...] = (Token0, Token1, Token2, Token3)


Calm = dict[str, Counter[str]]
"""What is expected of each calm flow."""


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
        self.joined: list[type[Token]] = []
        self.counts_sets = False
        if rng.random() < 0.6:
            self.joined = rng.choices(TYPES, k=rng.randint(2, 3))
            hurry = rng.choice((None, 0.002))
            joiner = Joiner(self.joined, timeout=hurry)
            for token_type in dict.fromkeys(self.joined):
                self.router.add_route(token_type, joiner)
            self.counts_sets = hurry is None
        self.router.add_route(Joined, sink)
        self.concurrency: int | None = rng.choice((None, 3))
        self.budget: int | None = rng.choice((15, 200, None))

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

    def expected(self, event: Token) -> Counter[str]:
        """Count what a calm event leads to, by what is delivered where."""
        tokens = self._tokens(event)
        counts = Counter(
            node=sum(n * len(self.takers[kind]) for kind, n in tokens.items())
        )
        if self.joined:
            needed = Counter(self.joined)
            counts["Joiner"] = sum(tokens[kind] for kind in needed)
            if self.counts_sets:  # none is overdue
                counts["sink"] = min(tokens[kind] // n for kind, n in needed.items())
        return counts

    def _tokens(self, event: Token) -> Counter[type[Token]]:
        tokens = Counter([type(event)])
        for node in self.takers[type(event)]:
            for child in self.children(node, event):
                tokens += self._tokens(child)
        return tokens


async def seen_all(event: Event) -> None:
    """Take everything, and do nothing."""
    await checkpoint()


class Threaded(BaseAgent):
    """Works in a thread now and then."""

    def receive_event(self, event: Token) -> None:
        """Do nothing there."""


class Joiner(AsyncAggregatorAgent):
    """Joins tokens of several types, or of one type several times."""

    async def process_events(self, events: list[Event]) -> Joined:
        """Wait, fail in some wild flows, and tell of the set."""
        token = cast("Token", events[0])
        await anyio.sleep(token.key % 3 / 1000)
        if token.wild and token.key % 8 == 0:
            raise Oops(token.key)
        return Joined(source="joiner")


async def sink(event: Joined) -> None:
    """Take a set that was joined."""
    await checkpoint()


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


async def live(graph: Graph) -> tuple[StopReport, Calm]:
    """Let a session live through everything that the seed brings; return its end."""
    rng = graph.rng("session")
    calm: Calm = {}
    async with AsyncDispatcher(
        graph.router,
        tracer=graph.log,
        batch_size=rng.choice((1, 2, 16)),
        capacity=rng.choice((3, 1000)),
        max_concurrency=graph.concurrency,
        max_events_per_flow=graph.budget,
    ) as dispatcher:
        graph.dispatcher = dispatcher
        async with anyio.create_task_group() as tasks:
            for n in range(rng.randint(5, 15)):
                tasks.start_soon(_one_user, graph, n, calm)
            if rng.random() < 0.4:
                await anyio.sleep(rng.choice((0.001, 0.005, 0.02, 0.03)))
                await _ignoring_failures(dispatcher.stop, rng.choice((0, 0.005)))
        await _ignoring_failures(dispatcher.wait_for_empty_queue)
        assert not still_open(graph.log), "a false True"
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


async def _one_user(graph: Graph, n: int, calm: Calm) -> None:
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
                assert not still_open(graph.log, flow), "a false True"
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


def judge(graph: Graph, report: StopReport, calm: Calm) -> None:
    """Check everything that must hold for what has been recorded."""
    log = graph.log
    check_books(log, report)
    limits = {node.name: node.max_concurrency for node in graph.nodes}
    check_order(log, limits)
    if not graph.asks:  # who asks stands aside
        check_limits(log, limits, graph.concurrency)
    handled: dict[str, Counter[str]] = {flow: Counter() for flow in calm}
    for record in log.of(records.HandlerFinished):
        if record.correlation_id in calm:
            handled[record.correlation_id][record.agent.rstrip("01234")] += 1
    if graph.budget is not None:
        assert all(r.events <= graph.budget for r in log.of(records.FlowEnded))
    ended = {
        r.correlation_id for r in log.of(records.FlowEnded) if r.outcome != "finished"
    }
    for flow, expected in calm.items():
        counts = Counter({kind: handled[flow][kind] for kind in expected})
        assert counts == expected or flow in ended, f"{flow}: {counts}, not {expected}"


async def live_and_judge(seed: int) -> int:
    """Let one random session live, judge it, and return how much happened."""
    graph = Graph(seed)
    report, calm = await live(graph)
    judge(graph, report, calm)
    return len(graph.log.records)


async def cancel_and_judge(seed: int, scope: Callable[[], anyio.CancelScope]) -> None:
    """Judge what a random session leaves whose scope somebody cancels meanwhile."""
    graph = Graph(seed)
    try:
        with scope():
            await live(graph)
    except ExceptionGroup as group:
        _check_is_ours(group)
    if graph.dispatcher is not None:
        assert_nothing_left(graph.dispatcher)
        judge(graph, graph.dispatcher.stop_report, {})
