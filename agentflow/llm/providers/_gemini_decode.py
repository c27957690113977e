"""Reading Gemini's answers: a stream of events, one whole body, or a list of bodies.

Every event is a response of its own that holds the next parts; a server that is not asked
for events (``alt=sse``) sends the same responses as one JSON list. The end mark is a finish
reason, and it counts only if nothing follows: a model that runs code on the server finishes
once before the code's output and again at the end.

A part with a signature must go back as a part of its own, so it is never joined with its
neighbours.
"""

from collections.abc import Mapping, Sequence

import attrs

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
from agentflow.llm._messages import ProviderPart
from agentflow.llm._reply import Delta, StopReason, Usage
from agentflow.llm.providers._failures import provider_error, read_failure
from agentflow.llm.providers._gemini_calls import GrowingArguments
from agentflow.llm.providers._gemini_errors import error_in
from agentflow.llm.providers._object_events import ObjectDecoder

_REFUSED = StopReason.REFUSED
_STOP: Mapping[str, StopReason] = {
    "STOP": StopReason.END,
    "MAX_TOKENS": StopReason.LENGTH,
    "SAFETY": _REFUSED,
    "RECITATION": _REFUSED,
    "LANGUAGE": _REFUSED,
    "BLOCKLIST": _REFUSED,
    "PROHIBITED_CONTENT": _REFUSED,
    "SPII": _REFUSED,
    "MODEL_ARMOR": _REFUSED,
    "IMAGE_SAFETY": _REFUSED,
    "IMAGE_PROHIBITED_CONTENT": _REFUSED,
    "IMAGE_RECITATION": _REFUSED,
}

_NUMBERED = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
"""Finish reasons by number, as some clients ask for them; beyond these, the numbers of
the two services that speak this API differ."""

_UNSPECIFIED = frozenset({"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})

_CHUNK_KEYS = frozenset({
    "candidates",
    "modelVersion",
    "responseId",
    "usageMetadata",
})
_CANDIDATE_KEYS = frozenset({"content", "finishReason", "index", "safetyRatings"})
_CALL_KEYS = frozenset({"args", "id", "name", "partialArgs", "willContinue"})
_MARKS = frozenset({"thought", "thoughtSignature"})
"""What may stand beside the content of any part."""


@attrs.frozen(kw_only=True)
class _Growing:
    """A call whose arguments come in pieces.

    Attributes:
        key: Tells the calls of this answer apart.
        raw: What goes back with it.
        arguments: Its arguments.
    """

    key: int
    raw: JSONObject
    arguments: GrowingArguments = attrs.field(factory=GrowingArguments)


class GeminiDecoder(ObjectDecoder):
    """Decoder of one answer; see ``Decoder``.

    Args:
        api: Name for the blobs that go back to this provider.
    """

    def __init__(self, api: str) -> None:
        super().__init__(api)
        self._usage: JSONObject = {}
        self._calls = 0
        self._growing: _Growing | None = None

    def on_event(self, name: str, data: bytes) -> Sequence[Delta]:
        """Take one event of a stream."""
        del name  # this API gives none
        if data.startswith(b"[DONE]"):
            return ()  # of servers that speak this API on top of another one
        return self._chunk(self.object_in(data))

    def on_body(self, value: JSON) -> None:
        """Take a whole answer, or all the events of a stream in a list."""
        chunks = value if isinstance(value, list) else [value]
        for chunk in chunks:
            self._chunk(as_object(chunk))
        if isinstance(value, list) or self.complete:
            return
        if not as_list(as_object(value).get("candidates")):
            failure = read_failure(value)
            if failure.message is not None:
                raise provider_error(200, failure)
            raise MalformedAnswer(
                "the answer holds no candidates", info=ErrorInfo(status=200)
            )
        self.complete = True

    def on_end(self) -> None:
        """Leave a call that was cut off in pieces as the broken JSON it is."""
        if self._growing is not None:
            cut = self._growing.arguments.text().removesuffix("}")
            self.reply.call(self._growing.key, arguments=cut)
            self._growing = None
        super().on_end()

    def _chunk(self, chunk: JSONObject) -> list[Delta]:
        """Take a response."""
        if chunk.get("error"):
            raise error_in(200, chunk)
        reply = self.reply
        reply.id = as_label(chunk.get("responseId")) or reply.id
        reply.model = as_label(chunk.get("modelVersion")) or reply.model
        deltas: list[Delta] = []
        for candidate in as_list(chunk.get("candidates")):
            deltas += self._candidate(as_object(candidate))
        self._add_usage(as_object(chunk.get("usageMetadata")))
        reply.note_others(chunk, _CHUNK_KEYS)
        feedback = as_object(chunk.get("promptFeedback"))
        blocked = as_label(feedback.get("blockReason")) or ""
        if blocked not in _UNSPECIFIED:
            self._stop(blocked, _REFUSED)
            deltas += self._refusal(feedback.get("blockReasonMessage"))
        return deltas

    def _candidate(self, candidate: JSONObject) -> list[Delta]:
        """Take the first candidate; others, which only ``extra`` asks for, are kept."""
        if as_count(candidate.get("index")) != 0:
            self.reply.note("candidates", [candidate])
            return []
        deltas: list[Delta] = []
        for part in as_list(as_object(candidate.get("content")).get("parts")):
            added = self._part(as_object(part))
            if added:
                # What follows a finish reason shows that it was not the last one.
                self.complete = False
            deltas += added
        ratings = candidate.get("safetyRatings")
        if ratings is not None:
            # Every response rates the whole answer anew.
            self.reply.metadata["safetyRatings"] = ratings
        self.reply.note_others(candidate, _CANDIDATE_KEYS)
        word = _finish_word(candidate.get("finishReason"))
        if word not in _UNSPECIFIED:
            stop = _STOP.get(word, StopReason.OTHER)
            self._stop(word, stop)
            if stop is _REFUSED:
                deltas += self._refusal(candidate.get("finishMessage"))
        return deltas

    def _stop(self, word: str, stop: StopReason) -> None:
        """Take the end mark; it may come more than once."""
        self.complete = True
        self.reply.raw_stop = word
        self.reply.stop = stop

    def _refusal(self, words: JSON) -> list[Delta]:
        """Take why the provider refused, if it says."""
        return [self.reply.refusal(words)] if isinstance(words, str) and words else []

    def _part(self, part: JSONObject) -> Sequence[Delta]:
        """Take a part of the content."""
        call = part.get("functionCall")
        if isinstance(call, dict):
            marks: JSONObject = {k: v for k, v in part.items() if v}
            marks.pop("functionCall", None)
            return self._call(call, marks)
        content = part.keys() - _MARKS
        if "text" in content or not content:
            return self._text(part)
        kind = "part" if len(content) > 1 else content.pop()
        self.reply.part(ProviderPart(kind=kind, blob=self.blob(part)))
        self.complete = False
        return ()

    def _text(self, part: JSONObject) -> Sequence[Delta]:
        """Take text or thoughts, and what must go back with them."""
        reply = self.reply
        text = as_text(part.get("text"))
        marks: JSONObject = {k: v for k, v in part.items() if v}
        marks.pop("text", None)
        alone = bool(marks.keys() - {"thought"})
        if not text and not alone:
            return ()
        if alone:
            reply.seal()
        delta = reply.reasoning(text) if "thought" in marks else reply.text(text)
        if marks:
            reply.attach(self.blob(marks))
        if alone:
            reply.seal()
        return [delta] if text else ()

    def _call(self, call: JSONObject, marks: JSONObject) -> Sequence[Delta]:
        """Take a call, or the next piece of one."""
        name = as_text(call.get("name"))
        if self._growing is not None and not name:
            self._growing.raw.update(marks)
            return self._grow(self._growing, call)
        before = self._finish_call()
        key, self._calls = self._calls, self._calls + 1
        call_id = as_text(call.get("id"))
        raw: JSONObject = {"id": call_id, **marks} if call_id else marks
        begun = self.reply.call(key, call_id=call_id, name=name)
        self.reply.attach_call(key, self.blob(raw))
        self.reply.note_others(call, _CALL_KEYS)
        if call.get("willContinue") or "partialArgs" in call:
            self._growing = _Growing(key=key, raw=raw)
            return [*before, begun, *self._grow(self._growing, call)]
        arguments = dumps(as_object(call.get("args")))
        return [*before, self.reply.call(key, arguments=arguments)]

    def _grow(self, growing: _Growing, call: JSONObject) -> Sequence[Delta]:
        """Take a piece of a call's arguments."""
        growing.arguments.put(as_object(call.get("args")))
        for piece in as_list(call.get("partialArgs")):
            growing.arguments.add(as_object(piece))
        return () if call.get("willContinue") else self._finish_call()

    def _finish_call(self) -> Sequence[Delta]:
        """End the call whose arguments come in pieces, if there is one."""
        growing, self._growing = self._growing, None
        if growing is None:
            return ()
        return [self.reply.call(growing.key, arguments=growing.arguments.text())]

    def _add_usage(self, usage: JSONObject) -> None:
        """Take counts of tokens; what is left out keeps its count."""
        if not usage:
            return
        total = self._usage
        total.update(usage)
        thoughts = as_count(total.get("thoughtsTokenCount"))
        prompt = as_count(total.get("promptTokenCount"))
        self.reply.metadata["usage"] = total
        self.reply.usage = Usage(
            input_tokens=prompt + as_count(total.get("toolUsePromptTokenCount")),
            output_tokens=as_count(total.get("candidatesTokenCount")) + thoughts,
            cached_tokens=as_count(total.get("cachedContentTokenCount")),
            reasoning_tokens=thoughts,
        )


def _finish_word(value: JSON) -> str:
    """Read a finish reason, which may be a number."""
    if isinstance(value, int) and 0 <= value < len(_NUMBERED):
        return _NUMBERED[value]
    return as_label(value) or ""
