"""`agentflow journal`: what is in a journal, and putting right what went wrong.

No program is imported: events are shown as they are stored. All of it works while a session
has the file, and nothing is made where there is no journal.
"""

import json as js
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

from agentflow._errors import JournalError
from agentflow._steps import DeadLetter
from agentflow.cli._exits import DONE, FAILED, CommandError, CommandUsageError
from agentflow.cli._journal_words import (
    FLOW_HEADS,
    flow_json,
    flow_row,
    letter_json,
    letter_lines,
    story_json,
    story_lines,
)
from agentflow.cli._screen import Grid, Screen
from agentflow.cli._words import count
from agentflow.journal._sqlite_visit import SQLiteVisit, visiting

Status: TypeAlias = Literal["open", "done", "failed", "cancelled", "terminated"]

_FEW = 5
"""Flows that are named where an abbreviation might mean several."""


def journal_list(
    file: Path,
    /,
    *,
    status: Status | None = None,
    limit: int = 50,
    json: bool = False,
) -> int:
    """List the flows of a journal: those that are open first, then the newest.

    Exit codes: 0 done, 2 the command line is wrong, or this is no journal.

    Args:
        file: What SQLiteJournal has written, or writes.
        status: Only flows of this status.
        limit: How many flows are shown; JSON has them all.
        json: Write JSON, one object, for programs.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is no journal.
    """
    screen = Screen()
    with _opened(file) as visit:
        in_use, counts = visit.is_in_use(), visit.counts()
        summaries = visit.summaries(status, -1 if json else limit)
    if json:
        told = {"in_use": in_use, "flows": [flow_json(one) for one in summaries]}
        _write_json(screen, told)
        return DONE
    total = sum(counts.values())
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
    session = "a session has the file" if in_use else "no session has the file"
    screen.say(f"{count(total, 'flow')} ({kinds or 'none'}); {session}")
    if summaries:
        screen.say("")
        rows = [flow_row(one) for one in summaries]
        screen.table(Grid(heads=FLOW_HEADS, rows=rows))
    chosen = total if status is None else counts.get(status, 0)
    if chosen > len(summaries):
        screen.say(f"... and {chosen - len(summaries):,} more; see --limit")
    return DONE


def journal_dead(file: Path, /, *, flow: str | None = None, json: bool = False) -> int:
    """List the dead letters: deliveries that failed for good, with their history.

    Exit codes: 0 done, 2 the command line is wrong, or this is no journal.

    Args:
        file: What SQLiteJournal has written, or writes.
        flow: Only those of this flow; the beginning of its id is enough.
        json: Write JSON, one object, for programs.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is no journal, or has no such flow.
    """
    screen = Screen()
    with _opened(file) as visit:
        chosen = None if flow is None else _find(visit, flow)
        letters = [
            one for one in visit.dead_letters() if chosen in {None, one.key.flow}
        ]
    if json:
        _write_json(screen, {"dead_letters": [letter_json(one) for one in letters]})
        return DONE
    by_flow = groupby(sorted(letters, key=_flow_of), key=_flow_of)
    screen.say(count(len(letters), "dead letter"))
    for flow_id, group in by_flow:
        mine = list(group)
        screen.say(f"\nflow {flow_id}: {mine[0].reason}", style="bold")
        for letter in mine:
            for line in letter_lines(letter):
                screen.say(line)
    return DONE


def _flow_of(letter: DeadLetter) -> str:
    return letter.key.flow


def journal_show(file: Path, flow: str, /, *, json: bool = False) -> int:
    """Show a flow: its events in order, who got them, what is open, and what failed.

    The journal keeps no note of who has finished an event. An agent that emitted something
    then is found out and shown as done; one that emitted nothing is not shown.

    Exit codes: 0 done, 2 the command line is wrong, or this is no journal.

    Args:
        file: What SQLiteJournal has written, or writes.
        flow: Which flow; the beginning of its id is enough.
        json: Write JSON, one object, for programs.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is no journal, or has no such flow.
    """
    screen = Screen()
    with _opened(file) as visit:
        in_use = visit.is_in_use()
        story = visit.story(_find(visit, flow))
    assert story is not None, "it has been forgotten this moment"
    if json:
        _write_json(screen, story_json(story, in_use=in_use))
    else:
        screen.say("\n".join(story_lines(story, in_use=in_use)))
    return DONE


def journal_retry(
    file: Path,
    /,
    *flow: str,
    all: bool = False,  # noqa: A002 -- the option's name
) -> int:
    """Open the dead letters of flows again.

    A session that has the file takes them up at once, or else the one that comes next.

    Exit codes: 0 done, 1 the file cannot be written, 2 wrong command line, no journal, or
    a flow without dead letters; then nothing has changed.

    Args:
        file: What SQLiteJournal has written, or writes.
        flow: Which flows; the beginning of an id is enough.
        all: Every flow that has dead letters.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is no journal, or has no such flow or no letter of it.
    """
    screen = Screen()
    with _opened(file, write=True) as visit:
        if flow and all:
            raise CommandUsageError("name flows, or --all, not both")
        dead = {letter.key.flow for letter in visit.dead_letters()}
        chosen = sorted(dead) if all else _find_all(visit, flow)
        for one in chosen:
            if one not in dead:
                raise CommandUsageError(f"flow {one} has no dead letters")
        for one in chosen:
            number = count(visit.retry(one), "dead letter")
            screen.say(f"opened {number} of flow {one} again")
        in_use = visit.is_in_use()
    if chosen:
        screen.note(f"they run {'now' if in_use else 'when the next session begins'}")
    return DONE


def journal_drop(file: Path, /, *flow: str) -> int:
    """Forget flows that are over, with their dead letters.

    Exit codes: 0 done, 1 the file cannot be written, 2 wrong command line, no journal, or
    a flow that is open; then nothing has changed.

    Args:
        file: What SQLiteJournal has written, or writes.
        flow: Which flows; the beginning of an id is enough.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is no journal, or has no such flow, or that is open.
    """
    screen = Screen()
    with _opened(file, write=True) as visit:
        chosen = _find_all(visit, flow)
        for one in chosen:
            found = visit.flow(one)
            if found is not None and found.status == "open":
                raise CommandUsageError(
                    f"flow {one} is open; a session has to finish or cancel it first"
                )
        for one in chosen:
            number = count(visit.drop(one), "dead letter")
            screen.say(f"dropped flow {one} with {number}")
    return DONE


def journal_check(file: Path, /) -> int:
    """Look whether a journal is sound and its counters are right.

    Exit codes: 0 all is well, 1 something is wrong, 2 wrong command line, or no journal.

    Args:
        file: What SQLiteJournal has written, or writes.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is no journal.
    """
    screen = Screen()
    with _opened(file) as visit:
        found = visit.check()
    for line in found:
        screen.error(line)
    if not found:
        screen.note("nothing found")
    return FAILED if found else DONE


def journal_backup(file: Path, copy: Path, /, *, force: bool = False) -> int:
    """Copy a journal to another file, also while a session has it.

    Exit codes: 0 done, 1 the copy cannot be written, 2 wrong command line, no journal, or
    the copy exists.

    Args:
        file: What SQLiteJournal has written, or writes.
        copy: The file to write.
        force: Replace the copy if it exists.

    Returns:
        The exit code.

    Raises:
        CommandError: The copy cannot be written.
        CommandUsageError: It is no journal, or the copy exists.
    """
    if copy.exists() and not force:
        raise CommandUsageError(f"{copy} exists; --force replaces it")
    with _opened(file) as visit:
        try:
            visit.backup(str(copy))
        except JournalError as error:
            raise CommandError(f"the copy cannot be written: {error}") from error
    Screen().note(f"copied to {copy}")
    return DONE


@contextmanager
def _opened(file: Path, *, write: bool = False) -> Generator[SQLiteVisit]:
    """Open a journal; one that cannot be used is the user's mistake.

    Args:
        file: The file.
        write: Whether it is to be changed.

    Yields:
        The journal.

    Raises:
        CommandUsageError: It cannot be used.
        JournalError: It could be written at first, and then not any more.
    """
    is_open = False
    try:
        with visiting(str(file), write=write) as visit:
            is_open = True
            yield visit
    except JournalError as error:
        if is_open and write:
            raise
        raise CommandUsageError(str(error)) from error


def _find_all(visit: SQLiteVisit, beginnings: Sequence[str]) -> list[str]:
    if not beginnings:
        raise CommandUsageError("name a flow, or the beginning of its id")
    return list(dict.fromkeys(_find(visit, text) for text in beginnings))


def _find(visit: SQLiteVisit, beginning: str) -> str:
    """Find a flow by its id or the beginning of it."""
    found = visit.beginning(beginning, _FEW + 1)
    if len(found) == 1 or beginning in found:
        return found[0]
    if not found:
        raise CommandUsageError(
            f"there is no flow {beginning!r} in this file; see agentflow journal list FILE"
        )
    more = " and more" if len(found) > _FEW else ""
    raise CommandUsageError(
        f"several flows begin with {beginning!r}: {', '.join(found[:_FEW])}{more}"
    )


def _write_json(screen: Screen, value: object) -> None:
    screen.raw(js.dumps(value, indent=2) + "\n")
