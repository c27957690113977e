"""The long form of the durable gates: ``python -m tests.journal.long_form --help``.

Prints one line for each part, and ends with status 1 if anything was broken.
"""

import argparse
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

from tests.journal.runs import run_seed

KILLS_EACH = 20


def broken_seed(seed: int) -> str:
    """Return what a seed has broken, as text; empty if nothing."""
    problems = run_seed(seed).problems
    return f"seed {seed}: {problems[0]}" if problems else ""


def simulate(first: int, count: int) -> list[str]:
    """Run seeds on every core."""
    with get_context("spawn").Pool() as pool:
        answers = pool.map(broken_seed, range(first, first + count), chunksize=50)
    return [answer for answer in answers if answer]


def kill(kills: int) -> list[str]:
    """Kill so many real processes, in campaigns on files of their own."""
    program = Path(__file__).with_name("crash_campaign.py")
    problems: list[str] = []
    for seed in range(kills // KILLS_EACH):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(program), f"{folder}/run.db"]
            done = subprocess.run(
                [*command, "--kills", str(KILLS_EACH), "--seed", str(seed)],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            problems.append(f"campaign {seed}: {done.stdout}{done.stderr}")
    return problems


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kills", type=int, default=2_000)
    asked = parser.parse_args()
    simulated = simulate(asked.first, asked.seeds)
    sys.stdout.write(f"{asked.seeds} seeds: {len(simulated)} broken\n")
    killed = kill(asked.kills)
    sys.stdout.write(f"{asked.kills} kills: {len(killed)} campaigns broken\n")
    sys.stdout.write("\n".join((*simulated, *killed, "")))
    sys.exit(bool(simulated or killed))


if __name__ == "__main__":
    main()
