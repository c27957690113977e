"""`agentflow graph`: who takes and emits what, drawn and checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import trio

from agentflow._drawing import Edges, to_mermaid, untaken_types
from agentflow._events import Event
from agentflow._reaching import entry_types, reach
from agentflow._routing import Router
from agentflow.cli._exits import DONE, FAILED, CommandUsageError
from agentflow.cli._flows import opened
from agentflow.cli._program import KIND, Program, Runnable, is_runnable
from agentflow.cli._screen import Screen
from agentflow.cli._svg import to_svg
from agentflow.cli._targets import load_kind
from agentflow.cli._words import count, listed


def graph(
    target: str,
    /,
    *,
    format: Literal["mermaid", "svg"] | None = None,  # noqa: A002 -- the option's name
    output: Path | None = None,
    check: bool = False,
    root: tuple[str, ...] = (),
    result: tuple[str, ...] = (),
) -> int:
    """Draw which agents take and emit which events, or check that it adds up.

    What an agent emits is read from the return annotation of its handler. Event classes
    are rounded, agents square; an output that nobody takes is dashed.

    With --check it draws nothing, and fails if an agent emits an event that nobody takes,
    or if no event can ever get to an agent. An agent that does not say what it emits
    might emit anything; it is named, and then nobody counts as out of reach.

    Exit codes: 0 all is well, 1 the check found something, 2 wrong command line or target.

    Args:
        target: What to draw, as MODULE:NAME; see agentflow run.
        format: How to draw it; by default as the output's suffix says, else mermaid. SVG
            needs the extra agentflow[svg].
        output: Write to this file.
        check: Check instead of drawing.
        root: Name of an event class that flows begin with; by default those that nobody
            emits, or what a Program says.
        result: Name of an event class that is a result, so nobody needs to take it.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: There is no such target or event class, or the file cannot be
            written.
    """
    found = load_kind(target, is_runnable, KIND)
    program = trio.run(_look, found)
    router = program.router if isinstance(program, Program) else program
    if check:
        roots = [_event_class(router, name) for name in root] or _roots(program)
        results = [_event_class(router, name) for name in result] or _results(program)
        return _check(router.edges, roots, results)
    is_svg = (format or (output.suffix[1:] if output else "")) == "svg"
    text = to_svg(router.edges) if is_svg else to_mermaid(router.edges)
    if output is None:
        Screen().raw(text)
        return DONE
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandUsageError(f"cannot write {output}: {error.strerror}") from error
    return DONE


async def _look(found: Runnable) -> Program | Router:
    """Open what was found for a moment: the router alone is wanted."""
    async with opened(found) as program:
        return program


def _roots(program: Program | Router) -> Sequence[type[Event]]:
    if isinstance(program, Program):
        return program.roots or entry_types(program.router.edges)
    return entry_types(program.edges)


def _results(program: Program | Router) -> Sequence[type[Event]]:
    if isinstance(program, Router):
        return ()
    return program.result if isinstance(program.result, tuple) else (program.result,)


def _event_class(router: Router, name: str) -> type[Event]:
    """Find an event class of a router by its name."""
    edges = router.edges
    known = {t.__name__: t for t in [*(t for t, _ in edges), *untaken_types(edges)]}
    if name not in known:
        raise CommandUsageError(
            f"there is no event class {name} in this router; there are: "
            f"{', '.join(known)}"
        )
    return known[name]


def _check(
    edges: Edges,
    roots: Sequence[type[Event]],
    results: Sequence[type[Event]],
) -> int:
    """Name every output that nobody takes, and every agent that nothing reaches."""
    screen = Screen()
    untaken = [t for t in untaken_types(edges) if not issubclass(t, tuple(results))]
    for event_type in untaken:
        screen.error(
            f"nobody takes {event_type.__name__}; route it, or name it with --result"
        )
    reached = reach(edges, roots)
    began = listed(t.__name__ for t in roots) if roots else "nothing"
    for name in reached.unreached:
        screen.error(f"nothing reaches {name}: flows begin with {began}")
    if reached.silent:
        screen.note(
            f"{listed(reached.silent)} might emit anything; a return annotation such as "
            "list[SummaryEvent] says what"
        )
    found = len(untaken) + len(reached.unreached)
    if found:
        return FAILED
    agents = len({id(handler.agent) for _, handler in edges})
    screen.note(f"{count(agents, 'agent')}: nothing found")
    return DONE
