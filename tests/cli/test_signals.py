"""Signals, where a terminal cannot show it."""

import os
import signal
import time

import pytest
import trio
import trio.testing

from agentflow.cli._signals import dumping


def test_a_dump_that_fails_does_not_break_into_the_agent(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It says so, and where the event loop is held up."""
    monkeypatch.setattr("agentflow.cli._signals._PATIENCE", 0.01)
    shown: list[str] = []

    def dump() -> str:
        if shown:
            return "fine"
        raise ValueError("no luck today")

    async def hold_up() -> None:
        token = trio.lowlevel.current_trio_token()
        with dumping(dump, shown.append, token):
            os.kill(os.getpid(), signal.SIGUSR1)
            while "held up" not in (err := capfd.readouterr().err):
                time.sleep(0.001)  # noqa: ASYNC251 -- this is what holds it up
            shown.append(err)
            await trio.testing.wait_all_tasks_blocked()

    trio.run(hold_up)
    first, second = shown
    assert "there is no dump: ValueError('no luck today')" in first
    assert "in hold_up" in first
    assert second == "fine"
