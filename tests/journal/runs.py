"""Running seeds of the simulation: ``python -m tests.journal.runs --first 0 --count 100``.

Prints one line for each seed that breaks something, and ends with status 1 if one did.
"""

import argparse
import random
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
import trio._core._run as scheduler

from agentflow import _durable_feed, _workers
from agentflow.journal._memory import MemoryStore
from tests.journal.fleet import Fleet
from tests.journal.simulation import Crash, Moment, World
from tests.journal.workload import check, new_run, session

MAX_LIVES = 30
MOMENTS: tuple[Moment, ...] = ("before", "torn", "untold", "zombie", "time", "never")


def draw_crash(rng: random.Random) -> Crash:
    """Choose when the power goes off in a life."""
    return Crash(
        rng.choice(MOMENTS),
        batch=rng.randint(1, 25),
        time=rng.random() * 0.1,
        jump=rng.choice((0.0, 0.0, -3600.0, 3600.0)),
        jump_at=rng.choice((0.0, rng.random() * 0.1)),
    )


@contextmanager
def repeatable(seed: int) -> Generator[None]:
    """Draw everything from the seed: the scheduler's choices, and retries' jitter.

    Workers look at the real clock, so as not to hold up the loop; here it stands still.
    """
    clock = "time_ns" if hasattr(_workers, "time_ns") else "perf_counter"
    before = getattr(_workers, clock), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    random.seed(seed)
    scheduler._r.seed(seed)
    setattr(_workers, clock, lambda: 1)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    try:
        yield
    finally:
        real, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        setattr(_workers, clock, real)


def run_seed(seed: int, store: Callable[[], MemoryStore] = MemoryStore) -> World:
    """Run a seed to its end; its problems are in the world."""
    with repeatable(seed):
        return _run(World(seed, store()))


def _run(world: World) -> World:
    run = new_run(world)
    crashes = [draw_crash(world.rng) for _ in range(world.rng.randint(1, 3))]
    crashes += [Crash("never")] * MAX_LIVES  # a poison needs some lives of its own
    for crash in crashes:
        has_ended = world.live(crash, lambda journal: session(run, journal))
        if (has_ended and crash.moment == "never") or world.problems:
            break
    else:
        world.problem(f"no life of {len(crashes)} came to its end")
    if not world.problems:
        check(run)
    return world


def run_fleet(seed: int, store: Callable[[], MemoryStore] = MemoryStore) -> Fleet:
    """Run a seed with several processes to its end; its problems are in the fleet."""
    with repeatable(seed):
        fleet = Fleet(seed, store())
        run = new_run(fleet)
        with pytest.MonkeyPatch.context() as patch:
            # So that the deliveries of one flow come into several hands.
            patch.setattr(_durable_feed, "CHUNK", fleet.rng.choice((1, 2, 500)))
            fleet.run_all(run, fleet.rng.choice((2, 2, 3)))
        if not fleet.problems:
            check(run)
        return fleet


def main() -> None:
    """Run seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--fleet", action="store_true", help="several processes on one journal"
    )
    options = parser.parse_args()
    run = run_fleet if options.fleet else run_seed
    broken = 0
    for seed in range(options.first, options.first + options.count):
        if problems := run(seed).problems:
            broken += 1
            sys.stdout.write(f"seed {seed}: {problems[0]}\n")
    sys.stdout.write(f"{options.count} seeds: {broken} broken\n")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
