"""How commands end: exit codes, and errors that are said in a line."""

from collections.abc import Iterator
from typing import cast

from agentflow._errors import AgentFlowError

DONE = 0
"""All that was asked for has been done."""

FAILED = 1
"""A flow failed, or a check found something."""

USAGE = 2
"""The command line, a target or a file is wrong; nothing was begun."""

INTERRUPTED = 130
"""Ctrl-C: what a shell makes of a program that SIGINT ended."""

PIPE_CLOSED = 141
"""Whoever read the output wants no more: what a shell makes of SIGPIPE."""

TERMINATED = 143
"""SIGTERM: what a shell makes of it."""


class CommandError(AgentFlowError):
    """Something a command cannot go on with; its message is all the user needs.

    Attributes:
        code: The exit code it leads to.
    """

    code: int = FAILED


class CommandUsageError(CommandError):
    """Something is wrong with what the user wrote."""

    code: int = USAGE


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, or the exception itself.

    Args:
        error: What was raised.

    Yields:
        Each that is no group.
    """
    if isinstance(error, BaseExceptionGroup):
        for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(one)
    else:
        yield error
