"""Real processes come to harm in the middle of sessions; the long form does it at length.

And the campaigns' own test: bugs that are planted in journal and link must be found.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.journal.faulty_disk import why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be")


def campaign(name: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a campaign on a file."""
    return subprocess.run(
        [sys.executable, "-m", f"tests.journal.{name}", str(path), *options],
        capture_output=True,
        text=True,
        timeout=58,
        check=False,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize(
    ("kind", "times", "seed"),
    [
        *(("kill", 10, seed) for seed in range(5)),
        ("told", 5, 0),
        ("enospc", 5, 0),
        ("eio", 5, 0),
        ("fsync", 5, 0),
        ("stop", 1, 0),
        ("clock", 5, 0),
    ],
)
def test_whatever_a_process_comes_to_nothing_is_lost(
    tmp_path: Path, kind: str, times: int, seed: int
) -> None:
    """(J1, J16) Fifty real kill -9 among it: every effect is there, and once."""
    options = ("--kind", kind, "--times", str(times), "--seed", str(seed))
    done = campaign("crash_campaign", tmp_path / "run.db", *options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_handlers_that_end_their_process_take_no_innocent_with_them(
    tmp_path: Path,
) -> None:
    """(J15) They leave, are killed, and crash the interpreter; the others are done."""
    done = campaign("poison_campaign", tmp_path / "run.db", "--times", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 poison" in done.stdout


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        ("tells early", "kill"),
        ("tells before fsync", "fsync"),
        ("drops the young", "clock"),
    ],
)
def test_a_planted_bug_is_found(tmp_path: Path, plant: str, kind: str) -> None:
    """A campaign that finds nothing has looked."""
    options = ("--kind", kind, "--times", "40", "--plant", plant)
    done = campaign("crash_campaign", tmp_path / "run.db", *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert " problems" in done.stdout
