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
        "Show a trace as a web page: flows, agents over time, causes, messages, errors."
    ),
    "graph": "Draw which agents take and emit which events, or check that it adds up.",
}
"""What each says first in its docstring, so that listing them imports none of them.

Each is a function of its name in a file of its own."""


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
    for name, summary in COMMANDS.items():
        told = None if name in arguments[:1] else summary
        app.command(f"agentflow.cli._{name}:{name}", name=name, help=told)
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
