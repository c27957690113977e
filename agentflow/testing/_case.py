"""The test that is running, where a plugin runs it: who takes part, and how it ended.

A test runner calls tests one after another, so there is one case at a time. It stands in
a variable of the module: the runner's hooks, the fixtures and the test itself run in
different contexts, and sometimes in different threads.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import attrs

from agentflow.testing._bare import also, leaves, origin_of
from agentflow.testing._verdict import (
    Checked,
    FlowCheckFailed,
    NotDone,
    problems_of,
)


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
        error: What the test has failed with, as far as is known.
    """

    sessions: list[Member] = attrs.field(factory=list[Member])
    checked: list[Checked] = attrs.field(factory=list[Checked])
    seed: int | None = None
    error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Tell every session that the test has failed, and add what was unexpected."""
        if self.error is not None:
            return
        self.error = error
        for session in self.sessions:
            session.test_failed(error)
        said = str(error)
        for each in self.checked:
            for problem in each.unexpected():
                if problem not in said:
                    error.add_note(f"also: {problem}")

    def bare(self, raised: BaseException) -> tuple[BaseException, BaseException | None]:
        """Take what a test failed with out of the groups of the host that ran it.

        Args:
            raised: What came out of the host.

        Returns:
            What the test itself raised, or what one fixture did, and what that came of;
            all else stands in notes below it. A verdict on the whole test comes without a
            traceback, which would only lead through a test kit.
        """
        inner = _inner(raised, self.error)
        within = list(leaves(inner))
        for error in leaves(raised):
            if error not in within:
                inner.add_note(also(error))
        if isinstance(inner, FlowCheckFailed | NotDone):
            inner.__traceback__ = None
        self.fail(inner)
        return inner, origin_of(inner)

    def judge(self) -> None:
        """Fail a test that went well if something was not used as set up.

        Raises:
            FlowCheckFailed: Saying what.
        """
        __tracebackhide__ = True
        if problems := problems_of(self.checked):
            raise FlowCheckFailed(problems)


def _inner(group: BaseException, own: BaseException | None) -> BaseException:
    """Return the test's own error if it is in a group, else what is in there alone."""
    if own is not None and own in _nodes(group):
        return own
    while type(group) in {ExceptionGroup, BaseExceptionGroup}:
        first, *others = cast("BaseExceptionGroup[BaseException]", group).exceptions
        if others:
            break
        group = first
    return group


def _nodes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and if it is a group all that is in it, groups as well."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _nodes(each)


class _Running:
    case: Case | None = None


def current_case() -> Case | None:
    """Return the test that a plugin is running; None outside of one."""
    return _Running.case


@contextmanager
def running(case: Case | None) -> Generator[None]:
    """Be the current case for the length of a block.

    Args:
        case: The case; None for code that is to behave as in none.

    Yields:
        Nothing.
    """
    before, _Running.case = _Running.case, case
    try:
        yield
    finally:
        _Running.case = before
