"""Imports: of the packages, and of what it takes to have a client at hand.

Each in a fresh interpreter, in turns. Ours imports parts when they are asked for, so the
second table counts what the first leaves for later.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping

from benchmarks.llm._laps import Lap, Rounds

PROBE = """\
import time
wall, cpu = time.perf_counter(), time.process_time()
{}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
PACKAGES = {
    "import agentflow.llm": "import agentflow.llm",
    "import openai": "import openai",
    "import anthropic": "import anthropic",
    "import ollama": "import ollama",
    "import trio, anyio, attrs": "import trio, anyio, attrs",
    "import anyio, attrs": "import anyio, attrs",
    "import httpx": "import httpx",
}
CLIENTS = {
    "agentflow.llm.LLMBroker": (
        "from agentflow.llm import LLMBroker; LLMBroker('openai:m', api_key='k')"
    ),
    "openai.AsyncOpenAI": (
        "from openai import AsyncOpenAI; AsyncOpenAI(api_key='k').chat.completions"
    ),
    "anthropic.AsyncAnthropic": (
        "from anthropic import AsyncAnthropic; AsyncAnthropic(api_key='k').messages"
    ),
    "ollama.AsyncClient": "from ollama import AsyncClient; AsyncClient()",
}


def lap(statement: str) -> Lap:
    """Time a statement in a fresh interpreter."""
    command = [sys.executable, "-c", PROBE.format(statement)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall, cpu = map(float, done.stdout.split())
    return Lap(wall, cpu)


def table(head: str, statements: Mapping[str, str], rounds: int) -> Iterator[str]:
    """Measure some statements beside the first; yield the rows of a table."""
    base = next(iter(statements))
    laps = Rounds(statements)
    for _ in range(rounds):
        for name, statement in statements.items():
            laps.add(name, lap(statement))
    yield f"| {head} | ms, CPU | ms, wall | times ours, CPU | wall |"
    yield "|---|" + "---:|" * 4
    for name in statements:
        taken, times = laps.median(name), laps.times(name, base)
        yield (
            f"| {name} | {taken.cpu * 1000:.0f} | {taken.wall * 1000:.0f} "
            f"| {times.cpu:.1f} | {times.wall:.1f} |"
        )


def measure_imports(rounds: int) -> Iterator[str]:
    """Measure the imports; yield the rows of two tables."""
    yield from table("import", PACKAGES, rounds)
    yield ""
    yield from table("a client at hand", CLIENTS, rounds)
