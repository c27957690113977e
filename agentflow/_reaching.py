"""Which agents events can get to, judged by what the agents say they emit (rule R3).

Theory of operation. Some event classes come from outside; each agent that takes one of
them may be called, and what it says it emits comes into the flow next. Repeating that
until nothing new turns up leaves the agents that no event ever reaches: a route that was
forgotten, or two agents that only feed each other. An agent whose annotation says nothing
might emit anything, so as soon as one of those is reached, nobody can be called
unreachable. Predicates count as true.
"""

from collections.abc import Iterable, Sequence

import attrs

from agentflow._drawing import Edges, emitted_types, is_silent
from agentflow._events import AgentFailed, Event
from agentflow._handlers import Handler


@attrs.frozen(kw_only=True)
class Reach:
    """How far events come.

    Attributes:
        unreached: Names of the agents that no event comes to, in order of registration.
        silent: Names of the agents that are reached and do not say what they emit; if
            there are any, `unreached` is empty, since they might emit anything.
    """

    unreached: tuple[str, ...]
    silent: tuple[str, ...]


def entry_types(edges: Edges) -> tuple[type[Event], ...]:
    """Return the event classes that a route takes and no agent says it emits.

    Failures come from the session itself, so they are none of these.
    """
    handlers = {id(handler.agent): handler for _, handler in edges}.values()
    emitted = tuple(t for handler in handlers for t in emitted_types(handler))
    taken = dict.fromkeys(event_type for event_type, _ in edges)
    return tuple(
        t
        for t in taken
        if not issubclass(t, AgentFailed)
        and not any(issubclass(e, t) or issubclass(t, e) for e in emitted)
    )


def reach(edges: Edges, roots: Iterable[type[Event]]) -> Reach:
    """Follow events of these classes, and failures, from agent to agent."""
    todo: list[type[Event]] = [*roots, AgentFailed]
    seen: set[type[Event]] = set()
    reached: dict[int, Handler] = {}
    while todo:
        event_type = todo.pop()
        if event_type in seen:
            continue
        seen.add(event_type)
        for handler in _takers(edges, event_type):
            reached[id(handler.agent)] = handler
            todo += emitted_types(handler)
    silent = tuple(h.name for h in reached.values() if is_silent(h))
    left = {id(h.agent): h.name for _, h in edges if id(h.agent) not in reached}
    return Reach(unreached=() if silent else tuple(left.values()), silent=silent)


def _takers(edges: Edges, event_type: type[Event]) -> Sequence[Handler]:
    """Return who may get an event of a class, or of one of its subclasses."""
    return [
        handler
        for taken, handler in edges
        if issubclass(event_type, taken) or issubclass(taken, event_type)
    ]
