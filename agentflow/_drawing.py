"""Drawing a router as a Mermaid flow chart (rule R3).

The syntax is Mermaid's, https://mermaid.js.org/syntax/flowchart.html.
"""

import typing
from collections.abc import Iterator, Sequence

from agentflow._events import Event, TerminateEvent
from agentflow._handlers import Handler

Edges = Sequence[tuple[type[Event], Handler]]
"""An event class and the handler that takes it, in order of registration."""


def emitted_types(handler: Handler) -> tuple[type[Event], ...]:
    """Return the event classes that the handler's return annotation names.

    An aggregator's is that of its ``process_events``. `Event` itself says nothing.
    """
    method = getattr(handler.agent, "process_events", handler.call)
    function = getattr(method, "__func__", method)
    if not hasattr(function, "__annotations__"):
        function = type(function).__call__
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return ()  # a name that exists for type checkers only says nothing at run time
    return tuple(dict.fromkeys(_event_classes(hints.get("return"))))


def _event_classes(annotation: object) -> Iterator[type[Event]]:
    if (
        isinstance(annotation, type)
        and issubclass(annotation, Event)
        and annotation is not Event
    ):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _event_classes(argument)


def _distinct(edges: Edges) -> list[Handler]:
    return list({id(handler.agent): handler for _, handler in edges}.values())


def _is_taken(event_type: type[Event], edges: Edges) -> bool:
    return issubclass(event_type, TerminateEvent) or any(
        issubclass(event_type, taken) or issubclass(taken, event_type)
        for taken, _ in edges
    )


def untaken_types(edges: Edges) -> tuple[type[Event], ...]:
    """Return the event classes that handlers say they emit and no route takes.

    `TerminateEvent` needs no route. A class is also taken when a route takes one of its
    subclasses, since the annotation may name a common base.
    """
    emitted = (t for handler in _distinct(edges) for t in emitted_types(handler))
    return tuple(t for t in dict.fromkeys(emitted) if not _is_taken(t, edges))


def to_mermaid(edges: Edges) -> str:
    """Draw event classes as rounded nodes, agents as boxes, and who emits what."""
    handlers = _distinct(edges)
    untaken = untaken_types(edges)
    agents = {id(h.agent): f"agent{n}" for n, h in enumerate(handlers)}
    types: dict[type[Event], str] = {}
    arrows: list[str] = []

    def node(event_type: type[Event]) -> str:
        return types.setdefault(event_type, f"event{len(types)}")

    for event_type, handler in edges:
        arrows.append(f"    {node(event_type)} --> {agents[id(handler.agent)]}")
    for handler in handlers:
        arrows += [
            f"    {agents[id(handler.agent)]} --> {node(event_type)}"
            for event_type in emitted_types(handler)
        ]
    lines = ["flowchart LR"]
    lines += [f'    {name}(["{t.__name__}"])' for t, name in types.items()]
    lines += [f'    {agents[id(h.agent)]}["{_text(h.name)}"]' for h in handlers]
    lines += dict.fromkeys(arrows)
    if untaken:
        lines.append("    classDef untaken stroke-dasharray: 4")
        lines.append(f"    class {','.join(types[t] for t in untaken)} untaken")
    return "\n".join(lines) + "\n"


def _text(name: str) -> str:
    """Quote what would end a Mermaid label or start markup in it."""
    return name.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;")
