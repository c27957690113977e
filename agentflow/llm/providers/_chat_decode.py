"""Reading Chat Completions, streamed or not, in all the dialects there are.

A chunk of a stream and a whole body differ in one word only (``delta`` or ``message``), so
the same code takes both. The end mark is a finish reason. Usage, and sometimes text, still
follow behind it, so reading goes on until ``[DONE]`` or the end of the body: several
providers never send ``[DONE]``. A few send no finish reason; there ``[DONE]`` behind a
usage serves, since only a server that is through with an answer counts it.

Tool calls come in pieces that name their call by index, by id, by both or by neither, and
one dialect gives all calls the same index. ``_CallKeys`` sorts that out.
"""

from collections.abc import Iterable, Mapping, Sequence

from agentflow.llm._errors import ErrorInfo, MalformedAnswer
from agentflow.llm._json import (
    JSON,
    JSONObject,
    as_count,
    as_label,
    as_list,
    as_object,
    as_text,
    dumps,
)
from agentflow.llm._messages import Blob, ProviderPart
from agentflow.llm._reply import Delta, StopReason, Usage
from agentflow.llm.providers._chat_encode import CONTENT_FIELD, DETAILS_FIELD
from agentflow.llm.providers._failures import Failure, provider_error, read_failure
from agentflow.llm.providers._object_events import ObjectDecoder

_STOP: Mapping[str, StopReason] = {
    "stop": StopReason.END,
    "eos": StopReason.END,
    "eos_token": StopReason.END,
    "end_turn": StopReason.END,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "length": StopReason.LENGTH,
    "max_tokens": StopReason.LENGTH,
    "model_length": StopReason.CONTEXT_FULL,
    "tool_calls": StopReason.TOOL_CALLS,
    "tool_use": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.REFUSED,
    "refusal": StopReason.REFUSED,
    "safety": StopReason.REFUSED,
}

_BROKEN = frozenset({"error", "insufficient_system_resource"})
"""Finish reasons that say the provider failed, not that the model is done."""

_CHUNK_KEYS = frozenset({
    "id",
    "object",
    "created",
    "model",
    "choices",
    "usage",
    "obfuscation",
    "p",
    "error",
})
_CHOICE_KEYS = frozenset({
    "index",
    "delta",
    "message",
    "text",
    "finish_reason",
    "usage",
    "error",
})
_MESSAGE_KEYS = frozenset({
    "role",
    "content",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "refusal",
    "tool_calls",
    "function_call",
    "audio",
})


_TEXT_KEYS = frozenset({"role", "content"})


class ChatDecoder(ObjectDecoder):
    """Decoder of one answer; see ``Decoder``.

    Args:
        api: Name for the blobs that go back to this provider.
    """

    def __init__(self, api: str) -> None:
        super().__init__(api)
        self._keys = _CallKeys()
        self._details: list[JSONObject] = []
        self._audio: JSONObject = {}

    def on_event(self, name: str, data: bytes) -> Sequence[Delta]:
        """Take one chunk of a stream."""
        if data.startswith(b"[DONE]"):
            self.ended = True
            self.complete = self.complete or "usage" in self.reply.metadata
            return ()
        chunk = self.object_in(data)
        if chunk.get("error") or name == "error":
            raise provider_error(200, read_failure(chunk), name)
        return self._chunk(chunk, "delta")

    def on_body(self, value: JSON) -> None:
        """Take the whole answer of a server that did not stream."""
        body = as_object(value)
        choices = as_list(body.get("choices"))
        if not choices or body.get("error"):
            failure = read_failure(value)
            if failure.message is not None:
                raise provider_error(200, failure)
            raise MalformedAnswer(
                "the answer holds no choices", info=ErrorInfo(status=200)
            )
        self._chunk(body, "message")
        self.complete = True

    def on_end(self) -> None:
        """Add what has been collected on the way."""
        if self._details:
            self._keep_details()
        if self._audio:
            blob = Blob(api=self._api, raw=self._audio)
            self.reply.part(ProviderPart(kind="audio", blob=blob))
        super().on_end()

    def _chunk(self, chunk: JSONObject, word: str) -> list[Delta]:
        """Take a chunk, or a whole body, whose choices hold the message under ``word``."""
        reply = self.reply
        reply.id = as_label(chunk.get("id")) or reply.id
        reply.model = as_label(chunk.get("model")) or reply.model
        self._usage(chunk.get("usage"))
        deltas: list[Delta] = []
        for choice in as_list(chunk.get("choices")):
            if isinstance(choice, dict):
                deltas += self._choice(choice, word)
        if "x_groq" in chunk:
            self._usage(as_object(chunk["x_groq"]).get("usage"))
        reply.note_others(chunk, _CHUNK_KEYS)
        return deltas

    def _choice(self, choice: JSONObject, word: str) -> list[Delta]:
        """Take the first choice; others, which nobody but ``extra`` asks for, are kept."""
        if as_count(choice.get("index")) != 0:
            self.reply.note("choices", [choice])
            return []
        if choice.get("error"):
            raise provider_error(200, read_failure(choice))
        # Perplexity sends both, one of them cumulative; Together repeats text beside it.
        message = choice.get(word)
        if not isinstance(message, dict):
            message = choice.get("message")
        if not isinstance(message, dict):
            message = {"content": choice.get("text")}
        deltas = self._message(message)
        self._usage(choice.get("usage"))
        self.reply.note_others(choice, _CHOICE_KEYS)
        self._finish_reason(as_text(choice.get("finish_reason")))
        return deltas

    def _finish_reason(self, word: str) -> None:
        """Take the end mark; it may come more than once."""
        if not word:
            return
        if word in _BROKEN:
            raise provider_error(
                200, Failure(code=word, message="the provider broke off its answer")
            )
        self.complete = True
        self.reply.raw_stop = word
        self.reply.stop = _STOP.get(word.lower(), StopReason.OTHER)

    def _message(self, message: JSONObject) -> list[Delta]:
        """Take what a chunk adds to the message."""
        content = message.get("content")
        if isinstance(content, str) and _TEXT_KEYS.issuperset(message):
            # Nearly all chunks of most streams.
            return [self.reply.text(content)] if content else []
        deltas = self._reasoning(message)
        if isinstance(content, str):
            if content:
                deltas.append(self.reply.text(content))
        elif isinstance(content, list):
            deltas += self._content_parts(content)
        if refusal := as_text(message.get("refusal")):
            deltas.append(self.reply.refusal(refusal))
        for call in as_list(message.get("tool_calls")):
            deltas.append(self._call(as_object(call)))
        legacy = as_object(message.get("function_call"))
        if legacy.get("name") or legacy.get("arguments"):
            deltas.append(self._call({"index": 0, "function": legacy}))
        self._add_audio(as_object(message.get("audio")))
        self.reply.note_others(message, _MESSAGE_KEYS)
        return deltas

    def _content_parts(self, parts: Iterable[JSON]) -> list[Delta]:
        """Take content that is a list, as Mistral sends it."""
        deltas: list[Delta] = []
        for part in parts:
            fields = as_object(part)
            kind = as_text(fields.get("type"))
            if isinstance(part, str):
                deltas.append(self.reply.text(part))
            elif kind == "text":
                deltas.append(self.reply.text(as_text(fields.get("text"))))
            elif kind == "thinking":
                thought = fields.get("thinking")
                pieces = [as_text(as_object(x).get("text")) for x in as_list(thought)]
                deltas.append(self.reply.reasoning(as_text(thought) + "".join(pieces)))
                self.reply.attach(self.blob({CONTENT_FIELD: None}))
            elif fields:
                blob = self.blob(fields)
                self.reply.part(ProviderPart(kind=kind or "part", blob=blob))
        return deltas

    def _reasoning(self, message: JSONObject) -> list[Delta]:
        """Take reasoning, under whichever name; details repeat the text beside them."""
        details = as_list(message.get(DETAILS_FIELD))
        for detail in details:
            self._merge_detail(as_object(detail))
        for field in ("reasoning_content", "reasoning"):
            text = as_text(message.get(field))
            if text:
                delta = self.reply.reasoning(text)
                self.reply.attach(self.blob({field: None}))
                return [delta]
        pieces = [as_object(x) for x in details]
        text = "".join(
            as_text(x.get("text")) or as_text(x.get("summary")) for x in pieces
        )
        return [self.reply.reasoning(text)] if text else []

    def _merge_detail(self, detail: JSONObject) -> None:
        """Add to the list of reasoning details, whose texts come in pieces."""
        last = self._details[-1] if self._details else {}
        if not last or any(last.get(k) != detail.get(k) for k in ("type", "index")):
            self._details.append(dict(detail))
            return
        for key, value in detail.items():
            old = last.get(key)
            grows = key in {"text", "summary", "data"}
            if grows and isinstance(old, str) and isinstance(value, str):
                last[key] = old + value
            elif value is not None:
                last[key] = value

    def _keep_details(self) -> None:
        """Put the details where the next turn's encoder finds them."""
        self.reply.seal()
        self.reply.reasoning("")
        self.reply.attach(self.blob({DETAILS_FIELD: [*self._details]}))
        self._details = []

    def _call(self, call: JSONObject) -> Delta:
        """Take a piece of a tool call."""
        function = as_object(call.get("function"))
        call_id = as_text(call.get("id"))
        name = as_text(function.get("name"))
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        text = arguments if isinstance(arguments, str) else dumps(arguments)
        return self.reply.call(
            self._keys.key(call.get("index"), call_id, name, text=text),
            call_id=call_id,
            name=name,
            arguments=text,
        )

    def _add_audio(self, audio: JSONObject) -> None:
        """Add to spoken output, whose data and transcript come in pieces."""
        for key, value in audio.items():
            old = self._audio.get(key)
            if key != "id" and isinstance(old, str) and isinstance(value, str):
                self._audio[key] = old + value
            elif value:
                self._audio[key] = value

    def _usage(self, value: JSON) -> None:
        """Take usage, from wherever it stands; the last one counts."""
        counts = ("prompt_tokens", "completion_tokens")
        if isinstance(value, dict) and any(count in value for count in counts):
            self.reply.usage = _usage(value)
            self.reply.metadata["usage"] = value


def _usage(usage: JSONObject) -> Usage:
    """Read usage, whose details have half a dozen names."""
    into = as_object(usage.get("prompt_tokens_details"))
    out = as_object(usage.get("completion_tokens_details"))
    asked = as_count(usage.get("prompt_tokens"))
    answered = as_count(usage.get("completion_tokens"))
    reasoned = _first(out.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    # xAI counts reasoning beside the answer, all others inside; the sum tells.
    if reasoned and as_count(usage.get("total_tokens")) == asked + answered + reasoned:
        answered += reasoned
    return Usage(
        input_tokens=asked,
        output_tokens=answered,
        cached_tokens=_first(
            into.get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),
            usage.get("cached_tokens"),
            usage.get("num_cached_tokens"),
            usage.get("cache_read_input_tokens"),
        ),
        cache_write_tokens=_first(
            into.get("cache_write_tokens"), usage.get("cache_creation_input_tokens")
        ),
        reasoning_tokens=reasoned,
    )


def _first(*counts: JSON) -> int:
    """Return the first count that is not zero."""
    return next((n for n in map(as_count, counts) if n), 0)


class _CallKeys:
    """Tells which call a piece of a tool call belongs to."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        self._whole: set[int] = set()

    def key(self, index: JSON, call_id: str, name: str, *, text: str = "") -> int:
        """Return the key of the call.

        Args:
            index: The index it came with, if any.
            call_id: The id it came with; "" if none.
            name: The name it came with; "" if none. Only a first piece must have one.
            text: The piece of the arguments it came with.

        Returns:
            A number that is the same for all pieces of one call.
        """
        known = self._known(index, call_id, name)
        if known is None or (name and self._is_another(known, call_id, text)):
            known = len(self._ids)
            self._ids.append("")
        if name and text.startswith("{") and text.endswith("}"):
            self._whole.add(known)
        self._ids[known] = self._ids[known] or call_id
        if isinstance(index, int):
            self._by_index[index] = known
        if call_id:
            self._by_id[call_id] = known
        return known

    def _is_another(self, known: int, call_id: str, text: str) -> bool:
        """Tell whether a piece with a name begins a call, though its index is taken."""
        if call_id:
            return self._ids[known] not in {"", call_id}
        # Each call came whole, and none has an id.
        return known in self._whole and text.startswith("{")

    def _known(self, index: JSON, call_id: str, name: str) -> int | None:
        """Look for a call that has begun: by index, by id, or else it is the last one."""
        if isinstance(index, int):
            return self._by_index.get(index)
        if call_id:
            return self._by_id.get(call_id)
        return len(self._ids) - 1 if self._ids and not name else None
