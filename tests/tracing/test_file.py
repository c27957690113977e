"""The trace file: what is in it, and what a bad disk costs the flows (T1 to T3)."""

import json
import logging
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentflow import AsyncDispatcher, EncodingError, Event, Router, SessionError
from agentflow._records import FlowStarted, Record
from agentflow.tracing import TraceFile, Tracer, open_trace_file, read_trace
from tests.fakes import Log, Ping, Pong, failing_session, router_of


class Deep(Event):
    text: str
    data: object = None


async def answer(event: Ping) -> Pong | None:
    """Answer a Ping, or fail on the number 13."""
    if event.n == 13:
        raise ValueError("thirteen")
    await anyio.sleep(0.5)
    return Pong(source="answer", n=event.n)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, each strictly valid JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return [
        json.loads(line, parse_constant=refuse)
        for line in path.read_text("utf-8").splitlines()
    ]


def files_in(folder: Path) -> list[Path]:
    """Return what is in a folder."""
    return list(folder.iterdir())


def record(number: int, correlation_id: str = "c") -> Record:
    """Return a record that says its number."""
    return FlowStarted(time=float(number), correlation_id=correlation_id)


async def test_a_file_holds_what_a_session_did(tmp_path: Path) -> None:
    """(T3) Read back, it draws the same trees as the tracer in memory."""
    path, tracer = tmp_path / "run.jsonl", Tracer()
    router = router_of((Ping, answer))
    async with open_trace_file(path) as trace:
        opened = anyio.current_time()
        async with failing_session(router, tracer=[tracer, trace]) as (dispatcher, _):
            for number in (1, 13, 2):
                dispatcher.dispatch(Ping(source=Tracer, n=number))
    header, *lines = lines_of(path)
    assert header["record"] == "Header"
    assert header["format"] == 1
    assert 0 <= header["time"] <= opened
    assert header["pid"] == os.getpid()
    assert len(lines) == len(tracer)
    assert trace.lost == 0
    again = read_trace(path)
    assert (again.lost, again.skipped) == (0, 0)
    assert list(again.flows()) == list(tracer.flows())
    assert [type(r) for r in again.records()] == [type(r) for r in tracer.records()]
    assert [r.time for r in again.records()] == [r.time for r in tracer.records()]
    for correlation_id in tracer.flows():
        assert str(again.tree(correlation_id)) == str(tracer.tree(correlation_id))
    last = again.records()[-1]
    assert again.header.wall_time(last) == pytest.approx(
        header["wall"] + last.time - header["time"]
    )


async def test_a_full_file_is_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    """(T3) Each file begins with a header; what is left of a trace is read as one."""
    path = tmp_path / "run.jsonl"
    async with open_trace_file(path, max_bytes=1_000, max_files=3) as trace:
        for number in range(100):
            trace.record(record(number))
    files = files_in(tmp_path)
    names = sorted(file.name for file in files)
    assert names == ["run.jsonl", "run.jsonl.1", "run.jsonl.2"]
    for file in files:
        assert file.stat().st_size <= 1_000
        assert [line["record"] for line in lines_of(file)].count("Header") == 1
        assert lines_of(file)[0]["record"] == "Header"
    again = read_trace(path)
    times = [r.time for r in again.records()]
    assert times == list(map(float, range(100)))[-len(times) :]
    assert again.header.part > 0
    newest = read_trace(path, limit=3)
    assert [r.time for r in newest.records()] == [97, 98, 99]


async def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    """(T3) Each trace has files of its own, and is read alone."""
    path = tmp_path / "run.jsonl"
    for name in ("first", "second"):
        async with open_trace_file(path, max_files=2) as trace:
            trace.record(record(1, name))
    assert list(read_trace(path).flows()) == ["second"]
    assert list(read_trace(tmp_path / "run.jsonl.1").flows()) == ["first"]
    async with open_trace_file(path, max_files=1) as trace:
        trace.record(record(1, "third"))
    assert list(read_trace(path).flows()) == ["third"]
    again = read_trace(path)
    assert again.header.part == 0


async def test_older_files_of_another_trace_are_left_out(tmp_path: Path) -> None:
    """(T3) Also where this trace began in a file that has gone."""
    path = tmp_path / "run.jsonl"
    async with open_trace_file(path, max_bytes=300, max_files=2) as trace:
        for number in range(9):
            trace.record(record(number))
    (tmp_path / "run.jsonl.1").replace(tmp_path / "run.jsonl.2")
    assert len(read_trace(path)) < 9
    async with open_trace_file(tmp_path / "other.jsonl"):
        pass
    (tmp_path / "other.jsonl").replace(tmp_path / "run.jsonl.1")
    assert len(read_trace(path)) < 9


def test_lines_that_cannot_be_understood_are_counted(tmp_path: Path) -> None:
    """(T3) A crash tears the last line; another version knows other records."""
    path = tmp_path / "run.jsonl"
    header = {
        "record": "Header",
        "format": 1,
        "agentflow": "9",
        "wall": 1.0,
        "time": 2.0,
        "pid": 3,
        "colour": "new",
    }
    started = {"record": "FlowStarted", "time": 1.0, "correlation_id": "c"}
    lines: list[object] = [
        header,
        started,
        {"record": "FromTheFuture", "time": 1},
        {"record": "FlowEnded", "time": 1},
        {"record": "Gap", "time": 1, "lost": 17},
        [1],
        header,
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines) + '{"record": "Flo'
    path.write_text(text, "utf-8")
    trace = read_trace(path)
    assert len(trace) == 1
    assert trace.skipped == 4
    assert trace.lost == 17


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is no trace file"),
        ("\x00\xff", "is no trace file"),
        ('{"record": "FlowStarted"}\n', "should be the header"),
        ('{"record": "Header", "format": 1}\n', "is no trace file"),
        (
            '{"record":"Header","format":2,"agentflow":"9.9","wall":0,"time":0,"pid":1}',
            r"has format 2.*written by agentflow 9\.9",
        ),
    ],
    ids=["empty", "binary", "headless", "bare", "newer"],
)
def test_another_file_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    """(T3) The error says what is wrong with the file."""
    path = tmp_path / "x.jsonl"
    path.write_text(content, "latin-1")
    with pytest.raises(EncodingError, match=complaint):
        read_trace(path)


async def test_limits_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """(T3) Nothing is opened."""
    for limit in ("max_bytes", "max_files", "buffer"):
        options: dict[str, Any] = {limit: 0}
        with pytest.raises(SessionError, match=limit):
            async with open_trace_file(tmp_path / "x", **options):
                pass
    assert not files_in(tmp_path)
    with pytest.raises(FileNotFoundError):
        async with open_trace_file(tmp_path / "none" / "x"):
            pass


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as a warning or worse."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


async def flow_through(trace: TraceFile, count: int = 5) -> None:
    """Run flows and check that they do not notice their trace."""
    async with AsyncDispatcher(router_of((Ping, answer)), tracer=trace) as dispatcher:
        for number in range(20, 20 + count):
            result = await dispatcher.run(Ping(source="t", n=number), Pong)
            assert result.n == number


async def test_a_full_disk_stops_the_trace_and_not_the_flows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """(T2) One warning says so; everything after it is counted as lost."""
    with pytest.raises(OSError, match="No space left"):
        async with open_trace_file("/dev/full"):
            pass
    assert not warnings_in(caplog)


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 64 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [
        shutil.which("mount") or "",
        "-t",
        "tmpfs",
        "-o",
        "size=64k",
        "tmpfs",
        str(disk),
    ]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run([shutil.which("umount") or "", "--lazy", disk], check=True)


async def test_a_disk_that_fills_up_costs_the_trace_and_not_the_flows(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """(T2) One warning, what was written can be read, the rest is counted."""
    path = small_disk / "run.jsonl"
    log = Log()
    async with open_trace_file(path) as trace:
        for number in range(5_000):
            trace.record(record(number))
            log.record(record(number))
        with anyio.fail_after(3):
            while not (trace.error and trace.lost):  # noqa: ASYNC110 -- it happens in a thread
                await anyio.to_thread.run_sync(threading.Event().wait, 0.01)
        lost = trace.lost
        await flow_through(trace)
    (warning,) = warnings_in(caplog)
    assert "No space left on device" in warning
    assert "the flows go on" in warning
    assert isinstance(trace.error, OSError)
    again = read_trace(path)
    assert 0 < len(again) < 5_000
    assert lost == 5_000 - len(again)
    assert trace.lost > lost
    assert again.records() == log.records[: len(again)]


@pytest.fixture
def pipe(tmp_path: Path) -> Generator[tuple[Path, int]]:
    """A pipe with somebody at its other end who does not read."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def fill(pipe: Path) -> None:
    """Put as much into a pipe as it holds."""
    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(writer, b"x"):
            pass
    os.close(writer)


async def test_a_disk_that_hangs_holds_nobody_up(
    pipe: tuple[Path, int], caplog: pytest.LogCaptureFixture
) -> None:
    """(T2) Flows go on; the block ends within its grace; what is missing is counted."""
    path, _ = pipe
    async with open_trace_file(path, buffer=50, grace=0.05) as trace:
        fill(path)
        for number in range(100):
            trace.record(record(number))
        await flow_through(trace)
        lost = trace.lost
        assert 0 < lost <= 150
    assert trace.lost > lost
    first, second = warnings_in(caplog)
    assert "does not take records as fast as they come" in first
    assert "did not take the last" in second
    trace.record(record(1))
    assert len(warnings_in(caplog)) == 2


async def test_records_that_came_too_fast_are_marked_where_they_are_missing(
    pipe: tuple[Path, int],
) -> None:
    """(T3) The gap says how many; before and after it nothing is missing."""
    path, reader = pipe
    async with open_trace_file(path, buffer=300) as trace:
        for number in range(2_000):
            trace.record(record(number))
        assert trace.lost > 0
        drained = threading.Thread(target=drain, args=(reader, text := bytearray()))
        os.set_blocking(reader, True)
        drained.start()
        with anyio.fail_after(3):
            while trace._buffer:  # noqa: ASYNC110 -- it happens in a thread
                await anyio.to_thread.run_sync(threading.Event().wait, 0.01)
        trace.record(record(2_000))
    await anyio.to_thread.run_sync(drained.join)
    lines = [json.loads(line) for line in text.splitlines()][1:]
    due = 0
    for line in lines:
        assert line["time"] == due
        due += line.get("lost", 1)
    assert due == 2_001
    gaps = [line["lost"] for line in lines if line["record"] == "Gap"]
    assert sum(gaps) == trace.lost


def drain(reader: int, into: bytearray) -> None:
    """Read a pipe to its end."""
    while data := os.read(reader, 1 << 16):
        into += data


async def test_a_gap_at_the_end_is_marked_too(pipe: tuple[Path, int]) -> None:
    """(T3) Also when no record follows it."""
    path, reader = pipe
    async with open_trace_file(path, buffer=20) as trace:
        fill(path)
        while not trace.lost:  # the last is the first that does not fit
            trace.record(record(1, "c" * 2_000))
        drained = threading.Thread(target=drain, args=(reader, text := bytearray()))
        os.set_blocking(reader, True)
        drained.start()
    await anyio.to_thread.run_sync(drained.join)
    lines = [json.loads(line.lstrip(b"x")) for line in text.splitlines()]
    assert lines[-1]["record"] == "Gap"
    gaps = [line["lost"] for line in lines if line["record"] == "Gap"]
    assert sum(gaps) == trace.lost


async def test_a_pipe_that_nobody_reads_is_refused_at_once(tmp_path: Path) -> None:
    """(T2) Opening it would wait for ever."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        async with open_trace_file(path):
            pass
    assert stat.S_ISFIFO(path.stat().st_mode)


async def test_a_cancelled_block_still_writes_its_trace(tmp_path: Path) -> None:
    """(T3) What has been recorded is in the file."""
    path = tmp_path / "run.jsonl"
    with anyio.CancelScope() as scope:
        async with open_trace_file(path) as trace:
            trace.record(record(1))
            assert repr(trace) == f"<TraceFile {path}>"
            scope.cancel()
            await anyio.sleep_forever()
    assert len(read_trace(path)) == 1


async def test_any_payload_is_written_and_read(tmp_path: Path) -> None:
    """(T2) Nothing that an event holds can break its trace."""
    path = tmp_path / "run.jsonl"

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    payload = {"nan": float("nan"), "odd": Odd(), "text": "\ud800 </script>\n\u2028"}
    async with (
        open_trace_file(path) as trace,
        AsyncDispatcher(Router(), tracer=trace) as dispatcher,
    ):
        dispatcher.dispatch(Deep(source="t", text="x" * 200_000, data=payload))
    assert {line["record"] for line in lines_of(path)} >= {"EventAccepted"}
    accepted: Any = read_trace(path).records()[1]
    assert len(accepted.event.fields["text"]) < 100_100
    assert accepted.event.fields["data"]["text"] == payload["text"]
