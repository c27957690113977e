"""`python -m benchmarks`: measure, and print medians and ratios as a table."""

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks._cases import CASES
from benchmarks._rounds import measure
from benchmarks._systems import SYSTEMS
from benchmarks._table import LEGEND, table

RESULTS = Path(__file__).with_name("results.md")
QUICK = 2
"""Rounds of a quick look."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workloads", nargs="*", help="W1 to W5, or the start of a case's name"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--only", help="systems: names or parts of them, with commas")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="time what the process computes: for a busy machine, and W1 and W2 only",
    )
    parser.add_argument("--long", action="store_true", help="ten million events, too")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    return parser.parse_args()


def main() -> int:
    """Measure what the command line asks for."""
    asked = arguments()
    systems = [
        name
        for name in SYSTEMS
        if not asked.only or any(part in name for part in asked.only.split(","))
    ]
    cases = [
        name
        for name in CASES
        if not asked.workloads or name.startswith(tuple(asked.workloads))
        if not CASES[name].is_long or asked.long or name in asked.workloads
    ]
    rounds = QUICK if asked.quick else asked.rounds
    figures = measure(
        systems, cases, rounds=rounds, clock="cpu" if asked.cpu else "wall"
    )
    text = table(figures, systems, cases)
    print(text)
    if asked.write:
        RESULTS.write_text(f"{heading(rounds)}\n\n{text}", encoding="utf-8")
    return 1 if figures.wrong else 0


def heading(rounds: int) -> str:
    """Say what was measured, on what."""
    return f"""# What the benchmarks measured

{rounds} rounds on {platform.machine()}, {os.cpu_count()} cores; Python
{platform.python_version()}, trio {version("trio")}, anyio {version("anyio")}.

{LEGEND}"""


if __name__ == "__main__":
    sys.exit(main())
