"""Putting an answer together out of its pieces, the same way for every wire format."""

from collections.abc import Callable, Hashable
from typing import NoReturn

import attrs

from agentflow.llm._errors import AnswerTooLarge
from agentflow.llm._json import JSON, JSONObject
from agentflow.llm._messages import (
    Blob,
    LLMMessage,
    Part,
    ProviderPart,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCall,
)
from agentflow.llm._reply import (
    ReasoningDelta,
    RefusalDelta,
    Reply,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)

MAX_CHARS = 8 * 2**20
"""Characters of text, reasoning and arguments in one answer: several times what any model
may answer with, so only a broken or hostile server reaches it."""

MAX_PARTS = 4096
"""Parts of one answer."""


@attrs.define
class _Piece:
    """A part that is still growing; ``make`` turns it into what it will be."""

    make: Callable[[str, Blob | None], Part]
    chunks: list[str] = attrs.field(factory=list[str])
    blob: Blob | None = None


@attrs.define
class _Call:
    """A tool call that is still growing."""

    index: int
    id: str
    made_up: bool
    name: str = ""
    chunks: list[str] = attrs.field(factory=list[str])
    blob: Blob | None = None


def _text(text: str, blob: Blob | None) -> Part:
    return TextPart(text, blob=blob)


def _reasoning(text: str, blob: Blob | None) -> Part:
    return ReasoningPart(text=text, blob=blob)


def _refusal(text: str, _blob: Blob | None) -> Part:
    return RefusalPart(text)


class ReplyBuilder:
    """Collects the pieces of one answer and turns each into the delta it is.

    Pieces of the same kind that follow each other make one part; ``seal()`` starts a new
    one. Codecs set the public attributes as they learn of them.

    Attributes:
        stop: Why the model stopped; None as long as that is unknown, which also marks an
            answer whose end has not come.
        raw_stop: The provider's own word for it.
        usage: Tokens used.
        model: The model that answered.
        id: The provider's id of the answer.
        metadata: What else came along.
        message_blob: What the API wants back with the message as a whole.
    """

    def __init__(self) -> None:
        self.stop: StopReason | None = None
        self.raw_stop: str | None = None
        self.usage: Usage = Usage()
        self.model: str | None = None
        self.id: str | None = None
        self.metadata: JSONObject = {}
        self.message_blob: Blob | None = None
        self._parts: list[_Piece | _Call | ProviderPart] = []
        self._open: _Piece | None = None
        self._calls: dict[Hashable, _Call] = {}
        self._chars = 0

    @property
    def empty(self) -> bool:
        """True if nothing of the answer has come."""
        return not self._parts

    @property
    def has_calls(self) -> bool:
        """True if the model has asked for a tool."""
        return bool(self._calls)

    def text(self, text: str) -> TextDelta:
        """Add text to the answer."""
        self._grow(_text, text)
        return TextDelta(text)

    def reasoning(self, text: str) -> ReasoningDelta:
        """Add readable reasoning; an empty text makes room for a blob."""
        self._grow(_reasoning, text)
        return ReasoningDelta(text)

    def refusal(self, text: str) -> RefusalDelta:
        """Add to a refusal."""
        self._grow(_refusal, text)
        return RefusalDelta(text)

    def call(
        self, key: Hashable, *, call_id: str = "", name: str = "", arguments: str = ""
    ) -> ToolCallDelta:
        """Add a piece of a tool call.

        Args:
            key: Tells the calls of this answer apart.
            call_id: The provider's id; "" if this piece has none. A call that never gets
                one is named after its place.
            name: Name of the tool; "" if this piece has none.
            arguments: The next piece of the arguments' JSON text.

        Returns:
            The delta.
        """
        call = self._calls.get(key)
        if call is None:
            index = len(self._calls)
            call = self._calls[key] = _Call(
                index, call_id or f"call_{index}", made_up=not call_id
            )
            self._append(call)
            self.seal()
        elif call_id and call.made_up:
            call.id, call.made_up = call_id, False
        call.name = call.name or name
        self._chars += len(arguments)
        if self._chars > MAX_CHARS:
            self._refuse_length()
        call.chunks.append(arguments)
        return ToolCallDelta(
            index=call.index, id=call.id, name=call.name, arguments=arguments
        )

    def part(self, part: ProviderPart) -> None:
        """Add a part that came whole."""
        self._append(part)
        self.seal()

    def attach(self, blob: Blob) -> None:
        """Give the part that is growing what the API wants back with it."""
        if self._open is not None:
            self._open.blob = blob

    def attach_call(self, key: Hashable, blob: Blob) -> None:
        """Give a tool call what the API wants back with it."""
        self._calls[key].blob = blob

    def seal(self) -> None:
        """End the part that is growing; what comes next starts another."""
        self._open = None

    def note(self, key: str, value: JSON) -> None:
        """Keep metadata: lists and objects grow, of anything else the last one counts."""
        _merge(self.metadata, key, value)

    def note_others(self, fields: JSONObject, known: frozenset[str]) -> None:
        """Keep what a wire format does not name: fields that few servers send."""
        if not known.issuperset(fields):
            for key in fields.keys() - known:
                _merge(self.metadata, key, fields[key])

    def build(self) -> Reply:
        """Return the reply as far as it has come."""
        return Reply(
            message=LLMMessage(
                role=Role.ASSISTANT,
                content=tuple(_finished(x) for x in self._parts),
                blob=self.message_blob,
            ),
            stop=self.stop or StopReason.OTHER,
            raw_stop=self.raw_stop,
            usage=self.usage,
            model=self.model,
            id=self.id,
            metadata=self.metadata,
        )

    def _grow(self, make: Callable[[str, Blob | None], Part], text: str) -> None:
        """Add text to the open part, or open one of this kind."""
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            self._refuse_length()
        piece = self._open
        if piece is None or piece.make is not make:
            piece = self._open = _Piece(make)
            self._append(piece)
        piece.chunks.append(text)

    def _append(self, part: _Piece | _Call | ProviderPart) -> None:
        """Add a part, within bounds."""
        if len(self._parts) >= MAX_PARTS:
            raise AnswerTooLarge(f"the answer has more than {MAX_PARTS:,} parts")
        self._parts.append(part)

    def _refuse_length(self) -> NoReturn:
        """Say that the answer has no end."""
        raise AnswerTooLarge(f"the answer has more than {MAX_CHARS:,} characters")


def _merge(into: JSONObject, key: str, value: JSON) -> None:
    """Add a value to an object that already holds others of its kind."""
    old = into.get(key)
    if isinstance(old, list) and isinstance(value, list):
        old.extend(value)
    elif isinstance(old, dict) and isinstance(value, dict):
        for inner, item in value.items():
            _merge(old, inner, item)
    elif value is not None:
        into[key] = value


def _finished(part: _Piece | _Call | ProviderPart) -> Part:
    """Turn what has grown into what it is."""
    if isinstance(part, _Call):
        return ToolCall(
            id=part.id,
            name=part.name,
            arguments="".join(part.chunks),
            blob=part.blob,
        )
    if isinstance(part, _Piece):
        return part.make("".join(part.chunks), part.blob)
    return part
