"""A shop with a journal, and sessions of it that live shortly or until they are killed.

What it is asked for decides how a flow goes, so that a journal holds some of each kind.
"""

import sys
from collections.abc import AsyncGenerator

import anyio

from agentflow import (
    AsyncAggregatorAgent,
    AsyncDispatcher,
    Event,
    FlowFailed,
    Retry,
    Router,
    TerminateEvent,
    wait_for,
)
from agentflow.journal import SQLiteJournal, once

ITEMS = ("tent", "glass", "cash", "nothing", "half", "pair", "late")
"""What it may be asked for."""


class Order(Event):
    item: str


class Preorder(Event):
    item: str


class Question(Event):
    text: str


class Answer(Event):
    yes: bool


class Left(Event):
    pass


class Right(Event):
    pass


class Sent(Event):
    pass


async def charge() -> int:
    """Take some money."""
    return 310


async def sell(order: Order) -> AsyncGenerator[Event]:
    """Sell: "glass" breaks, "cash" is simple, most else needs an answer."""
    if order.item == "glass":
        raise ValueError("it broke")
    if order.item == "cash":
        yield Sent(source="sell")
        return
    if order.item == "nothing":
        yield TerminateEvent(source="sell")
        return
    await once("charge", charge)
    yield Question(source="sell", text=f"{order.item}?")
    if order.item in {"half", "pair"}:
        yield Left(source="sell")
    if order.item == "pair":
        yield Right(source="sell")
    await wait_for(Answer, from_outside=True)
    yield Sent(source="sell")


async def reserve(order: Preorder) -> None:
    """Find that it is too early."""
    raise LookupError(order.item)


async def audit(order: Order) -> None:
    """Look at it, for long if it is glass."""
    if order.item == "glass":
        await anyio.sleep_forever()


class Packer(AsyncAggregatorAgent):
    """Puts both halves together."""

    event_types_needed = (Left, Right)

    async def process_events(self, events: list[Event]) -> Sent:
        return Sent(source="Packer")


def shop() -> Router:
    """Return the router."""
    router = Router()
    router.add_route(Order, sell, retry=Retry(attempts=2, initial=0.01))
    router.add_route(Order, audit)
    router.add_route(Preorder, reserve, retry=Retry(initial=3600, maximum=3600))
    packer = Packer()
    router.add_route(Left, packer)
    router.add_route(Right, packer)
    return router


def order(item: str) -> Event:
    """Return an event that begins the flow "ITEM-1"."""
    kind = Preorder if item == "late" else Order
    return kind(source="shop", item=item, correlation_id=f"{item}-1")


class Over(BaseException):
    """Ends a session in the middle, as Ctrl-C does."""


async def live(path: str, *items: str) -> None:
    """Take orders, and end while some are worked on."""
    try:
        await _live(path, *items)
    except Over:
        pass
    except BaseExceptionGroup as ended:
        if ended.subgroup(FlowFailed) is None:  # glass was among them
            raise


async def _live(path: str, *items: str) -> None:
    async with AsyncDispatcher(shop(), journal=SQLiteJournal(path)) as dispatcher:
        for item in items:
            await dispatcher.send(order(item))
        await anyio.sleep(0.3)
        raise Over


async def main(path: str, *items: str) -> None:
    """Take orders, say so, and stay until killed."""
    async with AsyncDispatcher(shop(), journal=SQLiteJournal(path)) as dispatcher:
        for item in items:
            await dispatcher.send(order(item))
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await anyio.sleep_forever()
