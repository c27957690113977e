"""`agentflow trace`, and the files that the other commands write with --trace."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentflow.tracing import read_trace
from tests.cli.conftest import Command
from tests.cli.fake_openai import FakeOpenAI
from tests.cli.terminal import open_terminal

FLOWS = "tests.cli.flows"
Texts = Callable[..., list[Path]]


@pytest.fixture
def traced(command: Command, texts: Texts, tmp_path: Path) -> Path:
    """Return the trace of a run in which one text of three failed."""
    path = tmp_path / "run.jsonl"
    files = texts("One.", "poison", "Two words.")
    command("run", f"{FLOWS}:program", *files, "--trace", path)
    return path


@pytest.fixture
def demo(fake: FakeOpenAI, command: Command, texts: Texts, tmp_path: Path) -> Path:
    """Return the trace of a demo in which one text of two failed."""
    path = tmp_path / "demo.jsonl"
    command("demo", *fake.options, *texts("One.", "poison"), "--trace", path)
    return path


def shown(command: Command, *arguments: object) -> str:
    """Return what the command shows of a trace that is whole."""
    ran = command("trace", *arguments)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def rows(text: str, head: str) -> list[list[str]]:
    """Return the cells of a table's rows by the first word of its head."""
    lines = text.splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.split()[:1] == [head])
    end = next((n for n in range(start, len(lines)) if not lines[n].strip()), None)
    return [line.split() for line in lines[start + 1 : end]]


def test_the_summary_tells_of_flows_agents_and_errors(
    traced: Path, command: Command
) -> None:
    """Each in a table of its own."""
    out = shown(command, traced)
    assert out.startswith("3 flows (")
    assert "2 terminated" in out
    assert "1 failed" in out
    assert [row[2] for row in rows(out, "flow")].count("terminated") == 2
    counter = next(row for row in rows(out, "agent") if row[0] == "Counter")
    assert counter[1:4] == ["2", "1", "0"]
    assert "ValueError: I do not read" in out


def test_the_summary_tells_of_models(demo: Path, command: Command) -> None:
    """Calls, errors and tokens, by the agents and by the model."""
    out = shown(command, demo)
    (model,) = rows(out, "model")
    assert model[0].endswith(":smollm2")
    assert int(model[1]) >= 3
    assert int(model[2]) >= 1
    assert model[3:5] == ["20", "10"]
    assert "model smollm2" in out


def test_the_summary_of_many_flows_shows_the_worst(
    traced: Path, command: Command
) -> None:
    """The one that failed is among them, and the rest is counted."""
    out = shown(command, traced, "--limit", 1)
    (flow,) = rows(out.replace("...", "\n..."), "flow")
    assert flow[2] == "failed"
    assert "... and 2 more; see --limit" in out


def test_the_tree_says_what_led_to_what(traced: Path, command: Command) -> None:
    """All flows by default, or the one whose id begins like this."""
    out = shown(command, traced, "tree")
    assert out.count("flow ") == 3
    assert "    Counted → Ender " in out
    flow = next(line for line in out.splitlines() if line.startswith("flow "))[5:]
    one = shown(command, traced, "tree", "--flow", flow[:16])
    assert one.startswith(f"flow {flow}\n")
    assert one.count("flow ") == 1
    assert "... and 2 more" in shown(command, traced, "tree", "--limit", 1)


def test_the_slowest_come_first(demo: Path, command: Command) -> None:
    """Handlers and calls of models in one list, as long as asked for."""
    out = shown(command, demo, "slowest", "--limit", 3)
    assert len(rows(out, "duration")) == 3
    everything = shown(command, demo, "slowest")
    assert "handler Analyzer" in everything
    assert "model smollm2" in everything
    assert "Analyzer, TextEvent" in everything


def test_errors_come_with_notes_and_traceback(traced: Path, command: Command) -> None:
    """What the terminal would obey is shown as an escape."""
    out = shown(command, traced, "errors")
    assert out.startswith("1 error\n")
    assert (
        "handler Counter with Text, fail flow\nValueError: I do not read \\x1b" in out
    )
    assert "  raised by agent 'Counter' while it handled Text" in out
    assert "in receive_event_async\n" in out


def test_errors_of_a_group_are_all_told(
    command: Command, texts: Texts, tmp_path: Path
) -> None:
    """Each with its own traceback."""
    path = tmp_path / "run.jsonl"
    command("run", f"{FLOWS}:grouping", *texts("One."), "--trace", path)
    out = shown(command, path, "errors")
    assert "ExceptionGroup: two (2 sub-exceptions)" in out
    assert "ZeroDivisionError: first" in out
    assert "KeyError: 'second'" in out


def test_tools_are_told_of_by_name(
    fake: FakeOpenAI, command: Command, tmp_path: Path
) -> None:
    """A chat is a trace like any other."""
    path = tmp_path / "chat.jsonl"
    command(
        *("chat", *fake.chat, "--trace", path),
        *("--tool", "tests.cli.tools:fail"),
        stdin=b"add\n",
    )
    assert "tool add" in shown(command, path, "slowest")
    out = shown(command, path, "errors")
    assert "tool add in Answerer with Question\nValueError: no luck today" in out


def as_json(command: Command, *arguments: object) -> dict[str, Any]:
    """Return what the command writes for programs."""
    read: dict[str, Any] = json.loads(shown(command, *arguments, "--json"))
    return read


def test_json_has_the_same_in_numbers(demo: Path, command: Command) -> None:
    """One object for each view."""
    summary = as_json(command, demo)
    assert summary["header"]["agentflow"]
    assert summary["records"] == len(read_trace(demo))
    assert sorted(flow["outcome"] for flow in summary["flows"]) == [
        "failed",
        "terminated",
    ]
    assert {agent["agent"] for agent in summary["agents"]} >= {"Analyzer", "Reporter"}
    assert summary["models"][0]["input_tokens"] == 20
    assert len(as_json(command, demo, "slowest", "--limit", 2)["slowest"]) == 2
    (first, *_) = as_json(command, demo, "errors")["errors"]
    assert "I do not read this" in first["error"]
    flow = summary["flows"][0]["flow"]
    (tree,) = as_json(command, demo, "tree", "--flow", flow)["trees"]
    (root,) = tree["roots"]
    assert root["event"] == "TextEvent"
    assert {child["event"] for child in root["children"]} >= {"AnalysisEvent"}
    assert len(as_json(command, demo, "tree")["trees"]) == 2


def test_a_trace_that_breaks_off_is_shown_as_far_as_it_goes(
    traced: Path, command: Command
) -> None:
    """A flow that has not ended runs, and what is missing is counted on stderr."""
    lines = traced.read_bytes().splitlines(keepends=True)
    gap = b'{"record": "Gap", "time": 1.0, "lost": 17}\n'
    traced.write_bytes(b"".join(lines[:4]) + gap + lines[4][:20])
    ran = command("trace", traced)
    assert ran.code == 0
    assert "running" in ran.out
    assert ran.err.startswith("17 records missing")
    assert "1 line not understood" in ran.err
    assert "running" in command("trace", traced, "tree", "--json").out


def test_an_empty_trace_has_nothing(traced: Path, command: Command) -> None:
    """No flow, no table, no error."""
    traced.write_bytes(traced.read_bytes().splitlines(keepends=True)[0])
    assert shown(command, traced).startswith("0 flows (none), 0 records in 0.00 ms")
    assert shown(command, traced, "errors") == "0 errors\n"
    assert shown(command, traced, "slowest") == ""


@pytest.mark.parametrize(
    ("flow", "error"),
    [
        (
            "nowhere",
            "there is no flow 'nowhere' in this file; see agentflow trace FILE",
        ),
        ("1", "3 flows begin with '1': 1"),
    ],
)
def test_a_flow_that_cannot_be_told_is_an_error(
    flow: str, error: str, traced: Path, command: Command
) -> None:
    """None begins like this, or several do."""
    ran = command("trace", traced, "--flow", flow)
    assert (ran.code, ran.out) == (2, "")
    assert error in ran.err


def test_what_is_no_trace_file_is_an_error(command: Command, tmp_path: Path) -> None:
    """It is named, with what is wrong."""
    path = tmp_path / "x.jsonl"
    ran = command("trace", path)
    assert (ran.code, ran.err) == (
        2,
        f"agentflow: cannot read {path}: No such file or directory\n",
    )
    path.write_text("{}\n")
    ran = command("trace", path)
    assert (ran.code, ran.out) == (2, "")
    assert f"{path} is no trace file" in ran.err


def test_a_trace_that_cannot_be_written_is_an_error(
    command: Command, texts: Texts, tmp_path: Path
) -> None:
    """Before anything is begun."""
    path = tmp_path / "none" / "run.jsonl"
    ran = command("run", f"{FLOWS}:router", *texts("One."), "--trace", path)
    assert (ran.code, ran.out) == (2, "")
    assert f"cannot write {path}: No such file or directory" in ran.err


def test_a_terminal_gets_tables_as_wide_as_it_is(traced: Path) -> None:
    """Cells are folded, not cut."""
    with open_terminal("trace", traced, size=(50, 70)) as terminal:
        assert terminal.wait() == 0
    assert "3 flows (" in terminal.text
    assert "Counter" in terminal.text
    assert "ValueError" in terminal.text
