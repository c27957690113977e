"""What `agentflow run` runs: agents, and how a text goes in and a result comes out.

A module offers one of these under a name of its choice:

- a `Router`, if one event class begins everything and has a field ``text``;
- a `Program`, for all that a router alone does not say;
- a function without arguments that returns an async context manager of either, if the
  agents need something opened and closed around them, such as a model.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias, TypeGuard, cast

import attrs

from agentflow._errors import RoutingError
from agentflow._events import AgentFailed, Event, TerminateEvent
from agentflow._reaching import entry_types
from agentflow._routing import Router

Results: TypeAlias = type[Event] | tuple[type[Event], ...]
"""An event class, or several."""

_EVERY: Results = ()


@attrs.frozen(kw_only=True)
class Input:
    """One text that came in: a file, or standard input.

    Attributes:
        name: What to call it; no two of a run have the same.
        text: The text.
    """

    name: str
    text: str


def fields_of(event: Event) -> str:
    """Write an event's own fields, one a line.

    Args:
        event: The event.

    Returns:
        The lines; a single text field is written as it is.
    """
    inherited = {field.name for field in _fields(Event)}
    own: dict[str, object] = {
        field.name: getattr(event, field.name)
        for field in _fields(type(event))
        if field.name not in inherited
    }
    if len(own) == 1 and isinstance(only := next(iter(own.values())), str):
        return only
    return "\n".join(f"{name}: {value}" for name, value in own.items())


def _fields(event_class: type[Event]) -> "tuple[attrs.Attribute[object], ...]":
    # Every event is an attrs class; its metaclass does not tell type checkers so.
    cls = cast("type[attrs.AttrsInstance]", event_class)
    return cast("tuple[attrs.Attribute[object], ...]", attrs.fields(cls))


def _event_class(
    _: object, attribute: "attrs.Attribute[Results]", value: object
) -> None:
    """Refuse a result that is no event class, or several of them.

    Raises:
        RoutingError: It is something else.
    """
    several = isinstance(value, tuple)
    for one in cast("tuple[object, ...]", value) if several else (value,):
        if not (isinstance(one, type) and issubclass(one, Event)):
            raise RoutingError(f"{attribute.name}= must be event classes, not {one!r}")


@attrs.frozen(kw_only=True)
class Program:
    """Agents, and how a text goes in and a result comes out.

    ::

        def start(given: Input) -> TextEvent:
            return TextEvent(source="cli", text=given.text)

        flow = Program(router=router, start=start, result=CombinedEvent)

    Attributes:
        router: Which agent gets what.
        start: Makes the root event of a text's flow. Its return annotation tells
            ``agentflow graph`` where flows begin.
        result: The event class whose events are printed, or several; by default every
            one that no route takes.
        show: Writes a result as text; by default its fields, one a line.
    """

    router: Router
    start: Callable[[Input], Event]
    result: Results = attrs.field(default=_EVERY, validator=_event_class)
    show: Callable[[Event], str] = fields_of

    def is_result(self, event: Event) -> bool:
        """Say whether an event is one to print.

        Args:
            event: An event of one of its flows.

        Returns:
            True if it is.
        """
        if self.result:
            return isinstance(event, self.result)
        is_an_end = isinstance(event, TerminateEvent | AgentFailed)
        return not is_an_end and not self.router.matching(type(event))

    @property
    def roots(self) -> tuple[type[Event], ...]:
        """The event classes its flows begin with, as far as `start` says; else none."""
        told: object = inspect.get_annotations(self.start, eval_str=True).get("return")
        if isinstance(told, type) and issubclass(told, Event) and told is not Event:
            return (told,)
        return ()

    @classmethod
    def of(cls, router: Router) -> "Program":
        """Make a program of a router alone.

        Args:
            router: One event class that no agent emits must begin its flows, with a
                field ``text`` and, if it likes, one ``name``.

        Returns:
            The program.

        Raises:
            RoutingError: It does not; the message says what to write.
        """
        roots = entry_types(router.edges)
        if len(roots) != 1:
            which = ", ".join(root.__name__ for root in roots) or "none"
            raise RoutingError(
                f"a flow must begin with one event class that no agent emits; this "
                f"router has {which}. Write agentflow.cli.Program(router=..., start=...)"
            )
        (root,) = roots
        return cls(router=router, start=_starter(root))


def _starter(root: type[Event]) -> Callable[[Input], Event]:
    """Return what makes a root event of a text by its fields ``text`` and ``name``.

    Raises:
        RoutingError: The class has no field for the text, or needs more than that.
    """
    fields = {f.name: f for f in _fields(root) if f.init}
    given = {"text", "name", "source"}
    needed = {f.name for f in fields.values() if f.default is attrs.NOTHING} - given
    if "text" not in fields or needed:
        lack = (
            f"it needs {', '.join(sorted(needed))}"
            if needed
            else "it has no field text"
        )
        raise RoutingError(
            f"a text cannot become {root.__name__}: {lack}. Write "
            "agentflow.cli.Program(router=..., start=...)"
        )
    has_name = "name" in fields
    make: Callable[..., Event] = root

    def start(text: Input) -> Event:
        given = {"text": text.text, "source": "agentflow run"}
        if has_name:
            given["name"] = text.name
        return make(**given)

    start.__annotations__["return"] = root
    return start


Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[Program | Router]]
"""Opens what agents need, and yields the program."""

Runnable: TypeAlias = Program | Router | Opener
"""What may stand behind MODULE:NAME."""

KIND = (
    "a Router, an agentflow.cli.Program, or a function without arguments that returns "
    "an async context manager of one"
)
"""What to call it in an error."""


def is_runnable(found: object) -> TypeGuard[Runnable]:
    """Say whether something can be run; whether an opener yields one is seen later.

    Args:
        found: Whatever a target names.

    Returns:
        True if it can.
    """
    if isinstance(found, Program | Router):
        return True
    if isinstance(found, type) or not callable(found):
        return False
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        return False  # the decorator @asynccontextmanager was forgotten
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return False
    return True
