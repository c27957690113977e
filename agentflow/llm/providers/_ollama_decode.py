"""Reading answers of Ollama's chat API: one JSON object a line, streamed or not.

Every line holds the next piece of the message; the last one says ``done`` and counts the
tokens. An error may come on any line. A whole answer is a stream of one line, unless some
server in between has laid it out over several.
"""

from collections.abc import Mapping, Sequence

from agentflow.llm._errors import AnswerTooLarge, ErrorInfo, MalformedAnswer
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
from agentflow.llm._messages import Blob
from agentflow.llm._reply import Delta, StopReason, Usage
from agentflow.llm._sse import NdjsonReader
from agentflow.llm.providers._answers import AnswerDecoder, parse
from agentflow.llm.providers._failures import provider_error, read_failure
from agentflow.llm.providers._object_events import MAX_ANSWER

_STOP: Mapping[str, StopReason] = {
    "": StopReason.END,
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
}
"""``load`` and ``unload`` are no ends of an answer: the model was only moved about."""

_COUNTS = frozenset({
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
})
_LINE_KEYS = frozenset({
    "model",
    "created_at",
    "message",
    "done",
    "done_reason",
    "error",
    *_COUNTS,
})
_TEXT_KEYS = frozenset({"role", "content", "thinking"})
_MESSAGE_KEYS = frozenset({*_TEXT_KEYS, "tool_calls"})


_SNIPPET = 80
"""Bytes of an unreadable line to quote."""

_BOM = b"\xef\xbb\xbf"


class OllamaDecoder(AnswerDecoder):
    """Decoder of one answer; see ``Decoder``.

    Args:
        api: Name for the blobs that go back.
    """

    def __init__(self, api: str) -> None:
        super().__init__(NdjsonReader())
        self._mark = Blob(api=api, raw=None)
        self._calls = 0
        self._size = 0
        self._laid_out: list[bytes] = []
        self._other = b""

    def on_event(self, name: str, data: bytes) -> Sequence[Delta]:
        """Take one line."""
        del name  # lines have none
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise AnswerTooLarge(f"the answer is larger than {MAX_ANSWER:,} bytes")
        if data.startswith(b'{"') and not self._laid_out:
            return self._line(as_object(parse(data)))
        line = data.removeprefix(_BOM).strip()
        if self._laid_out or line == b"{":
            self._laid_out.append(line)
            return ()
        if not line.startswith(b"{"):
            self._other = line[:_SNIPPET]
            self.ended = True
            return ()
        return self._line(as_object(parse(line)))

    def on_body(self, value: JSON) -> None:
        """Take an answer that is laid out over several lines."""
        self._line(as_object(value))

    def on_end(self) -> None:
        """Take what only the end makes whole."""
        if self._other:
            start = self._other.decode("utf-8", "replace")
            raise MalformedAnswer(
                f"a line of the answer is no JSON object, it starts with {start!r}; "
                "is the base URL right?",
                info=ErrorInfo(status=200),
            )
        if self._laid_out:
            self.on_body(parse(b"\n".join(self._laid_out)))
        super().on_end()

    def _line(self, value: JSONObject) -> Sequence[Delta]:
        """Take the object of one line."""
        if value.get("error"):
            raise provider_error(200, read_failure(value))
        reply = self.reply
        reply.model = as_label(value.get("model")) or reply.model
        deltas = self._message(as_object(value.get("message")))
        if created := value.get("created_at"):
            reply.metadata["created_at"] = created
        reply.note_others(value, _LINE_KEYS)
        if value.get("done") is True:
            self.complete = self.ended = True
            reply.raw_stop = as_label(value.get("done_reason"))
            reply.stop = _STOP.get(reply.raw_stop or "", StopReason.OTHER)
            self._usage({k: value[k] for k in _COUNTS & value.keys()})
        return deltas

    def _message(self, message: JSONObject) -> list[Delta]:
        """Take what a line adds to the message."""
        deltas: list[Delta] = []
        if thinking := as_text(message.get("thinking")):
            deltas.append(self.reply.reasoning(thinking))
            self.reply.attach(self._mark)
        if content := as_text(message.get("content")):
            deltas.append(self.reply.text(content))
        if not _TEXT_KEYS.issuperset(message):
            calls = as_list(message.get("tool_calls"))
            deltas += [self._call(as_object(call)) for call in calls]
            self.reply.note_others(message, _MESSAGE_KEYS)
        return deltas

    def _call(self, call: JSONObject) -> Delta:
        """Take a tool call; it always comes whole, and often without an id."""
        function = as_object(call.get("function"))
        arguments = function.get("arguments")
        written = isinstance(arguments, str) or arguments is None
        self._calls += 1
        return self.reply.call(
            self._calls,
            call_id=as_label(call.get("id")) or "",
            name=as_text(function.get("name")),
            arguments=as_text(arguments) if written else dumps(arguments),
        )

    def _usage(self, counts: JSONObject) -> None:
        """Take the counts; that of the prompt lacks where all of it was cached."""
        if counts:
            self.reply.note("usage", counts)
            self.reply.usage = Usage(
                input_tokens=as_count(counts.get("prompt_eval_count")),
                output_tokens=as_count(counts.get("eval_count")),
            )
