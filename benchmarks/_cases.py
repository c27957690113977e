"""What is measured: `CASES` is every case by name, in order."""

from benchmarks._protocol import Work
from benchmarks.workloads import analysis, chain, memory, waiting

CASES: dict[str, Work] = chain.CASES | analysis.CASES | memory.CASES | waiting.CASES
