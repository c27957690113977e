"""Flows for the command line to run, without a model."""

import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator
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


class Printer(BaseAsyncAgent):
    """Prints by itself."""

    async def receive_event_async(self, event: Text) -> list[Counted]:
        print("printed")  # noqa: T201 -- as a user's agent may
        return [Counted(source="Printer", words=1)]


printing = Router({Text: [Printer()]})


class Hog(BaseAsyncAgent):
    """Holds up the event loop."""

    async def receive_event_async(self, event: Text) -> None:
        print("hogging")  # noqa: T201
        while True:
            time.sleep(0.01)  # noqa: ASYNC251 -- as an agent must not


hogging = Router({Text: [Hog()]})


class Waiter(BaseAsyncAgent):
    """Waits for SIGUSR2."""

    async def receive_event_async(self, event: Text) -> list[Counted]:
        with trio.open_signal_receiver(signal.SIGUSR2) as signals:
            async for _ in signals:
                break
        return [Counted(source="Waiter", words=len(event.text.split()))]


waiting = Router({Text: [Waiter()]})


class Blocker(BaseAsyncAgent):
    """Cannot be cancelled."""

    async def receive_event_async(self, event: Text) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


stuck = Router({Text: [Blocker()]})


@asynccontextmanager
async def slow_opener() -> AsyncGenerator[Program]:
    """Never open."""
    print("opening")  # noqa: T201
    await trio.Event().wait()
    yield program


class Chatterbox(BaseAsyncAgent):
    """Says more than a pipe holds."""

    async def receive_event_async(self, event: Text) -> list[Counted]:
        return [Counted(source="Chatterbox", words=n) for n in range(20_000)]


chatty = Router({Text: [Chatterbox()]})


class Poison(Event):
    """Nobody can take it."""


class Starter(BaseAsyncAgent):
    """Begins a flow that nobody owns, and that fails."""

    async def receive_event_async(self, event: Text) -> list[Counted | Poison]:
        return [
            Counted(source="Starter", words=1),
            Poison(source="Starter", correlation_id="another"),
        ]


class Taker(BaseAsyncAgent):
    async def receive_event_async(self, event: Poison) -> None:
        raise ValueError("nobody asked")


straying = Router({Text: [Starter()], Poison: [Taker()]})


def unlucky(given: Input) -> Text:
    """Fail to begin."""
    raise ValueError(f"no {given.name}")


unlucky_program = Program(router=router, start=unlucky, result=Counted)


class Untexted(Event):
    title: str = ""


untexted = Router({Untexted: [Vague()]})


def vaguely(given: Input) -> Event:
    """Begin with something."""
    return start(given)


vague_program = Program(router=router, start=vaguely, result=(Counted,))


class Grouper(BaseAsyncAgent):
    async def receive_event_async(self, event: Text) -> None:
        raise ExceptionGroup("two", [ZeroDivisionError("first"), KeyError("second")])


grouping = Router({Text: [Grouper()]})


class Clumsy(BaseAsyncAgent):
    async def receive_event_async(self, event: Text) -> AsyncIterator[Counted]:
        yield Counted(source="Clumsy", words=1)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("no cleaning up")


def speechless(event: Event) -> str:
    """Find no words."""
    raise ValueError("no words")


clumsy = Program(router=Router({Text: [Clumsy()]}), start=start, show=speechless)
