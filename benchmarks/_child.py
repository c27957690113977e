"""One system on some cases, in a process of its own: figures as JSON on standard output."""

import json
import sys
from time import process_time

from benchmarks._cases import CASES
from benchmarks._protocol import Laps
from benchmarks._systems import SYSTEMS


def main() -> None:
    """Run the cases named after the clock and the system on the command line."""
    clock, named, *cases = sys.argv[1:]
    if clock == "cpu":
        Laps.clock = staticmethod(process_time)
    system = SYSTEMS[named]
    figures: dict[str, float] = {}
    for name in cases:
        work = system.share_of(CASES[name])
        measured = None if work is None else system.run(work)
        if work is not None and measured is not None:
            figures[name] = work.figure(measured)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
