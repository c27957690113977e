"""Opening a session for a test, and judging it at the end of its block."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Unpack

import anyio
import attrs

from agentflow._errors import FlowFailed
from agentflow._events import Event
from agentflow._routing import Router
from agentflow._waiting import until_idle
from agentflow.abc import Observer
from agentflow.testing._bare import also, bare_assertions, leaves
from agentflow.testing._case import current_case
from agentflow.testing._leaks import watch_tasks
from agentflow.testing._running import YEAR
from agentflow.testing._session import FlowSession, SessionSettings
from agentflow.testing._trace import FlowTrace
from agentflow.testing._verdict import (
    Checked,
    FlowCheckFailed,
    NotDone,
    Remains,
    judge,
    problems_of,
)
from agentflow.testing._virtual import current_virtual_clock, threads_take_time

_REAL_LIMIT = 60.0
"""Seconds a test may take on a real clock, unless it says otherwise."""

_VIRTUAL_LIMIT = YEAR / 2
"""Seconds on a virtual one, which gets there at once when nothing else can happen."""


class _TestFailed(Exception):
    """Ends a session whose test has failed out of its sight."""

    def __repr__(self) -> str:
        return "the test failed"


@asynccontextmanager
async def open_test_session(  # noqa: PLR0913 -- each is a setting of its own, all optional
    router: Router,
    *,
    trace: FlowTrace | None = None,
    tracer: Observer | None = None,
    checked: Iterable[Checked] = (),
    allow_unrouted: Iterable[type[Event]] = (),
    allow_incomplete: bool = False,
    allow_undelivered: bool = False,
    limit: float | None = None,
    **settings: Unpack[SessionSettings],
) -> AsyncGenerator[FlowSession]:
    """Run a test's agents, and fail the test if work or an error is lost.

    ::

        async with open_test_session(make_router()) as session:
            result = await session.run(TextEvent(source="test", text="Hi"), CountedEvent)
            assert result.words == 1

    Leaving the block waits until every flow is idle, and then looks at what is left: an
    error that nobody asked for, a task or thread that a handler left behind, an event
    that an agent did not get, an event that no route took and nobody asked for, an
    aggregator that still lacks something. Each fails the test by name. A failed
    assertion, in the block or in a handler, leaves bare.

    Args:
        router: Which agent gets which event.
        trace: Where everything that happens is kept; by default a new one,
            ``session.trace``.
        tracer: Gets every record, too.
        checked: What else the test has set up, such as a scripted model: what it was not
            prepared for, and what nobody asked of it, fails the test, too.
        allow_unrouted: Classes of events that may go nowhere.
        allow_incomplete: True if aggregators may lack events when a flow ends.
        allow_undelivered: True if the test stops the session before its work is done.
        limit: Seconds that the block and its end may take. By default 60, and half a year
            of virtual time, which passes at once when nothing else can happen.
        settings: See `AsyncDispatcher`.

    Yields:
        The session, a dispatcher.

    Raises:
        FlowCheckFailed: Something was lost.
        AssertionError: An assertion failed in a handler.
        NotDone: A TimeoutError: the limit is over; it says where each handler stood.

    Cancellation:
        All flows are cancelled, and their handlers have cleaned up.
    """
    session = FlowSession(
        router, FlowTrace() if trace is None else trace, tracer, **settings
    )
    case = current_case()
    if case is not None:
        case.sessions.append(session)
    if limit is None:
        limit = _REAL_LIMIT if current_virtual_clock() is None else _VIRTUAL_LIMIT
    __tracebackhide__ = True
    allowed = tuple(allow_unrouted)
    course = _Course(session, limit, list(checked))
    with threads_take_time(), watch_tasks(session.shared_working_memory) as leaks:
        async with _explained(course):
            yield session
        remains = Remains(
            failed=course.failed,
            leaks=leaks.left(),
            threads=session.threads_left(),
            undelivered=() if allow_undelivered else session.stop_report.undelivered,
            unrouted=[e for e in session.unrouted() if not isinstance(e, allowed)],
            incomplete=not allow_incomplete,
            records=session.trace.records(),
            tracer_error=session.tracer_error,
        )
    if session.failure is None:
        _judge(course, remains)


@attrs.define(eq=False)
class _Course:
    """How far a test has come.

    Attributes:
        session: Its session.
        limit: Seconds it may take.
        checked: What else it has set up.
        is_over: Whether its own code has come to its end.
        failed: What failed in the session after that, and nobody asked for.
    """

    session: FlowSession
    limit: float
    checked: list[Checked]
    is_over: bool = False
    failed: FlowFailed | None = None


@asynccontextmanager
async def _explained(course: _Course) -> AsyncGenerator[None]:
    """Run the block, and sort out what it raises."""
    __tracebackhide__ = True
    session = course.session
    try:
        async with _bounded(course):
            yield
    except Exception as error:
        if session.failure is not None:
            _add_to(session.failure, error)
        elif course.is_over and isinstance(error, FlowFailed):
            course.failed = error
        else:
            _explain(error, course)
            raise


@asynccontextmanager
async def _bounded(course: _Course) -> AsyncGenerator[None]:
    """Run the block within its limit.

    Raises:
        NotDone: It was not over in time.
    """
    __tracebackhide__ = True
    scope = anyio.CancelScope(deadline=anyio.current_time() + course.limit)
    with scope, bare_assertions():
        async with _watched(course):
            yield
    if scope.cancelled_caught:
        what = f"not done within {course.limit:g} seconds"
        if course.limit == _VIRTUAL_LIMIT:
            what = "not done, and nothing can happen any more"
        raise NotDone(f"{what}{course.session.stuck()}") from None


@asynccontextmanager
async def _watched(course: _Course) -> AsyncGenerator[None]:
    """Run the block in the session, and note where handlers stand if it breaks off."""
    __tracebackhide__ = True
    session = course.session
    async with session:
        try:
            yield
            course.is_over = True
            await _end(session)
        except BaseException:
            session.freeze()
            raise


async def _end(session: FlowSession) -> None:
    """Wait until all is done, or end the session if its test has failed elsewhere."""
    if session.failure is not None:
        raise _TestFailed
    await until_idle(session._engine, None)


def _add_to(failure: BaseException, error: Exception) -> None:
    """Note below a test's failure what else was raised."""
    for each in leaves(error):
        if not isinstance(each, _TestFailed):
            failure.add_note(also(each))


def _explain(error: BaseException, course: _Course) -> None:
    """Note below an error what happened, unless the test's runner shows it."""
    for each in course.checked:
        for problem in each.unexpected():
            if problem not in str(error):
                error.add_note(f"also: {problem}")
    if current_case() is None:
        error.add_note(f"what happened:\n{course.session.picture()}")


def _judge(course: _Course, remains: Remains) -> None:
    """Fail the test if something is wrong at its end.

    Raises:
        FlowCheckFailed: Saying what.
    """
    __tracebackhide__ = True
    faults = course.session.faults_left()
    problems = [*judge(remains), *faults, *problems_of(course.checked)]
    if problems:
        verdict = FlowCheckFailed(problems)
        _explain(verdict, course)
        raise verdict from _cause(course.failed)


def _cause(failed: FlowFailed | None) -> BaseException | None:
    """Return what a lost error is to be shown as."""
    if failed is None:
        return None
    first, *others = failed.exceptions
    return failed if others else first
