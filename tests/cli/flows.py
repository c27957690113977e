"""Flows for the command line to run, without a model."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from agentflow import BaseAgent, BaseAsyncAgent, Event, Retry, Router, TerminateEvent
from agentflow.cli import Input, Program


class Text(Event):
    name: str = ""
    text: str


class Counted(Event):
    words: int


class Never(Event):
    text: str


class Counter(BaseAsyncAgent):
    """Counts words; the text says how it goes."""

    def __init__(self) -> None:
        self.failed: set[str] = set()

    async def receive_event_async(self, event: Text) -> list[Counted]:
        if "endless" in event.text:
            await trio.sleep_forever()
        if "patient" in event.text:
            await trio.sleep(0.4)
        if "poison" in event.text:
            raise ValueError("I do not read \x1b[31mthis")
        if "again" in event.text and event.name not in self.failed:
            self.failed.add(event.name)
            raise ValueError("not at once")
        return [Counted(source="Counter", words=len(event.text.split()))]


class Sleeper(BaseAgent):
    """Holds up a thread."""

    def receive_event(self, event: Text) -> None:
        """Do nothing."""


router = Router({Text: [Counter()]})

retrying = Router()
retrying.add_route(Text, Counter(), retry=Retry(attempts=2, initial=0.001))


class Ender(BaseAsyncAgent):
    async def receive_event_async(self, event: Counted) -> list[TerminateEvent]:
        return [TerminateEvent(source="Ender")]


def start(given: Input) -> Text:
    """Begin with a text."""
    return Text(source="test", name=given.name, text=given.text)


program = Program(
    router=Router({Text: [Counter(), Sleeper()], Counted: [Ender()]}),
    start=start,
    result=Counted,
    show=lambda event: f"{getattr(event, 'words', 0)} words",
)


@asynccontextmanager
async def opener() -> AsyncGenerator[Program]:
    """Open a program."""
    yield program


@asynccontextmanager
async def broken() -> AsyncGenerator[Program]:
    """Fail to open."""
    if program.result:
        raise ValueError("no luck today")
    yield program


@asynccontextmanager
async def wrong() -> AsyncGenerator[object]:
    """Open something else."""
    yield 3


def none_at_all() -> int:
    """Return something else."""
    return 3


async def bare() -> AsyncGenerator[Router]:
    """Lack its decorator."""
    yield router


class Looper(BaseAsyncAgent):
    async def receive_event_async(self, event: Never) -> list[Never]:
        return []


class Vague(BaseAsyncAgent):
    async def receive_event_async(self, event: Text) -> list[Event]:
        return []


unreached = Router({Text: [Counter()], Never: [Looper()]})
vague = Router({Text: [Vague()], Never: [Looper()]})
two_roots = Router({Text: [Vague()], Counted: [Ender()]})
textless = Router({Counted: [Ender()]})

looping = Router({Never: [Looper()]})
