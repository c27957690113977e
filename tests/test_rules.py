"""docs/rules.md says truly which tests prove which rule of the kernel."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent


def docstrings(path: Path) -> list[str]:
    """Return the docstrings of a file's functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(n) or "" for n in ast.walk(tree) if isinstance(n, kinds)]


def cited() -> dict[str, set[str]]:
    """Return the test files that cite each rule in a docstring, as in "(D5, F3)"."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = "\n".join(docstrings(path))
        for group in re.findall(r"\(((?:[A-Z]\d+(?:, )?)+)\)", text):
            for rule in group.split(", "):
                found[rule].add(path.relative_to(ROOT).as_posix())
    return dict(found)


def listed() -> dict[str, set[str]]:
    """Return what the table in docs/rules.md says."""
    table: dict[str, set[str]] = {}
    for line in (ROOT / "docs/rules.md").read_text(encoding="utf-8").splitlines():
        if row := re.match(r"\| ([A-Z]\d+) \|.*\| ([^|]*) \|$", line):
            table[row[1]] = set(re.findall(r"`([^`]+)`", row[2]))
    return table


def test_each_rule_names_the_tests_that_cite_it() -> None:
    """Neither a rule without a test nor a test file that the table leaves out."""
    assert listed() == cited()
