"""What a page can show, and the feed that goes with it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from agentflow._errors import UsageError
from agentflow.journal._sqlite import is_database
from agentflow.viewer._feed import Feed, FileFeed, LiveFeed, Price
from agentflow.viewer._journal_feed import JournalFeed
from agentflow.viewer._live import LiveTrace

Source: TypeAlias = str | os.PathLike[str] | LiveTrace
"""Where the records come from: a trace file, a journal, or a session that runs."""


def feed_of(source: Source, prices: Mapping[str, Price]) -> Feed:
    """Return what the page listens to.

    Raises:
        UsageError: There is no such file.
        JournalError: It is a database, and no journal.
    """
    if isinstance(source, LiveTrace):
        return LiveFeed(source, prices)
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"there is no trace file {str(path)!r}")
    if is_database(str(path)):
        return JournalFeed(path, prices)
    return FileFeed(path, prices)
