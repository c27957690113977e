"""What `run` and `demo` have in common: a program, its texts, and what is shown of it."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from agentflow.cli._exits import DONE, FAILED, leaves
from agentflow.cli._flows import FlowRun
from agentflow.cli._observing import open_observers
from agentflow.cli._program import Input, Runnable
from agentflow.cli._progress import Progress
from agentflow.cli._screen import Screen
from agentflow.cli._signals import open_interrupts
from agentflow.cli._tally import Tally


@attrs.frozen(kw_only=True)
class Settings:
    """How to run.

    Attributes:
        jobs: How many texts are worked on at a time.
        trace: Where to write every record; None for nowhere.
        view: Whether to serve the page.
        quiet: Whether to show results and errors alone.
        traceback: Whether to show the traceback of each error.
    """

    jobs: int
    trace: Path | None
    view: bool
    quiet: bool
    traceback: bool


def run_program(found: Runnable, inputs: Sequence[Input], settings: Settings) -> int:
    """Run a program on texts and show how it fares.

    Args:
        found: What to run.
        inputs: The texts.
        settings: How.

    Returns:
        The exit code.
    """
    return trio.run(_run, found, inputs, settings)


async def _run(found: Runnable, inputs: Sequence[Input], settings: Settings) -> int:
    screen, tally = Screen(), Tally()
    progress = Progress(
        screen,
        tally,
        total=len(inputs),
        is_quiet=settings.quiet,
        is_detailed=settings.traceback,
    )
    work = FlowRun(inputs=inputs, watcher=progress, jobs=settings.jobs)

    def view(url: str) -> None:
        screen.note(f"the page: {url}")

    async with (
        open_observers(settings.trace, view if settings.view else None) as observers,
        open_interrupts() as interrupts,
    ):
        work.observers = [tally, *observers]
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(progress.show)
                await work.run(found, interrupts)
                nursery.cancel_scope.cancel("the run has ended")
        except BaseException as error:
            if not any(isinstance(leaf, BrokenPipeError) for leaf in leaves(error)):
                progress.summary(work.outcomes, work.report)
            raise
        for stray in work.strays:
            progress.failed(stray)
        progress.summary(work.outcomes, work.report)
        if interrupts.code:
            return interrupts.code
        if settings.view:
            left = trio.Event()
            interrupts.then(left.set)
            screen.note("the page stays until you leave with Ctrl-C")
            await left.wait()
    is_done = not work.strays and set(work.outcomes.values()) == {"done"}
    return DONE if is_done else FAILED
