"""`python -m benchmarks.llm`: measure the LLM half beside the providers' own SDKs.

Install `benchmarks/llm/requirements.txt` first. All sides work on the same bytes in one
run, in turns, so that a busy moment hits all; their results must be equal. A figure is the
median of the rounds, a ratio the median of the ratios within a round. CPU is what the
process computed, which a busy machine changes little.
"""

import argparse

from benchmarks.llm._calls import measure_calls
from benchmarks.llm._decoding import measure_decoding
from benchmarks.llm._imports import measure_imports

PARTS = {
    "decoding": measure_decoding,
    "calls": measure_calls,
    "imports": measure_imports,
}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.llm", description=__doc__
    )
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=7, help="how often to measure")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    for name, measure in PARTS.items():
        if name in (asked.parts or PARTS):
            for line in measure(asked.rounds):
                print(line, flush=True)
            print(flush=True)


if __name__ == "__main__":
    main()
