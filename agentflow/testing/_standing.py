"""Where suspended code stands, in terms of the user's own files."""

import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType

_FOREIGN = (
    str(Path(__file__).parents[1]),
    *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")},
)
"""Folders of code that is not the user's: agentflow, the standard library, packages."""


def where(suspended: object) -> str:
    """Say where a coroutine or async generator is suspended.

    Args:
        suspended: The coroutine, generator or whatever else is awaited.

    Returns:
        File, line and function of the innermost code that is the user's own; empty if
        none is.
    """
    return _innermost(_places(suspended))


def where_raised(error: BaseException) -> str:
    """Say where an exception was raised, or came in, like `where`."""
    return _innermost(
        (frame.f_code, line) for frame, line in walk_tb(error.__traceback__)
    )


def _innermost(places: Iterable[tuple[CodeType, int]]) -> str:
    own = [
        (code, line)
        for code, line in places
        if not code.co_filename.startswith(_FOREIGN)
    ]
    if not own:
        return ""
    code, line = own[-1]
    return f"{_short(code.co_filename)}:{line} in {code.co_qualname}"


def _places(suspended: object) -> Iterator[tuple[CodeType, int]]:
    """Yield code and line of each frame, the outermost first."""
    current: object = suspended
    while current is not None:
        frame = _first(current, "cr_frame", "ag_frame", "gi_frame")
        if not isinstance(frame, FrameType):
            return
        yield frame.f_code, frame.f_lineno
        current = _first(current, "cr_await", "ag_await", "gi_yieldfrom")


def _first(thing: object, *names: str) -> object:
    for name in names:
        value: object = getattr(thing, name, None)
        if value is not None:
            return value
    return None


def _short(filename: str) -> str:
    path = Path(filename)
    return (
        str(path.relative_to(Path.cwd()))
        if path.is_relative_to(Path.cwd())
        else path.name
    )
