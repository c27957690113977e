"""The texts that go in: files, and standard input."""

import os
import sys
from collections.abc import Container, Sequence
from itertools import chain, count
from pathlib import Path

from agentflow.cli._exits import CommandUsageError
from agentflow.cli._program import Input

STANDARD_INPUT = "/dev/stdin"
"""What "-" stands for on the command line."""


def read_inputs(files: Sequence[str]) -> list[Input]:
    """Read the texts: those named, or what is piped in.

    Args:
        files: Paths; "-" for standard input, which is read if there are none.

    Returns:
        The texts, each with a name of its own.

    Raises:
        CommandUsageError: A file cannot be read or holds no text, or there is none.
    """
    if not files and (sys.stdin is None or sys.stdin.isatty()):
        raise CommandUsageError("name the files to read, or pipe a text in")
    inputs: dict[str, Input] = {}
    for file in files or (STANDARD_INPUT,):
        is_piped = file == STANDARD_INPUT
        # Bytes that are no characters of this locale's stand in a name as surrogates.
        name = os.fsencode(Path(file).name).decode("utf-8", "replace")
        name = _label("standard input" if is_piped else name, inputs)
        text = _read("standard input" if is_piped else file, is_piped=is_piped)
        inputs[name] = Input(name=name, text=text)
    return list(inputs.values())


def _read(file: str, *, is_piped: bool) -> str:
    try:
        data = sys.stdin.buffer.read() if is_piped else Path(file).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise CommandUsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandUsageError(f"{file} is no UTF-8 text: {error}") from error
    if not text.strip():
        raise CommandUsageError(f"there is no text in {file}")
    return text


def _label(name: str, taken: Container[str]) -> str:
    """Keep two texts of one name apart."""
    labels = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(label for label in labels if label not in taken)
