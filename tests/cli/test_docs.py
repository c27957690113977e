"""docs/cli.md says what is so."""

import re
import sys
from pathlib import Path

import pytest

from agentflow.cli import _exits
from agentflow.cli._app import COMMANDS, GROUPS
from tests.cli.conftest import Command

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
HELP = dict(
    re.findall(r"```text\n\$ agentflow (.*?)--help\n(.*?)\n```", PAGE, re.DOTALL)
)


@pytest.mark.parametrize("name", ["", *GROUPS, *COMMANDS])
def test_help_is_as_printed(
    name: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command's help stands in the page, on 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    out = command(*name.split(), "--help").out
    lines = "\n".join(line.rstrip() for line in out.splitlines()).strip()
    assert HELP[f"{name} ".lstrip()] == lines


def test_every_exit_code_is_explained() -> None:
    """All of them, and no other."""
    codes = {value for value in vars(_exits).values() if isinstance(value, int)}
    assert {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", PAGE)} == codes


def test_the_programs_of_the_page_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router, a program, and what opens one."""
    monkeypatch.chdir(tmp_path)
    modules = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL)
    for module, source in modules:
        Path(f"{module}.py").write_text(source, "utf-8")
    Path("a.txt").write_text("One two three.", "utf-8")
    try:
        for target in ("counting:router", "counted:flow", "summing:flow"):
            ran = command("run", target, "a.txt")
            assert (ran.code, ran.errors) == (0, [])
            assert "3" in ran.out
    finally:
        for module, _ in modules:
            sys.modules.pop(module, None)
