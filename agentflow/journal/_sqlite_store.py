"""The SQLite store: steps and looks on one file."""

from agentflow.journal._sqlite import Database, Synchronous, translated
from agentflow.journal._sqlite_looks import SQLiteLooks
from agentflow.journal._sqlite_sits import SQLiteSits


class SQLiteStore(SQLiteSits, SQLiteLooks):
    """A `Store` on an SQLite file.

    Args:
        path: The file; ":memory:" for none.
        synchronous: See `SQLiteJournal`.
        schema: SQL that makes the user's own tables.

    Raises:
        JournalInUse: Another session has the file.
        JournalError: It cannot be opened, is damaged, or has another version's format.
    """

    def __init__(
        self, path: str, *, synchronous: Synchronous = "full", schema: str = ""
    ) -> None:
        files = Database(path, synchronous=synchronous, schema=schema)
        with translated(path):
            SQLiteLooks.__init__(self, files)
            SQLiteSits.__init__(self, files)

    def shut(self) -> None:
        """Let go of the file."""
        self._files.close()
