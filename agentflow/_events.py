"""Events: frozen attrs values, the only way agents talk (rules E1 and E2)."""

import inspect
import sys
from typing import TypeVar, dataclass_transform

import attrs
from attrs.exceptions import UnannotatedAttributeError

from agentflow._errors import EventTypeError


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(attrs.field,)
)
class _FrozenByDefinition:
    """Tells type checkers what `Event` does to its subclasses.

    They take the attributes of the decorated class itself for no fields (PEP 681), so
    `Event`, which has some, must be a subclass.
    """


class Event(_FrozenByDefinition):
    """What agents send each other. Subclass it and annotate fields; that is all.

    Subclassing makes a frozen, keyword-only attrs class::

        class TextEvent(Event):
            text: str
            language: str = "en"

    Fields may use `attrs.field` with defaults, validators and converters. A decorator
    such as ``@attrs.frozen`` on top is refused: the class is one already.

    Attributes:
        source: Who made the event: a class, or any name.
        correlation_id: The flow it belongs to; None until it is dispatched.
        id: Its own id, sortable by time; None until it is dispatched.
        parent_id: The id of the event whose handler emitted it; None for a root.

    Raises:
        EventTypeError: At class creation, when the subclass would be mutable or its
            fields cannot be understood.
    """

    source: type | str
    correlation_id: str | None = None
    id: str | None = None
    parent_id: str | None = None

    def __init_subclass__(cls, **options: object) -> None:
        """Make each subclass a frozen attrs class.

        Raises:
            EventTypeError: It would be mutable, or its fields cannot be understood.
        """
        super().__init_subclass__()
        if options:
            names = ", ".join(options)
            raise EventTypeError(
                f"event {cls.__qualname__}: unknown class option {names}. Events are "
                f"always frozen and keyword-only; write class {cls.__name__}(Event):"
            )
        if "__attrs_attrs__" in cls.__dict__:
            # A decorator that makes slots makes the class anew, which leads here.
            raise EventTypeError(
                f"event {cls.__qualname__}: subclasses of Event are frozen attrs "
                f"classes already; drop the decorator on top and write only "
                f"class {cls.__name__}(Event):"
            )
        _freeze(cls)


def _freeze(cls: type[Event]) -> None:
    """Apply attrs in place, and leave the body fit for a decorator on top of it.

    attrs takes the defaults out of the class body and puts its own ``__setattr__`` in.
    A user's ``@attrs.frozen(slots=False)`` comes after us: it would miss the defaults,
    and would take ``__setattr__`` for the user's.

    Raises:
        EventTypeError: attrs refuses the class.
    """
    body = {
        name: cls.__dict__[name]
        for name in inspect.get_annotations(cls)
        if name in cls.__dict__
    }
    try:
        # auto_attribs: else one field without a type would drop all that have one.
        attrs.define(cls, auto_attribs=True, frozen=True, slots=False, kw_only=True)
    except (TypeError, ValueError, UnannotatedAttributeError) as error:
        raise EventTypeError(
            f"event {cls.__qualname__} cannot be a frozen class: {error}. Drop what "
            "makes it mutable, and give each field a type: name: type = default"
        ) from error
    for name, value in body.items():
        setattr(cls, name, value)
    if getattr(super(cls, cls), "__setattr__", None) is cls.__setattr__:
        del cls.__setattr__, cls.__delattr__


_freeze(Event)


class TerminateEvent(Event):
    """Ends its own flow, and no other (rule D6).

    Returned by an agent or dispatched, it cancels the flow's running handlers and drops
    its queue. It is delivered to nobody, so no route can take it.
    """


class AgentFailed(Event):
    """A handler raised. A route for this type makes it a handled failure (rule F2).

    Attributes:
        agent: The name of the agent whose handler raised.
        event: The event it was handling.
        error: What it raised.
        attempts: How often it was tried.
    """

    agent: str
    event: Event
    error: Exception
    attempts: int = 1


def check_event_type(candidate: object) -> type[Event]:
    """Return `candidate` if it is an immutable event class.

    Raises:
        EventTypeError: Saying what it is instead.
    """
    if not isinstance(candidate, type):
        raise EventTypeError(
            f"expected an event class, got {candidate!r}; pass the class, not an event"
        )
    if not issubclass(candidate, Event):
        raise EventTypeError(
            f"{candidate.__qualname__} is no event class; write "
            f"class {candidate.__name__}(Event):"
        )
    if candidate.__setattr__ is not Event.__setattr__ or (
        "__dataclass_fields__" in candidate.__dict__
    ):
        raise EventTypeError(
            f"event {candidate.__qualname__} is mutable; agents share events, so drop "
            "the decorator or method that makes it so"
        )
    return candidate


def check_event(candidate: object) -> Event:
    """Return `candidate` if it is an event that can be dispatched.

    Raises:
        EventTypeError: Saying what it is instead.
    """
    if not isinstance(candidate, Event):
        hint = " (a class: call it to make an event)" * isinstance(candidate, type)
        raise EventTypeError(f"expected an event, got {candidate!r}{hint}")
    fields = candidate.__dict__
    source, flow_id = fields["source"], fields["correlation_id"]
    if not isinstance(source, (str, type)):
        raise EventTypeError(
            f"{type(candidate).__qualname__}.source must be a class or a string, not "
            f"{source!r}"
        )
    if flow_id is not None and not (isinstance(flow_id, str) and flow_id):
        raise EventTypeError(
            f"{type(candidate).__qualname__}.correlation_id must be a string that is "
            f"not empty, or None, not {flow_id!r}"
        )
    return candidate


KNOWS_HOLDERS: bool = sys.implementation.name == "cpython" and sys.version_info < (
    3,
    14,
)
"""Whether a reference count tells who holds an object; newer Pythons leave some out."""

_E = TypeVar("_E", bound=Event)


def stamped(  # noqa: PLR0917 -- keywords would cost a tenth of the whole
    event: _E, event_id: str, correlation_id: str, parent_id: str | None
) -> _E:
    """Return a copy of `event` with its three ids set; `event` stays as it is."""
    # A frozen class cannot be assigned to, and attrs.evolve costs three times this.
    new = object.__new__(event.__class__)
    fields = new.__dict__
    fields |= event.__dict__
    fields["id"] = event_id
    fields["correlation_id"] = correlation_id
    fields["parent_id"] = parent_id
    return new
