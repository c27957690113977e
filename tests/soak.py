"""A soak: one session for each loop that lives long, under mixed load, in real time.

``nox -s soak`` runs it for ten minutes, ``nox -s soak -- 60`` for one. Users dispatch, own
and run flows whose agents wait, fail, retry, join, ask, nest, block in threads and
terminate; owners give up, cancel and raise. Again and again the load pauses, and when the
session says that it is idle,

- nothing is queued, running, open or unfinished;
- the session's totals, its records and the agents' own counts agree;
- each failure has surfaced exactly once;
- memory is where it was: the last samples lie within `MAX_DRIFT` of the early ones.
"""

import argparse
import gc
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from statistics import median
from typing import cast

import anyio
import attrs
from anyio.lowlevel import checkpoint

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAgent,
    BaseAsyncAgent,
    Event,
    FlowCancelled,
    FlowFailed,
    NoResult,
    QueueFull,
    Retry,
    Router,
    SessionError,
    TerminateEvent,
    _records as records,
    wait_for,
)

MAX_DRIFT = 5.0
"""Megabytes by which a session may have grown at its end."""

USERS = 20
PAUSE_EVERY = 1.0
"""Seconds of load between two looks at the books."""

MIN_LOOKS = 4
"""So often the books are looked at, however slow the machine is."""


class Job(Event):
    n: int
    kind: str


class Part(Event):
    n: int


class Check(Event):
    n: int


class Joined(Event):
    n: int


class Question(Event):
    n: int


class Answer(Event):
    n: int


class Done(Event):
    n: int


class Nested(Event):
    n: int


class SoakError(Exception):
    """What agents and owners raise on purpose."""


KINDS = ("calm",) * 6 + ("fail", "retry", "ask", "nest", "terminate", "hang", "thread")


EXPECTED = (SoakError, FlowCancelled, NoResult, QueueFull, SessionError)
"""What owners of flows have to reckon with."""


class Planner(BaseAsyncAgent):
    """Begins each job as its kind says."""

    max_concurrency = None

    def __init__(self, soak: "Soak") -> None:
        self.soak = soak

    async def receive_event_async(self, event: Job) -> AsyncIterator[Event]:
        self.soak.begun["Planner"] += 1
        await anyio.sleep(event.n % 3 / 1000)
        yield Part(source="planner", n=event.n)
        match event.kind:
            case "fail":
                raise SoakError(event.n)
            case "ask":
                yield Question(source="planner", n=event.n)
                await wait_for(Answer)
            case "nest":
                dispatcher = self.soak.dispatcher
                await dispatcher.run(Nested(source="planner", n=event.n), Done)
            case "terminate":
                yield TerminateEvent(source="planner")
            case "hang":
                await anyio.sleep(0.05)
            case _:
                pass
        yield Check(source="planner", n=event.n)


class Serial(BaseAsyncAgent):
    """Keeps a count without a lock, which only works one at a time."""

    def __init__(self, soak: "Soak") -> None:
        self.soak = soak
        self.busy = False

    async def receive_event_async(self, event: Part) -> None:
        self.soak.begun["Serial"] += 1
        assert not self.busy, "a serial agent was given two events at a time"
        self.busy = True
        try:
            if event.n % 4 == 0:
                await checkpoint()
        finally:
            self.busy = False


class Flaky(BaseAsyncAgent):
    """Fails now and then, and succeeds when it is tried again."""

    max_concurrency = 8

    def __init__(self, soak: "Soak") -> None:
        self.soak = soak

    async def receive_event_async(self, event: Check) -> None:
        self.soak.begun["Flaky"] += 1
        if self.soak.rng.random() < 0.1:
            raise OSError(event.n)


class Joiner(AsyncAggregatorAgent):
    """Joins the two halves of a job."""

    event_types_needed = (Part, Check)

    async def process_events(self, events: list[Event]) -> Joined:
        return Joined(source="joiner", n=cast("Part", events[0]).n)


class Blocking(BaseAgent):
    """Works in a thread now and then."""

    def receive_event(self, event: Job) -> None:
        """Block for up to 7 ms, now and then for longer than the flow lasts."""
        time.sleep(event.n % 8 / 1000)


@attrs.define
class Tally:
    """Counts the records of a session, and keeps none."""

    counts: Counter[str] = attrs.field(factory=Counter[str])

    def record(self, record: records.Record, /) -> None:
        """Count one."""
        kind = type(record).__name__
        self.counts[kind] += 1
        if isinstance(record, records.EventAccepted):
            self.counts["deliveries"] += len(record.agents)
        elif isinstance(record, records.HandlerFailed):
            self.counts[record.consequence] += 1


class Soak:
    """One long session and what is known of it from outside.

    Args:
        seed: Of all that is random.
    """

    dispatcher: AsyncDispatcher

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.tally = Tally()
        self.begun: Counter[str] = Counter()
        self.users: Counter[str] = Counter()
        self.surfaced = 0
        self.samples: list[tuple[float, float]] = []
        """Seconds since the start, and megabytes."""
        self.router = Router()
        self.router.add_route(Job, Planner(self))
        self.router.add_route(Part, Serial(self))
        retry = Retry(attempts=20, on=OSError, initial=0.001, maximum=0.002)
        self.router.add_route(Check, Flaky(self), retry=retry)
        joiner = Joiner()
        self.router.add_route(Part, joiner)
        self.router.add_route(Check, joiner)
        self.router.add_route(Job, Blocking(), when=lambda job: job.kind == "thread")
        self.router.add_route(Question, _answer)
        self.router.add_route(Nested, _nested)

    async def live(self, seconds: float) -> None:
        """Keep a session under load for so long.

        Raises:
            AssertionError: The books do not agree.
        """
        start = anyio.current_time()
        tasks_before = len(anyio.get_running_tasks())
        async with AsyncDispatcher(
            self.router, tracer=self.tally, capacity=50
        ) as self.dispatcher:
            while (now := anyio.current_time()) < start + seconds or len(
                self.samples
            ) < MIN_LOOKS:
                await self._load(now + PAUSE_EVERY)
                await self._settle()
                self.samples.append((anyio.current_time() - start, megabytes()))
        assert self.dispatcher.statistics().workers == 0
        assert not self.dispatcher.stop_report.undelivered
        assert len(anyio.get_running_tasks()) == tasks_before

    async def _load(self, until: float) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(USERS):
                tasks.start_soon(self._user, until)

    async def _user(self, until: float) -> None:
        while anyio.current_time() < until:
            job = Job(
                source="user", n=self.rng.getrandbits(20), kind=self.rng.choice(KINDS)
            )
            try:
                await self._one(job)
            except EXPECTED as error:
                self.users[type(error).__name__] += 1
            except BaseExceptionGroup as group:
                self._note(group)
            await anyio.sleep(self.rng.choice((0, 0.001, 0.003)))

    async def _one(self, job: Job) -> None:
        what = self.rng.random()
        if what < 0.2:
            await self.dispatcher.send(job)
        elif what < 0.5:
            joined = await self.dispatcher.run(job, Joined)
            assert joined.n == job.n
            self.users["result"] += 1
        elif what < 0.6:
            with anyio.move_on_after(self.rng.random() / 50) as scope:
                await self._own(job, self.rng.random())
            self.users["gave up"] += scope.cancelled_caught
        else:
            await self._own(job, self.rng.random())

    async def _own(self, job: Job, what: float) -> None:
        try:
            async with self.dispatcher.open_flow(job) as flow:
                await anyio.sleep(self.rng.random() / 100)
                if what < 0.1:
                    flow.cancel("enough")
                elif what < 0.2:
                    raise SoakError("owner")
                elif what < 0.4:
                    flow.dispatch(Part(source="owner", n=job.n))
        except BaseExceptionGroup as group:
            self._note(group)

    def _note(self, group: BaseExceptionGroup[BaseException]) -> None:
        """Count the failures in a group, and raise what else is in it."""
        failed, rest = group.split(lambda error: isinstance(error, FlowFailed))
        for failure in [] if failed is None else failures_in(failed):
            unlisted = re.search(r"and (\d+) more failures not kept", str(failure))
            self.surfaced += len(failure.failures) + int(unlisted[1] if unlisted else 0)
        if rest is not None:
            unexpected = rest.split(EXPECTED)[1]
            if unexpected is not None:
                raise unexpected

    async def _settle(self) -> None:
        """Wait until all is idle, and look at the books."""
        try:
            assert await self.dispatcher.wait_for_empty_queue(30), "it never settles"
        except FlowFailed as failed:
            self._note(failed)
        with anyio.fail_after(5):  # a thread's end is no event that could be waited for
            while self.dispatcher.statistics().threads_abandoned:  # noqa: ASYNC110
                await anyio.sleep(0.005)
        now, counts = self.dispatcher.statistics(), self.tally.counts
        assert (now.queued, now.running, now.flows, now.unfinished) == (0, 0, 0, 0)
        assert now.oldest is None
        final = counts["fail flow"] + counts["hand over"]
        ended = counts["HandlerFinished"] + counts["HandlerCancelled"] + final
        assert now.handled == ended
        assert now.failed == final == self.surfaced
        assert now.retried == counts["retry"]
        assert now.dropped == counts["DeliveryDropped"]
        assert counts["deliveries"] == ended + now.dropped
        assert counts["HandlerStarted"] == ended + now.retried
        assert counts["FlowStarted"] == counts["FlowEnded"]
        assert sum(self.begun.values()) <= counts["HandlerStarted"]

    def drift(self) -> float:
        """Return by how many megabytes the session has grown since it was warm."""
        early = self.samples[len(self.samples) // 10 : len(self.samples) // 3]
        late = self.samples[-max(1, len(self.samples) // 5) :]
        return median(mb for _, mb in late) - median(mb for _, mb in early)

    def summary(self) -> str:
        """Say what happened."""
        counts = self.tally.counts
        return (
            f"{counts['FlowStarted']:,} flows, {counts['deliveries']:,} deliveries, "
            f"{self.users['result']:,} results; {counts['retry']:,} retries, "
            f"{counts['fail flow']:,} failures, {self.users['gave up']:,} owners gave "
            f"up, {counts['HandlerCancelled']:,} handlers cancelled, "
            f"{counts['DeliveryDropped']:,} deliveries dropped, "
            f"{counts['ThreadAbandoned']:,} threads left behind; "
            f"{self.samples[0][1]:.1f} MB at first, {self.samples[-1][1]:.1f} MB at "
            f"last, drift {self.drift():+.2f} MB over {len(self.samples)} looks"
        )


def failures_in(error: BaseException) -> list[FlowFailed]:
    """Return the failures in a group, and the failures of nested flows in those."""
    found = [error] if isinstance(error, FlowFailed) else []
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for inner in group.exceptions:
            found += failures_in(inner)
    return found


async def _answer(event: Question) -> Answer:
    await anyio.sleep(0.002)
    return Answer(source="answer", n=event.n)


async def _nested(event: Nested) -> Done:
    if event.n % 16 == 0:
        raise SoakError("nested")
    return Done(source="nested", n=event.n)


def megabytes() -> float:
    """Return how much memory the process holds now, after a collection (Linux)."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def main() -> int:
    """Soak both loops, half of the time each; return 1 if memory has grown.

    Raises:
        AssertionError: The books do not agree.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("seconds", nargs="?", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    has_grown = False
    for backend in ("trio", "asyncio"):
        soak = Soak(options.seed)
        anyio.run(soak.live, options.seconds / 2, backend=backend)
        sys.stdout.write(f"{backend}: {soak.summary()}\n")
        sys.stdout.flush()
        has_grown = has_grown or soak.drift() > MAX_DRIFT
    if has_grown:
        sys.stdout.write(f"memory grew by more than {MAX_DRIFT} MB\n")
    return int(has_grown)


if __name__ == "__main__":
    sys.exit(main())
