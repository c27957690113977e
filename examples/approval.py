"""A person in the loop: a flow that asks, and goes on when somebody answers, days later.

::

    python examples/approval.py order tent 310     # asks, and the program ends
    python examples/approval.py pending            # what waits for an answer
    python examples/approval.py answer ID yes      # in another process, another week

The flow lives in ``approval.db``. While it waits there is no process, no thread and no
timer; the computer may be switched off.
"""

import sys
from collections.abc import AsyncGenerator

import trio

from agentflow import AsyncDispatcher, Event, Router, wait_for
from agentflow.journal import SQLiteJournal, this_delivery

SCHEMA = "CREATE TABLE IF NOT EXISTS booked (item TEXT, price INTEGER)"

CHEAP = 100

router = Router()


class Order(Event):
    """Somebody wants something."""

    item: str
    price: int


class Question(Event):
    """May it be bought?"""

    text: str


class Answer(Event):
    """Yes or no, from a person."""

    yes: bool


class Outcome(Event):
    """What became of the order."""

    text: str


@router.on(Order)
async def approve(order: Order) -> AsyncGenerator[Event, None]:
    """Ask about what costs a lot, and book what may be bought."""
    may_buy = order.price < CHEAP
    if not may_buy:
        yield Question(source="approve", text=f"{order.item} for {order.price}?")
        may_buy = (await wait_for(Answer, from_outside=True)).yes
    if may_buy:
        # Written in the transaction that finishes the order: once, whatever happens.
        this_delivery().sql("INSERT INTO booked VALUES (?, ?)", order.item, order.price)
    yield Outcome(source="approve", text="booked" if may_buy else "declined")


async def main(arguments: list[str]) -> None:
    """Run one command in a session of its own."""
    command, *words = arguments
    journal = SQLiteJournal("approval.db", schema=SCHEMA)
    async with AsyncDispatcher(router, journal=journal) as dispatcher:
        if command == "order":
            item, price = words
            order = await dispatcher.send(
                Order(source="shop", item=item, price=int(price))
            )
            print(f"order {order.correlation_id}")
        elif command == "answer":
            flow_id, answer = words
            async with dispatcher.open_flow(correlation_id=flow_id) as flow:
                flow.dispatch(Answer(source="boss", yes=answer == "yes"))
                print((await flow.result(Outcome)).text)
    if command == "pending":
        for kept in await journal.flows():
            if kept.status == "open":
                print(f"order {kept.id} waits for an answer")


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
