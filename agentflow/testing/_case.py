"""The test that is running, where a plugin runs it: who takes part, and how it ended.

A test runner calls tests one after another, so there is one case at a time. It stands in
a variable of the module: the runner's hooks, the fixtures and the test itself run in
different contexts, and sometimes in different threads.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import attrs

from agentflow.testing._verdict import Checked


class Member(Protocol):
    """A session that takes part in a test."""

    def test_failed(self, error: BaseException) -> None:
        """Learn that the test has failed."""
        ...

    def picture(self) -> str:
        """Return what happened in it, drawn."""
        ...


@attrs.define(eq=False)
class Case:
    """One test.

    Attributes:
        sessions: The sessions it has opened, in order.
        checked: What it has set up.
        seed: What decides the order of tasks; None leaves that to the loop.
    """

    sessions: list[Member] = attrs.field(factory=list[Member])
    checked: list[Checked] = attrs.field(factory=list[Checked])
    seed: int | None = None

    def fail(self, error: BaseException) -> None:
        """Tell every session that the test has failed, and add what was unexpected."""
        for session in self.sessions:
            session.test_failed(error)
        said = str(error)
        for each in self.checked:
            for problem in each.unexpected():
                if problem not in said:
                    error.add_note(f"also: {problem}")


class _Running:
    case: Case | None = None


def current_case() -> Case | None:
    """Return the test that a plugin is running; None outside of one."""
    return _Running.case


@contextmanager
def running(case: Case) -> Generator[None]:
    """Be the current case for the length of a block.

    Args:
        case: The case.

    Yields:
        Nothing.
    """
    before, _Running.case = _Running.case, case
    try:
        yield
    finally:
        _Running.case = before
