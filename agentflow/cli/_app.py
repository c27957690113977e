"""The commands by name; the door to cyclopts, which reads the command line."""

from collections.abc import Callable, Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from agentflow.cli._exits import CommandUsageError
from agentflow.cli._inputs import STANDARD_INPUT

COMMANDS = {
    "demo": "Let several agents read texts at the same time, with a real language model.",
    "run": "Run a flow on each text, all side by side.",
    "chat": "Talk to a language model.",
    "trace": (
        "Show what a trace file says: how flows, agents and models did, and what failed."
    ),
    "view": (
        "Show a trace or a journal as a web page: flows, causes, agents, messages, errors."
    ),
    "graph": "Draw which agents take and emit which events, or check that it adds up.",
    "journal list": (
        "List the flows of a journal: those that are open first, then the newest."
    ),
    "journal dead": (
        "List the dead letters: deliveries that failed for good, with their history."
    ),
    "journal show": (
        "Show a flow: its events in order, who got them, what is open, and what failed."
    ),
    "journal retry": ("Open the dead letters of flows again."),
    "journal drop": "Forget flows that are over, with their dead letters.",
    "journal check": "Look whether a journal is sound and its counters are right.",
    "journal backup": "Copy a journal to another file, also while a session has it.",
}
"""What each says first in its docstring, so that listing them imports none of them.

Each is a function of its name, and those of a group are together in a file of its name."""

GROUPS = {
    "journal": (
        "Look into the journal of durable sessions, and retry or drop what failed."
    ),
}
"""What is said of commands that are grouped under one word."""


def find_command(arguments: Sequence[str]) -> Callable[[], object]:
    """Read the command line.

    Args:
        arguments: What follows the program's name.

    Returns:
        The command, ready to be called; it returns an exit code or None.

    Raises:
        CommandUsageError: The command line is wrong.
    """
    app = App(
        name="agentflow",
        help=(
            "Event-driven agents in structured concurrency: run them, watch them, "
            "look at what they did.\n\nagentflow COMMAND --help says more."
        ),
        version=lambda: version("trio-agentflow"),
        default_parameter=Parameter(negative=(), show_default=_shown),
        help_format="markdown",
    )
    groups = {name: App(name=name, help=text) for name, text in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for name, summary in COMMANDS.items():
        words = name.split()
        file, last = words[0], words[-1]
        told = None if words == list(arguments[: len(words)]) else summary
        target = f"agentflow.cli._{file}:{'_'.join(words)}"
        groups.get(file, app).command(target, name=last, help=told)
    # A dash alone would be an option; it stands for standard input.
    tokens = [STANDARD_INPUT if word == "-" else word for word in arguments]
    try:
        command, bound, _ = app.parse_args(
            tokens, exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        chain = " ".join(["agentflow", *(error.command_chain or ())])
        raise CommandUsageError(f"{error} See {chain} --help") from error
    return lambda: command(*bound.args, **bound.kwargs)


def _shown(default: object) -> str | None:
    """Show the defaults that say something."""
    return str(default) if default else None
