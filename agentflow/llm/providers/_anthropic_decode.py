"""Reading Anthropic Messages, streamed or not.

A message is a list of blocks. A stream opens each block, adds to it and closes it; the
blocks of a whole body are read as if they were opened and closed at once. Blocks of text,
thinking and tool calls become parts of the reply. All others (searches, code that the
server ran, their results) are collected whole and go back in the next turn as they came.

The end mark is ``message_stop``. Counts of tokens come at the start and again, cumulative,
at the end; of each the last one counts.
"""

from collections.abc import Iterable, Mapping, Sequence

import attrs

from agentflow.llm._errors import ErrorInfo, MalformedAnswer
from agentflow.llm._json import (
    JSON,
    InvalidJSON,
    JSONObject,
    as_count,
    as_label,
    as_list,
    as_object,
    as_text,
    dumps,
    loads,
)
from agentflow.llm._messages import ProviderPart
from agentflow.llm._reply import Delta, StopReason, Usage
from agentflow.llm.providers._failures import provider_error, read_failure
from agentflow.llm.providers._object_events import ObjectDecoder

_STOP: Mapping[str, StopReason] = {
    "end_turn": StopReason.END,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.CONTEXT_FULL,
    "tool_use": StopReason.TOOL_CALLS,
    "refusal": StopReason.REFUSED,
    "pause_turn": StopReason.PAUSED,
}

_MESSAGE_KEYS = frozenset({
    "content",
    "id",
    "model",
    "role",
    "stop_reason",
    "type",
    "usage",
})

_BEGUN_BY: Mapping[str, str] = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
"""The block that a piece belongs to, for servers that do not open their blocks."""


@attrs.define
class _Block:
    """A block that is still growing.

    Attributes:
        key: Tells the blocks of this answer apart.
        kind: What it is.
        fields: Its fields as far as they have come.
        pieces: Pieces of the JSON text of its input.
    """

    key: int
    kind: str
    fields: JSONObject
    pieces: list[str] = attrs.field(factory=list[str])


class AnthropicDecoder(ObjectDecoder):
    """Decoder of one answer; see ``Decoder``.

    Args:
        api: Name for the blobs that go back to this provider.
    """

    def __init__(self, api: str) -> None:
        super().__init__(api)
        self._growing: dict[int, _Block] = {}
        self._count = 0
        self._usage: JSONObject = {}

    def on_event(self, name: str, data: bytes) -> Sequence[Delta]:
        """Take one event of a stream."""
        if data.startswith(b"[DONE]"):
            # Of servers that speak this API on top of another one.
            self.ended = True
            self.complete = self.complete or self.reply.stop is not None
            return ()
        value = self.object_in(data)
        kind = as_text(value.get("type")) or name
        match kind:
            case "content_block_delta":
                return self._delta(value)
            case "content_block_start":
                block = as_object(value.get("content_block"))
                return [*self._close(value), *self._open(value, block)]
            case "content_block_stop":
                return self._close(value)
            case _:
                return self._message_event(kind, value)

    def on_body(self, value: JSON) -> None:
        """Take the whole answer of a server that did not stream."""
        body = as_object(value)
        if not isinstance(body.get("content"), list):
            failure = read_failure(value)
            if failure.message is not None:
                raise provider_error(200, failure)
            raise MalformedAnswer(
                "the answer holds no content", info=ErrorInfo(status=200)
            )
        self._message(body)
        self.complete = True

    def _message_event(self, kind: str, value: JSONObject) -> Sequence[Delta]:
        """Take an event about the message as a whole."""
        deltas: Sequence[Delta] = ()
        match kind:
            case "message_start":
                deltas = [*self._close_all()]
                deltas += self._message(as_object(value.get("message")))
            case "message_delta":
                rest = {k: v for k, v in value.items() if k not in {"delta", "type"}}
                deltas = self._message({**as_object(value.get("delta")), **rest})
            case "message_stop":
                deltas = [*self._close_all()]
                self.complete = self.ended = True
            case "error":
                raise provider_error(200, read_failure(value), kind)
            case "ping":
                pass
            case _:
                self.reply.note("events", [value])
        return deltas

    def _message(self, message: JSONObject) -> list[Delta]:
        """Take a message, or what is new about it; a first one may hold blocks already."""
        reply = self.reply
        reply.id = as_label(message.get("id")) or reply.id
        reply.model = as_label(message.get("model")) or reply.model
        deltas: list[Delta] = []
        for block in as_list(message.get("content")):
            deltas += self._open({}, as_object(block))
            deltas += self._close({})
        self._add_usage(as_object(message.get("usage")))
        reply.note_others(message, _MESSAGE_KEYS)
        container = message.get("container")
        if isinstance(container, dict):
            reply.message_blob = self.blob({"container": container})
        stop = as_text(message.get("stop_reason"))
        if stop:
            reply.raw_stop = stop
            reply.stop = _STOP.get(stop, StopReason.OTHER)
        words = as_text(as_object(message.get("stop_details")).get("explanation"))
        if words and reply.stop is StopReason.REFUSED:
            reply.seal()
            deltas.append(reply.refusal(words))
        return deltas

    def _add_usage(self, usage: JSONObject) -> None:
        """Take counts of tokens; what is left out keeps its count."""
        if not usage:
            return
        self._usage.update({k: v for k, v in usage.items() if v is not None})
        total = self._usage
        cached = as_count(total.get("cache_read_input_tokens"))
        written = as_count(total.get("cache_creation_input_tokens"))
        details = as_object(total.get("output_tokens_details"))
        self.reply.metadata["usage"] = total
        self.reply.usage = Usage(
            input_tokens=as_count(total.get("input_tokens")) + cached + written,
            output_tokens=as_count(total.get("output_tokens")),
            cached_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=as_count(details.get("thinking_tokens")),
        )

    def _open(self, event: JSONObject, fields: JSONObject) -> list[Delta]:
        """Open a block."""
        kind = as_text(fields.get("type"))
        block = _Block(self._count, kind, {**fields})
        self._growing[as_count(event.get("index"))] = block
        self._count += 1
        reply = self.reply
        reply.seal()
        if kind == "text":
            text = as_text(block.fields.pop("text", None))
            return [reply.text(text)] if text else []
        if kind == "thinking":
            text = as_text(block.fields.pop("thinking", None))
            return [reply.reasoning(text)] if text else []
        if kind == "tool_use":
            call_id = as_text(block.fields.pop("id", None))
            name = as_text(block.fields.pop("name", None))
            return [reply.call(block.key, call_id=call_id, name=name)]
        return []

    def _delta(self, event: JSONObject) -> Sequence[Delta]:
        """Take a piece of a block."""
        delta = as_object(event.get("delta"))
        kind = as_text(delta.get("type"))
        index = as_count(event.get("index"))
        begun: Sequence[Delta] = ()
        block = self._growing.get(index)
        if block is None:
            begun = self._open(event, {"type": _BEGUN_BY.get(kind, kind)})
            block = self._growing[index]
        match kind:
            case "text_delta":
                text = as_text(delta.get("text"))
                return [*begun, self.reply.text(text)] if text else begun
            case "thinking_delta":
                text = as_text(delta.get("thinking"))
                return [*begun, self.reply.reasoning(text)] if text else begun
            case "input_json_delta":
                return [*begun, *self._input(block, as_text(delta.get("partial_json")))]
            case _:
                _grow(block.fields, delta)
                return begun

    def _input(self, block: _Block, piece: str) -> Iterable[Delta]:
        """Take a piece of the input of a tool."""
        if not piece:
            return
        block.pieces.append(piece)
        if block.kind == "tool_use":
            yield self.reply.call(block.key, arguments=piece)

    def _close_all(self) -> Iterable[Delta]:
        """Close the blocks that are still open."""
        for index in list(self._growing):
            yield from self._close({"index": index})

    def _close(self, event: JSONObject) -> Sequence[Delta]:
        """Close a block, if it is open."""
        block = self._growing.pop(as_count(event.get("index")), None)
        if block is None:
            return ()
        deltas: Sequence[Delta] = ()
        match block.kind:
            case "text":
                self._keep(block)
            case "thinking":
                self.reply.reasoning("")
                self.reply.attach(self.blob(block.fields))
            case "redacted_thinking":
                self.reply.reasoning("")
                self.reply.attach(self.blob(block.fields))
            case "tool_use":
                deltas = self._close_call(block)
            case _:
                self._close_other(block)
        self.reply.seal()
        return deltas

    def _keep(self, block: _Block) -> None:
        """Keep what came with a text."""
        extra: JSONObject = {k: v for k, v in block.fields.items() if v}
        extra.pop("type", None)
        if extra:
            self.reply.text("")
            self.reply.attach(self.blob(extra))

    def _close_call(self, block: _Block) -> Sequence[Delta]:
        """Close a call; its arguments may have come whole, at the start."""
        given = block.fields.pop("input", None)
        extra: JSONObject = {k: v for k, v in block.fields.items() if v is not None}
        extra.pop("type", None)
        if extra:
            self.reply.attach_call(block.key, self.blob(extra))
        if given and not block.pieces:
            return [self.reply.call(block.key, arguments=dumps(given))]
        return ()

    def _close_other(self, block: _Block) -> None:
        """Keep a block that only this API knows."""
        if block.pieces:
            text = "".join(block.pieces)
            try:
                block.fields["input"] = loads(text)
            except InvalidJSON:
                block.fields["input"] = {"INVALID_JSON": text}
        if block.fields:
            kind = block.kind or "block"
            self.reply.part(ProviderPart(kind=kind, blob=self.blob(block.fields)))


def _grow(fields: JSONObject, delta: JSONObject) -> None:
    """Add a piece that is no text of the model's, of whatever kind; texts grow."""
    for key, value in delta.items():
        old = fields.get(key)
        if key == "citation":
            citations = as_list(fields.get("citations"))
            citations.append(value)
            fields["citations"] = citations
        elif key == "signature":
            # It comes once, and whole, over the empty one of the block's start.
            fields[key] = value
        elif key != "type":
            grows = isinstance(old, str) and isinstance(value, str)
            fields[key] = f"{old}{value}" if grows else value
