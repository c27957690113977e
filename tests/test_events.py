"""Events: what a subclass gets, what it is refused, and how it is stamped (E1 to E3)."""

import dataclasses
from collections.abc import Callable
from types import new_class

import attrs
import pytest

from agentflow import (
    AgentFailed,
    AsyncDispatcher,
    Event,
    EventTypeError,
    Router,
    TerminateEvent,
)
from agentflow._events import check_event, check_event_type
from agentflow._ids import IdSource, age_of
from tests.fakes import Collector, Other, Ping, Pong, router_of


class TextEvent(Event):
    text: str
    language: str = "en"
    words: tuple[str, ...] = attrs.field(factory=tuple, converter=tuple)
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))


def test_annotating_fields_is_enough() -> None:
    """(E1) A subclass is a keyword-only attrs class with fields, defaults, converters."""
    event = TextEvent(source="main", text="hi", words=["a"])  # type: ignore[arg-type]
    assert event == TextEvent(source="main", text="hi", words=("a",))
    assert (event.text, event.language, event.words) == ("hi", "en", ("a",))
    with pytest.raises(TypeError):
        TextEvent("main", "hi")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="size"):
        TextEvent(source="main", text="hi", size=0)


@pytest.mark.parametrize("name", ["text", "source", "id", "brand_new"])
def test_an_event_cannot_be_changed(name: str) -> None:
    """(E1) Neither its own fields nor the inherited ones can be set or deleted."""
    event = TextEvent(source="main", text="hi")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(event, name, "other")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(event, name)


def test_a_subclass_of_a_subclass_inherits_and_overrides() -> None:
    """(E1) Fields and defaults are inherited, and may be given again."""

    class German(TextEvent):
        language: str = "de"
        umlauts: int = 0

    event = German(source=German, text="hü")
    assert (event.language, event.size, event.umlauts) == ("de", 1, 0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.umlauts = 1  # type: ignore[misc]


def test_attrs_frozen_on_top_works_without_slots() -> None:
    """(E1) A decorator that leaves the class in place changes nothing."""

    @attrs.frozen(slots=False, kw_only=True)
    class Decorated(Event):
        text: str = "x"

    assert Decorated(source="main").text == "x"
    assert check_event_type(Decorated) is Decorated


def test_attrs_frozen_with_slots_says_what_to_write() -> None:
    """(E1) The decorator that makes the class anew is refused when the class is made."""
    plain = type("Plain", (Event,), {})
    with pytest.raises(EventTypeError, match=r"only class Plain\(Event\):"):
        attrs.frozen(plain)


def test_class_options_are_refused() -> None:
    """(E1) An option such as frozen=False is no way around."""
    with pytest.raises(EventTypeError, match="unknown class option frozen"):
        new_class("Melting", (Event,), {"frozen": False})


def test_an_own_setattr_is_refused_at_class_creation() -> None:
    """(E1) A subclass that would be mutable is refused when it is made."""
    with pytest.raises(EventTypeError, match=r"event Soft cannot be a frozen class"):
        type("Soft", (Event,), {"__setattr__": object.__setattr__})


def test_a_field_without_a_type_is_refused_at_class_creation() -> None:
    """(E1) attrs.field without an annotation says what to write."""
    with pytest.raises(EventTypeError, match="name: type = default"):
        type("Untyped", (Event,), {"text": attrs.field()})


def _with_setattr(cls: type[Event]) -> type[Event]:
    cls.__setattr__ = object.__setattr__  # type: ignore[method-assign]
    return cls


@pytest.mark.parametrize("decorator", [dataclasses.dataclass, _with_setattr])
def test_a_class_made_mutable_later_is_refused_by_the_router(
    decorator: Callable[[type[Event]], type[Event]],
) -> None:
    """(E1) What happened to a class after its creation is seen where it is first used."""

    class Thawed(Event):
        text: str = ""

    with pytest.raises(EventTypeError, match=r"event .*Thawed is mutable"):
        Router({decorator(Thawed): [Collector()]})


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (int, r"int is no event class; write class int\(Event\):"),
        ("Ping", "expected an event class, got 'Ping'"),
        (Ping(source="x"), "pass the class, not an event"),
    ],
)
def test_what_is_no_event_class_is_named(candidate: object, message: str) -> None:
    """(R2) The error says what came in the place of an event class."""
    with pytest.raises(EventTypeError, match=message):
        check_event_type(candidate)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ("hello", "expected an event, got 'hello'"),
        (Ping, "a class: call it to make an event"),
        (Ping(source=3), r"Ping.source must be a class or a string, not 3"),  # type: ignore[arg-type]
        (Ping(source="x", correlation_id=""), "must be a string that is not empty"),
        (Ping(source="x", correlation_id=7), "not 7"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_event_is_named(candidate: object, message: str) -> None:
    """(E2) What cannot be dispatched is refused at the door, by name."""
    with pytest.raises(EventTypeError, match=message):
        check_event(candidate)
    with pytest.raises(EventTypeError, match=message):
        AsyncDispatcher(Router()).dispatch(candidate)  # type: ignore[type-var]


async def test_dispatch_returns_a_stamped_copy() -> None:
    """(E2) The caller's object stays as it was; the copy has ids and no parent."""
    event = TextEvent(source=TextEvent, text="hi")
    async with AsyncDispatcher(Router()) as dispatcher:
        first = dispatcher.dispatch(event)
        second = dispatcher.dispatch(event)
    assert (event.id, event.correlation_id, event.parent_id) == (None, None, None)
    assert first.text == "hi"
    assert first.source is TextEvent
    assert first.id is not None
    assert first.correlation_id is not None
    assert first.parent_id is None
    assert second.id != first.id
    assert second.correlation_id != first.correlation_id


async def test_what_an_agent_returns_inherits_its_flow_and_names_its_parent() -> None:
    """(E2) correlation_id is inherited when missing, parent_id is always set."""
    collector = Collector()

    async def answer(event: Ping) -> Pong:
        return Pong(source="answer", n=event.n, parent_id="made up", id="made up")

    async with AsyncDispatcher(router_of((Ping, answer), (Pong, collector))) as d:
        root = d.dispatch(Ping(source="x", correlation_id="mine"))
    (pong,) = collector.got
    assert pong.correlation_id == root.correlation_id == "mine"
    assert pong.parent_id == root.id
    assert pong.id not in {None, "made up", root.id}


async def test_an_agent_may_start_and_join_other_flows() -> None:
    """(E2) An output with another correlation id belongs to that flow."""
    collector = Collector()

    async def fork(event: Ping) -> list[Pong]:
        return [Pong(source="fork", correlation_id=f"flow {n}") for n in (1, 2, 1)]

    async with AsyncDispatcher(router_of((Ping, fork), (Pong, collector))) as d:
        root = d.dispatch(Ping(source="x"))
    assert [e.correlation_id for e in collector.got] == ["flow 1", "flow 2", "flow 1"]
    assert {e.parent_id for e in collector.got} == {root.id}


async def test_a_dispatched_event_keeps_the_flow_it_names() -> None:
    """(E2) Two roots of one correlation id share a flow."""
    async with AsyncDispatcher(router_of((Ping, Collector()))) as dispatcher:
        first = dispatcher.dispatch(Ping(source="x", correlation_id="a"))
        second = dispatcher.dispatch(Other(source="x", correlation_id="a"))
        assert dispatcher.statistics().flows == 1
    assert first.correlation_id == second.correlation_id == "a"


def test_ids_sort_by_time_and_are_unique() -> None:
    """(E3) Ids of one source sort as they were made; two sources never share one."""
    mine, yours = IdSource(), IdSource()
    made = [mine() for _ in range(1000)]
    assert made == sorted(set(made))
    assert not {yours() for _ in range(1000)} & set(made)


def test_ids_keep_their_order_when_the_clock_goes_back() -> None:
    """(E3) A clock that is set back does not break the order."""
    times = iter([1 << 60, (1 << 60) - 5, (1 << 60) + 9])
    new_id = IdSource(lambda: next(times))
    made = [new_id() for _ in range(3)]
    assert made == sorted(set(made))


def test_the_age_of_an_id_is_never_negative() -> None:
    """(E3) An id tells its age, and one from a clock ahead of ours is new."""
    made = IdSource(lambda: 1 << 60)()
    assert age_of(made, (1 << 60) + 2_500_000_000) == 2.5
    assert age_of(made, 1 << 59) == 0.0


def test_events_are_values() -> None:
    """(E1) Events with equal fields are equal, hashable, and of their own class only."""
    assert {Ping(source="x"), Ping(source="x")} == {Ping(source="x")}
    assert Ping(source="x", n=1) != Ping(source="x", n=2)
    pong: Event = Pong(source="x")
    assert Ping(source="x") != pong


def test_the_events_of_the_kernel_are_ordinary_ones() -> None:
    """(E1) TerminateEvent and AgentFailed can be subclassed like any other."""

    class Done(TerminateEvent):
        code: int = 0

    error = ValueError("no")
    failed = AgentFailed(source="a", agent="a", event=Ping(source="x"), error=error)
    assert Done(source="x", code=3).code == 3
    assert (failed.error, failed.attempts) == (error, 1)


async def test_an_event_that_its_agent_keeps_is_never_changed() -> None:
    """(E2) Neither one that the agent still holds nor one in a list that it holds."""
    kept = Ping(source="agent", n=1)
    sent = [Ping(source="agent", n=2)]

    async def start(event: TextEvent) -> list[Ping]:
        return [kept] if event.text == "event" else sent

    collector = Collector()
    router = Router({TextEvent: [start], Ping: [collector]})
    async with AsyncDispatcher(router) as dispatcher:
        for text in ("event", "list", "event", "list"):
            dispatcher.dispatch(TextEvent(source="main", text=text))
    assert (kept.id, sent[0].id, sent[0].correlation_id) == (None, None, None)
    assert sorted(collector.numbers()) == [1, 1, 2, 2]
    assert len({event.id for event in collector.got}) == 4


def test_more_ids_than_a_tick_has_stay_unique_and_in_order() -> None:
    """(E3) Also while the clock stands still, and when it goes back after that."""
    now = 1 << 60
    new_id = IdSource(lambda: now)
    made = [new_id() for _ in range(1_000)]
    now -= 3600 * 10**9
    made += [new_id() for _ in range(1_000)]
    assert made == sorted(set(made))
