"""The extra that the viewer needs."""

import importlib.util
import sys

import pytest

from agentflow.viewer import _app, _serve


@pytest.mark.parametrize(
    ("package", "file"), [("starlette", _app.__file__), ("anycorn", _serve.__file__)]
)
def test_without_a_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, file: str
) -> None:
    """In the error of the import."""
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("again", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    message = rf"needs {package}: pip install 'trio-agentflow\[viewer\]'"
    with pytest.raises(ImportError, match=message):
        spec.loader.exec_module(module)
