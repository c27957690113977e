"""The code in docs/viewer.md runs as it stands."""

import ast
import inspect
import re
from pathlib import Path
from types import CodeType
from typing import Any, cast

import anyio
import pytest
import trio

import agentflow.viewer
from agentflow import AsyncDispatcher, Router
from agentflow.journal._sqlite_store import SQLiteStore
from agentflow.viewer import LiveTrace
from tests.viewer import traces

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parent.parent.parent / "docs" / "viewer.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)


@pytest.fixture
def anyio_backend() -> str:
    """Run on trio: the examples do."""
    return "trio"


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
async def test_a_block_of_the_page_about_the_viewer_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a router, a token, a trace file and a journal as a reader would have them."""
    traces.write(tmp_path / "run.jsonl", traces.session(1))
    SQLiteStore(str(tmp_path / "run.db")).shut()
    monkeypatch.chdir(tmp_path)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = cast("CodeType", compile(block, PAGE.name, "exec", flags=flags))
    names: dict[str, Any] = vars(agentflow.viewer) | {
        "AsyncDispatcher": AsyncDispatcher,
        "live": LiveTrace(),
        "router": Router(),
        "token": "a-token-of-16-or-more",
        "trio": trio,
    }
    with anyio.move_on_after(0.5):
        made = eval(code, names)  # noqa: S307 -- our own words
        if inspect.iscoroutine(made):
            await made
