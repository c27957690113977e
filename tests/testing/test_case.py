"""What a plugin for a test runner needs."""

import anyio
import pytest

from agentflow import Event, FlowFailed
from agentflow.testing import FlowCheckFailed, ScriptedGateway, open_test_session
from agentflow.testing._case import Case, current_case, running
from tests.fakes import Boom, Ping, Pong, fail, router_of


def ping() -> Ping:
    """Return what most tests begin with."""
    return Ping(source="test")


async def answer(event: Event) -> Pong:
    """Answer a Ping."""
    await anyio.sleep(0.1)
    return Pong(source="answer")


async def test_a_case_knows_its_sessions_and_shows_them_itself() -> None:
    """A plugin opens a case for each test; it then prints the picture."""
    with running(None):
        assert current_case() is None
    case = Case()
    session = None
    with running(case), pytest.raises(ValueError, match="mine") as caught:
        async with open_test_session(router_of((Ping, answer))) as session:
            await session.run(ping(), Pong)
            raise ValueError("mine")
    assert case.sessions == [session]
    assert not hasattr(caught.value, "__notes__")
    assert "answer finished in 0.100 s" in case.sessions[0].picture()


async def test_a_test_that_fails_out_of_sight_ends_the_session_quietly() -> None:
    """As where the session is a fixture: what else failed stands in the test's failure."""

    async def stubborn(event: Ping) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("while cleaning up")

    class Model:
        def unexpected(self) -> list[str]:
            return ["an unexpected call", "the test's"]

        def unused(self) -> list[str]:
            return ["left over"]

    case = Case(checked=[Model()])
    failure = ValueError("the test's")
    with running(case):
        async with open_test_session(
            router_of((Ping, stubborn), (Boom, fail))
        ) as session:
            session.dispatch(Boom(source="test", text="before"))
            session.dispatch(ping())
            await anyio.sleep(0.1)
            case.fail(failure)
            case.fail(ValueError("a second one"))
            assert (
                "stubborn is at it since 0.000 s, and stands at " in session.picture()
            )
    assert session.failure is failure
    notes = "\n".join(failure.__notes__)
    assert failure.__notes__[0] == "also: an unexpected call"
    assert "left over" not in notes
    assert "ValueError: before" in notes
    assert "KeyError: 'while cleaning up'" in notes


def test_what_a_test_failed_with_is_taken_out_of_its_hosts_groups() -> None:
    """Its own error first; else what stands alone; else the group as it is."""
    own, other = FlowFailed("mine", [ValueError()]), KeyError("other")
    error, cause = Case(error=own).bare(ExceptionGroup("host", [own, other]))
    assert (error, cause) == (own, None)
    assert "KeyError: 'other'" in own.__notes__[0]
    lone = FlowCheckFailed(["lone"])
    assert Case().bare(ExceptionGroup("host", [ExceptionGroup("", [lone])]))[0] is lone
    assert lone.__traceback__ is None
    group = ExceptionGroup("host", [KeyError(), ValueError()])
    assert Case().bare(group)[0] is group


def test_a_case_that_went_well_is_judged() -> None:
    """By what it has set up."""
    Case().judge()
    with pytest.raises(FlowCheckFailed, match="an unused reply"):
        Case(checked=[ScriptedGateway(["left"])]).judge()
