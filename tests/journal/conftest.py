"""Both journals, for tests that hold for either."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentflow.journal import MemoryJournal, SQLiteJournal


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Return what gives the same journal to one life after the other."""
    if request.param == "sqlite":
        return lambda: SQLiteJournal(tmp_path / "run.db")
    journal = MemoryJournal()
    return lambda: journal
