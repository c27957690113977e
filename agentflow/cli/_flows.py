"""Running a program on texts: a flow each, side by side, until done or interrupted.

An interrupt drains: no further text is begun, and what has been begun is finished. The
next one cancels that, too. Whatever happens, every text has an outcome in the end.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Literal, Protocol

import attrs
import trio

from agentflow._dispatcher import AsyncDispatcher
from agentflow._errors import AgentFlowError, FlowCancelled, FlowFailed
from agentflow._reports import StopReport
from agentflow._routing import Router
from agentflow.abc import Observer
from agentflow.cli._exits import CommandError, CommandUsageError
from agentflow.cli._program import KIND, Input, Program, Runnable
from agentflow.cli._signals import Interrupts, dumping
from agentflow.cli._words import describe

Outcome = Literal["done", "failed", "cancelled", "not begun"]
"""What became of a text."""


class Watcher(Protocol):
    """Hears how the texts fare."""

    def began(self, name: str) -> None:
        """A text's flow has begun."""
        ...

    def result(self, name: str, text: str) -> None:
        """Something came of a text."""
        ...

    def ended(self, name: str, outcome: Outcome, error: Exception | None) -> None:
        """A text's flow has ended."""
        ...

    def draining(self) -> None:
        """No further text is begun."""
        ...

    def cancelling(self) -> None:
        """What has begun is cancelled."""
        ...

    def dumped(self, text: str) -> None:
        """Somebody wanted to know what the agents are at."""
        ...


@asynccontextmanager
async def opened(found: Runnable) -> AsyncGenerator[Program | Router]:
    """Open what a target stands for.

    Args:
        found: A program, a router, or what opens one.

    Yields:
        The program or router.

    Raises:
        CommandUsageError: It opens something else.

    Cancellation:
        What was opened is closed.
    """
    if isinstance(found, Program | Router):
        yield found
        return
    manager: object = found()
    if not isinstance(manager, AbstractAsyncContextManager):
        raise CommandUsageError(
            f"{getattr(found, '__name__', found)}() returned {manager!r}; what can be "
            f"run is {KIND}"
        )
    async with manager as program:
        if not isinstance(program, Program | Router):
            raise CommandUsageError(
                f"{getattr(found, '__name__', found)}() opened {program!r}; what can "
                f"be run is {KIND}"
            )
        yield program


async def _enter(stack: AsyncExitStack, found: Runnable) -> Program | Router:
    """Open what was found; whatever the user's code raises is said in a line."""
    try:
        return await stack.enter_async_context(opened(found))
    except AgentFlowError:
        raise
    except Exception as error:
        raise CommandError(f"the flow cannot be opened: {describe(error)}") from error


@attrs.define(kw_only=True)
class FlowRun:
    """A program at work on its texts.

    Attributes:
        inputs: The texts.
        watcher: Hears how they fare.
        observers: Get every record.
        jobs: How many texts are worked on at a time.
        outcomes: What became of each, by name.
        report: What a drained or cancelled session did not deliver.
        strays: Failures of flows that agents began for themselves.
    """

    inputs: Sequence[Input]
    watcher: Watcher
    jobs: int
    observers: Sequence[Observer] = ()
    outcomes: dict[str, Outcome] = attrs.field(init=False, factory=dict[str, Outcome])
    report: StopReport = attrs.field(init=False, factory=StopReport)
    strays: list[FlowFailed] = attrs.field(init=False, factory=list[FlowFailed])
    _room: trio.Semaphore = attrs.field(init=False)
    _draining: bool = attrs.field(init=False, default=False)

    async def run(self, found: Runnable, interrupts: Interrupts) -> None:
        """See every text to its end.

        Args:
            found: What to run.
            interrupts: Tells when to stop.

        Raises:
            CommandError: `found` could not be opened.
            CommandUsageError: `found` opened nothing that can be run.

        Cancellation:
            All flows are cancelled.
        """
        self.outcomes = {given.name: "not begun" for given in self.inputs}
        with trio.CancelScope() as scope:
            interrupts.then(lambda: scope.cancel("interrupted"))
            async with AsyncExitStack() as stack:
                given = await _enter(stack, found)
                program = given if isinstance(given, Program) else Program.of(given)
                await self._session(program, interrupts)

    async def _session(self, program: Program, interrupts: Interrupts) -> None:
        dispatcher = AsyncDispatcher(program.router, tracer=self.observers)
        async with trio.open_nursery() as stopping, dispatcher:

            def drain() -> None:
                self._draining = True
                self.watcher.draining()
                stopping.start_soon(self._stop, dispatcher, None)
                interrupts.then(cancel)

            def cancel() -> None:
                self.watcher.cancelling()
                stopping.start_soon(self._stop, dispatcher, 0)

            interrupts.then(drain)
            token = trio.lowlevel.current_trio_token()
            with dumping(dispatcher.dump, self.watcher.dumped, token):
                await self._all(program, dispatcher)
                await self._stop(dispatcher, None)
            self.report = dispatcher.stop_report

    async def _stop(  # noqa: ASYNC910 -- stopping is one
        self, dispatcher: AsyncDispatcher, grace: float | None
    ) -> None:
        try:
            await dispatcher.stop(grace)
        except FlowFailed as failed:
            self.strays.append(failed)

    async def _all(self, program: Program, dispatcher: AsyncDispatcher) -> None:
        """Begin the texts in order, as many at a time as may be."""
        self._room = trio.Semaphore(self.jobs)
        async with trio.open_nursery() as flows:
            for given in self.inputs:
                await self._room.acquire()
                if self._draining:
                    break
                self.watcher.began(given.name)
                flows.start_soon(self._one, program, dispatcher, given)

    async def _one(  # noqa: ASYNC910 -- the user's code may fail at once
        self, program: Program, dispatcher: AsyncDispatcher, given: Input
    ) -> None:
        """See one text to its end; its failure is no other text's."""
        error: Exception | None = None
        outcome: Outcome = "done"
        try:
            await self._follow(program, dispatcher, given)
        except BrokenPipeError:
            raise  # nobody reads any more
        except FlowCancelled:
            outcome = "cancelled"
        except Exception as caught:  # noqa: BLE001 -- the user's code, whatever it raises
            outcome, error = "failed", caught
        finally:
            self._room.release()
        self.outcomes[given.name] = outcome
        self.watcher.ended(given.name, outcome, error)

    async def _follow(
        self, program: Program, dispatcher: AsyncDispatcher, given: Input
    ) -> None:
        root = program.start(given)
        async with dispatcher.open_flow(root) as flow, flow.events() as events:
            async for event in events:
                if program.is_result(event):
                    self.watcher.result(given.name, program.show(event))
