"""Runs a drawn program as one session, and checks what must hold for any of them.

Besides the records, which the kernel writes itself, the agents keep books of their own:
what they began, what they returned, what they raised. In the end

- every plan was accepted at most once, and by everyone it went to handled once or reported;
- what a finished handler returned, yielded or dispatched was accepted or reported;
- every failure surfaced exactly once, or was handed to who asked for failures;
- serial agents kept the order, all agents and the session kept their limits;
- counters are zero, nothing is left of any flow, no task is left;
- whoever was told that the queue is empty found it so.
"""

from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import cast

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    BaseAsyncAgent,
    Event,
    Flow,
    FlowBudgetExceeded,
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
from tests import programs as p
from tests.fakes import Log, assert_nothing_left
from tests.judge import check_books, check_limits, check_order, still_open


class Work(Event):
    plan: p.Plan


class ForSerial(Work):
    pass


class ForRetrying(Work):
    pass


class ForPair(Work):
    pass


class ForFree(Work):
    pass


class ForBoth(Work):
    pass


class Oops(Exception):
    """What handlers and owners raise on purpose."""


TYPES: dict[p.Agent, type[Work]] = {
    "serial": ForSerial,
    "retrying": ForRetrying,
    "pair": ForPair,
    "free": ForFree,
    "both": ForBoth,
}
LIMITS = {"serial": 1, "retrying": 1, "pair": 2, "free": None, "also": None}
EXPECTED = (
    Oops,
    FlowBudgetExceeded,
    FlowCancelled,
    NoResult,
    QueueFull,
    SessionError,
)


class Agent(BaseAsyncAgent):
    """Does what the plans say."""

    def __init__(self, session: "Session", name: str) -> None:
        self.name = name
        self.max_concurrency = LIMITS[name]
        self.session = session

    async def receive_event_async(
        self, event: Work
    ) -> list[Event] | AsyncIterator[Event]:
        """Do it, now or while the outputs are read."""
        if event.plan.act in {"yield", "ask"}:
            return self._stream(event)
        with self.session.handling(self.name, event):
            await pause(event.plan.pause)
            return await self._act(event.plan)

    async def _stream(self, event: Work) -> AsyncIterator[Event]:
        with self.session.handling(self.name, event):
            for child in self._children(event.plan):
                await pause(event.plan.pause)
                yield child  # noqa: ASYNC119 -- the session closes what it reads
            if event.plan.act == "ask":
                await wait_for(Work)

    def _children(self, plan: p.Plan, flow: str | None = None) -> list[Event]:
        return [event_of(child, self.name, flow) for child in plan.children]

    async def _act(self, plan: p.Plan) -> list[Event]:
        match plan.act:
            case "dispatch" | "thread":
                outputs = await self._dispatch(plan)
            case "fail" | "fail once":
                outputs = self._fail(plan)
            case "nest" | "own":
                outputs = await self._nest(plan)
            case "terminate":
                outputs = [*self._children(plan), TerminateEvent(source=self.name)]
            case "elsewhere":
                outputs = self._children(plan, "a")
            case _:
                with anyio.move_on_after(0.001):
                    await pause(0.005 if plan.act == "give up" else None)
                outputs = self._children(plan)
        return outputs

    async def _dispatch(self, plan: p.Plan) -> list[Event]:
        dispatch = self.session.dispatcher.dispatch
        for child in self._children(plan):
            if plan.act == "thread":
                await anyio.to_thread.run_sync(dispatch, child)
            else:
                dispatch(child)
        return []

    def _fail(self, plan: p.Plan) -> list[Event]:
        if plan.act == "fail" or self.session.attempts[plan.number] == 1:
            raise Oops(plan.number)
        return self._children(plan)

    async def _nest(self, plan: p.Plan) -> list[Event]:
        async def own(child: Event) -> None:
            async with self.session.dispatcher.open_flow(child):
                await checkpoint()

        if plan.act == "nest":
            for child in self._children(plan):
                await own(child)
            return []
        with anyio.move_on_after(0.002):
            async with anyio.create_task_group() as tasks:
                for child in self._children(plan):
                    tasks.start_soon(own, child)
        return []


def event_of(plan: p.Plan, source: str, flow: str | None = None) -> Work:
    """Return the event that carries a plan."""
    return TYPES[plan.agent](source=source, plan=plan, correlation_id=flow)


async def pause(seconds: float | None) -> None:
    """Wait, or do not even let others run."""
    if seconds is not None:
        await anyio.sleep(seconds)


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the errors in a group, however deep, or the one."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [leaf for inner in group.exceptions for leaf in leaves_of(inner)]
    return [error]


class Session:
    """One run of a program.

    Args:
        program: What to do.
    """

    dispatcher: AsyncDispatcher

    def __init__(self, program: p.Program) -> None:
        self.program = program
        self.log = Log()
        self.attempts: Counter[int] = Counter()
        self.running: Counter[str] = Counter()
        self.ended: Counter[tuple[str, int]] = Counter()
        self.raised: list[BaseException] = []
        self.surfaced: list[BaseException] = []
        self.heard: list[BaseException] = []
        self.router = Router()
        serial = Agent(self, "serial")
        for kind, agent in {
            ForSerial: serial,
            ForPair: Agent(self, "pair"),
            ForFree: Agent(self, "free"),
            ForBoth: serial,
        }.items():
            self.router.add_route(kind, agent)
        retry = Retry(attempts=2, on=Oops, initial=0.001, jitter=0)
        self.router.add_route(ForRetrying, Agent(self, "retrying"), retry=retry)
        self.router.add_route(ForBoth, self._also)
        if program.hears_failures:
            self.router.add_route(AgentFailed, self._hear)

    async def _also(self, event: ForBoth) -> None:
        await pause(event.plan.pause)
        self.ended["also", event.plan.number] += 1

    _also.name = "also"  # type: ignore[attr-defined]

    async def _hear(self, event: AgentFailed) -> None:
        self.heard += leaves_of(event.error)
        await checkpoint()

    @contextmanager
    def handling(self, name: str, event: Work) -> Generator[None]:
        """Keep the agents' own books of one attempt."""
        self.attempts[event.plan.number] += 1
        self.running[name] += 1
        try:
            yield
            self.ended[name, event.plan.number] += 1
        except Exception as error:
            self.raised += leaves_of(error)
            raise
        finally:
            self.running[name] -= 1

    @contextmanager
    def expecting(self) -> Generator[None]:
        """Note the failures that come out of a call, and let through what may not."""
        try:
            yield
        except EXPECTED:
            pass
        except BaseExceptionGroup as group:
            failed, rest = group.split(lambda error: isinstance(error, FlowFailed))
            if failed is not None:
                self.surfaced += leaves_of(failed)
            unexpected = None if rest is None else rest.split(EXPECTED)[1]
            if unexpected is not None:
                leaves = leaves_of(unexpected)
                raise (leaves[0] if len(leaves) == 1 else unexpected) from None

    # -- what the program does ------------------------------------------------------

    async def live(self) -> None:
        """Run the program and check what is to be checked."""
        tasks_before = len(anyio.get_running_tasks())
        program = self.program
        dispatcher = self.dispatcher = AsyncDispatcher(
            self.router,
            tracer=self.log,
            batch_size=program.batch_size,
            capacity=program.capacity,
            max_concurrency=program.max_concurrency,
            max_events_per_flow=program.max_events_per_flow,
        )
        for plan in program.early:
            with self.expecting():
                dispatcher.dispatch(event_of(plan, "early"))
        with anyio.move_on_after(program.cut), self.expecting():
            async with dispatcher:
                await self._use_all()
                await self._end()
        assert len(anyio.get_running_tasks()) == tasks_before
        self.check()

    async def _use_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for steps in self.program.users:
                tasks.start_soon(self._use, steps)

    async def _end(self) -> None:
        match self.program.end:
            case "raise":
                raise Oops("the block")
            case "wait":
                await self._wait(p.Wait(None))
            case "stop":
                await self.dispatcher.stop()
            case _:
                await checkpoint()

    async def _use(self, steps: tuple[p.Step, ...]) -> None:
        for step in steps:
            with self.expecting():
                await self._do(step)

    async def _do(self, step: p.Step) -> None:
        dispatcher = self.dispatcher
        match step:
            case p.Dispatch():
                await self._dispatch(step)
            case p.Run():
                with anyio.move_on_after(step.patience), self.expecting():
                    await dispatcher.run(event_of(step.plan, "run"), Work)
            case p.Own():
                with anyio.move_on_after(step.patience), self.expecting():
                    async with dispatcher.open_flow(event_of(step.plan, "own")) as flow:
                        await self._in_block(step, flow)
            case p.Wait():
                await self._wait(step)
            case p.Sleep():
                await anyio.sleep(step.seconds)
            case p.Stop():
                await dispatcher.stop(step.grace)
            case _:
                self._do_at_once(step)

    def _do_at_once(self, step: p.Tune | p.Terminate) -> None:
        if isinstance(step, p.Tune):
            self.dispatcher.batch_size = step.batch_size
        else:
            end = TerminateEvent(source="user", correlation_id=step.flow)
            self.dispatcher.dispatch(end)

    async def _dispatch(self, step: p.Dispatch) -> None:
        event = event_of(step.plan, step.how, step.flow)
        if step.how == "send":
            await self.dispatcher.send(event)
        elif step.how == "thread":
            await anyio.to_thread.run_sync(self.dispatcher.dispatch, event)
        else:
            self.dispatcher.dispatch(event)

    async def _in_block(self, step: p.Own, flow: Flow) -> None:
        await anyio.sleep(step.pause)
        match step.then:
            case "cancel":
                flow.cancel("enough")
            case "raise":
                raise Oops("an owner")
            case "join":
                flow.dispatch(event_of(step.more, "join"))
            case "result":
                await flow.result(Work)
            case "events":
                async with flow.events() as events:
                    async for event in events:
                        assert event.correlation_id == flow.correlation_id
                assert not flow.statistics().queued + flow.statistics().running
            case "terminate":
                flow.dispatch(TerminateEvent(source="owner"))
            case _:
                await checkpoint()

    async def _wait(self, step: p.Wait) -> None:
        if await self.dispatcher.wait_for_empty_queue(step.timeout, step.flow):
            assert not still_open(self.log, step.flow), "a false True"
            now = self.dispatcher.statistics()
            if step.flow is None:
                assert not self.running.total(), "a false True"
                assert (now.queued, now.running, now.flows) == (0, 0, 0)

    # -- what must be true of it in the end -----------------------------------------

    def check(self) -> None:
        """Check the books of agents, records and owners against each other."""
        assert not self.running.total()
        assert_nothing_left(self.dispatcher)
        assert self.dispatcher.statistics().workers == 0
        check_books(self.log, self.dispatcher.stop_report)
        check_order(self.log, LIMITS)
        if not any(plan.act == "ask" for plan in self.program.plans()):
            check_limits(self.log, LIMITS, self.program.max_concurrency)
        if (budget := self.program.max_events_per_flow) is not None:
            assert all(r.events <= budget for r in self.log.of(records.FlowEnded))
        self._check_deliveries()
        self._check_failures()

    def _check_deliveries(self) -> None:
        log = self.log
        times = Counter(
            r.event.plan.number
            for r in log.of(records.EventAccepted)
            if isinstance(r.event, Work)
        )
        assert all(count == 1 for count in times.values()), "accepted twice"
        assert all(count == 1 for count in self.ended.values()), "handled twice"
        known = set(times) | {
            r.event.plan.number
            for r in log.of(records.OutputDropped)
            if isinstance(r.event, Work)
        }
        for record in log.of(records.HandlerFinished):
            if isinstance(record.event, Work):
                plan = record.event.plan
                assert self.ended[record.agent, plan.number]
                if record.agent != "also" and plan.act not in {"nest", "own"}:
                    assert {child.number for child in plan.children} <= known
        agents = Counter(r.agent for r in log.of(records.HandlerStarted))
        assert sum(self.attempts.values()) <= agents.total()

    def _check_failures(self) -> None:
        final: list[BaseException] = []
        handed: list[BaseException] = []
        retried: list[BaseException] = []
        for record in self.log.of(records.HandlerFailed):
            where = {"fail flow": final, "hand over": handed, "retry": retried}
            where[record.consequence] += leaves_of(record.error)
        known = {id(error) for error in (*final, *handed, *retried)}
        assert {id(error) for error in self.raised} <= known, "an error is lost"
        dropped = [
            leaf
            for record in self.log.of(records.DeliveryDropped)
            if isinstance(record.event, AgentFailed)
            for leaf in leaves_of(record.event.error)
        ]
        assert {id(e) for e in handed} <= {id(e) for e in (*self.heard, *dropped)}
        times = Counter(id(error) for error in self.surfaced)
        elsewhere = {id(error) for error in (*self.heard, *dropped)}
        for error in final:  # that of a nested flow may be handed over by the outer one
            count = times[id(error)]
            assert count == 1 or (not count and id(error) in elsewhere), (
                f"{error!r} surfaced {count} times"
            )
