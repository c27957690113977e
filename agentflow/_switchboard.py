"""The switchboard: a session's own view of its router, fast enough to ask per event.

It turns routes into targets: one lane for each agent, a name that is unique in the
session, and the call that fits the agent's kind. Predicates are asked here.
"""

from collections.abc import Awaitable, Callable, Iterator

from agentflow._events import AgentFailed, Event, TerminateEvent
from agentflow._handlers import Handler
from agentflow._ledger import Lane, Target
from agentflow._routing import Route, RouteCache, Router
from agentflow.abc import FlowKeeper

Call = Callable[[Event], Awaitable[object]]


class Switchboard:
    """Looks up targets and keeps the lanes.

    Args:
        router: The user's routes, which may grow while the session runs.
        caller: Makes the awaitable call for a handler.
    """

    def __init__(self, router: Router, caller: Callable[[Handler], Call]) -> None:
        self._router = router
        self._caller = caller
        self.plain: RouteCache = RouteCache()
        """The targets of event types whose routes have no predicates, once looked up."""
        self.single: RouteCache = RouteCache()
        """The target of those types that have exactly one."""
        router.watch(self.plain)
        router.watch(self.single)
        self._targets: dict[Route, Target] = {}
        self._agents: dict[int, Target] = {}
        self._names: dict[str, int] = {}
        self._keepers: list[tuple[str, FlowKeeper]] = []

    def targets(self, event: Event) -> tuple[Target, ...]:
        """Return where an event goes, each agent once, in order of registration."""
        known = self.plain.get(type(event))
        return self._choose(event) if known is None else known

    def failure_targets(self, failure: AgentFailed) -> tuple[tuple[Target, ...], bool]:
        """Return where a failure goes, and whether some route is meant for failures.

        A route on `Event` gets to see it, but is not meant for it (rule F2).
        """
        chosen: dict[int, Target] = {}
        is_handled = False
        for route, target in self._matching(failure):
            if issubclass(route.event_type, AgentFailed):
                is_handled = True
                chosen[id(target.handler.agent)] = target
            else:
                chosen.setdefault(id(target.handler.agent), target)
        return tuple(chosen.values()), is_handled

    def named(self, name: str, event_type: type[Event]) -> Target:
        """Return the agent of a name, with the policy of its route for such events."""
        routes = [r for r in self._router.routes if r.handler.name == name]
        fitting = [r for r in routes if issubclass(event_type, r.event_type)]
        return self._target((fitting or routes)[0])

    def keepers(self) -> list[tuple[str, FlowKeeper]]:
        """Return the agents that keep something for each flow, with their names."""
        return self._keepers

    def lanes(self) -> dict[str, Lane]:
        """Return the lanes of the agents that have got an event, by agent name."""
        return {target.name: target.lane for target in self._agents.values()}

    def _choose(self, event: Event) -> tuple[Target, ...]:
        event_type = type(event)
        if issubclass(event_type, TerminateEvent):
            return ()
        chosen: dict[int, Target] = {}
        for _, target in self._matching(event):
            chosen.setdefault(id(target.handler.agent), target)
        targets = tuple(chosen.values())
        if all(route.when is None for route in self._router.matching(event_type)):
            self.plain[event_type] = targets
            if len(targets) == 1:
                self.single[event_type] = targets[0]
        return targets

    def _matching(self, event: Event) -> Iterator[tuple[Route, Target]]:
        for route in self._router.matching(type(event)):
            try:
                if route.when is None or route.when(event):
                    yield route, self._target(route)
            except Exception as error:  # noqa: BLE001 -- fails the agent's delivery
                yield route, self._broken(route, error)

    def _target(self, route: Route) -> Target:
        target = self._targets.get(route)
        if target is None:
            target = self._targets[route] = self._new_target(route)
        return target

    def _new_target(self, route: Route) -> Target:
        handler = route.handler
        known = self._agents.get(id(handler.agent))
        target = Target(
            handler=handler,
            name=known.name if known else self._unique(handler.name),
            call=known.call if known else self._caller(handler),
            lane=known.lane if known else Lane(handler.limit),
            retry=route.retry,
            answers_failures=issubclass(route.event_type, AgentFailed),
        )
        if known is None:
            self._agents[id(handler.agent)] = target
            if isinstance(handler.agent, FlowKeeper):
                self._keepers.append((target.name, handler.agent))
        return target

    def _unique(self, name: str) -> str:
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"

    def _broken(self, route: Route, error: Exception) -> Target:
        """Stand in for an agent whose predicate raised: its delivery fails with that."""
        target = self._target(route)

        def call(_event: Event) -> Awaitable[object]:
            raise error

        error.add_note(f"raised by the when= of a route to {target.name!r}")

        return Target(
            handler=target.handler,
            name=target.name,
            call=call,
            lane=target.lane,
            retry=None,
        )
