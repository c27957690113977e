"""What importing the dispatcher costs beside the libraries it stands on.

Run it as `python benchmarks/import_time.py`: each line is the median of seven fresh
interpreters, taken in turns so that a busy moment hits both.
"""

import statistics
import subprocess
import sys

RUNS = 7
STATEMENTS = (
    "import trio, anyio, attrs",
    "import trio; from agentflow import AsyncDispatcher",
)
PROBE = """\
import time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""


def import_seconds(statement: str) -> float:
    """Seconds that one import statement takes in a fresh interpreter."""
    command = [sys.executable, "-c", PROBE.format(statement=statement)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure both statements in turns and print their medians and the difference."""
    taken: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(RUNS):
        for statement, seconds in taken.items():
            seconds.append(import_seconds(statement))
    medians = [statistics.median(seconds) for seconds in taken.values()]
    for statement, median in zip(STATEMENTS, medians, strict=True):
        print(f"{median * 1000:8.1f} ms  {statement}")
    print(f"{(medians[1] - medians[0]) * 1000:+8.1f} ms  difference")


if __name__ == "__main__":
    main()
