"""`agentflow journal` on files: sound, damaged, read-only, missing, of another kind."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agentflow.journal._sqlite import Existing
from tests.cli.conftest import Command
from tests.cli.journals import Make, again, as_json, refused, shown


def test_a_sound_journal_is_checked(make: Make, command: Command) -> None:
    """What is wrong goes to standard error, with an exit code of its own."""
    path = make("tent")
    ran = command("journal", "check", path)
    assert (ran.code, ran.out, ran.err) == (0, "", "nothing found\n")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE agentflow_flows SET open = 5")
    ran = command("journal", "check", path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "flow tent-1 counts 5 open deliveries and has 1\n"


def test_a_damaged_journal_is_one_line(make: Make, command: Command) -> None:
    """For a check that is what it has found; it cannot be looked at."""
    path = make("tent")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    told = f"the journal {path} cannot be used: database disk image is malformed"
    assert refused(command, "list", path) == told
    ran = command("journal", "check", path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-1] == told


def test_a_full_disk_fails_a_retry_and_changes_nothing(
    make: Make, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no mistake of the user's."""
    path = make("glass")
    before = as_json(command, "list", path)
    begin = Existing.transaction

    def full(self: Existing, *, reads: bool = False) -> AbstractContextManager[None]:
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        self.db.execute(f"PRAGMA max_page_count = {pages}")
        self.db.execute(
            "CREATE TEMP TRIGGER grow AFTER UPDATE ON agentflow_flows "
            "BEGIN INSERT INTO agentflow_facts VALUES ('x', hex(zeroblob(99999))); END"
        )
        return begin(self, reads=reads)

    with monkeypatch.context() as patch:
        patch.setattr(Existing, "transaction", full)
        ran = command("journal", "retry", path, "glass")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"agentflow: the journal {path} cannot be used: database or disk is full\n"
    )
    assert as_json(command, "list", path) == before


def test_a_backup_can_be_gone_on_with(
    make: Make, command: Command, tmp_path: Path
) -> None:
    """It is a whole journal; an existing file is replaced only if one says so."""
    path, copy = make("tent"), tmp_path / "copy.db"
    ran = command("journal", "backup", path, copy)
    assert (ran.code, ran.out, ran.err) == (0, "", f"copied to {copy}\n")
    assert as_json(command, "list", copy) == as_json(command, "list", path)
    assert refused(command, "backup", path, copy) == (
        f"{copy} exists; --force replaces it"
    )
    assert command("journal", "backup", path, copy, "--force").code == 0
    again(copy, "cash")
    assert len(as_json(command, "list", copy)["flows"]) == 2


def test_a_backup_that_cannot_be_written_fails(
    make: Make, command: Command, tmp_path: Path
) -> None:
    """In a folder that is not there, and onto the journal itself."""
    path = make("tent")
    for copy in (tmp_path / "nowhere" / "copy.db", path):
        ran = command("journal", "backup", path, copy, "--force")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("agentflow: the copy cannot be written: ")
    assert as_json(command, "list", path)["flows"]


COMMAND_LINES = [
    ("list",),
    ("dead",),
    ("show", "f"),
    ("retry", "f"),
    ("drop", "f"),
    ("check",),
    ("backup", "copy.db"),
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=lambda words: words[0])
def test_where_there_is_no_journal_none_is_made(
    words: tuple[str, ...],
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file, a folder, a text, an empty file, another program's database."""
    monkeypatch.chdir(tmp_path)
    name, *rest = words
    assert refused(command, name, "run.db", *rest) == (
        "there is no journal run.db: no such file"
    )
    assert list(tmp_path.iterdir()) == []
    assert "no such file" in refused(command, name, tmp_path, *rest)
    text = tmp_path / "notes.txt"
    text.write_text("This is no database. " * 100)
    assert "notes.txt cannot be used: file is not a database" in refused(
        command, name, text, *rest
    )
    empty = tmp_path / "empty.db"
    empty.touch()
    assert "is no journal" in refused(command, name, empty, *rest)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db, db:
        db.execute("CREATE TABLE things (name)")
    before = other.read_bytes()
    assert refused(command, name, other, *rest) == (
        f"{other} is no journal: it has none of its tables"
    )
    assert (other.read_bytes(), empty.read_bytes()) == (before, b"")
    newer = tmp_path / "newer.db"
    with closing(sqlite3.connect(newer)) as db, db:
        db.execute("PRAGMA user_version = 99")
    assert "newer agentflow" in refused(command, name, newer, *rest)


@contextmanager
def nobody() -> Generator[None]:
    """Be a user who may write nothing, if we may write everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextmanager
def read_only() -> Generator[Path]:
    """Put a journal where it may not be written; pytest's folders let nobody else in."""
    with TemporaryDirectory() as name:
        folder, path = Path(name), Path(name, "run.db")
        again(path, "tent", "glass")
        path.chmod(0o444)
        folder.chmod(0o555)
        try:
            yield path
        finally:
            folder.chmod(0o755)


def test_a_journal_in_a_folder_that_may_not_be_written_is_read(
    command: Command,
) -> None:
    """And cannot be changed, which is said in a line."""
    with read_only() as path, nobody():
        assert "glass-1" in shown(command, "list", path)
        for verb in ("retry", "drop"):
            assert "readonly database" in refused(command, verb, path, "glass")


def test_a_log_that_cannot_be_read_is_not_left_out(
    make: Make, command: Command
) -> None:
    """What stands in it has been promised."""
    path = make("tent")
    Path(f"{path}-wal").mkdir()
    assert f"{path} cannot be used" in refused(command, "list", path)
