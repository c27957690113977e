"""What may stand behind a route: agents, agent-shaped objects and async functions.

`handler_of` turns each of them into one `Handler` value, or refuses it with what to
write instead (rules A1, A2 and R2).
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal, cast

import attrs

from agentflow._errors import RoutingError

HandlerKind = Literal["async", "generator", "thread"]


@attrs.frozen(kw_only=True, slots=False)
class Handler:
    """How to hand an event to one agent.

    Attributes:
        agent: The agent or function as the user registered it; its identity counts.
        name: What errors and records call it.
        call: Takes the event.
        kind: Whether `call` returns an awaitable, an async generator, or blocks and so
            belongs in a worker thread.
        limit: How many events it takes at a time; None for as many as there are.
    """

    agent: object
    name: str
    call: Callable[..., Any]
    kind: HandlerKind
    limit: int | None


def handler_of(agent: object) -> Handler:
    """Describe how to hand an event to `agent`.

    Args:
        agent: An object with ``async def receive_event_async(event)`` or with a
            blocking ``def receive_event(event)``, or an async function of one event.

    Raises:
        RoutingError: `agent` is none of these; the message says what to write.

    Returns:
        The description.
    """
    if isinstance(agent, type):
        raise RoutingError(
            f"{agent.__qualname__} is a class; route to an instance: "
            f"{agent.__name__}(...)"
        )
    name = _name_of(agent)
    call, kind, limit = _entry_of(agent, name)
    _check_parameters(name, call)
    return Handler(
        agent=agent,
        name=name,
        call=call,
        kind=kind,
        limit=_limit_of(agent, name, limit),
    )


def _entry_of(
    agent: object, name: str
) -> tuple[Callable[..., Any], HandlerKind, int | None]:
    """Return what to call, how, and how many at a time unless the agent says."""
    if callable(method := getattr(agent, "receive_event_async", None)):
        return method, "generator" if _is_generator(method) else "async", 1
    if callable(method := getattr(agent, "receive_event", None)):
        return method, "thread", 1
    if not callable(agent):
        raise RoutingError(
            f"{agent!r} is no agent: it has no method receive_event_async(event), and "
            "it is no async function"
        )
    if _is_generator(agent):
        return agent, "generator", None
    if not _is_coroutine_function(agent):
        raise RoutingError(
            f"{name} is a plain function; write async def {name}(event), or "
            "subclass BaseAgent to run it in a worker thread"
        )
    return agent, "async", None


def _name_of(agent: object) -> str:
    for candidate in (getattr(agent, "name", None), getattr(agent, "__name__", None)):
        if isinstance(candidate, str) and candidate:
            return candidate
    return type(agent).__name__


def _is_generator(call: Callable[..., Any]) -> bool:
    return inspect.isasyncgenfunction(call) or inspect.isasyncgenfunction(
        type(call).__call__
    )


def _is_coroutine_function(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        type(call).__call__
    )


def _check_parameters(name: str, call: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return  # a callable in C tells nothing; its first call will
    try:
        signature.bind(object())
    except TypeError as error:
        raise RoutingError(
            f"{name} cannot be called with one event: {error}; its signature is "
            f"{signature}"
        ) from error


def _limit_of(agent: object, name: str, default: int | None) -> int | None:
    limit = cast("object", getattr(agent, "max_concurrency", default))
    if limit is None:
        return None
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1:
        return limit
    raise RoutingError(
        f"{name}.max_concurrency must be a whole number from 1, or None for no limit, "
        f"not {limit!r}"
    )
