"""Reading answers of the Responses API, streamed or not.

A stream is a run of events, each with its type inside its JSON: OpenRouter leaves the names
of the events out. Most only announce or repeat what others hold. Those that count bring a
piece of a text, an item (see ``_responses_items``), or the end: ``response.completed``,
``.incomplete`` or ``.failed``, which holds the whole answer once more, as a body that is
not streamed does.
"""

from collections.abc import Mapping, Sequence

from agentflow.llm._errors import ErrorInfo, MalformedAnswer
from agentflow.llm._json import (
    JSON,
    JSONObject,
    as_count,
    as_label,
    as_list,
    as_object,
    as_text,
)
from agentflow.llm._messages import Blob, ProviderPart
from agentflow.llm._reply import Delta, StopReason, Usage
from agentflow.llm.providers._failures import Failure, provider_error, read_failure
from agentflow.llm.providers._object_events import ObjectDecoder
from agentflow.llm.providers._responses_items import (
    ARGUMENTS,
    PARAGRAPH,
    Item,
    Output,
    texts_of,
)

_DELTAS: Mapping[str, tuple[str, str, str]] = {
    "response.output_text.delta": ("message", "output_text", "content_index"),
    "response.refusal.delta": ("message", "refusal", "content_index"),
    "response.reasoning_text.delta": ("reasoning", "reasoning_text", "content_index"),
    "response.reasoning_summary_text.delta": (
        "reasoning",
        "summary_text",
        "summary_index",
    ),
    "response.function_call_arguments.delta": ("function_call", ARGUMENTS, ""),
}
"""Events with a piece of a text: type of the item, of the text, key of its index."""

_LAST = frozenset({
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "response.done",
})

_UNFINISHED = frozenset({"queued", "in_progress"})
"""Statuses of an answer that is still being worked on."""

_STOP: Mapping[str, StopReason] = {
    "completed": StopReason.END,
    "complete": StopReason.END,
    "done": StopReason.END,
    # Incomplete without a reason: the limit is the usual one.
    "incomplete": StopReason.LENGTH,
    "max_output_tokens": StopReason.LENGTH,
    "max_tokens": StopReason.LENGTH,
    "length": StopReason.LENGTH,
    "content_filter": StopReason.REFUSED,
}

_RESPONSE_KEYS = frozenset({
    "id",
    "object",
    "model",
    "output",
    "usage",
    "status",
    "error",
    "incomplete_details",
    # What follows repeats the request.
    "input",
    "instructions",
    "prompt",
    "text",
    "tool_choice",
    "tools",
})


class ResponsesDecoder(ObjectDecoder):
    """Decoder of one answer; see ``Decoder``.

    Args:
        api: Name for the blobs that go back to this provider.
    """

    def __init__(self, api: str) -> None:
        super().__init__(api)
        self._output = Output()

    def on_event(self, name: str, data: bytes) -> Sequence[Delta]:
        """Take one event of a stream."""
        if data.startswith(b"[DONE]"):
            self.ended = True
            return ()
        value = self.object_in(data)
        kind = as_text(value.get("type")) or name
        if kind not in _DELTAS:
            return self._event(kind, value)
        item, word, index = _DELTAS[kind]
        key = (word, as_count(value.get(index)))
        return (self._output.delta(value, item, key, text=as_text(value.get("delta"))),)

    def on_body(self, value: JSON) -> None:
        """Take the whole answer of a server that did not stream."""
        response = as_object(value)
        if not isinstance(response.get("output"), list):
            failure = read_failure(value)
            if failure.message is not None:
                raise provider_error(200, failure)
            raise MalformedAnswer(
                "the answer holds no output", info=ErrorInfo(status=200)
            )
        self._last(response, "completed")

    def on_end(self) -> None:
        """Write what has been collected into the reply."""
        writer = _Writer(self)
        for item in self._output.items():
            writer.write(item)
        super().on_end()

    def _event(self, kind: str, value: JSONObject) -> Sequence[Delta]:
        """Take an event that is no piece of a text."""
        if kind == "response.output_item.added":
            return self._output.announce(value)
        if kind == "response.output_item.done":
            return self._output.settle(value)
        if kind == "error" or value.get("error"):
            # Here the type says only that this is an error.
            fields = {k: v for k, v in value.items() if k != "type"}
            raise provider_error(200, read_failure(fields), kind)
        response = as_object(value.get("response"))
        if kind in _LAST:
            self.ended = True
            return self._last(response, kind.removeprefix("response."))
        self._name(response)
        return ()

    def _name(self, response: JSONObject) -> None:
        """Take what names the answer; the first events have it, too."""
        self.reply.id = as_label(response.get("id")) or self.reply.id
        self.reply.model = as_label(response.get("model")) or self.reply.model

    def _last(self, response: JSONObject, word: str) -> Sequence[Delta]:
        """Take the whole answer; ``word`` is its status, should it not say so itself."""
        reply = self.reply
        status = as_text(response.get("status")) or word
        if response.get("error") or status == "failed":
            failure = read_failure({"error": response.get("error")})
            if failure.message is None:
                failure = Failure(code=failure.code, message="the response failed")
            raise provider_error(200, failure)
        self._name(response)
        deltas = self._output.settle_all(as_list(response.get("output")))
        self.complete = status not in _UNFINISHED
        details = as_object(response.get("incomplete_details"))
        reply.raw_stop = as_text(details.get("reason")) or status
        reply.stop = _STOP.get(reply.raw_stop, StopReason.OTHER)
        usage = as_object(response.get("usage"))
        if usage:
            reply.usage = _usage(usage)
            reply.note("usage", usage)
        reply.note_others(response, _RESPONSE_KEYS)
        return deltas


def _usage(usage: JSONObject) -> Usage:
    """Read usage."""
    into = as_object(usage.get("input_tokens_details"))
    out = as_object(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")),
        output_tokens=as_count(usage.get("output_tokens")),
        cached_tokens=as_count(into.get("cached_tokens")),
        cache_write_tokens=as_count(into.get("cache_write_tokens")),
        reasoning_tokens=as_count(out.get("reasoning_tokens")),
    )


class _Writer:
    """Writes items into the reply.

    A blob says whether its item came behind reasoning (``reasoned``): such an item may only
    go back together with its reasoning, or else without its id.
    """

    def __init__(self, decoder: ResponsesDecoder) -> None:
        self._reply = decoder.reply
        self._blob = decoder.blob
        self._reasoned = False

    def write(self, item: Item) -> None:
        """Write one item."""
        fields = item.whole()
        if item.kind == "message":
            self._message(fields, final=item.final)
        elif item.kind == "function_call":
            self._call(item, fields)
        elif item.kind == "reasoning":
            self._reasoned = True
            texts = (text for _, text in texts_of(fields))
            self._reply.reasoning(PARAGRAPH.join(x for x in texts if x))
            if item.final:
                self._reply.attach(self._blob(_without_nulls(fields)))
        else:
            blob = self._blob(_without_nulls(fields))
            self._reply.part(ProviderPart(kind=item.kind, blob=blob))
        self._reply.seal()

    def _message(self, fields: JSONObject, *, final: bool) -> None:
        """Write a message, a part for each of its contents."""
        about = _without_nulls(fields, "content")
        for entry in as_list(fields.get("content")):
            part = as_object(entry)
            kind = as_text(part.get("type"))
            for key in ("annotations", "logprobs"):
                self._reply.note(key, as_list(part.get(key)) or None)
            if kind == "refusal":
                self._reply.refusal(as_text(part.get("refusal")))
                # A refusal has no place for a blob, so the message keeps it.
                self._reply.message_blob = self._part_blob(about, {}) if final else None
            elif kind in {"output_text", "text"}:
                self._reply.text(as_text(part.get("text")))
                if final:
                    rest = _without_nulls(part, "type", "text", "logprobs")
                    self._reply.attach(self._part_blob(about, rest))
            else:
                blob = self._part_blob(about, part)
                self._reply.part(ProviderPart(kind=kind or "part", blob=blob))
            self._reply.seal()

    def _part_blob(self, about: JSONObject, part: JSONObject) -> Blob:
        """Keep what goes back with a part of a message."""
        raw: JSONObject = {"item": about, "part": part, "reasoned": self._reasoned}
        return self._blob(raw)

    def _call(self, item: Item, fields: JSONObject) -> None:
        """Write a function call."""
        (_, arguments), *_ = texts_of(fields)
        name = as_text(fields.get("name"))
        self._reply.call(
            item.call_index, call_id=item.call_id, name=name, arguments=arguments
        )
        if item.final:
            about = _without_nulls(fields, "call_id", "name", ARGUMENTS)
            raw: JSONObject = {"item": about, "reasoned": self._reasoned}
            self._reply.attach_call(item.call_index, self._blob(raw))


def _without_nulls(fields: JSONObject, *left_out: str) -> JSONObject:
    """Leave out some keys, and the nulls, which the API refuses to take back."""
    return {k: v for k, v in fields.items() if v is not None and k not in left_out}
