"""Recorded answers, changed: in ways that mean nothing, and in ways that break them."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from tests.llm.recorded import JUNK, is_list, is_object

_BREAK = re.compile(r"\r\n|\n|\r")
_NEWLINES = ("\n", "\r\n", "\r")
_ARGUMENTS = frozenset({"args", "arguments", "input"})
"""Keys whose objects belong to the model: a key more there means something."""


@attrs.frozen
class Event:
    """One event, line, or whole body.

    Attributes:
        name: Name of the event; "" if it has none.
        value: What it holds: JSON, or text that is none.
    """

    name: str
    value: Any


@attrs.frozen
class Answer:
    """A recorded body, taken apart.

    Attributes:
        kind: "sse", "lines" or "json".
        events: What it holds, in order.
    """

    kind: str
    events: tuple[Event, ...]


def _parsed(text: str) -> Any:
    """Parse JSON; what is none stays text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def take_apart(body: str) -> Answer:
    """Take a body apart."""
    whole = _parsed(body)
    if not isinstance(whole, str):
        return Answer("json", (Event("", whole),))
    if body.lstrip().startswith(("{", "[")):
        lines = (x for x in _BREAK.split(body) if x.strip())
        return Answer("lines", tuple(Event("", _parsed(x)) for x in lines))
    events: list[Event] = []
    name, data = "", list[str]()
    for line in [*_BREAK.split(body), ""]:
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            events.append(Event(name, _parsed("\n".join(data))))
            name, data = "", []
    return Answer("sse", tuple(events))


@attrs.frozen(kw_only=True)
class Style:
    """How a body is written: nothing of this means anything.

    Attributes:
        newline: What ends a line of a stream.
        noise: Whether comments, ids and other fields stand between the data.
        laid_out: Whether JSON takes several lines.
        plain: Whether characters beyond ASCII stand for themselves.
    """

    newline: str = "\n"
    noise: bool = False
    laid_out: bool = False
    plain: bool = False

    @classmethod
    def by(cls, chance: random.Random) -> "Style":
        """Choose one."""
        return cls(
            newline=chance.choice(_NEWLINES),
            noise=chance.random() < 0.5,
            laid_out=chance.random() < 0.3,
            plain=chance.random() < 0.5,
        )

    def write(self, answer: Answer) -> bytes:
        """Write a body."""
        return self._write(answer).encode("utf-8", "surrogatepass")

    def _write(self, answer: Answer) -> str:
        if answer.kind == "json":
            head = self.newline * 3 if self.noise else ""
            return head + self._json(answer.events[0].value)
        if answer.kind == "lines":
            end = "\r\n" if self.newline == "\r\n" else "\n"
            blank = end if self.noise else ""
            flat = attrs.evolve(self, laid_out=False)
            return "".join(flat._json(x.value) + end + blank for x in answer.events)
        head = ": hello\n\n" if self.noise else ""
        return head + "".join(map(self._event, answer.events))

    def _event(self, event: Event) -> str:
        lines = [f"event: {event.name}"] if event.name else []
        lines += [f"data: {x}" for x in self._json(event.value).split("\n")]
        if self.noise:
            lines = [": ping", "id: 1", *lines, "retry: 5", "unheard"]
        return self.newline.join([*lines, "", ""])

    def _json(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        # A lone surrogate cannot stand for itself.
        ascii_only = not self.plain or "\\ud" in json.dumps(value)
        indent = 1 if self.laid_out else None
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)


def with_unknown_keys(value: Any, chance: random.Random) -> Any:
    """Add keys that nobody has heard of, and change the order of the others."""
    if is_list(value):
        return [with_unknown_keys(x, chance) for x in value]
    if not is_object(value):
        return value
    items = [
        (k, x if k in _ARGUMENTS else with_unknown_keys(x, chance))
        for k, x in value.items()
    ]
    if chance.random() < 0.3:
        items.append(("x_unheard_of", chance.choice(JUNK)))
    chance.shuffle(items)
    return dict(items)


def neutral(answer: Answer, chance: random.Random) -> bytes:
    """Change an answer in ways that mean nothing."""
    events = tuple(
        Event(x.name, with_unknown_keys(x.value, chance)) for x in answer.events
    )
    return Style.by(chance).write(attrs.evolve(answer, events=events))


Change = Callable[[list[Event], list[Event], random.Random], None]


def _spoil(events: list[Event], _: list[Event], chance: random.Random) -> None:
    at = chance.randrange(len(events))
    spoilt = _spoilt(events[at].value, chance)
    events[at] = attrs.evolve(events[at], value=spoilt)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List the places in a value: what holds it, and under which key or number."""
    found: list[tuple[Any, Any]] = []
    if is_object(value):
        found = [(value, key) for key in value]
    elif is_list(value):
        found = [(value, index) for index in range(len(value))]
    for holder, key in list(found):
        found += _places(holder[key])
    return found


def _spoilt(value: Any, chance: random.Random) -> Any:
    """Take one thing out of a value, or put another in its place."""
    value = json.loads(json.dumps(value))
    places = _places(value)
    if not places:
        return chance.choice(JUNK)
    holder, key = chance.choice(places)
    match chance.randrange(4):
        case 0:
            del holder[key]
        case 1:
            holder[key] = None
        case 2:
            holder[key] = chance.choice(JUNK)
        case _:
            holder[key] = [holder[key]] if chance.random() < 0.5 else str(holder[key])
    return value


def _swap(events: list[Event], _: list[Event], chance: random.Random) -> None:
    one, other = chance.randrange(len(events)), chance.randrange(len(events))
    events[one], events[other] = events[other], events[one]


def _repeat(events: list[Event], _: list[Event], chance: random.Random) -> None:
    events.insert(chance.randrange(len(events) + 1), chance.choice(events))


def _drop(events: list[Event], _: list[Event], chance: random.Random) -> None:
    if len(events) > 1:
        del events[chance.randrange(len(events))]


def _mix(events: list[Event], others: list[Event], chance: random.Random) -> None:
    events.insert(chance.randrange(len(events) + 1), chance.choice(others))


_CHANGES: Sequence[Change] = (_spoil, _spoil, _spoil, _swap, _repeat, _drop, _mix)


def broken(answer: Answer, others: list[Event], chance: random.Random) -> bytes:
    """Break an answer: its JSON, the order of its events, its bytes.

    Args:
        answer: The answer.
        others: Events of other answers, of any API, to mix in.
        chance: Decides what is broken.

    Returns:
        The body.
    """
    events = list(answer.events)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        if events:
            chance.choice(_CHANGES)(events, others, chance)
    body = Style.by(chance).write(attrs.evolve(answer, events=tuple(events)))
    match chance.randrange(8):
        case 0:
            return body[: chance.randrange(len(body) + 1)]
        case 1 if body:
            at = chance.randrange(len(body))
            return body[:at] + chance.randbytes(1) + body[at + 1 :]
        case _:
            return body
