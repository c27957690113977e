"""The router: which agent gets which event (rules R1 to R3)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from weakref import WeakSet

import attrs

from agentflow._drawing import Edges, to_mermaid, untaken_types
from agentflow._errors import RoutingError
from agentflow._events import Event, TerminateEvent, check_event_type
from agentflow._failure import Retry
from agentflow._handlers import Handler, handler_of

_F = TypeVar("_F", bound=Callable[..., Any])
_E = TypeVar("_E", bound=Event)

Predicate = Callable[[Any], bool]
"""Looks at an event and says whether a route takes it."""


@attrs.frozen(kw_only=True, eq=False)
class Route:
    """One line of the routing table.

    Attributes:
        event_type: The event class it takes, with its subclasses.
        handler: Where the event goes.
        when: Looks at the event itself; None takes every one.
        retry: What to do when the handler raises; None tries once.
    """

    event_type: type[Event]
    handler: Handler
    when: Predicate | None = None
    retry: Retry | None = None


class RouteCache(dict[type[Event], Any]):
    """What a session has looked up, by event class; a class so that it can be watched."""

    __slots__ = ("__weakref__",)
    __hash__ = object.__hash__  # type: ignore[assignment]  # by identity


class Router:
    """Says which agents get which events.

    ::

        router = Router({TextEvent: [analyzer, summarizer], AnalysisEvent: [combiner]})
        router.add_route(TextEvent, archive, when=lambda event: event.keep)

        @router.on(CombinedEvent)
        async def show(event: CombinedEvent) -> None: ...

    A route on a class takes its subclasses too. An agent gets an event once, however
    many of its routes match; agents get it in the order in which they were added.
    Routes may be added while a session runs.

    Args:
        routes: Event classes and the agents that take them.

    Raises:
        EventTypeError: A key is no event class, or one whose events could be changed.
        RoutingError: A value is no agent.
    """

    def __init__(
        self, routes: Mapping[type[Event], Iterable[object]] | None = None
    ) -> None:
        self._routes: list[Route] = []
        self._handlers: dict[int, Handler] = {}
        self._by_type: dict[type[Event], tuple[Route, ...]] = {}
        self._watching: WeakSet[RouteCache] = WeakSet()
        for event_type, agents in (routes or {}).items():
            if not isinstance(agents, Iterable):
                raise RoutingError(
                    f"the agents of {getattr(event_type, '__name__', event_type)} must "
                    f"be a list, not {agents!r}; write [{type(agents).__name__}(...)]"
                )
            for agent in agents:
                self.add_route(event_type, agent)

    def __repr__(self) -> str:
        return f"<Router with {len(self._routes)} routes>"

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes, in the order in which they were added."""
        return tuple(self._routes)

    @property
    def edges(self) -> Edges:
        """The event class and the handler of each route, in the same order."""
        return [(route.event_type, route.handler) for route in self._routes]

    def add_route(
        self,
        event_type: type[_E],
        agent: object,
        *,
        when: Callable[[_E], bool] | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Send events of a class, and of its subclasses, to an agent.

        Args:
            event_type: The event class; `Event` takes all.
            agent: An agent, or an async function of one event.
            when: Looks at the event; the route takes it if this is true. If it raises,
                that counts as a failure of `agent`.
            retry: What to do when the handler raises; by default it is tried once.

        Raises:
            EventTypeError: `event_type` is no event class.
            RoutingError: The agent, the predicate or the policy cannot work.
        """
        checked = check_event_type(event_type)
        if issubclass(checked, TerminateEvent):
            raise RoutingError(
                f"{checked.__name__} ends its flow and is delivered to nobody, so no "
                "route can take it; return another event before it"
            )
        if when is not None and not callable(when):
            raise RoutingError(f"when= must be a function of one event, not {when!r}")
        if retry is not None and not isinstance(retry, Retry):
            raise RoutingError(f"retry= must be a Retry(...), not {retry!r}")
        handler = self._handlers.get(id(agent)) or handler_of(agent)
        self._handlers[id(agent)] = handler  # holds the agent, so its id stays its own
        self._routes.append(
            Route(event_type=checked, handler=handler, when=when, retry=retry)
        )
        self._by_type = {}
        for cache in tuple(self._watching):
            cache.clear()

    def on(
        self,
        *event_types: type[Event],
        when: Predicate | None = None,
        retry: Retry | None = None,
    ) -> Callable[[_F], _F]:
        """Route to the decorated async function.

        Args:
            event_types: The event classes it takes.
            when: As for `add_route`.
            retry: As for `add_route`.

        Raises:
            RoutingError: No event class was named, or the function cannot work.

        Returns:
            The decorator, which leaves the function as it is.
        """
        if not event_types or not isinstance(event_types[0], type):
            raise RoutingError("name the event class: @router.on(TextEvent)")

        def register(function: _F) -> _F:
            for event_type in event_types:
                self.add_route(event_type, function, when=when, retry=retry)
            return function

        return register

    def matching(self, event_type: type[Event]) -> tuple[Route, ...]:
        """Return the routes that take events of a class, if their predicates agree."""
        table = self._by_type
        if event_type not in table:
            table[event_type] = tuple(
                route
                for route in self._routes
                if issubclass(event_type, route.event_type)
            )
        return table[event_type]

    def watch(self, cache: RouteCache) -> None:
        """Clear a session's cache whenever a route is added, as long as it is in use."""
        self._watching.add(cache)

    def get_agents(self, event: Event) -> list[object]:
        """Return the agents that would get this event, in order, each once."""
        found: dict[int, object] = {}
        for route in self.matching(type(event)):
            agent = route.handler.agent
            if id(agent) not in found and (route.when is None or route.when(event)):
                found[id(agent)] = agent
        return list(found.values())

    def to_mermaid(self) -> str:
        """Draw event types and agents as a Mermaid flow chart.

        What an agent emits is read from the return annotation of its handler. An output
        that no route takes is drawn apart, in a node of class ``untaken``.

        Returns:
            The text of the chart.
        """
        return to_mermaid(self.edges)

    def untaken(self) -> tuple[type[Event], ...]:
        """Return the event classes that agents say they emit and no route takes."""
        return untaken_types(self.edges)
