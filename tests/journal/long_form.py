"""The long form of the durable gates: ``python -m tests.journal.long_form > file``.

Without arguments it runs all parts, in half an hour on two idle cores. ``kill told=50``
runs two of them, the second 50 times; ``--scale 0.1`` takes a tenth of everything. Each
part is a number of campaigns in processes of their own, on all cores, and prints one line:
how often, what it came to, and how long it took. A campaign that is broken prints what it
said, and the command that repeats it. Exit status 1 if anything was broken.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from tests.journal.faulty_disk import why_not

ROOT = Path(__file__).parents[2]

LONGEST = 1800.0
"""Seconds after which a campaign counts as hanging; they take less than a minute."""

FILE = "FILE"
"""Stands for the journal in the command of a campaign."""


@attrs.frozen
class Part:
    """One part of the long form.

    Attributes:
        times: How often it is done by default.
        each: How often in one campaign.
        what: What is done, in words.
        program: The module that does it, and its first arguments.
    """

    times: int
    each: int
    what: str
    program: tuple[str, ...]

    def commands(self, times: int, seed: int) -> Iterator[list[str]]:
        """Yield the arguments of each campaign."""
        for number, first in enumerate(range(0, times, self.each)):
            count = str(min(self.each, times - first))
            if self.program[0] == SEEDS[0]:
                yield [*self.program, "--first", str(seed + first), "--count", count]
            else:
                yield [*self.program, "--times", count, "--seed", str(seed + number)]


SEEDS = ("tests.journal.runs",)

FLEETS = (*SEEDS, "--fleet")


def crash(kind: str) -> tuple[str, ...]:
    """Return the program of a crash campaign."""
    return ("tests.journal.crash_campaign", FILE, "--kind", kind)


POISON = ("tests.journal.poison_campaign", FILE)

PARTS = {
    "seeds": Part(100_000, 500, "simulated sessions", SEEDS),
    "fleets": Part(10_000, 200, "simulated sessions on one journal", FLEETS),
    "kill": Part(2_000, 20, "kill -9", crash("kill")),
    "told": Part(1_000, 20, "committed, and killed before it was told", crash("told")),
    "poison": Part(100, 10, "handlers that end their process", POISON),
    "enospc": Part(50, 10, "disks that are full", crash("enospc")),
    "eio": Part(50, 10, "reads and writes that fail", crash("eio")),
    "fsync": Part(50, 10, "fsyncs that fail and forget", crash("fsync")),
    "slow": Part(10, 5, "sessions with fsyncs of 200 ms", crash("slow")),
    "stop": Part(10, 5, "Ctrl-C with fsyncs of 2 s", crash("stop")),
    "clock": Part(50, 10, "sessions whose clock jumps by an hour", crash("clock")),
}


@attrs.frozen
class Outcome:
    """What a campaign said."""

    command: list[str]
    said: str
    is_broken: bool


def run(command: list[str]) -> Outcome:
    """Run a campaign on a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/run.db"
        process = subprocess.Popen(
            [sys.executable, "-m", *(path if c == FILE else c for c in command)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that it can be ended with its children
        )
        try:
            said, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            said += f"it hung for {LONGEST:g} seconds\n"
    return Outcome(command, said, bool(process.returncode))


def run_part(part: Part, times: int, seed: int, jobs: int) -> list[Outcome]:
    """Run a part; return what is broken."""
    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(run, part.commands(times, seed)))
    seconds = time.monotonic() - began
    broken = [outcome for outcome in outcomes if outcome.is_broken]
    done = ", ".join(f"{n} {name}" for name, n in totals(outcomes).items())
    say(
        f"{times} {part.what}: {len(broken)} of {len(outcomes)} campaigns broken"
        f"{f' ({done})' if done else ''}, {seconds:.0f} s"
    )
    for outcome in broken:
        say(f"python -m {' '.join(outcome.command)}\n{outcome.said}")
    return broken


def totals(outcomes: list[Outcome]) -> dict[str, int]:
    """Add up what the campaigns counted."""
    found: dict[str, int] = {}
    for outcome in outcomes:
        first, _, _ = outcome.said.partition("\n")
        _, _, counts = first.partition(": ")
        for count in counts.split(", "):
            number, _, name = count.partition(" ")
            if number.isdecimal() and name in {"lives", "flows", "innocent"}:
                found[name] = found.get(name, 0) + int(number)
    return found


def say(line: str) -> None:
    """Print a line at once: who runs this in the background looks at the file."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def chosen(words: list[str], scale: float) -> dict[str, int]:
    """Return which parts to run, and how often each.

    Raises:
        SystemExit: There is no such part.
    """
    asked: dict[str, int] = {}
    for word in words or PARTS:
        name, _, number = word.partition("=")
        if name not in PARTS or not (number or "1").isdecimal():
            sys.exit(
                f"{word!r} is no part: {', '.join(PARTS)}, each with =NUMBER or not"
            )
        asked[name] = (
            int(number) if number else max(1, round(PARTS[name].times * scale))
        )
    return asked


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART[=NUMBER]", help=", ".join(PARTS)
    )
    parser.add_argument("--scale", type=float, default=1.0, help="times all numbers")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    asked = chosen(options.parts, options.scale)
    if reason := why_not():
        sys.exit(reason)
    broken: list[Outcome] = []
    for name, times in asked.items():
        broken += run_part(PARTS[name], times, options.seed, options.jobs)
    say(f"{len(broken)} campaigns broken" if broken else "all is well")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
