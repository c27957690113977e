"""The README keeps what it says: its program runs, and is short."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_program_in_the_readme_runs() -> None:
    """It prints the number of words, on a fresh interpreter, in at most 25 lines."""
    program, *others = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("5\n", "", 0)
    assert len(program.splitlines()) <= 25
    assert not others
