"""What is wrong with a session that has come to its end, in words that say the fix.

Decisions: what a session left behind in, problems out.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import attrs

from agentflow._errors import FlowFailed
from agentflow._events import AgentFailed, Event
from agentflow._records import FlowEnded, Record, SetIncomplete
from agentflow._reports import Undelivered
from agentflow.testing._leaks import Leak


class FlowCheckFailed(AssertionError):
    """A test's session did not come to a good end.

    Attributes:
        problems: What is wrong, each with what to do about it.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = "".join(f"\n- {problem}" for problem in self.problems)
            super().__init__(f"{len(self.problems)} problems at the end:{lines}")


class NotDone(TimeoutError):
    """A test's session took longer than it may."""


class Checked(Protocol):
    """Something a test has set up that can tell whether it was used as set up."""

    def unexpected(self) -> Sequence[str]:
        """Say what was asked of it that it was not prepared for."""
        ...

    def unused(self) -> Sequence[str]:
        """Say what was prepared and nobody asked for."""
        ...


def problems_of(checked: Iterable[Checked]) -> list[str]:
    """Return what is wrong with them all, the unexpected first."""
    known = list(checked)
    unexpected = [problem for each in known for problem in each.unexpected()]
    return unexpected + [problem for each in known for problem in each.unused()]


@attrs.frozen(kw_only=True)
class Remains:
    """What a session has left behind.

    Attributes:
        failed: Failures that nobody asked for.
        leaks: Tasks that go on.
        threads: Agents whose threads go on.
        undelivered: Events that an agent did not get, or did not finish.
        unrouted: Events that no route took and nobody asked for.
        incomplete: Whether aggregators must have got all they needed.
        records: Everything that happened.
        tracer_error: What the test's own tracer raised.
    """

    failed: FlowFailed | None
    leaks: Sequence[Leak]
    threads: Sequence[str]
    undelivered: Sequence[Undelivered]
    unrouted: Sequence[Event]
    incomplete: bool
    records: Sequence[Record]
    tracer_error: Exception | None


def judge(remains: Remains) -> Iterator[str]:
    """Yield what is wrong.

    Args:
        remains: What the session has left behind.

    Yields:
        A problem and what to do about it.
    """
    for failure in remains.failed.failures if remains.failed else ():
        yield _lost(failure)
    for leak in remains.leaks:
        at = f", at {leak.stands}" if leak.stands else ""
        yield (
            f"a leaked task: {leak.agent} started {leak.name!r} while it handled "
            f"{leak.event}, and it still runs{at}. "
            "Start it in a nursery that the handler itself opens, so that it ends with it"
        )
    for agent in remains.threads:
        yield (
            f"a leaked thread: {agent} was cancelled, but its thread still runs. A thread "
            "cannot be stopped: make the agent an async one, or bound what it waits for"
        )
    for left in remains.undelivered:
        what = "was still at it" if left.started else "had not got it yet"
        yield (
            f"an undelivered event: {_say(left.event)} for {left.agent}, which {what} when "
            "the session was stopped. Give stop() more grace, or expect it: "
            "open_test_session(..., allow_undelivered=True)"
        )
    for event in remains.unrouted:
        kind = type(event).__name__
        yield (
            f"an unrouted event: {_say(event)}. No route takes it and nobody asked for it. "
            f"Add a route, ask for it with session.run(event, {kind}), or expect it: "
            f"open_test_session(..., allow_unrouted=[{kind}])"
        )
    if remains.incomplete:
        yield from _incomplete(remains.records)
    if remains.tracer_error is not None:
        error = remains.tracer_error
        yield f"a lost error: the tracer raised {type(error).__name__}: {error}"


def _lost(failure: AgentFailed) -> str:
    error = failure.error
    return (
        f"a lost error: {failure.agent} raised {type(error).__name__}: {error}, while it "
        f"handled {_say(failure.event)}, and nobody asked for it. Own the flow, as in "
        "`with pytest.raises(FlowFailed): await session.run(event, Result)`, or route "
        "AgentFailed to an agent"
    )


def _incomplete(records: Iterable[Record]) -> Iterator[str]:
    """Yield which aggregators kept what they had got, in flows that ended well."""
    known = list(records)
    good = {
        r.correlation_id
        for r in known
        if isinstance(r, FlowEnded) and r.outcome == "finished"
    }
    for record in known:
        if isinstance(record, SetIncomplete) and record.correlation_id in good:
            had = ", ".join(type(event).__name__ for event in record.events)
            yield (
                f"undelivered events: {record.agent} had got {had} and still lacked "
                f"{', '.join(record.missing)} when the flow ended. Emit that, or "
                "expect it: open_test_session(..., allow_incomplete=True)"
            )


def _say(event: Event) -> str:
    source = event.source if isinstance(event.source, str) else event.source.__name__
    return f"{type(event).__name__} from {source}"
