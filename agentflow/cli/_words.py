"""Words for a terminal: text that may come from a model, a file or a stranger.

Such text must not move the cursor, change the title, ring or turn the line around, so
whatever a terminal would obey is shown as an escape instead.
"""

import re
import traceback
from collections.abc import Iterable
from pathlib import Path

# C0 except tab and newline, DEL, C1, and the marks that turn the direction of writing.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)

_SHORT = 0.01
"""Seconds below which milliseconds need decimals."""


def clean(text: str) -> str:
    """Show what a terminal would obey, and leave the rest as it is."""
    text = text.replace("\r", "")  # the end of a line may come in two pieces
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str, limit: int = 0) -> str:
    """Put a text on one line, of at most so many characters if a limit is given."""
    line = clean(" ".join(text.split()))
    return line if not limit or len(line) <= limit else f"{line[: limit - 3]}..."


def seconds(duration: float) -> str:
    """Write a duration the way it is read best."""
    if duration < _SHORT:
        return f"{duration * 1000:.2f} ms"
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    minutes, rest = divmod(duration, 60)
    return f"{int(minutes)} min {rest:.0f} s" if minutes else f"{duration:.1f} s"


def count(number: int, thing: str) -> str:
    """Write "1 flow", "2 flows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """Write "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def describe(error: BaseException) -> str:
    """Say in a line what went wrong and, if it was no error of agentflow's, where."""
    words = one_line(str(error))
    name = type(error).__name__
    if type(error).__module__.startswith("agentflow"):
        return words or name
    frames = traceback.extract_tb(error.__traceback__)
    where = (
        f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
        if frames
        else ""
    )
    return f"{name}: {words}{where}" if words else f"{name}{where}"
