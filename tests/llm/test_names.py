"""The names of the LLM half, which are imported when they are first asked for."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import agentflow.llm
from agentflow.llm import _names


def shown() -> dict[str, str]:
    """Read which names the package shows to type checkers, and the modules they are in."""
    tree = ast.parse(Path(str(agentflow.llm.__file__)).read_text("utf-8"))
    return {
        alias.asname or alias.name: str(node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_name_that_type_checkers_see_is_there() -> None:
    """And it is the very object of its module."""
    assert shown() == {k: f"agentflow.llm.{v}" for k, v in _names.HOMES.items()}
    for name, module in shown().items():
        assert getattr(agentflow.llm, name) is getattr(import_module(module), name)


def test_a_star_imports_all_of_them() -> None:
    """They are what dir() lists, too."""
    assert set(vars(agentflow.llm)["__all__"]) == shown().keys()
    assert set(dir(agentflow.llm)) >= shown().keys()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """It names the package, as the error of any other module does."""
    with pytest.raises(AttributeError, match=r"'agentflow\.llm' has no attribute 'no'"):
        agentflow.llm.no  # type: ignore[attr-defined] # noqa: B018
