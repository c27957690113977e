"""The public names, which are imported when they are first asked for."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = pytest.mark.parametrize("package", ["agentflow", "agentflow.llm"])


def shown(package: str) -> dict[str, str]:
    """Read which names a package shows to type checkers, and the modules they are in."""
    source = Path(str(import_module(package).__file__)).read_text("utf-8")
    return {
        alias.asname or alias.name: str(node.module)
        for block in ast.parse(source).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@PACKAGES
def test_every_name_that_type_checkers_see_is_there(package: str) -> None:
    """And it is the very object of its module."""
    names = shown(package)
    assert names
    for name, module in names.items():
        value = getattr(import_module(package), name)
        assert value is getattr(import_module(module), name)


@PACKAGES
def test_a_star_imports_them_and_nothing_else(package: str) -> None:
    """They are what dir() lists, too."""
    module = import_module(package)
    assert set(vars(module)["__all__"]) == shown(package).keys()
    assert set(dir(module)) >= shown(package).keys()


@PACKAGES
def test_a_name_that_is_not_there_is_an_attribute_error(package: str) -> None:
    """It names the package, as the error of any other module does."""
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'no'"):
        _ = import_module(package).no
