"""Where a suspended coroutine stands: the chain of what awaits what, down to the loop.

A coroutine, a generator and an async generator each say what they wait for. What stands
between them, such as the awaitable of an async generator's next item, says nothing, but
refers to what it drives.
"""

import gc
import linecache
from collections.abc import Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType

import attrs

_WAYS: dict[type, tuple[str, str]] = {
    CoroutineType: ("cr_frame", "cr_await"),
    GeneratorType: ("gi_frame", "gi_yieldfrom"),
    AsyncGeneratorType: ("ag_frame", "ag_await"),
}
"""Where each kind of what can be suspended keeps its frame, and what it waits for."""


@attrs.frozen(kw_only=True)
class Place:
    """One line that waits for the next.

    Attributes:
        function: The function it is in.
        file: Path of the file.
        line: Number of the line.
        code: Its text, empty if the file cannot be read.
    """

    function: str
    file: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}: {self.code}"


def places_of(coroutine: object) -> list[Place]:
    """Return where a coroutine stands, the outermost line first.

    Args:
        coroutine: A suspended coroutine.

    Returns:
        The lines; none if it is no coroutine, or has ended.
    """
    return [place_of(frame) for frame in _chain(coroutine)]


def place_of(frame: FrameType) -> Place:
    """Return the line that a frame is at."""
    code = frame.f_code
    line = frame.f_lineno or code.co_firstlineno
    return Place(
        function=code.co_qualname,
        file=code.co_filename,
        line=line,
        code=linecache.getline(code.co_filename, line).strip(),
    )


def places_in_stack(innermost: FrameType, code: CodeType) -> list[Place]:
    """Return the lines of a thread's stack from the call of a function on.

    Args:
        innermost: The frame that runs.
        code: That function's code.

    Returns:
        The lines, the outermost first; none if the stack holds no call of it.
    """
    places: list[Place] = []
    frame: FrameType | None = innermost
    while frame is not None:
        places.append(place_of(frame))
        if frame.f_code is code:
            return places[::-1]
        frame = frame.f_back
    return []


def _chain(coroutine: object) -> Iterator[FrameType]:
    current: object = coroutine
    seen: set[int] = set()  # what is awaited may refer to who awaits it
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frame, current = _step(current)
        if frame is not None:
            yield frame


def _step(current: object) -> tuple[FrameType | None, object]:
    """Return the frame of what is suspended, and what it waits for."""
    way = _WAYS.get(type(current))
    if way is None:
        driven = (x for x in gc.get_referents(current) if type(x) in _WAYS)
        return None, next(driven, None)
    frame: FrameType | None = getattr(current, way[0])
    return frame, getattr(current, way[1])
