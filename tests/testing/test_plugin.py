"""The pytest plugin, run by pytest inside of pytest."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest

import agentflow
from agentflow import pytest_plugin
from tests.testing.pytest_runs import QUIET, Ran, run_pytest, section, settle, write

pytest_plugins = ["pytester"]

FLOWS = """
@pytest.fixture
def flow_router():
    return Router({Ask: [answer]})


async def test_an_hour_passes(flow_session, flow_trace):
    assert (await flow_session.run(ask(), Answer)).n == 1
    flow_trace.assert_sequence(Ask, Answer)
    assert flow_trace is flow_session.trace
    assert trio.current_time() == 3600


async def test_fails(flow_session):
    flow_session.dispatch(ask())
    await trio.sleep(1)
    assert 1 == 2


async def test_lost_error(flow_session):
    flow_session.router.add_route(Answer, fail)
    flow_session.dispatch(ask())


async def test_assertion_in_a_handler(flow_session):
    async def check(event):
        assert event.n == 7

    flow_session.router.add_route(Answer, check)
    flow_session.dispatch(ask())


async def test_raises_in_the_test(flow_session):
    flow_session.router.add_route(Answer, fail)
    await flow_session.run(ask(), TerminateEvent)


async def test_unused_reply(flow_session, scripted_llm):
    scripted_llm.reply("nobody asks for this")


async def test_unexpected_call(scripted_llm):
    with pytest.raises(AssertionError):
        await scripted_llm.broker().generate("Well?")


async def test_never_ends(flow_session):
    flow_session.router.add_route(Answer, forever)
    await flow_session.run(ask(), TerminateEvent)


class TestLeak:
    @pytest.fixture
    async def flow_router(self):
        async with trio.open_nursery() as nursery:
            async def leave(event):
                nursery.start_soon(trio.sleep_forever, name="left behind")

            yield Router({Ask: [leave]})
            nursery.cancel_scope.cancel()

    async def test_leaks_a_task(self, flow_session):
        flow_session.dispatch(ask())


async def test_skips(flow_session):
    flow_session.dispatch(ask())
    pytest.skip("not today")


async def test_fails_twice(flow_session):
    flow_session.router.add_route(Answer, fail)
    flow_session.dispatch(ask())
    await trio.sleep(3601)
    assert 1 == 3


@pytest.fixture
async def broken(flow_session):
    yield
    raise KeyError("fixture")


async def test_beside_a_broken_fixture(broken):
    assert 1 == 4


async def test_with_an_own_session(flow_trace):
    async with open_test_session(Router({Ask: [answer]}), trace=flow_trace) as session:
        assert (await session.run(ask(), Answer)).n == 2


"""


@pytest.mark.parametrize("trio_mode", [True, False])
def test_the_fixtures_under_pytest_trio(
    pytester: pytest.Pytester, trio_mode: bool
) -> None:
    """With and without trio_mode, each loss fails its test by name, and bare."""
    text = FLOWS if trio_mode else MARK + FLOWS
    write(pytester, "test_flows.py", text)
    pytester.makeini("[pytest]\nminversion = 8\n" + "trio_mode = true\n" * trio_mode)
    ran = run_pytest(pytester, "--agentflow-seed=77")
    assert ran.counts == {"passed": 1, "failed": 11, "skipped": 1}
    check_the_messages(ran)
    own = section(ran, "test_with_an_own_session")
    assert "assert 1 == 2" in own
    assert "answer finished in 3600.000 s" in own


def check_the_messages(ran: Ran) -> None:
    """Check what each failed test of FLOWS says."""
    fails = section(ran, "test_fails")
    assert "E       assert 1 == 2" in fails
    assert "bring it back with --agentflow-seed=77" in fails
    assert "agentflow: what happened" in fails
    assert "answer was cancelled after 1.000 s: the session ended" in fails
    assert "it stood at test_flows.py:" in fails
    assert "a lost error: answer raised" not in fails
    lost = section(ran, "test_lost_error")
    assert "ValueError: out of paper" in lost
    assert "FlowCheckFailed: a lost error: fail raised ValueError: out of paper" in lost
    bare = section(ran, "test_assertion_in_a_handler")
    assert "E           assert 0 == 7" in bare or "assert 1 == 7" in bare
    assert "FlowFailed" not in bare
    assert "Exception Group" not in ran.out.replace(section_of_raises(ran), "")
    assert "FlowFailed: flow " in section_of_raises(ran)
    assert "an unused reply: reply 1" in section(ran, "test_unused_reply")
    assert "an unexpected call" in section(ran, "test_unexpected_call")
    check_the_ends(ran)


def check_the_ends(ran: Ran) -> None:
    """Check what those say that fail beyond their own code."""
    stuck = section(ran, "test_never_ends")
    assert "nothing can happen any more:" in stuck
    assert "forever stood at test_flows.py:" in stuck
    leak = section(ran, "TestLeak.test_leaks_a_task")
    assert "a leaked task: leave started 'left behind' while it handled Ask" in leak
    twice = section(ran, "test_fails_twice")
    assert "assert 1 == 3" in twice
    assert "also raised in this session:" in twice
    assert "ValueError: out of paper" in twice
    broken = section(ran, "test_beside_a_broken_fixture")
    assert "assert 1 == 4" in broken
    assert "KeyError: 'fixture'" in broken


def test_what_is_no_test_function_is_left_alone() -> None:
    """Other plugins bring items of their own, such as files to be linted."""
    hook = pytest_plugin.pytest_runtest_call(cast("Any", object()))
    next(hook)
    with pytest.raises(StopIteration) as over:
        hook.send("as it came")
    assert over.value.value == "as it came"


MARK = "pytestmark = pytest.mark.trio\n"


def section_of_raises(ran: Ran) -> str:
    """Return what pytest says of the one test that raises a group itself."""
    return section(ran, "test_raises_in_the_test")


CLOCKS = """
@pytest.fixture
def flow_router():
    return Router({Ask: [answer]})


@pytest.fixture
def slow_clock(mock_clock):
    mock_clock.rate = 1000
    return mock_clock


@pytest.fixture
async def asked(flow_session):
    return await flow_session.run(ask(), Answer)


async def test_through_another_fixture(asked):
    assert asked.n == 1
    assert trio.current_time() == 3600


async def test_an_own_clock(autojump_clock, flow_session):
    assert trio.lowlevel.current_clock() is autojump_clock


async def test_anothers_clock(slow_clock, flow_session):
    assert trio.lowlevel.current_clock() is slow_clock


async def test_two_clocks(slow_clock, another_clock, flow_session):
    pass


@pytest.fixture
def wrapped(another_clock, slow_clock):
    return None


@pytest.fixture
def another_clock():
    return trio.testing.MockClock()


async def test_two_hidden_clocks(wrapped, flow_session):
    pass


class TestReal:
    @pytest.fixture
    def flow_clock(self):
        return None

    async def test_real_time(self, flow_session):
        assert isinstance(trio.lowlevel.current_clock(), trio._core._run.SystemClock)


class TestSettings:
    @pytest.fixture
    def flow_settings(self):
        return {"capacity": 1}

    async def test_settings(self, flow_session):
        flow_session.dispatch(ask())
        with pytest.raises(Exception, match="1 root events are unfinished"):
            flow_session.dispatch(ask())
        await flow_session.stop(grace=0)


@pytest.mark.parametrize("flow_seed", [1, 2, 3, 4, 1])
async def test_order(flow_session, flow_seed, record_property):
    order = []

    async def work(n):
        order.append(n)

    async with trio.open_nursery() as nursery:
        for n in range(6):
            nursery.start_soon(work, n)
    ORDERS.append((flow_seed, tuple(order)))


ORDERS = []


def test_orders():
    assert ORDERS[0] == ORDERS[-1]
    assert len({order for _, order in ORDERS}) > 2


def test_in_no_host(flow_session):
    pass
"""


def test_clocks_settings_and_seeds(pytester: pytest.Pytester) -> None:
    """Time is virtual however the clock is asked for, and real where it is to be."""
    write(pytester, "test_clocks.py", CLOCKS)
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    ran = run_pytest(pytester)
    assert "has several clocks: " in section(ran, "test_two_clocks")
    assert "has several clocks: " in section(ran, "test_two_hidden_clocks")
    assert "an undelivered event" in section(ran, "TestSettings.test_settings")
    host = section(ran, "ERROR at setup of test_in_no_host")
    assert "flow_session is a fixture for pytest-trio" in host
    assert ran.counts == {"passed": 10, "failed": 3, "errors": 1}


ANYIO = """
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request):
    return virtual_backend(request.param)


async def test_plain(scripted_llm, flow_trace):
    scripted_llm.reply("late", delay=3600)
    router = Router({Ask: [answer]})
    async with open_test_session(router, trace=flow_trace) as session:
        assert (await session.run(ask(), Answer)).n == 1
        assert (await scripted_llm.broker().generate("?")).text == "late"
    assert anyio.current_time() >= 7200
    flow_trace.assert_sequence(Ask, Answer)


async def test_lost_error():
    async with open_test_session(Router({Ask: [fail]})) as session:
        session.dispatch(ask())


async def test_unused(scripted_llm):
    scripted_llm.reply("nobody asks for this")


async def test_fixture(flow_session):
    pass


class TestPlain:
    pytestmark = []

    def test_that_is_not_async(self, scripted_llm):
        scripted_llm.reply("nobody asks for this either")
"""


def test_beside_anyios_plugin(pytester: pytest.Pytester) -> None:
    """Plain fixtures work there, on both loops; flow_session says what to write."""
    write(pytester, "test_anyio.py", ANYIO)
    ran = run_pytest(pytester)
    assert ran.counts == {"passed": 2, "failed": 5, "errors": 2}
    assert ran.out.count("FlowCheckFailed: a lost error: fail raised ValueError") >= 2
    assert ran.out.count("FlowCheckFailed: an unused reply: reply 1") >= 2
    assert "async with open_test_session(router) as session:" in ran.out
    assert ran.out.count("fail raised ValueError: out of paper after 0.000 s") == 2


def test_the_fixtures_are_listed_with_what_they_do(pytester: pytest.Pytester) -> None:
    """`pytest --fixtures` is where people look first."""
    ran = run_pytest(pytester, "--fixtures")
    listed = ran.out.partition("agentflow.pytest_plugin")[2].partition("-----")[2]
    for name, words in {
        "flow_router": "The router of `flow_session`",
        "flow_session": "A session around `flow_router`",
        "flow_trace": "What happened in `flow_session`",
        "flow_clock": "The clock of a test that has any of these fixtures",
        "flow_seed": "What decides the order of tasks",
        "flow_settings": "Settings of `flow_session`",
        "scripted_llm": "A model that answers as the test says",
    }.items():
        assert name in listed
        assert words in listed


IMPORT = re.compile(r"(from \S+ )?import ")
PACKAGE = Path(agentflow.__file__).parent
PACKAGE_FILES = {
    "pytest_plugin.py": PACKAGE / "pytest_plugin.py",
    "_trace.py": PACKAGE / "testing" / "_trace.py",
    "_open.py": PACKAGE / "testing" / "_open.py",
}

COUNTED = """
from agentflow import Event


class Counted(Event):
    n: int = 0


async def count(event: Counted) -> None:
    if event.n:
        raise ValueError(event.n)
"""

COUNTING = """
import pytest
from agentflow import FlowFailed, Router
from counted import Counted, count


@pytest.mark.trio
async def test_count(flow_session):
    flow_session.router.add_route(Counted, count)
    flow_session.dispatch(Counted(source="test"))
    with pytest.raises(FlowFailed):
        await flow_session.run(Counted(source="test", n=1), Counted)
"""

PLAIN = """
import sys


def test_first():
    assert not {"agentflow.testing", "httpx", "agentflow.llm"} & set(sys.modules)
"""


def test_coverage_is_counted_right(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the user's code, and of the plugin that pytest loads before all else.

    A test that has nothing to do with agents does not load the test kit.
    """
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        monkeypatch.delenv(name)  # this run is measured, and it is another
    settle(pytester)
    pytester.makepyfile(counted=COUNTED, test_counting=COUNTING, test_a_plain=PLAIN)
    sources = "--source=counted,agentflow.pytest_plugin,agentflow.testing"
    coverage = (sys.executable, "-m", "coverage")
    options = [word for option in QUIET for word in option.split()]
    ran = pytester.run(*coverage, "run", "--branch", sources, "-m", "pytest", *options)
    ran.assert_outcomes(passed=2)
    pytester.run(*coverage, "json", "-q", "-o", "report.json")
    files = json.loads((pytester.path / "report.json").read_text("utf-8"))["files"]
    by_name = {Path(name).name: counted for name, counted in files.items()}
    assert by_name["counted.py"]["summary"]["percent_covered"] == 100
    for name in ("pytest_plugin.py", "_trace.py", "_open.py"):
        missed = by_name[name]["missing_lines"]
        lines = (PACKAGE_FILES[name]).read_text("utf-8").splitlines()
        imports = [n for n, line in enumerate(lines, 1) if IMPORT.match(line)]
        assert imports
        assert not set(imports) & set(missed)
