"""Drawing a router, and writing the drawing as a Mermaid flow chart (rule R3).

The syntax is Mermaid's, https://mermaid.js.org/syntax/flowchart.html.
"""

import typing
from collections.abc import Iterator, Mapping, Sequence

import attrs

from agentflow._events import Event, TerminateEvent
from agentflow._handlers import Handler

Edges = Sequence[tuple[type[Event], Handler]]
"""An event class and the handler that takes it, in order of registration."""

_UNKNOWN = object()


def emitted_types(handler: Handler) -> tuple[type[Event], ...]:
    """Return the event classes that the handler's return annotation names.

    An aggregator's is that of its ``process_events``. `Event` itself says nothing.
    """
    return tuple(dict.fromkeys(_event_classes(_returned(handler))))


def is_silent(handler: Handler) -> bool:
    """Say whether the handler may emit what its return annotation does not name."""
    annotation = _returned(handler)
    return annotation is _UNKNOWN or Event in _parts(annotation)


def _returned(handler: Handler) -> object:
    """Return the handler's return annotation; `_UNKNOWN` if there is none."""
    method = getattr(handler.agent, "process_events", handler.call)
    function = getattr(method, "__func__", method)
    if not hasattr(function, "__annotations__"):
        function = type(function).__call__
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return _UNKNOWN  # a name that exists for type checkers only says nothing
    return hints.get("return", _UNKNOWN)


def _parts(annotation: object) -> Iterator[object]:
    """Yield an annotation and all that it is made of."""
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def _event_classes(annotation: object) -> Iterator[type[Event]]:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, Event) and part is not Event:
            yield part


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


@attrs.frozen(kw_only=True)
class Drawing:
    """What a drawing of a router shows, whatever draws it.

    Attributes:
        types: The event classes, each with the name of its node.
        agents: The agents' nodes and names.
        arrows: From node to node, each once.
        untaken: The nodes of event classes that no route takes.
    """

    types: Mapping[type[Event], str]
    agents: Mapping[str, str]
    arrows: Sequence[tuple[str, str]]
    untaken: Sequence[str]


def draw(edges: Edges) -> Drawing:
    """Say which nodes there are and who takes and emits what."""
    handlers = _distinct(edges)
    agents = {id(h.agent): f"agent{n}" for n, h in enumerate(handlers)}
    types: dict[type[Event], str] = {}
    arrows: list[tuple[str, str]] = []

    def node(event_type: type[Event]) -> str:
        return types.setdefault(event_type, f"event{len(types)}")

    for event_type, handler in edges:
        arrows.append((node(event_type), agents[id(handler.agent)]))
    for handler in handlers:
        arrows += [
            (agents[id(handler.agent)], node(event_type))
            for event_type in emitted_types(handler)
        ]
    return Drawing(
        types=types,
        agents={agents[id(h.agent)]: h.name for h in handlers},
        arrows=tuple(dict.fromkeys(arrows)),
        untaken=tuple(types[t] for t in untaken_types(edges)),
    )


def to_mermaid(edges: Edges) -> str:
    """Draw event classes as rounded nodes, agents as boxes, and who emits what."""
    drawing = draw(edges)
    lines = ["flowchart LR"]
    lines += [f'    {node}(["{t.__name__}"])' for t, node in drawing.types.items()]
    lines += [f'    {node}["{_text(n)}"]' for node, n in drawing.agents.items()]
    lines += [f"    {start} --> {end}" for start, end in drawing.arrows]
    if drawing.untaken:
        lines.append("    classDef untaken stroke-dasharray: 4")
        lines.append(f"    class {','.join(drawing.untaken)} untaken")
    return "\n".join(lines) + "\n"


def _text(name: str) -> str:
    """Quote what would end a Mermaid label or start markup in it."""
    return name.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;")
