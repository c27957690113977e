"""A session on a file hears at once what other programs make free in it."""

import os
from pathlib import Path

import anyio
import pytest

from agentflow import AsyncDispatcher, FlowFailed
from agentflow.journal import SQLiteJournal, _link
from tests.fakes import Ping, Pong, router_of


class Shaky:
    """Fails until it is repaired, and then says that it has run."""

    name = "shaky"

    def __init__(self) -> None:
        self.is_broken = True
        self.ran: list[int] = []
        self.has_run = anyio.Event()

    async def receive_event_async(self, event: Ping) -> None:
        if self.is_broken:
            raise ValueError("not now")
        self.ran.append(event.n)
        self.has_run.set()


async def break_once(dispatcher: AsyncDispatcher, shaky: Shaky) -> None:
    """Let a flow fail."""
    with pytest.raises(FlowFailed):
        await dispatcher.run(Ping(source="x", n=3, correlation_id="f"), Pong)
    await dispatcher.wait_for_empty_queue()  # the failure is on disk
    shaky.is_broken = False


@pytest.mark.parametrize("is_stale", [False, True])
async def test_retried_letters_are_taken_in_at_once(
    tmp_path: Path, is_stale: bool
) -> None:
    """(J17) By a session that does nothing, and on a bell that a crash left behind."""
    path, shaky = tmp_path / "run.db", Shaky()
    bell = tmp_path / "run.db-bell"
    if is_stale:
        os.mkfifo(bell)
    async with AsyncDispatcher(
        router_of((Ping, shaky)), journal=SQLiteJournal(path)
    ) as dispatcher:
        await break_once(dispatcher, shaky)
        assert await SQLiteJournal(path).retry("f") == 1
        await shaky.has_run.wait()
        assert await dispatcher.wait_for_empty_queue()
    assert shaky.ran == [3]
    assert not bell.exists()
    assert await SQLiteJournal(path).retry("f") == 0


@pytest.mark.parametrize("why", ["system", "file"])
async def test_without_a_bell_they_are_taken_in_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """(J17) With the next thing that is written after a while; no file is harmed."""
    path, shaky = tmp_path / "run.db", Shaky()
    bell = tmp_path / "run.db-bell"
    if why == "system":
        monkeypatch.delattr(os, "mkfifo")
    else:
        bell.write_text("mine")
    async with AsyncDispatcher(
        router_of((Ping, shaky)), journal=SQLiteJournal(path)
    ) as dispatcher:
        await break_once(dispatcher, shaky)
        assert await SQLiteJournal(path).retry("f") == 1
        monkeypatch.setattr(_link, "TIDY_EVERY", -1.0)
        await dispatcher.send(Pong(source="x"))
        await shaky.has_run.wait()
    assert shaky.ran == [3]
    assert why == "system" or bell.read_text() == "mine"
