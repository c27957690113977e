"""`agentflow view`, and --view: the page itself has tests of its own."""

import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace

import anyio
import httpx
import pytest
import trio
import trio.testing

from agentflow._records import FlowEnded, Record
from agentflow.cli._follow import follow
from agentflow.tracing import read_trace
from tests.cli.conftest import Command
from tests.cli.journals import Make
from tests.cli.terminal import Terminal, open_terminal

FLOWS = "tests.cli.flows"
Texts = Callable[..., list[Path]]


class FakeLive:
    """Keeps the records."""

    made: "list[FakeLive]" = []  # noqa: RUF012 -- emptied by the fixture

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.made.append(self)

    def record(self, record: Record, /) -> None:
        """Keep a record."""
        self.records.append(record)

    @classmethod
    def count(cls) -> int:
        """Count the records of all."""
        return sum(len(live.records) for live in cls.made)


async def until(is_so: Callable[[], bool]) -> None:
    """Look now and then, since a file tells nobody that it has grown."""
    while not is_so():  # noqa: ASYNC110 -- see above
        await anyio.sleep(0.05)


class FakeViewer:
    """In the place of agentflow.viewer; it leaves once nothing happens any more.

    Attributes:
        sources: What it was given to show, with the port.
        signal: How it leaves.
        cushion: Seconds in which nothing happens.
        wanted: How many records it waits for.
    """

    LiveTrace = FakeLive

    def __init__(self) -> None:
        self.sources: list[tuple[object, int]] = []
        self.signal = signal.SIGINT
        self.cushion = 0.4
        self.wanted = 0

    @asynccontextmanager
    async def open_viewer(
        self, source: object, *, port: int
    ) -> AsyncGenerator[SimpleNamespace]:
        """Serve nothing."""
        self.sources.append((source, port))

        async def leave() -> None:
            await until(lambda: FakeLive.count() >= self.wanted)
            await trio.testing.wait_all_tasks_blocked(self.cushion)
            os.kill(os.getpid(), self.signal)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            try:
                yield SimpleNamespace(url="http://here/")
            finally:
                nursery.cancel_scope.cancel()


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> FakeViewer:
    """Have a viewer that serves nothing."""
    fake = FakeViewer()
    FakeLive.made.clear()
    monkeypatch.setitem(sys.modules, "agentflow.viewer", fake)
    return fake


@pytest.fixture
def traced(command: Command, texts: Texts, tmp_path: Path) -> Path:
    """Return the trace of a run."""
    path = tmp_path / "run.jsonl"
    command("run", f"{FLOWS}:program", *texts("One.", "poison"), "--trace", path)
    return path


def test_a_run_is_shown_while_it_runs_and_until_it_is_left(
    viewer: FakeViewer, command: Command, texts: Texts
) -> None:
    """The exit code is the run's: leaving the page interrupts nothing."""
    ran = command("run", f"{FLOWS}:router", "--view", *texts("One.", "poison"))
    assert ran.code == 1
    assert "the page: http://here/\n" in ran.err
    assert ran.err.endswith("the page stays until you leave with Ctrl-C\n")
    (live,) = FakeLive.made
    assert sum(isinstance(record, FlowEnded) for record in live.records) == 2


def test_a_run_that_is_interrupted_takes_its_page_along(
    viewer: FakeViewer, command: Command, texts: Texts
) -> None:
    """Nobody needs to leave twice."""
    viewer.cushion = 0.1
    ran = command("run", f"{FLOWS}:router", "--view", *texts("patient"))
    assert ran.code == 130
    assert "the page stays" not in ran.err


def test_a_file_is_shown_until_it_is_left(
    viewer: FakeViewer, command: Command, traced: Path
) -> None:
    """The link goes to standard output, and Ctrl-C is how to leave."""
    ran = command("view", traced, "--port", 8123)
    assert (ran.code, ran.out, ran.err) == (0, "http://here/\n", "Ctrl-C leaves\n")
    assert viewer.sources == [(traced, 8123)]


def test_a_terminated_page_has_an_exit_code_of_its_own(
    viewer: FakeViewer, command: Command, traced: Path
) -> None:
    """As a process supervisor asks for it."""
    viewer.signal = signal.SIGTERM
    assert command("view", traced).code == 143


def test_a_file_can_be_followed(
    viewer: FakeViewer, command: Command, traced: Path
) -> None:
    """What stands in it is handed to the page."""
    viewer.cushion, viewer.wanted = 0.01, len(read_trace(traced))
    assert command("view", traced, "--live").code == 0
    (live,) = FakeLive.made
    assert len(live.records) == viewer.wanted


def test_the_page_can_be_opened_in_a_browser(
    viewer: FakeViewer,
    command: Command,
    traced: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the one that the system prefers."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert command("view", traced, "--browser").code == 0
    assert opened == ["http://here/"]


def test_without_the_extra_the_error_says_what_to_install(
    command: Command, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For `view` and for --view."""
    monkeypatch.setitem(sys.modules, "agentflow.viewer", None)
    for arguments in (("view", traced), ("run", f"{FLOWS}:router", "--view", traced)):
        ran = command(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert "python3 -m pip install 'trio-agentflow[viewer]'" in ran.err


@pytest.mark.parametrize("live", [(), ("--live",)], ids=["", "live"])
def test_a_journal_is_shown_as_it_is_and_goes_on(
    viewer: FakeViewer, command: Command, make: Make, live: tuple[str, ...]
) -> None:
    """It is the page that follows it, whether one says so or not."""
    path = make("cash")
    ran = command("view", path, *live)
    assert (ran.code, ran.out) == (0, "http://here/\n")
    assert viewer.sources == [(path, 0)]


def test_a_database_that_is_no_journal_is_not_served(
    viewer: FakeViewer, command: Command, tmp_path: Path
) -> None:
    """Nor is it taken for a trace file."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE things (name)")
    ran = command("view", path)
    assert (ran.code, ran.out) == (2, "")
    assert f"{path} is no journal" in ran.err
    assert not viewer.sources


def test_what_is_no_trace_file_is_not_served(
    viewer: FakeViewer, command: Command, tmp_path: Path
) -> None:
    """The page would be empty."""
    path = tmp_path / "x.jsonl"
    ran = command("view", path)
    assert (ran.code, ran.out) == (2, "")
    assert f"cannot read {path}: No such file or directory" in ran.err
    path.write_text("{}\n")
    assert f"{path} is no trace file" in command("view", path).err
    path.write_text("")
    assert f"{path} is no trace file" in command("view", path).err
    assert not viewer.sources


async def test_a_file_that_grows_and_rotates_is_followed(
    traced: Path, tmp_path: Path
) -> None:
    """No record is missed, and none comes twice."""
    header, *lines = (await anyio.Path(traced).read_bytes()).splitlines(keepends=True)
    path = anyio.Path(tmp_path / "growing.jsonl")
    await path.write_bytes(header)
    live = FakeLive()

    async def grow(data: bytes, count: int) -> None:
        """Append to the file, and see that so many records come."""
        async with await path.open("ab") as file:
            await file.write(data)
        await until(lambda: len(live.records) >= count)

    async with anyio.create_task_group() as tasks:
        first = read_trace(traced).header
        tasks.start_soon(follow, tmp_path / "growing.jsonl", first, live)
        await grow(lines[0] + lines[1], 2)
        await grow(lines[2][:10], 2)
        await anyio.sleep(0.6)
        await grow(lines[2][10:], 3)
        await path.rename(tmp_path / "growing.jsonl.1")
        await anyio.sleep(0.6)
        await grow(header + lines[3], 4)
        await grow(b"".join(lines[4:]), len(lines))
        await anyio.sleep(0.6)
        tasks.cancel_scope.cancel()
    written = read_trace(traced).records()
    assert [type(r) for r in live.records] == [type(r) for r in written]
    assert [r.time for r in live.records] == [r.time for r in written]


def test_the_real_page_of_a_journal_is_served(make: Make) -> None:
    """With what is in the file."""
    with open_terminal("view", make("cash"), size=(30, 150)) as terminal:
        terminal.wait_for("Ctrl-C leaves")
        assert page_of(terminal).status_code == 200
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.text


def page_of(terminal: Terminal) -> httpx.Response:
    """Fetch the page behind the link that is shown."""
    (link,) = re.findall(r"http://127\.0\.0\.1:\S+", terminal.text)
    return httpx.get(link, follow_redirects=True)


def test_the_real_page_of_a_file_is_served(traced: Path) -> None:
    """To who has the link; it is left with Ctrl-C, without a traceback."""
    with open_terminal("view", traced, size=(30, 150)) as terminal:
        terminal.wait_for("Ctrl-C leaves")
        page = page_of(terminal)
        assert page.status_code == 200
        assert "<html" in page.text
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.text


def test_the_real_page_of_a_run_is_served(texts: Texts) -> None:
    """While it runs, and after."""
    target = f"{FLOWS}:router"
    with open_terminal(
        "run", target, "--view", *texts("One."), size=(30, 150)
    ) as terminal:
        terminal.wait_for("the page stays until you leave with Ctrl-C")
        assert page_of(terminal).status_code == 200
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.text


def test_a_port_that_is_taken_is_an_error(command: Command, traced: Path) -> None:
    """It is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        ran = command("view", traced, "--port", port)
    assert (ran.code, ran.out) == (2, "")
    assert (
        f"the page cannot be served on port {port}: Address already in use" in ran.err
    )
