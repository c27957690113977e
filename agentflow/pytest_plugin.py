"""pytest fixtures for agent flows; ``pytest --fixtures`` lists them.

pytest loads this file by itself, so it imports nothing but pytest: the test kit comes in
with the first test that uses it. ``python -m pip install 'trio-agentflow[testing]'``.

A test that has one of the fixtures, or opens a session of `agentflow.testing`, shows what
happened in its sessions when it fails. `flow_session` is run by pytest-trio; the other
fixtures are plain ones, for whatever runs the test.
"""

import functools
import re
import secrets
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import trio.abc

    from agentflow import Router
    from agentflow.testing import (
        FlowSession,
        FlowTrace,
        RecordedLLM,
        ScriptedGateway,
        SessionSettings,
    )
    from agentflow.testing._case import Case

_TestFunction = Callable[..., Awaitable[object]]

_case_key = pytest.StashKey["Case"]()
_KIT = "agentflow.testing"
_WRONG_HOST = (
    "flow_session is a fixture for pytest-trio, which does not run this test: mark it with "
    "@pytest.mark.trio, or set trio_mode = true. Under anyio's plugin, or any other, open "
    "the session in the test: async with open_test_session(router) as session:"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("agentflow", "tests of agent flows")
    group.addoption(
        "--agentflow-record",
        choices=["none", "once", "new", "all"],
        default="none",
        help="when recorded_llm asks a real model: never, if there is no recording, for "
        "what it lacks, always",
    )
    group.addoption(
        "--agentflow-seed",
        type=int,
        metavar="N",
        help="run the tasks of tests with flow_session in the order of this seed",
    )


# -- fixtures ---------------------------------------------------------------------------


@pytest.fixture
def flow_router() -> "Router":
    """The router of `flow_session`: an empty one.

    Define a fixture of this name that returns your application's own, or add routes in
    the test: ``flow_session.router.add_route(TextEvent, Analyzer(...))``.
    """
    from agentflow import Router

    return Router()


@pytest.fixture
def flow_settings() -> "SessionSettings":
    """Settings of `flow_session`, as `AsyncDispatcher` takes them: none.

    Define a fixture of this name for others: ``return {"max_concurrency": 4}``.
    """
    return {}


@pytest.fixture
def flow_clock() -> "trio.abc.Clock | None":
    """The clock of a test that has any of these fixtures and is run by pytest-trio.

    It is virtual, so that an hour's timeout takes no time. Define a fixture of this name
    that returns None for real time, or ask for pytest-trio's ``mock_clock``, in the test
    or in any of its fixtures.
    """
    import trio.testing

    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def flow_seed(request: pytest.FixtureRequest) -> int:
    """What decides the order of tasks under `flow_session`; another in each run.

    A test that fails shows it, and ``--agentflow-seed=N`` brings the order back. To try
    many: ``@pytest.mark.parametrize("flow_seed", range(100))``.
    """
    given: int | None = request.config.getoption("--agentflow-seed")
    return secrets.randbelow(2**32) if given is None else given


@pytest.fixture
def flow_trace(
    request: pytest.FixtureRequest,
    flow_clock: "trio.abc.Clock | None",  # noqa: ARG001 -- the test is run with it
) -> "FlowTrace":
    """What happened in `flow_session`, to be asserted on: order, causes, snapshots.

    Without that fixture, give it to a session: ``open_test_session(router,
    trace=flow_trace)``.
    """
    from agentflow.testing import FlowTrace

    _case_of(request.node)
    return FlowTrace()


@pytest.fixture
def scripted_llm(
    request: pytest.FixtureRequest,
    flow_clock: "trio.abc.Clock | None",  # noqa: ARG001 -- the test is run with it
) -> "ScriptedGateway":
    """A model that answers as the test says: ``scripted_llm.reply("Hello")``.

    ``scripted_llm.broker()`` is what agents take. A call that no reply is for, and a reply
    that nobody asked for, fail the test.
    """
    from agentflow.testing import ScriptedGateway

    model = ScriptedGateway()
    _case_of(request.node).checked.append(model)
    return model


@pytest.fixture
def flow_recording(request: pytest.FixtureRequest) -> Path:
    """The file of `recorded_llm`: ``recordings/FILE/TEST.json`` beside the test's file.

    Define a fixture of this name for another, such as one that several tests share.
    """
    name = re.sub(r"[^\w.=-]+", "_", request.node.name).strip("_")
    return request.path.parent / "recordings" / request.path.stem / f"{name}.json"


@pytest.fixture
def recorded_llm(
    request: pytest.FixtureRequest,
    flow_recording: Path,
    flow_clock: "trio.abc.Clock | None",  # noqa: ARG001 -- the test is run with it
) -> "Generator[RecordedLLM]":
    """A model that says again what a real one has said; it needs no network and no key.

    ``recorded_llm.broker("openai:gpt-5-mini")`` is what agents take. Run the test once with
    ``--agentflow-record=once`` to ask the real model and to write `flow_recording`, and
    commit that file. A request that has changed since fails the test with a diff.
    """
    from agentflow.testing import open_recording

    record: Any = request.config.getoption("--agentflow-record")
    with open_recording(flow_recording, record) as recorded:
        _case_of(request.node).checked.append(recorded)
        yield recorded


@pytest.fixture
def _flow_host(request: pytest.FixtureRequest, flow_seed: int) -> None:
    """Refuse tests that `flow_session` cannot run in, before anything is started."""
    if request.node.get_closest_marker("trio") is None:
        pytest.fail(_WRONG_HOST, pytrace=False)
    _case_of(request.node).seed = flow_seed


@pytest.fixture
async def flow_session(  # noqa: PLR0917 -- each is a fixture one may replace
    _flow_host: None,
    flow_router: "Router",
    flow_settings: "SessionSettings",
    flow_trace: "FlowTrace",
    flow_clock: "trio.abc.Clock | None",  # noqa: ARG001 -- the test is run with it
) -> "AsyncGenerator[FlowSession]":
    """A session around `flow_router`, for tests that pytest-trio runs.

    It is an `AsyncDispatcher` that fails the test if a task, an error or an event is lost
    in it; see ``agentflow.testing.open_test_session``. Time is virtual (`flow_clock`), the
    order of tasks is drawn and can be had again (`flow_seed`), and what happened is in
    `flow_trace`.

    Cancellation: all flows are cancelled, and their handlers have cleaned up.
    """
    from agentflow.testing import open_test_session

    async with open_test_session(
        flow_router, trace=flow_trace, **flow_settings
    ) as session:
        yield session  # noqa: ASYNC119, ASYNC900 -- pytest-trio sees to its end


# -- around each test -------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test as a case: with its clock and seed, and judged by what it has set up."""
    __tracebackhide__ = True
    if not isinstance(item, pytest.Function) or _KIT not in sys.modules:
        return (yield)
    from agentflow.testing._case import running
    from agentflow.testing._seeds import seeded

    case = _case_of(item)
    function = item.obj
    _use_clock(item)
    if "flow_session" in item.fixturenames and not hasattr(function, "hypothesis"):
        item.obj = _telling(function, case)
    how = f"bring it back with --agentflow-seed={case.seed}"
    with running(case), seeded(case.seed, how):
        try:
            result = yield
        except BaseException as raised:
            error, cause = case.bare(raised)
            if error is raised:
                raise
            raise error from cause  # noqa: ASYNC104 -- it was in what was raised
        finally:
            item.obj = function
        case.judge()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what happened in the sessions of a test that has failed."""
    report = yield
    case = item.stash.get(_case_key, None)
    if case is not None and call.when == "call" and report.failed:
        pictures = [session.picture() for session in case.sessions]
        if pictures:
            report.sections.append(("agentflow: what happened", "\n".join(pictures)))
    return report


def _case_of(item: pytest.Item) -> "Case":
    """Return what is known of a test, from its first fixture on."""
    from agentflow.testing._case import Case

    return item.stash.setdefault(_case_key, Case())


def _telling(function: _TestFunction, case: "Case") -> _TestFunction:
    """Have a test tell its sessions of its failure, which a fixture does not see."""

    @functools.wraps(function)
    async def test(**arguments: Any) -> None:  # noqa: ANN401 -- the test's own
        __tracebackhide__ = True
        try:
            await function(**arguments)
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
            case.fail(error)
            raise

    return test


def _use_clock(item: pytest.Function) -> None:
    """Run a test with a clock that only one of its fixtures has asked for.

    pytest-trio looks for clocks among the arguments of the test itself.

    Raises:
        UsageError: There are several.
    """
    if item.get_closest_marker("trio") is None or "flow_clock" not in item.fixturenames:
        return
    import trio

    clocks = {
        name: value
        for name, value in item.funcargs.items()
        if isinstance(value, trio.abc.Clock)
    }
    ours = clocks.pop("flow_clock", None)
    if len(set(clocks.values())) > 1:
        raise pytest.UsageError(
            f"{item.nodeid} has several clocks: {', '.join(clocks)}"
        )
    clock = next(iter(clocks.values()), ours)
    if clock is None:
        return
    runs = (marker.kwargs.get("run") for marker in item.iter_markers("trio"))
    run = next((each for each in runs if each is not None), trio.run)

    def run_with(
        *args: Any,  # noqa: ANN401 -- as trio.run has it
        **options: Any,  # noqa: ANN401 -- likewise
    ) -> object:
        options["clock"] = clock
        return run(*args, **options)

    item.add_marker(pytest.mark.trio(run=run_with), append=False)
