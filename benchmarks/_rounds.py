"""Runs systems in turns, so that a busy moment of the machine hits all of them."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

import attrs

from benchmarks._cases import CASES
from benchmarks._protocol import Wrong
from benchmarks._systems import SYSTEMS

LONGEST = 900
"""Seconds that one system may take for its cases of one round."""


@attrs.define
class Figures:
    """What has been measured: a figure for each round, by system and case."""

    taken: dict[tuple[str, str], dict[int, float]] = attrs.field(
        factory=dict[tuple[str, str], dict[int, float]]
    )
    wrong: list[str] = attrs.field(factory=list[str])

    def take(
        self, system: str, cases: Sequence[str], *, round_: int, clock: str
    ) -> None:
        """Run a system in a process of its own, and enter what it measured."""
        try:
            figures = in_child(system, cases, clock)
        except Wrong as error:
            self.wrong.append(str(error))
            print(f"WRONG: {error}", file=sys.stderr)
            return
        for case, figure in figures.items():
            self.taken.setdefault((system, case), {})[round_] = figure


def batches(cases: Iterable[str]) -> Iterator[list[str]]:
    """Yield cases that may share a process, workload by workload."""
    batch: list[str] = []
    for case in cases:
        is_alone = CASES[case].is_alone
        if batch and (is_alone or case[:2] != batch[0][:2]):
            yield batch
            batch = []
        batch.append(case)
        if is_alone:
            yield batch
            batch = []
    if batch:
        yield batch


def measure(
    systems: Sequence[str], cases: Iterable[str], *, rounds: int, clock: str
) -> Figures:
    """Run every system on every case in each round.

    Args:
        systems: Their names.
        cases: Theirs, in order.
        rounds: How many.
        clock: "wall", or "cpu" for the time that the process computes.

    Returns:
        The figures, and what went wrong.
    """
    figures = Figures()
    for batch in batches(cases):
        here = min(rounds, CASES[batch[0]].rounds or rounds)
        for round_ in range(here):
            part = [s for s in systems if round_ < (SYSTEMS[s].rounds or rounds)]
            for system in part:
                figures.take(system, batch, round_=round_, clock=clock)
            print(f"{batch[0]}: round {round_ + 1} of {here}", file=sys.stderr)
    return figures


def in_child(system: str, cases: Sequence[str], clock: str) -> dict[str, float]:
    """Run one system on some cases in a new process.

    Raises:
        Wrong: It failed, hung, or did not do all the work.
    """
    command = [sys.executable, "-m", "benchmarks._child", clock, system]
    command += cases
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no word"])[-1]
        raise Wrong(f"{system}, {cases[0]} ...: {last}") from error
    except subprocess.TimeoutExpired as error:
        raise Wrong(f"{system}, {cases}: no end after {LONGEST} s") from error
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
