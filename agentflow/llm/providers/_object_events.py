"""What the decoders share whose every event is one JSON object."""

from agentflow.llm._errors import AnswerTooLarge, ErrorInfo, MalformedAnswer
from agentflow.llm._json import JSON, JSONObject
from agentflow.llm._messages import Blob
from agentflow.llm._sse import MAX_LINE
from agentflow.llm.providers._answers import AnswerDecoder, parse

MAX_ANSWER = 4 * MAX_LINE
"""Bytes of all events of one answer: these APIs send much that is neither text nor a call
and still has to be kept, so the bounds on text and parts alone would not do."""


class ObjectDecoder(AnswerDecoder):
    """Base of decoders of such APIs.

    Args:
        api: Name for the blobs that go back to this provider.
    """

    def __init__(self, api: str) -> None:
        super().__init__()
        self._api = api
        self._size = 0

    def object_in(self, data: bytes) -> JSONObject:
        """Return the object that an event holds.

        Args:
            data: The event's data.

        Returns:
            The object.

        Raises:
            AnswerTooLarge: The answer has no end.
            MalformedAnswer: The event holds something else.
        """
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise AnswerTooLarge(f"the answer is larger than {MAX_ANSWER:,} bytes")
        value = parse(data)
        if not isinstance(value, dict):
            raise MalformedAnswer(
                f"an event of the answer holds {type(value).__name__}, not an object",
                info=ErrorInfo(status=200),
            )
        return value

    def blob(self, raw: JSON) -> Blob:
        """Mark something as this provider's."""
        return Blob(api=self._api, raw=raw)
