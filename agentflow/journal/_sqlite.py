"""An SQLite file as a journal uses it: the one file that imports sqlite3.

Other sessions are kept out by a lock on a second, empty database beside the first: the
operating system lets go of it when the process dies, however it dies, while programs that
only look at the journal do not need it.
"""

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from agentflow._errors import JournalError, JournalInUse
from agentflow._steps import Row
from agentflow.journal import _schema as sql

Connection = sqlite3.Connection
Synchronous = Literal["normal", "full", "extra"]

_OURS = frozenset({
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
})
"""Errors of the file; every other one in a row of the user's is the user's."""

_OLDEST = (3, 38)


@contextmanager
def translated(path: str) -> Generator[None]:
    """Turn the database's errors into ours.

    Raises:
        JournalError: In the place of any error of sqlite3.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"the journal {path} cannot be used: {error}") from error


def is_damage(error: JournalError) -> bool:
    """Return whether a file is damaged, rather than out of reach."""
    code = getattr(error.__cause__, "sqlite_errorcode", 0)
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Connected:
    """A connection to an SQLite journal.

    Args:
        path: The file.
        db: The connection.
    """

    def __init__(self, path: str, db: Connection) -> None:
        self.path: str = path
        self.db: Connection = db

    def close(self) -> None:
        """Let go of the file."""
        with translated(self.path):
            self.db.close()

    def rows(self, statement: str, *values: object) -> list[Any]:
        """Execute one statement.

        Returns:
            Its rows.

        Raises:
            JournalError: The file cannot be used.
        """
        with translated(self.path):
            return self.db.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self, *, reads: bool = False) -> Generator[None]:
        """Run a block as one transaction.

        Args:
            reads: It only reads, and sees the file as it was at one moment.

        Raises:
            JournalError: Nothing of it has happened.
        """
        with translated(self.path):
            self.db.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    def backup(self, path: str) -> None:
        """Copy the file while it is in use.

        Raises:
            JournalError: The copy cannot be written.
        """
        copy = Path(path)
        if copy.exists() and copy.samefile(self.path):
            raise JournalError(f"{path} is the journal itself; name another file")
        with translated(path), closing(sqlite3.connect(path)) as db:
            self.db.backup(db)


class Database(Connected):
    """The connections of a session to its SQLite journal.

    Args:
        path: The file; ":memory:" for none.
        synchronous: How much is on disk when a batch is.
        schema: The user's tables.

    Raises:
        JournalInUse: Another session has the file.
        JournalError: It cannot be opened, is damaged, or has another version's format.
    """

    def __init__(self, path: str, *, synchronous: Synchronous, schema: str) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise JournalError(
                f"SQLite {sqlite3.sqlite_version} is too old for a journal; it takes "
                "3.38 or newer"
            )
        self._lock: sqlite3.Connection | None = None
        with translated(path):
            if path != ":memory:":
                self._lock = _lock(path)
            try:
                super().__init__(path, _open(path, synchronous, schema))
            except BaseException:
                self._unlock()
                raise

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def close(self) -> None:
        """Let go of the file."""
        try:
            super().close()
        finally:
            self._unlock()

    def user_rows(self, rows: Iterable[Row]) -> Exception | None:
        """Execute statements of the user's within the transaction, or none of them.

        Returns:
            The error, if it is the user's and not the file's.

        Raises:
            Error: The file's error; the transaction cannot go on.
            Warning: Likewise.
        """
        self.db.execute("SAVEPOINT agentflow_rows")
        try:
            for row in rows:
                self.db.execute(row.statement, row.parameters)
        except (sqlite3.Error, sqlite3.Warning) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OURS:
                raise
            self.db.execute("ROLLBACK TO agentflow_rows")
            self.db.execute("RELEASE agentflow_rows")
            return error
        self.db.execute("RELEASE agentflow_rows")
        return None


class Existing(Connected):
    """A journal that is there, for who looks at it or puts it right from outside.

    Nothing is made, neither a file nor a table, and no session is kept out.

    Args:
        path: The file.
        write: Whether it is to be changed; else it cannot be.

    Raises:
        JournalError: There is no such file, it is no journal, it cannot be read (or
            written), or it was made by a newer version.
    """

    def __init__(self, path: str, *, write: bool = False) -> None:
        if not Path(path).is_file():
            raise JournalError(f"there is no journal {path}: no such file")
        with translated(path):
            db = _connect(path, "rw") if write else _look(path)
            try:
                _check_kind(db, path)
                _check_version(db, path)
                if write:
                    db.execute("BEGIN IMMEDIATE")  # finds out whether it can be
                    db.execute("ROLLBACK")
            except BaseException:
                db.close()
                raise
        super().__init__(path, db)


def _connect(path: str, mode: str) -> Connection:
    return sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=5.0,
        isolation_level=None,
        check_same_thread=False,
    )


def _look(path: str) -> Connection:
    """Open a file that is not to be changed."""
    db = _connect(path, "ro")
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error:
        db.close()
        # Readers make a file beside it, which in this folder they may not. If there is no
        # log beside it either, nobody writes it, and all there is stands in the file.
        if Path(f"{path}-wal").exists():
            raise
        db = _connect(path, "ro&immutable=1")
    return db


def _check_kind(db: Connection, path: str) -> None:
    found = db.execute(
        "SELECT 1 FROM sqlite_master WHERE name = 'agentflow_flows'"
    ).fetchone()
    if found is None:
        _check_version(db, path)
        raise JournalError(f"{path} is no journal: it has none of its tables")


def is_database(path: str) -> bool:
    """Return whether a file is one of SQLite's.

    It is left to SQLite to look: to open and close the file besides would take the locks
    away from a session that this process has on it (a rule of POSIX).
    """
    try:
        with closing(_look(path)) as db:
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
            (pages,) = db.execute("PRAGMA page_count").fetchone()
    except sqlite3.Error:
        return False
    return bool(pages)  # an empty file would be an empty database


def is_in_use(path: str) -> bool:
    """Return whether a session has a journal."""
    lock = f"{path}-lock"
    if not Path(lock).exists():
        return False
    with closing(_connect(lock, "ro")) as db:
        db.execute("PRAGMA busy_timeout = 0")
        try:
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    return False


def _lock(path: str) -> sqlite3.Connection:
    # Who asks whether a session has the file holds this one for a moment.
    db = sqlite3.connect(
        f"{path}-lock", timeout=0.25, isolation_level=None, check_same_thread=False
    )
    try:
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        db.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise JournalInUse(
            f"another session has the journal {path}; a file serves one at a time, so "
            "end that one or use another file"
        ) from None
    return db


def _open(path: str, synchronous: Synchronous, schema: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        path, timeout=5.0, isolation_level=None, check_same_thread=False
    )
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heard by a new file only
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        _check_version(db, path)
        db.execute("BEGIN IMMEDIATE")  # also finds out whether the file can be written
        for statement in sql.TABLES.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {sql.VERSION}")
        db.execute("COMMIT")
        if schema:
            db.executescript(schema)
        _check_soundness(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _check_version(db: Connection, path: str) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > sql.VERSION:
        raise JournalError(
            f"the journal {path} was written by a newer agentflow (format {version}, "
            f"this one knows {sql.VERSION}); upgrade agentflow"
        )
    if 0 < version < sql.VERSION:
        raise JournalError(
            f"the journal {path} was written by an older agentflow (format {version}, "
            f"this one knows {sql.VERSION}); finish it with that, and begin a new file"
        )


def _check_soundness(db: Connection, path: str) -> None:
    (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        raise JournalError(
            f"the journal {path} is damaged: {sound}; go on with a backup of it"
        )
