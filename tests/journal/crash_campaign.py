"""Kills real processes in durable sessions, or lets their disk fail; checks what is left.

``python -m tests.journal.crash_campaign FILE --kind kill --times 50 --seed 1`` forks one
session after another on FILE, each of which comes to harm in the way of its kind, at a
moment that the seed has drawn; then it lets a session finish, and checks the invariants.

Kinds: "kill" (SIGKILL, from outside at any time or at any call of the disk), "told"
(SIGKILL when a commit is on disk and nobody has been told), "enospc", "eio", "fsync" (it
fails, and what was written since the last is gone), "slow" (each fsync takes 200 ms),
"stop" (Ctrl-C while each takes 2 seconds) and "clock" (jumps of an hour, also between
sessions, and a kill).

Exit status 1 and one line for each broken invariant. The seed repeats the draws, though not
what the machine does in the meantime.
"""

import argparse
import faulthandler
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import trio

from agentflow import JournalError
from agentflow.journal import _clock
from tests.journal import planted
from tests.journal.faulty_disk import Fault, What, Where, faulty_disk, why_not
from tests.journal.orders import FLOWS, Unsteady, broken, live, lost

ENDED, FAILED, STOPPED, RAISED, LATE = 0, 3, 4, 5, 6
"""How a life ends by itself: well, with nothing but JournalErrors, with nothing but
KeyboardInterrupt, with something else; and too late after that was asked of it."""

LONGEST = 60
"""Seconds a life may take: it hangs after that."""

STOPS_IN = 30.0
"""Seconds after Ctrl-C: fsyncs of 2 seconds each for the batch that is written and the one
behind it, for the session's end, and two or three each time that SQLite moves its log into
the file, which it does as it closes it, and may do before; and a busy machine."""

IN_A_ROW = 4
"""Lives that come to harm before one may end: with one more, a handler that happened to
run whenever the process was killed could not be told from one that ended it itself."""

HOUR = 3600.0

Calls = dict[Where, int]
"""How many calls of the disk a life makes: what happens happens at one of them."""


@attrs.define
class Harm:
    """What a life comes to.

    Attributes:
        fault: What its disk does.
        kill_after: Seconds after which it is killed from outside.
        stop_after: Seconds after which it gets a Ctrl-C.
        jumps: Seconds that its clock goes forward, or back, at each time after its begin.
        ends: How it may end.
        counts: Whether it has come to harm although it ended well.
    """

    fault: Fault | None = None
    kill_after: float | None = None
    stop_after: float | None = None
    jumps: tuple[tuple[float, float], ...] = ()
    ends: tuple[int, ...] = (ENDED, -signal.SIGKILL)
    counts: bool = False


def kill_me() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(rng: random.Random, calls: Calls, where: Where, *, after: bool) -> Fault:
    """Return a kill before or after a call of the disk."""
    at = rng.randint(1, calls[where])
    return Fault(where, "call", at=at, once=True, call=kill_me, after=after)


def kill(rng: random.Random, calls: Calls) -> Harm:
    """Kill it, from outside or at a call of the disk."""
    if rng.random() < 0.3:
        return Harm(kill_after=rng.uniform(0.0, 0.2))
    where: Where = rng.choice(("write", "fsync"))
    return Harm(kill_at(rng, calls, where, after=rng.random() < 0.5))


def told(rng: random.Random, calls: Calls) -> Harm:
    """Kill it when something has been committed, before anybody is told."""
    return Harm(kill_at(rng, calls, "fsync", after=True))


def fails(rng: random.Random, calls: Calls, where: Where, what: What) -> Harm:
    """Let the disk fail once or for good."""
    fault = Fault(where, what, at=rng.randint(1, calls[where]), once=rng.random() < 0.5)
    fault.forgets = where == "fsync"
    return Harm(fault, ends=(ENDED, FAILED))


def eio(rng: random.Random, calls: Calls) -> Harm:
    """Let reads or writes fail."""
    return fails(rng, calls, rng.choice(("read", "write")), "eio")


def slow(rng: random.Random, calls: Calls) -> Harm:
    """Let each fsync take 200 ms, from some moment on."""
    fault = Fault("fsync", "slow", at=rng.randint(1, calls["fsync"]), seconds=0.2)
    return Harm(fault, ends=(ENDED,), counts=True)


def stop(rng: random.Random, calls: Calls) -> Harm:
    """Press Ctrl-C while each fsync takes 2 seconds."""
    at = rng.randint(calls["fsync"] // 2, calls["fsync"])
    fault = Fault("fsync", "slow", at=at, seconds=2.0)
    return Harm(fault, stop_after=rng.uniform(0.5, 3.0), ends=(ENDED, STOPPED))


def clock(rng: random.Random, calls: Calls) -> Harm:
    """Let the clock jump by an hour, before the life and in it; kill some."""
    hour = rng.choice((-HOUR, HOUR))
    jumps = ((0.0, rng.choice((-HOUR, 0.0, HOUR))), (rng.uniform(0.0, 0.1), hour))
    fault = kill_at(rng, calls, "fsync", after=True) if rng.random() < 0.7 else None
    return Harm(fault, jumps=jumps, counts=True)


Draw = Callable[[random.Random, Calls], Harm]

KINDS: dict[str, Draw] = {
    "kill": kill,
    "told": told,
    "enospc": partial(fails, where="write", what="enospc"),
    "eio": eio,
    "fsync": partial(fails, where="fsync", what="eio"),
    "slow": slow,
    "stop": stop,
    "clock": clock,
}


def leaves(error: BaseException) -> set[type[BaseException]]:
    """Return the kinds of errors that a session ended with."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return set[type[BaseException]]().union(*map(leaves, group.exceptions))
    return {type(error)}


def let_clock_jump(jumps: tuple[tuple[float, float], ...]) -> None:
    """Let the Unix time of this process jump."""
    began, real = time.monotonic(), time.time

    def jumping() -> float:
        age = time.monotonic() - began
        return real() + sum(by for at, by in jumps if age >= at)

    setattr(_clock, "time", jumping)  # noqa: B010 -- no part of its interface


def live_here(path: str, rounds: int, harm: Harm) -> int:
    """Be a process with one life; return its exit status."""
    signal.alarm(LONGEST)
    # What a shell runs in the background ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    noise = os.open(f"{path}.noise", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(noise, 2)
    faulthandler.dump_traceback_later(LONGEST - 5, file=noise)
    if harm.jumps:
        let_clock_jump(harm.jumps)
    try:
        with faulty_disk(path, harm.fault) as disk:
            trio.run(live, path, rounds)
        new = Path(f"{path}.calls.new")
        new.write_text(json.dumps(disk.calls), encoding="utf-8")
        new.replace(f"{path}.calls")  # whole or not at all: it may be killed meanwhile
    except BaseException as error:  # noqa: ASYNC103, BLE001 -- the process ends with it
        kinds = leaves(error)
        if kinds == {JournalError}:
            return FAILED  # noqa: ASYNC104 -- likewise
        # A handler may be about to fail when the session ends.
        if KeyboardInterrupt in kinds <= {KeyboardInterrupt, Unsteady}:
            return STOPPED  # noqa: ASYNC104 -- likewise
        sys.excepthook(type(error), error, error.__traceback__)
        return RAISED  # noqa: ASYNC104 -- likewise
    return ENDED


def run_life(path: str, rounds: int, harm: Harm) -> int:
    """Run a life in a process of its own; return how it ended, signals being negative."""
    child = os.fork()
    if child == 0:
        status = RAISED
        try:
            status = live_here(path, rounds, harm)
        finally:
            os._exit(status)
    if harm.kill_after is not None:
        time.sleep(harm.kill_after)
        os.kill(child, signal.SIGKILL)
    if harm.stop_after is not None:
        time.sleep(harm.stop_after)
        os.kill(child, signal.SIGINT)
    began = time.monotonic()
    _, status = os.waitpid(child, 0)
    if harm.stop_after is not None and time.monotonic() - began > STOPS_IN:
        return LATE
    return os.waitstatus_to_exitcode(status)


@attrs.define
class Campaign:
    """One session after another on one file.

    Attributes:
        path: The file.
        lives: How many there were.
        rounds: How many rounds of orders have been sent.
        problems: What is broken.
    """

    path: str
    lives: int = 0
    rounds: int = 1
    problems: list[str] = attrs.field(factory=list[str])

    def live(self, harm: Harm) -> int:
        """Let a life come to harm, and look whether anything was lost; return its end."""
        end = run_life(self.path, self.rounds, harm)
        self.lives += 1
        what = lost(self.path)
        if end not in harm.ends:
            what.insert(0, f"ended with {end}: {self.noise}")
        self.problems += [f"life {self.lives} ({harm}): {problem}" for problem in what]
        if end == ENDED:
            self.rounds += 1
        return end

    @property
    def noise(self) -> str:
        """What all lives have written to standard error; they should not."""
        return Path(f"{self.path}.noise").read_text(encoding="utf-8")

    def calls(self) -> Calls:
        """Return how many calls of the disk the last whole life has made."""
        text = Path(f"{self.path}.calls").read_text(encoding="utf-8")
        calls: Calls = json.loads(text)
        return calls

    def run(self, draw: Draw, times: int, rng: random.Random) -> None:
        """Let so many lives come to harm, and one finish."""
        calm = Harm(ends=(ENDED,))
        self.live(calm)
        bound, row = 20 * times + 20, 0
        while times and not self.problems:
            harm = draw(rng, self.calls())
            if row == IN_A_ROW:
                harm = calm
            end = self.live(harm)
            row = 0 if end == ENDED else row + 1
            times -= end != ENDED or harm.counts
            if self.lives > bound:
                self.problems.append(f"{bound} lives, and {times} came to no harm")
        if not self.problems:
            self.live(calm)
            self.problems += broken(self.path, range((self.rounds - 1) * FLOWS))
            if self.noise:
                self.problems.append(f"a life wrote: {self.noise}")


def main() -> None:
    """Run a campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--kind", choices=sorted(KINDS), default="kill")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plant", choices=sorted(planted.REAL), help="a bug to find")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    played = Campaign(str(options.path))
    plant = planted.REAL[options.plant] if options.plant else nullcontext
    with plant():
        played.run(KINDS[options.kind], options.times, random.Random(options.seed))
    sys.stdout.write(
        f"{options.times} {options.kind}: {played.lives} lives, "
        f"{(played.rounds - 1) * FLOWS} flows, {len(played.problems)} problems\n"
    )
    sys.stdout.writelines(f"{problem}\n" for problem in played.problems[:20])
    sys.exit(bool(played.problems))


if __name__ == "__main__":
    main()
