"""examples/approval.py does what it says, each command in a process of its own."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "approval.py"


def run(folder: Path, *words: str) -> list[str]:
    """Run a command there, and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *words],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_an_order_waits_for_its_answer_over_several_processes(tmp_path: Path) -> None:
    """Asked in one, seen in a second, answered in a third; booked once."""
    (tent,) = run(tmp_path, "order", "tent", "310")
    (pen,) = run(tmp_path, "order", "pen", "2")
    assert run(tmp_path, "pending") == [f"{tent} waits for an answer"]
    assert pen != tent
    assert run(tmp_path, "answer", tent.removeprefix("order "), "yes") == ["booked"]
    with closing(sqlite3.connect(tmp_path / "approval.db")) as db:
        booked = db.execute("SELECT item, price FROM booked ORDER BY price").fetchall()
    assert booked == [("pen", 2), ("tent", 310)]
