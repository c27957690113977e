"""The command line as a whole: help, errors, and how it ends."""

import importlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from typing import cast

import pytest

from agentflow.cli._app import COMMANDS
from agentflow.cli._main import main
from tests.cli.conftest import Command
from tests.cli.terminal import ROOT, environment


def test_help_lists_every_command(command: Command) -> None:
    """Nothing at all is asked for, too."""
    ran = command("--help")
    assert (ran.code, ran.err) == (0, "")
    for name in COMMANDS:
        assert name.split()[0] in ran.out
    assert command().out == ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, command: Command) -> None:
    """What it takes, what its exit codes mean, and first what the list says of it."""
    ran = command(*name.split(), "--help")
    assert ran.code == 0
    assert f"Usage: agentflow {name}" in ran.out
    assert "xit code" in ran.out
    module = importlib.import_module(f"agentflow.cli._{name.split(maxsplit=1)[0]}")
    function = cast("Callable[..., int]", getattr(module, name.replace(" ", "_")))
    assert (function.__doc__ or "").splitlines()[0] == COMMANDS[name]


def test_the_version_is_that_of_the_distribution(command: Command) -> None:
    """As the package index knows it."""
    assert (
        command("--version").out == f"{importlib.metadata.version('trio-agentflow')}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("rum",), 'Unknown command "rum". Did you mean "run"?'),
        (("run",), "TARGET requires an argument. See agentflow run --help"),
        (("run", "a:b", "--nope"), "Unknown option: --nope"),
        (("run", "a:b", "--jobs", "x"), 'unable to convert "x" into int'),
        (("graph", "a:b", "--format", "png"), "png"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: tuple[str, ...], error: str, command: Command
) -> None:
    """It says what is wrong and where to look."""
    ran = command(*arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert error in ran.err
    assert "--help" in ran.err


def test_without_the_extra_the_error_says_what_to_install(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import of agentflow.cli itself needs neither."""
    monkeypatch.delitem(sys.modules, "agentflow.cli._app")
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    ran = command("--help")
    assert (ran.code, ran.out) == (2, "")
    assert "needs cyclopts: python3 -m pip install 'trio-agentflow[cli]'" in ran.err


def test_a_missing_module_of_another_kind_is_a_bug(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its traceback is wanted."""
    monkeypatch.delitem(sys.modules, "agentflow.cli._app")
    monkeypatch.setitem(sys.modules, "agentflow.cli._inputs", None)
    with pytest.raises(ModuleNotFoundError):
        command("--help")


@pytest.mark.parametrize(
    ("source", "code", "error"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('enough')", 1, ""),
        ("raise KeyboardInterrupt", 130, "agentflow: interrupted\n"),
    ],
)
def test_a_module_that_ends_the_program_does(
    source: str, code: int, error: str, command: Command, module: Callable[[str], None]
) -> None:
    """Its exit code counts; Ctrl-C while it is imported is no traceback."""
    module(source)
    ran = command("graph", "made_up:router")
    assert (ran.code, ran.err) == (code, error)


def test_a_bug_keeps_its_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no error of the user's must not be hidden."""
    graph = importlib.import_module("agentflow.cli._graph")

    def fail(_target: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(graph, "to_mermaid", fail)
    with pytest.raises(ZeroDivisionError):
        command("graph", "tests.cli.flows:router")


def test_a_closed_standard_output_ends_nothing() -> None:
    """As a shell closes it with `>&-`."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m agentflow --version >&-"],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=environment(),
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_left_to_flush_into_a_closed_pipe_is_dropped_quietly() -> None:
    """A short output stays in the buffer until the very end."""
    line = f"{sys.executable} -m agentflow graph tests.cli.flows:router"
    done = subprocess.run(
        ["/bin/bash", "-c", f"{line} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=environment(),
        text=True,
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_main_takes_what_the_program_was_called_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The console script passes nothing."""
    monkeypatch.setattr(sys, "argv", ["agentflow", "--version"])
    assert main() == 0
    assert capsys.readouterr().out
