"""Reading Google-style docstrings: what a thing is, and what its parts are for."""

import inspect
import re
from collections.abc import Mapping

import attrs

_SECTION = re.compile(r"^([A-Z][A-Za-z ]+):\s*$")
_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_PARTS = frozenset({"Args", "Arguments", "Parameters", "Attributes", "Keys"})


@attrs.frozen
class Docs:
    """What a docstring says.

    Attributes:
        summary: Everything before the first section.
        parts: Descriptions of arguments or attributes, by name.
    """

    summary: str = ""
    parts: Mapping[str, str] = attrs.field(factory=dict[str, str])


def read_docs(docstring: str | None) -> Docs:
    """Read a docstring.

    Args:
        docstring: The docstring; None is an empty one.

    Returns:
        What it says.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    summary: list[str] = []
    parts: dict[str, str] = {}
    section: str | None = None
    name = ""
    for line in lines:
        heading = _SECTION.match(line)
        if heading:
            section, name = heading[1], ""
        elif section is None:
            summary.append(line)
        elif section in _PARTS:
            name = _read_part(line, name, parts)
    return Docs("\n".join(summary).strip(), parts)


def _read_part(line: str, name: str, parts: dict[str, str]) -> str:
    """Take a line of a section; return the name of the part it belongs to."""
    text = line.strip()
    indent = len(line) - len(line.lstrip())
    entry = _ENTRY.match(text)
    # Entries stand one level in; what stands deeper goes on with the last one.
    if entry and (not name or indent <= 4):  # noqa: PLR2004 - one level
        parts[entry[1]] = entry[2]
        return entry[1]
    if name and text:
        parts[name] = f"{parts[name]} {text}".strip()
    return name
