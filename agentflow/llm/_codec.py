"""The port behind which every provider's wire format stands: values in, values out.

A codec is pure. It knows no socket, clock or key, so that one recorded answer, cut into
any pieces, always decodes to the same reply. The HTTP door drives it:

1. ``encode(request)`` gives the call to make. It always asks for a stream.
2. An answer that is not 2xx is read whole (within bounds) and goes to ``error()``.
3. Any other answer goes, piece by piece, through ``decoder().feed()``. When the decoder
   says ``done``, or the body ends, ``finish()`` gives the reply or raises.

Some servers answer a streaming request with a plain JSON body; the decoder has to see that
from the bytes themselves, since content types are as often wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from agentflow.llm._errors import LLMError
from agentflow.llm._json import JSON
from agentflow.llm._reply import Delta, Reply
from agentflow.llm._request import OutputMode, Request


@attrs.frozen(kw_only=True)
class HttpCall:
    """One HTTP call, before the base URL and the key are added.

    Attributes:
        path: Path below the base URL, such as "/chat/completions", with its query.
        headers: Headers of this API beyond content type and key.
        json: The body.
        method: The HTTP method.
    """

    path: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    json: Mapping[str, JSON] = attrs.field(factory=dict[str, JSON])
    method: str = "POST"


class Decoder(Protocol):
    """Reads one answer, however its bytes are cut."""

    @property
    def done(self) -> bool:
        """True once the end mark came; nothing that follows belongs to the answer."""
        ...

    def feed(self, data: bytes) -> Sequence[Delta]:
        """Take the next bytes of the body.

        Args:
            data: Any number of bytes, cut anywhere.

        Returns:
            The deltas they completed.

        Raises:
            ProviderError: The answer holds an error instead.
            MalformedAnswer: The bytes are not what the format says, or too many.
        """
        ...

    def finish(self) -> Reply:
        """Take the end of the body, or of what is of interest in it.

        Returns:
            The whole reply.

        Raises:
            IncompleteStream: The end mark has not come; the error holds what has.
            ProviderError: The answer holds an error instead.
            MalformedAnswer: The body is not what the format says.
        """
        ...


class Codec(Protocol):
    """One wire format, with the differences of one provider's dialect as data."""

    @property
    def api(self) -> str:
        """Name of the wire format; marks the blobs this codec takes back."""
        ...

    @property
    def output_mode(self) -> OutputMode:
        """How this provider is best brought to answer with an object."""
        ...

    def encode(self, request: Request) -> HttpCall:
        """Write a request.

        Args:
            request: What to ask.

        Returns:
            The call to make, asking for a streamed answer.

        Raises:
            ConfigurationError: The API cannot express the request.
        """
        ...

    def decoder(self) -> Decoder:
        """Return a decoder for the body of one answer with a 2xx status."""
        ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
        """Read an answer that is not 2xx.

        Args:
            status: HTTP status.
            headers: Headers of the answer, names in lower case.
            body: The body, or as much of it as was read.

        Returns:
            The error to raise; the caller adds provider and request id.
        """
        ...


def decode(
    codec: Codec, status: int, body: bytes, *, headers: Mapping[str, str] | None = None
) -> Reply:
    """Read a whole answer that is at hand.

    Args:
        codec: The format it is in.
        status: HTTP status.
        body: The whole body, streamed or not.
        headers: Headers of the answer, names in lower case; none by default.

    Returns:
        The reply.

    Raises:
        LLMError: Whatever the codec makes of an answer that is none.
    """
    if not 200 <= status < 300:  # noqa: PLR2004 - the 2xx range
        raise codec.error(status, headers or {}, body)
    decoder = codec.decoder()
    decoder.feed(body)
    return decoder.finish()
