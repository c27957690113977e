"""The output items of the Responses API, as they grow and as the reply they make.

An answer is a list of items: messages, reasoning, function calls, and the doings of tools
that run at the provider. A stream announces an item, sends its text in pieces, and then
sends the item again, whole, once when it is done and once in the last event. The whole
item counts, since only it holds ids and encrypted reasoning; the pieces serve those who
read along, and servers that leave the whole item out or leave it empty.

Items are told apart by their ``output_index``, so they may grow side by side. Those of the
last event are paired with those of the stream by type and order alone: ids differ between
the two at some servers, and at others the last event lists no items at all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from agentflow.llm._assembly import MAX_CHARS, MAX_PARTS
from agentflow.llm._errors import AnswerTooLarge
from agentflow.llm._json import JSON, JSONObject, as_list, as_object, as_text, dumps
from agentflow.llm._reply import (
    Delta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)

PieceKey: TypeAlias = tuple[str, int]
"""Which text of an item a piece belongs to: its type, and its index among its like."""

ARGUMENTS = "arguments"
"""Type of the one text that a function call has."""

_TEXTS: Mapping[str, tuple[str, str]] = {
    "output_text": ("content", "text"),
    "text": ("content", "text"),
    "refusal": ("content", "refusal"),
    "reasoning_text": ("content", "text"),
    "summary_text": ("summary", "text"),
}
"""Where the texts of an item stand: the list they are in, and their key in its entries."""

_SPEAKING = frozenset({"message", "reasoning", "function_call"})
"""Items whose texts we know: a piece of another text than theirs is of another item."""

PARAGRAPH = "\n\n"
"""What stands between two texts of one reasoning item."""


def _plain(item: JSONObject) -> JSONObject:
    """Give an item the shape that the API documents; some servers shorten it."""
    content = item.get("content")
    if isinstance(content, str):
        item = {**item, "content": [{"type": "output_text", "text": content}]}
    return item if as_text(item.get("type")) else {**item, "type": "message"}


def texts_of(item: JSONObject) -> Iterator[tuple[PieceKey, str]]:
    """List the texts of an item."""
    if item["type"] == "function_call":
        arguments = item.get(ARGUMENTS)
        written = isinstance(arguments, str) or arguments is None
        yield (ARGUMENTS, 0), as_text(arguments) if written else dumps(arguments)
        return
    for field in ("summary", "content"):
        for index, entry in enumerate(as_list(item.get(field))):
            part = as_object(entry)
            kind = as_text(part.get("type"))
            if kind in _TEXTS and _TEXTS[kind][0] == field:
                yield (kind, index), as_text(part.get(_TEXTS[kind][1]))


@attrs.define
class Item:
    """One item.

    Attributes:
        place: Where it stands among the others.
        fields: What the server said of it as a whole; always has a type.
        final: True once the server has sent it whole.
        call_index: Which function call of the answer it is; -1 for other items.
        spoken: True once a piece of any text has come.
        pieces: The pieces of its texts.
    """

    place: int
    fields: JSONObject
    final: bool = False
    call_index: int = -1
    spoken: bool = False
    pieces: dict[PieceKey, list[str]] = attrs.field(factory=dict[PieceKey, list[str]])

    @property
    def kind(self) -> str:
        """The type of the item."""
        return as_text(self.fields["type"])

    @property
    def call_id(self) -> str:
        """The id a tool's result has to name."""
        known = as_text(self.fields.get("call_id")) or as_text(self.fields.get("id"))
        return known or f"call_{self.call_index}"

    def delta(self, key: PieceKey, text: str) -> Delta:
        """Add a piece of a text."""
        between = PARAGRAPH if key not in self.pieces and self.spoken else ""
        self.spoken = self.spoken or text != ""
        self.pieces.setdefault(key, []).append(text)
        if key[0] == ARGUMENTS:
            return self.call_delta(text)
        if self.kind == "reasoning":
            return ReasoningDelta(between + text)
        return RefusalDelta(text) if key[0] == "refusal" else TextDelta(text)

    def call_delta(self, arguments: str) -> Delta:
        """Tell of a function call."""
        return ToolCallDelta(
            index=self.call_index,
            id=self.call_id,
            name=as_text(self.fields.get("name")),
            arguments=arguments,
        )

    def is_past(self, whole: JSONObject) -> bool:
        """Tell whether the whole item is another one than this, which has ended."""
        return self.final and self.fields.get("id") != whole.get("id")

    def missing(self, whole: JSONObject) -> list[tuple[PieceKey, str]]:
        """List the texts of the whole item, as far as the pieces do not cover them."""
        streamed = {key: "".join(chunks) for key, chunks in self.pieces.items()}
        return [
            (key, text[len(streamed.get(key, "")) :])
            for key, text in texts_of(whole)
            if (streamed.get(key) or not self.spoken)
            and text.startswith(streamed.get(key, ""))
        ]

    def settle(self, whole: JSONObject) -> None:
        """Take the whole item; what an earlier whole one had and it lacks is kept."""
        if self.final:
            whole = {**self.fields, **{k: v for k, v in whole.items() if v}}
        self.fields = whole
        self.final = True

    def whole(self) -> JSONObject:
        """Return the item; texts that it lacks are made of the pieces."""
        if self.final and (
            self.kind not in _SPEAKING or any(text for _, text in texts_of(self.fields))
        ):
            return self.fields
        item = self.fields
        for (kind, index), chunks in self.pieces.items():
            text = "".join(chunks)
            if kind == ARGUMENTS:
                item = {**item, ARGUMENTS: text}
                continue
            field, word = _TEXTS[kind]
            parts: list[JSON] = [*as_list(item.get(field))]
            new: JSONObject = {"type": kind, word: text}
            if index < len(parts):
                parts[index] = {**as_object(parts[index]), **new}
            else:
                parts.append(new)
            filled: JSONObject = {**item, field: parts}
            item = filled
        return item


class Output:
    """The items of one answer."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._by_id: dict[str, Item] = {}
        self._by_index: dict[int, Item] = {}
        self._calls = 0
        self._chars = 0
        self._pieces = 0

    def delta(self, place: JSONObject, kind: str, key: PieceKey, *, text: str) -> Delta:
        """Add a piece of a text.

        Args:
            place: The event that brought it, which says where it belongs.
            kind: Type of the item, should it not have been announced.
            key: Which of the item's texts it belongs to.
            text: The piece.

        Returns:
            The delta.
        """
        item = self._find(place)
        if item is None or (item.kind != kind and item.kind in _SPEAKING):
            item = self._start(place, {"type": kind})
        return self._grow(item, key, text)

    def announce(self, place: JSONObject) -> Sequence[Delta]:
        """Take the event that announces an item."""
        item = self._start(place, _plain(as_object(place.get("item"))))
        return [item.call_delta("")] if item.kind == "function_call" else ()

    def settle(self, place: JSONObject) -> Sequence[Delta]:
        """Take the event that sends an item whole."""
        whole = _plain(as_object(place.get("item")))
        item = self._find(place)
        if item is None or item.kind != whole["type"] or item.is_past(whole):
            item = self._start(place, whole)
        return self._settle(item, whole)

    def settle_all(self, wholes: Iterable[JSON]) -> Sequence[Delta]:
        """Take the items of the last event, or of a body that was not streamed."""
        streamed = self.items()
        deltas: list[Delta] = []
        for entry in wholes:
            whole = _plain(as_object(entry))
            item = next((x for x in streamed if x.kind == whole["type"]), None)
            if item is None:
                item = self._start({}, whole)
            else:
                streamed.remove(item)
            deltas += self._settle(item, whole)
        return deltas

    def items(self) -> list[Item]:
        """Return the items in the order the server numbered them."""
        return sorted(self._items, key=lambda item: item.place)

    def _find(self, place: JSONObject) -> Item | None:
        """Find the item that an event is about, by id or else by index."""
        # Neither is enough: some servers send one of them only, some another id with
        # every event, some the same index for all items.
        name, index = _id(place), _index(place)
        if name in self._by_id:
            return self._by_id[name]
        if index >= 0:
            return self._by_index.get(index)
        return None if name or not self._items else self._items[-1]

    def _start(self, place: JSONObject, fields: JSONObject) -> Item:
        """Make room for an item."""
        self._count_piece()
        index = _index(place)
        item = Item(place=index if index >= 0 else len(self._items), fields=fields)
        if item.kind == "function_call":
            item.call_index = self._calls
            self._calls += 1
        self._items.append(item)
        if index >= 0:
            self._by_index[index] = item
        if name := _id(place):
            self._by_id[name] = item
        return item

    def _settle(self, item: Item, whole: JSONObject) -> list[Delta]:
        """Take a whole item; return as deltas what has not been one yet."""
        missing = item.missing(whole)
        item.settle(whole)
        return [self._grow(item, key, text) for key, text in missing if text]

    def _grow(self, item: Item, key: PieceKey, text: str) -> Delta:
        """Add a piece to an item, within bounds."""
        if key not in item.pieces:
            self._count_piece()
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            raise AnswerTooLarge(f"the answer has more than {MAX_CHARS:,} characters")
        return item.delta(key, text)

    def _count_piece(self) -> None:
        """Count whatever takes memory of its own against the bound."""
        self._pieces += 1
        if self._pieces > MAX_PARTS:
            raise AnswerTooLarge(f"the answer has more than {MAX_PARTS:,} parts")


def _index(place: JSONObject) -> int:
    """Return the index of the item that an event is about; -1 if it has none."""
    index = place.get("output_index")
    return index if isinstance(index, int) and index >= 0 else -1


def _id(place: JSONObject) -> str:
    """Return the id of the item that an event is about; "" if it has none."""
    item = as_object(place.get("item"))
    return as_text(place.get("item_id")) or as_text(item.get("id"))
