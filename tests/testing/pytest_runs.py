"""Running pytest inside of pytest, in a process of its own, with few plugins."""

from pathlib import Path

import attrs
import pytest

QUIET = (
    "-p no:randomly",
    "-p no:cacheprovider",
    "-p no:xdist",
    "-p no:timeout",
    "-p no:hypothesispytest",
)


@attrs.frozen
class Ran:
    """What a run of pytest came to."""

    counts: dict[str, int]
    out: str


def run_pytest(pytester: pytest.Pytester, *arguments: str) -> Ran:
    """Run the tests in the pytester's folder."""
    settle(pytester)
    quiet = [word for option in QUIET for word in option.split()]
    done = pytester.runpytest_subprocess(*quiet, *arguments, timeout=50)
    return Ran(done.parseoutcomes(), done.stdout.str() + done.stderr.str())


def settle(pytester: pytest.Pytester) -> None:
    """Have pytest look for its settings no further up: the folder may lie in a project."""
    if not (pytester.path / "tox.ini").exists():
        pytester.makeini("[pytest]\n")


def section(ran: Ran, test: str) -> str:
    """Return what pytest says of one failed test."""
    head = f"_ {test} _"
    _, found, rest = ran.out.partition(head)
    assert found, ran.out
    return rest.partition("\n____")[0]


def write(pytester: pytest.Pytester, name: str, text: str) -> Path:
    """Write a file of tests that need no imports of their own."""
    path: Path = pytester.path / name
    path.write_text(PRELUDE + text, encoding="utf-8")
    return path


PRELUDE = """\
import anyio
import pytest
import trio
from agentflow import AgentFailed, Event, FlowFailed, Router, TerminateEvent
from agentflow.testing import (
    FlowCheckFailed, every_checkpoint, open_test_session, real_time, virtual_backend,
)


class Ask(Event):
    n: int = 0


class Answer(Event):
    n: int = 0


async def answer(event: Ask) -> Answer:
    await anyio.sleep(3600)
    return Answer(source="answer", n=event.n + 1)


async def forever(event: Event) -> None:
    await anyio.sleep_forever()


async def fail(event: Event) -> None:
    raise ValueError("out of paper")


def ask() -> Ask:
    return Ask(source="test")


"""
