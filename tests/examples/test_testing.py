"""The flow that is tested five ways, as a user would test it."""

import ast
import shutil
from pathlib import Path

import pytest

from tests.testing.pytest_runs import run_pytest

pytest_plugins = ["pytester"]

FOLDER = Path(__file__).parents[2] / "examples" / "testing"


def test_the_five_tests_pass_without_a_network_or_a_wait(
    pytester: pytest.Pytester,
) -> None:
    """In a folder of their own, with pytest-trio's mode on."""
    shutil.copytree(FOLDER, pytester.path, dirs_exist_ok=True)
    ran = run_pytest(pytester)
    assert ran.counts == {"passed": 5}, ran.out


def test_each_of_the_five_is_short() -> None:
    """Under 15 lines, signature and docstring included."""
    tree = ast.parse((FOLDER / "test_review.py").read_text("utf-8"))
    tests = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in tree.body
        if isinstance(node, ast.AsyncFunctionDef)
    }
    assert len(tests) == 5
    assert max(tests.values()) < 15
