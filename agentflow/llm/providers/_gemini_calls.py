"""Arguments of a call that Gemini streams as values at JSON paths.

Each piece names the place of a value, such as ``$.recipe.steps[2]``, and the value; a text
may come in several pieces, the last of which may be empty. What is put together here is
written out as JSON text once the call is complete.
"""

import itertools
import re
from collections.abc import Mapping

from agentflow.llm._assembly import MAX_CHARS
from agentflow.llm._errors import AnswerTooLarge, ErrorInfo, MalformedAnswer
from agentflow.llm._json import JSON, JSONObject, as_text, dumps

_STEP = re.compile(
    r"""\.([^.\[\]]+) | \[(\d{1,6})\]
    | \['((?:[^'\\]|\\.)*)'\] | \["((?:[^"\\]|\\.)*)"\]""",
    re.VERBOSE,
)
_MAX_STEPS = 64
"""Places inside each other: more than any schema has, and less than recursion bears."""


class GrowingArguments:
    """The arguments of one call, as far as they have come."""

    def __init__(self) -> None:
        self._root: JSONObject = {}
        self._size = 0
        self._path = ""
        self._text: list[str] | None = None

    def put(self, values: Mapping[str, JSON]) -> None:
        """Take values that came whole.

        Args:
            values: Arguments by name.
        """
        if values:
            self._flush()
            self._root.update(values)

    def add(self, piece: JSONObject) -> None:
        """Take a piece.

        Args:
            piece: A place and the value there, or a piece of it.

        Raises:
            MalformedAnswer: There is no such place.
            AnswerTooLarge: The arguments have no end.
        """
        path = as_text(piece.get("jsonPath"))
        self._size += len(path) + len(as_text(piece.get("stringValue"))) + 1
        if self._size > MAX_CHARS:
            raise AnswerTooLarge(
                f"the arguments of a call have more than {MAX_CHARS:,} characters"
            )
        if path != self._path or "stringValue" not in piece:
            self._flush()
        self._path = path
        if "stringValue" in piece:
            self._text = self._text or []
            self._text.append(as_text(piece["stringValue"]))
            if not piece.get("willContinue"):
                self._flush()
            return
        for key in ("numberValue", "boolValue", "nullValue"):
            if key in piece:
                self._set(path, None if key == "nullValue" else piece[key])

    def text(self) -> str:
        """Return the arguments as JSON text."""
        self._flush()
        return dumps(self._root)

    def _flush(self) -> None:
        """Put the text that is growing into its place."""
        if self._text is not None:
            self._set(self._path, "".join(self._text))
            self._text = None

    def _set(self, path: str, value: JSON) -> None:
        """Put a value into its place."""
        steps = _steps(path)
        here: JSON = self._root
        for step, following in itertools.pairwise(steps):
            below: JSON = [] if isinstance(following, int) else {}
            here = _enter(here, step, below, path=path)
        _enter(here, steps[-1], value, path=path, replace=True)


def _steps(path: str) -> list[str | int]:
    """Read a path: names and numbers of places, one inside the other."""
    steps: list[str | int] = []
    at = 1
    while at < len(path) and path.startswith("$") and len(steps) < _MAX_STEPS:
        found = _STEP.match(path, at)
        if found is None:
            break
        name, number, *quoted = found.groups()
        text = name or re.sub(r"\\(.)", r"\1", next((q for q in quoted if q), ""))
        steps.append(int(number) if number else text)
        at = found.end()
    if not steps or at < len(path):
        raise _malformed(path)
    return steps


def _enter(
    here: JSON, step: str | int, value: JSON, *, path: str, replace: bool = False
) -> JSON:
    """Return what stands in a place; put the value there if nothing does."""
    if isinstance(here, dict) and isinstance(step, str):
        if replace:
            here[step] = value
        return here.setdefault(step, value)
    if isinstance(here, list) and isinstance(step, int) and step <= len(here):
        if step == len(here):
            here.append(value)
        elif replace:
            here[step] = value
        return here[step]
    raise _malformed(path)


def _malformed(path: str) -> MalformedAnswer:
    """Make the error of a place that cannot be."""
    return MalformedAnswer(
        f"the arguments of a call have no place {path[:80]!r}",
        info=ErrorInfo(status=200),
    )
