"""Handlers that end their process, real ones: the innocent beside them must live.

``python -m tests.journal.poison_campaign FILE --times 10 --seed 1`` sends so many poisonous
events and four times as many others, and forks a session on FILE until one ends by itself.
Then the poisonous are dead letters, and all others are done, once. Exit status 1 and one
line for each broken invariant; the seed repeats who is poisonous, and in which way.
"""

import argparse
import ctypes
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import attrs
import trio

from agentflow import AsyncDispatcher, Event, Router
from tests.journal.orders import broken, effect, journal_of

INNOCENT = 4
"""How many innocents there are for each poisonous event."""

LIVES_EACH = 6
"""Lives that each poisonous event may take: once beside others, three times alone, and
one more or two because several share the first of them."""

LONGEST = 60


class Dish(Event):
    n: int
    poison: str = ""


def leave() -> None:
    """End the process without a word."""
    os._exit(1)


def kill() -> None:
    """End it as the kernel does when memory has run out."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    """End it as a broken extension module does."""
    ctypes.string_at(0)


POISONS: dict[str, Callable[[], object]] = {
    "leaves": leave,
    "is killed": kill,
    "crashes": crash,
}


async def eat(event: Dish) -> None:
    """Take a moment; die of it, or note the effect."""
    await anyio.sleep(0.001 * (event.n % 7))
    if event.poison:
        POISONS[event.poison]()
    effect("ate", event.n)


def plate_of(n: int) -> list[tuple[str, int]]:
    """Return the effects of an innocent dish."""
    return [("ate", n)]


async def live(path: str, dishes: list[Dish]) -> None:
    """Send all dishes, each once however often this runs; finish them."""
    router = Router({Dish: [eat]})
    async with (
        AsyncDispatcher(router, journal=journal_of(path)) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        for dish in dishes:
            tasks.start_soon(send, dispatcher, dish)


async def send(dispatcher: AsyncDispatcher, dish: Dish) -> None:
    """Send a dish; every tenth of them twice."""
    for _ in range(1 + (dish.n % 10 == 0)):
        await dispatcher.send(dish, key=f"dish {dish.n}")


def fork_life(path: str, dishes: list[Dish]) -> int:
    """Run a life in a process of its own; return how it ended, signals being negative."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            signal.alarm(LONGEST)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            trio.run(live, path, dishes)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@attrs.define
class Served:
    """What came of a campaign."""

    lives: int
    problems: list[str]


def serve(path: str, times: int, rng: random.Random) -> Served:
    """Serve the poisonous among the others, and look who has died."""
    count = times * (1 + INNOCENT)
    bad = set(rng.sample(range(count), times))
    poisons = sorted(POISONS)
    dishes = [
        Dish(source="test", n=n, poison=rng.choice(poisons) if n in bad else "")
        for n in range(count)
    ]
    lives, end = 0, 1
    while end != 0:
        end = fork_life(path, dishes)
        lives += 1
        if end not in {0, 1, -signal.SIGKILL, -signal.SIGSEGV}:
            return Served(lives, [f"life {lives} ended with {end}"])
        if lives > LIVES_EACH * times + 10:
            return Served(lives, [f"no life of {lives} ended by itself"])
    problems = broken(
        path,
        range(count),
        of_order=lambda n: [] if n in bad else plate_of(n),
        dead=times,
    )
    return Served(lives, problems)


def main() -> None:
    """Run a campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    served = serve(str(options.path), options.times, rng)
    others = options.times * INNOCENT
    sys.stdout.write(
        f"{options.times} poison: {served.lives} lives, {others} innocent, "
        f"{len(served.problems)} problems\n"
    )
    sys.stdout.writelines(f"{problem}\n" for problem in served.problems[:20])
    sys.exit(bool(served.problems))


if __name__ == "__main__":
    main()
