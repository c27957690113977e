"""Failed assertions arrive bare: not inside of the exception groups they travel in."""

import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import cast


@contextmanager
def bare_assertions() -> Generator[None]:
    """Take a failed assertion out of the group that leaves the block.

    What else is in the group stands in notes below the assertion, with its traceback.

    Yields:
        Nothing.

    Raises:
        AssertionError: The group held one; the first, if it held several.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        verdict = next(_verdicts(group), None)
        if verdict is None:
            raise
        rest = [e for e in leaves(group) if e is not verdict]
        for error in rest:
            verdict.add_note(also(error))
        raise verdict from origin_of(verdict)


def origin_of(error: BaseException) -> BaseException | None:
    """Return what an error came of, so that a group it was in does not seem to be that."""
    hidden = error.__suppress_context__
    return error.__cause__ or (None if hidden else error.__context__)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, and in the groups in it; else the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
        yield from leaves(each)


def also(error: BaseException) -> str:
    """Write an exception down as a note to another one."""
    text = "".join(traceback.format_exception(error)).rstrip()
    return f"also raised in this session:\n{text}"


def _verdicts(group: BaseException) -> Iterator[BaseException]:
    """Yield what says that a test failed: assertions, and pytest's own exceptions."""
    for error in leaves(group):
        if isinstance(error, AssertionError) or hasattr(error, "pytrace"):
            yield error
