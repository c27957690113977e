"""The example that runs the demo's agents by itself, on either loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import needs_model

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "text_analysis.py"
LIMIT = 120  # seconds for a text on a machine that has other things to do


@needs_model
@pytest.mark.model
@pytest.mark.timeout(LIMIT)
def test_a_text_is_read_by_the_real_model_on_asyncio(tmp_path: Path) -> None:
    """The agents that the command line runs on trio run on the other loop, too."""
    text = tmp_path / "day.txt"
    text.write_text("The sun shines, and we are all happy today.")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, PROGRAM, "--asyncio", text],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        text=True,
        timeout=LIMIT,
    )
    assert done.stdout.startswith("day.txt\ntone:    ")
    assert not done.stderr
