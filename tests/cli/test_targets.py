"""MODULE:NAME, whatever the user made of it."""

from collections.abc import Callable

import pytest

from tests.cli.conftest import Command

FLOWS = "tests.cli.flows"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("router", "'router' is no target; write MODULE:NAME"),
        (":router", "':router' is no target"),
        ("made_up:", "'made_up:' is no target"),
        ("sub/made_up.py:router", "name the module, not its file: sub.made_up:router"),
        ("made_ip:router", "there is no module 'made_ip', neither in "),
        ("made_ip:router", "did you mean made_up?"),
        ("made_up:ruoter", "made_up has no 'ruoter'; did you mean router?"),
        ("made_up:xyz", "made_up has no 'xyz'\n"),
        ("made_up:Router", "made_up:Router is the class Router, not a Router, an"),
        ("made_up:number", "made_up:number is an int, not a Router"),
        ("made_up:Here.thing", "made_up:Here.thing is a str, not a Router"),
        ("made_up:os", "made_up:os is a module, not"),
        ("made_up:takes", "made_up:takes is the function takes, not"),
        (f"{FLOWS}:bare", "the function bare, not"),
        (f"{FLOWS}:none_at_all", "none_at_all() returned 3; what can be run is"),
        (f"{FLOWS}:wrong", "wrong() opened 3; what can be run is"),
    ],
)
def test_a_wrong_target_is_one_line(
    target: str, error: str, command: Command, module: Callable[[str], None]
) -> None:
    """It names what is wrong, and what to write where that is known."""
    module(
        "import os\nfrom agentflow import Router\nrouter = Router()\nnumber = 3\n"
        "class Here: thing = 'x'\ndef takes(one): ...\n"
    )
    ran = command("graph", target)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("agentflow: ")
    assert ran.err.count("\n") == 1
    assert error in ran.err


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("x = 1\ny = nowhere\n", "NameError: name 'nowhere' is not defined"),
        ("x = (\n", "SyntaxError: '(' was never closed"),
        ("\nimport no_such_thing\n", "No module named 'no_such_thing'"),
    ],
)
def test_a_module_that_breaks_is_named_with_its_line(
    source: str, error: str, command: Command, module: Callable[[str], None]
) -> None:
    """File and line are the user's own."""
    module(source)
    ran = command("graph", "made_up:router")
    assert ran.code == 2
    assert ran.err.startswith("agentflow: importing made_up failed: ")
    assert error in ran.err
    line = 1 if "SyntaxError" in error else 2
    assert f"made_up.py, line {line})" in ran.err
