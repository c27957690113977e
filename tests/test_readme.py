"""The README and the docs keep what they say: their programs run."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def programs_in(file: Path) -> list[str]:
    """Return the Python programs of a page."""
    text = file.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def run(program: str, folder: Path) -> tuple[str, str, int]:
    """Run a program on a fresh interpreter; return its output, errors and status."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=folder,
    )
    return done.stdout, done.stderr, done.returncode


def test_the_program_in_the_readme_runs(tmp_path: Path) -> None:
    """It prints the number of words, on a fresh interpreter, in at most 25 lines."""
    program, *others = programs_in(ROOT / "README.md")
    assert run(program, tmp_path) == ("5\n", "", 0)
    assert len(program.splitlines()) <= 25
    assert not others


def test_the_program_about_tracing_runs(tmp_path: Path) -> None:
    """It prints the same tree from memory and from its file."""
    (program,) = programs_in(ROOT / "docs" / "tracing.md")
    output, errors, status = run(program, tmp_path)
    assert (errors, status) == ("", 0)
    lines = output.splitlines()
    assert lines[1].startswith("  Question → answer 0.0")
    assert lines[2] == "    Answer (nobody took it)"
    assert len(lines) == 8
    assert lines[4:] == lines[:4]
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["run.jsonl", "run.perfetto.json"]


def test_the_upcast_in_the_docs_runs(tmp_path: Path) -> None:
    """It only lacks the events that it speaks of."""
    (program,) = programs_in(ROOT / "docs" / "trace-format.md")
    before = """
from agentflow import JSON, Event
from agentflow.encoding import EventRegistry
class TextEvent(Event):
    text: str
class SummaryEvent(Event):
    text: str
class OrderEvent(Event):
    total: int
    currency: str
"""
    after = """
old = {"type": "shop:Order", "version": 1, "id": "i", "correlation_id": "c",
       "parent_id": None, "source": "s", "source_kind": "name", "fields": {"total": 3}}
print(registry.read(old).currency)
"""
    assert run(before + program + after, tmp_path) == ("EUR\n", "", 0)
