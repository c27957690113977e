"""Functions for a model to call."""

import threading

from agentflow.llm import tool


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def divide(a, b: int) -> int:  # type: ignore[no-untyped-def]
    """Lack an annotation."""
    return b


@tool(name="add")
def block(a: int, b: int) -> int:
    """Block the thread for good."""
    threading.Event().wait()
    return a + b


@tool(name="add")
def fail(a: int, b: int) -> int:
    """Fail."""
    raise ValueError("no luck today")
