"""What the simulated sessions do, and what must have come of it, worked out beforehand.

Each root is a small program of its own: how far it fans out, who fails how often, whether
it ends its flow or kills the process. Every handler writes one row in the transaction that
finishes its event, so the rows say what was done, and how often.
"""

import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
import attrs

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    FlowFailed,
    Retry,
    Router,
    TerminateEvent,
)
from agentflow._durable_parts import key_of
from agentflow._packing import child_id, keyed_id
from agentflow._steps import Key
from agentflow.journal import once, this_delivery
from tests.journal.simulation import SimJournal, World


class Start(Event):
    n: int
    width: int
    depth: int
    fails: int
    """How often each walker fails first."""
    ends: str = ""
    """How the flow ends early: "terminate", "raise", "poison", or not."""


class Walk(Event):
    n: int
    depth: int
    fails: int


class Walked(Event):
    n: int


class Drip(Event):
    n: int


class Met(Event):
    n: int
    count: int


class Ending(Event):
    n: int
    how: str


class Unsteady(Exception):
    """What is worth another attempt."""


@attrs.define
class Run:
    """One workload in one world."""

    world: World
    roots: dict[str, Start] = attrs.field(factory=dict[str, Start])
    made: dict[str, bool] = attrs.field(factory=dict[str, bool])
    """Steps made with `once`: whether their value was kept."""
    attempts: dict[str, int] = attrs.field(factory=dict[str, int])
    """Which attempt at a delivery is on disk."""

    def has_lost(self) -> bool:
        """Return whether another process has this delivery: this one stalled too long."""
        delivery, link = this_delivery()._delivery, this_delivery()._engine.link
        assert link is not None
        row = self.world.store.books.deliveries.get(key_of(delivery))
        return row is None or row.owner != link.opened.owner

    def begin(self, event: Event) -> None:
        """A handler begins: its event must be on disk."""
        if not self.world.is_on:
            return
        if event.id not in self.world.store.books.entries:
            self.world.problem(f"{this_delivery().key} began before it was on disk")
        key, attempt = this_delivery().key, this_delivery().attempt
        if attempt < self.attempts.get(key, 1) and not self.has_lost():
            self.world.problem(f"{key} began with attempt {attempt} again")

    def row(self) -> None:
        """Say in the transaction that this delivery is done."""
        this_delivery().sql("done", this_delivery().key)

    async def pause(self) -> None:
        """Take a moment; never two the same, for the scheduler orders by address then."""
        rng = self.world.rng
        await anyio.sleep(rng.choice((0.0, 0.001, 0.004)) + rng.random() * 1e-6)

    async def step(self, name: str) -> int:
        """Make a step once; a kept one must not be made again."""
        key = f"{this_delivery().key} {name}"

        async def make() -> int:
            if self.made.get(key) and self.world.is_current:
                self.world.problem(f"{key} was made again")
            self.made[key] = False
            await self.pause()
            return 7

        value = await once(name, make)
        if self.world.is_on:
            self.made[key] = True
        return value


class Walker(BaseAsyncAgent):
    """A serial agent that fails a few times, and walks on."""

    def __init__(self, run: Run) -> None:
        self.run = run

    async def receive_event_async(self, event: Walk) -> list[Event]:
        self.run.begin(event)
        attempt = this_delivery().attempt
        await self.run.step(f"look {attempt}")
        if self.run.world.is_on:  # then the failure before it is on disk, too
            self.run.attempts[this_delivery().key] = attempt
        await self.run.pause()
        if attempt <= event.fails:
            raise Unsteady
        self.shared_working_memory.merge_to_working_memory({
            f"walk {event.id}": self.count(event) + 1
        })
        await self.run.pause()  # a crash here must not count twice
        self.run.row()
        if event.depth == 0:
            return [Walked(source="walker", n=event.n)]
        return [Walk(source="walker", n=event.n, depth=event.depth - 1, fails=0)]

    def count(self, event: Walk) -> int:
        facts = self.shared_working_memory.get_working_memory()
        return int(facts.get(f"walk {event.id}", 0))


class Meeting(AsyncAggregatorAgent):
    """Two walkers meet."""

    event_types_needed = (Walked, Walked)

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    async def process_events(self, events: list[Event]) -> Met:
        await self.run.pause()
        self.run.row()
        first = events[0]
        assert isinstance(first, Walked)
        return Met(source="meeting", n=first.n, count=len(events))


def router_of(  # noqa: C901 -- small agents, one after another
    run: Run,
) -> Router:
    """Return the routes of the workload."""

    async def start(event: Start) -> list[Event]:
        run.begin(event)
        await run.pause()
        run.row()
        out: list[Event] = [
            Walk(source="start", n=event.n, depth=event.depth, fails=event.fails)
            for _ in range(event.width)
        ]
        out.append(Drip(source="start", n=event.n))
        if event.ends:
            out.append(Ending(source="start", n=event.n, how=event.ends))
        return out

    async def drip(event: Drip) -> AsyncGenerator[Met, None]:
        run.begin(event)
        for count in range(2):
            yield Met(source="drip", n=event.n, count=count)
            await run.pause()
        run.row()

    async def sink(event: Met) -> None:
        run.begin(event)
        run.row()

    async def ending(event: Ending) -> TerminateEvent | None:
        run.begin(event)
        await run.pause()
        if event.how == "raise":
            raise ValueError(event.how)
        if event.how == "poison":
            run.world.power_off()
            await anyio.sleep_forever()
        return TerminateEvent(source="ending")

    retry = Retry(attempts=3, on=Unsteady, initial=0.01)
    router = Router({Start: [start], Drip: [drip], Met: [sink], Ending: [ending]})
    router.add_route(Walk, Walker(run), retry=retry)
    router.add_route(Walked, Meeting(run))
    return router


def new_run(world: World) -> Run:
    """Draw the roots of a workload."""
    rng = world.rng
    run = Run(world)
    for n in range(rng.randint(1, 3)):
        name = f"root {n}"
        run.roots[name] = Start(
            source="test",
            n=n,
            width=rng.choice((0, 2, 2, 3, 4)),
            depth=rng.randint(0, 2),
            fails=rng.choice((0, 0, 1, 2)),
            ends=draw_ending(rng),
        )
    return run


def draw_ending(rng: random.Random) -> str:
    """Let most flows end by themselves."""
    return rng.choice(("", "", "", "", "terminate", "raise", "poison"))


async def session(run: Run, journal: SimJournal) -> None:
    """One life: send every root, each under its name; wait, and look whether it is true."""
    world = run.world
    with suppress(FlowFailed):  # the flows that are meant to fail
        async with AsyncDispatcher(router_of(run), journal=journal) as dispatcher:
            await send_all(run, dispatcher)
            await wait_idle(dispatcher)
            open_now = [
                d for d in world.store.books.deliveries.values() if not d.is_dead
            ]
            if world.is_on and open_now:
                world.problem(f"idle was reported with {open_now} open")


async def send_all(run: Run, dispatcher: AsyncDispatcher) -> None:
    """Send every root, some of them twice; what is sent is on disk."""
    world = run.world
    for name, root in run.roots.items():
        await dispatcher.send(root, key=name)
        if world.is_on and keyed_id(name) not in world.store.books.entries:
            world.problem(f"{name} was sent and is not on disk")
        if world.rng.random() < 0.1:
            await dispatcher.send(root, key=name)


async def wait_idle(dispatcher: AsyncDispatcher) -> None:
    """Wait until the session is idle; failures are what the end raises."""
    with suppress(FlowFailed):
        await dispatcher.wait_for_empty_queue()


# -- what must have come of it


def expected_rows(name: str, root: Start) -> Counter[str]:
    """Return the keys of all deliveries of a flow that ends by itself, meetings aside."""
    flow = keyed_id(name)
    rows: Counter[str] = Counter({f"{flow}/start": 1})
    for index in range(root.width):
        walk = child_id(Key(flow, flow, "start"), index)
        for _ in range(root.depth):
            rows[f"{walk}/Walker"] += 1
            walk = child_id(Key(flow, walk, "Walker"), 0)
        rows[f"{walk}/Walker"] += 1
    drip = child_id(Key(flow, flow, "start"), root.width)
    rows[f"{drip}/drip"] += 1
    for count in range(2):
        rows[f"{child_id(Key(flow, drip, 'drip'), count)}/sink"] += 1
    return rows


def check(run: Run) -> None:
    """Note what does not hold after the last life."""
    books = run.world.store.books
    problem = run.world.problem
    done = Counter(str(parameters[0]) for _, parameters in books.rows)
    for key, count in done.items():
        if count > 1:
            problem(f"{key} was done {count} times")
    for name, root in run.roots.items():
        check_end(run, name, root)
        if not root.ends and not run.world.problems:
            check_flow(run, name, done)
    failing = [
        keyed_id(n) for n, r in run.roots.items() if r.ends in {"raise", "poison"}
    ]
    for delivery in books.deliveries.values():
        if delivery.key.flow not in failing:
            problem(f"{delivery.key} is left")


def check_end(run: Run, name: str, root: Start) -> None:
    """Check how a flow ended."""
    flow = run.world.store.books.flows.get(keyed_id(name))
    if flow is None:
        run.world.problem(f"{name} is not known")
        return
    expected = {"": "done", "terminate": "terminated"}.get(root.ends, "failed")
    if flow.status != expected:
        run.world.problem(f"{name} is {flow.status}, not {expected}")
    if flow.open:
        run.world.problem(f"{name} counts {flow.open} open deliveries")


def check_flow(run: Run, name: str, done: Counter[str]) -> None:
    """Check the rows, the meetings and the facts of a flow that ended by itself."""
    books, root = run.world.store.books, run.roots[name]
    flow = keyed_id(name)
    of_flow = {e.id for e in books.entries.values() if e.flow == flow}
    mine = Counter({k: n for k, n in done.items() if k.partition("/")[0] in of_flow})
    expected = expected_rows(name, root)
    meetings = [k for k in mine if k.endswith("/Meeting")]
    if len(meetings) != root.width // 2:
        run.world.problem(f"{name}: {len(meetings)} meetings of {root.width}")
    for key in meetings:
        event, _, _ = key.partition("/")
        expected[key] += 1
        expected[f"{child_id(Key(flow, event, 'Meeting'), 0)}/sink"] += 1
    if mine != expected:
        run.world.problem(
            f"{name}: missing {expected - mine}, too much {mine - expected}"
        )
    for key in expected:
        event, _, agent = key.partition("/")
        if agent == "Walker" and books.facts.get(f"walk {event}") != "1":
            run.world.problem(
                f"{name}: {key} counted {books.facts.get(f'walk {event}')}"
            )
