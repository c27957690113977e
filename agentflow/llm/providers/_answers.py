"""What the decoders of all wire formats share: framing, end marks, broken bodies.

A body is a stream of events, or one JSON value from a server that did not stream. The
first byte that is no white space tells them apart. A codec's decoder derives from
``AnswerDecoder`` and says what one event, or one whole value, adds to the reply. The wire
of JSON lines has no such choice: its decoder hands in an ``NdjsonReader`` and gets every
line as an event.
"""

import abc
from collections.abc import Sequence

from agentflow.llm._assembly import ReplyBuilder
from agentflow.llm._errors import (
    AnswerTooLarge,
    ErrorInfo,
    IncompleteStream,
    LLMError,
    MalformedAnswer,
)
from agentflow.llm._json import JSON, InvalidJSON, loads
from agentflow.llm._reply import Delta, Reply, StopReason
from agentflow.llm._sse import MAX_LINE, MAX_NOISE, NdjsonReader, SseReader

MAX_BODY = MAX_LINE
"""Bytes of an answer that is not streamed, and so has to be held whole."""

_SNIPPET = 80
"""Bytes of an unreadable answer to quote in the error."""

_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


def parse(data: bytes) -> JSON:
    """Parse JSON that a provider sent.

    Args:
        data: The bytes of one event, line or body.

    Returns:
        The value.

    Raises:
        MalformedAnswer: It is no JSON.
    """
    try:
        return loads(data)
    except InvalidJSON as error:
        start = data[:_SNIPPET].decode("utf-8", "replace")
        raise MalformedAnswer(
            f"the answer is not valid JSON ({error}); it starts with {start!r}",
            info=ErrorInfo(status=200),
        ) from None


class AnswerDecoder(abc.ABC):
    """Base of the decoders: cuts the body, watches for its end.

    Subclasses fill ``self.reply``, set ``self.complete`` when the end mark has come and
    ``self.ended`` when nothing of interest can follow.

    Args:
        lines: Reader for a body that is always lines of JSON; None for server-sent events
            or a single JSON value.
    """

    def __init__(self, lines: NdjsonReader | None = None) -> None:
        self.reply = ReplyBuilder()
        self.complete = False
        self.ended = False
        self._events = lines or SseReader()
        self._streamed = lines is not None
        self._head: bytes = b""
        self._body: bytearray | None = None
        self._seen_event = False
        self._broken: LLMError | None = None

    @abc.abstractmethod
    def on_event(self, name: str, data: bytes) -> Sequence[Delta]:
        """Take one event of a stream; its name may be empty."""

    @abc.abstractmethod
    def on_body(self, value: JSON) -> None:
        """Take the whole answer of a server that did not stream."""

    def on_end(self) -> None:
        """Settle what only the end tells, before the reply is built."""
        reply = self.reply
        if reply.stop is None and self.complete:
            reply.stop = StopReason.END
        if reply.stop is StopReason.END and reply.has_calls:
            # A forced tool ends with "stop" at OpenAI, any tool at Ollama and Gemini.
            reply.stop = StopReason.TOOL_CALLS
        elif reply.stop is StopReason.TOOL_CALLS and not reply.has_calls:
            reply.stop = StopReason.END

    @property
    def done(self) -> bool:
        """True once the end mark came; nothing that follows belongs to the answer."""
        return self.ended or self._broken is not None

    def feed(self, data: bytes) -> Sequence[Delta]:
        """Take the next bytes of the body; see ``Decoder.feed``."""
        if not self._streamed:
            data = self._sniff(data)
        elif self._head and not self._seen_event:
            # Quoted if this turns out to be no answer, wherever it was cut.
            self._head += data[: max(0, _SNIPPET - len(self._head))]
        if not data or self.done:
            return ()
        if self._body is not None:
            self._hold(data)
            return ()
        deltas: list[Delta] = []
        try:
            self._feed_events(data, deltas)
        except LLMError as error:
            # What came before it must not depend on where the bytes were cut.
            if not deltas:
                raise
            self._broken = error
        return deltas

    def _feed_events(self, data: bytes, deltas: list[Delta]) -> None:
        """Take the next bytes of a stream; add the deltas they make."""
        for name, event in self._events.feed(data):
            self._seen_event = True
            deltas += self.on_event(name, event)
            if self.ended:
                break

    def finish(self) -> Reply:
        """Take the end of the body; see ``Decoder.finish``."""
        if self._broken is not None:
            raise self._broken
        if self._body is not None:
            self.on_body(parse(bytes(self._body)))
        elif not self.ended:
            self._flush()
        self.on_end()
        if not self.complete:
            self._refuse_other_text()
            partial = None if self.reply.empty else self.reply.build()
            raise IncompleteStream(
                "the answer ended without its end mark"
                if partial
                else "the answer ended before any of it came",
                info=ErrorInfo(status=200),
                partial=partial,
            )
        return self.reply.build()

    def _sniff(self, data: bytes) -> bytes:
        """Find out from the first bytes what kind of body this is; return what is due."""
        if self._body is not None:
            return data
        head = self._head + data
        start = head.removeprefix(_BOM).lstrip(_SPACE)
        if not start or (len(head) < len(_BOM) and _BOM.startswith(head)):
            if len(head) > MAX_NOISE:
                raise AnswerTooLarge(
                    f"{MAX_NOISE:,} bytes of the answer are white space"
                )
            self._head = head
            return b""
        self._head = start[:_SNIPPET]
        if start[:1] in {b"{", b"["}:
            self._body = bytearray()
            return start
        self._streamed = True
        return head

    def _hold(self, data: bytes) -> None:
        """Collect a body that is not streamed, within bounds."""
        assert self._body is not None
        self._body += data
        if len(self._body) > MAX_BODY:
            self._body.clear()
            raise AnswerTooLarge(f"the answer is larger than {MAX_BODY:,} bytes")

    def _flush(self) -> None:
        """Take an event that lacks the blank line behind it, unless it was cut short."""
        event = self._events.close()
        if event is not None:
            self._seen_event = True
            try:
                self.on_event(*event)
            except MalformedAnswer:
                # Cut inside the JSON: the missing end mark tells it better.
                return

    def _refuse_other_text(self) -> None:
        """Say so if the body was no stream at all, such as a web page."""
        head = self._head.lstrip(_SPACE)
        if self._seen_event or not self._streamed or not head:
            return
        if not head.startswith((b":", b"data", b"event", b"id", b"retry")):
            start = head.decode("utf-8", "replace")
            raise MalformedAnswer(
                f"the answer is neither a stream nor JSON, it starts with {start!r}; "
                "is the base URL right?",
                info=ErrorInfo(status=200),
            )
