"""Unpacking a body that a server packed, though it was asked not to.

httpx could do it, but it unpacks a whole piece at once, however much that becomes, and
leaves generators behind when it cannot. Here a piece is unpacked in bounded steps.
"""

import zlib
from collections.abc import Iterator

from agentflow.llm._errors import MalformedAnswer

_STEP = 2**18
"""Bytes to unpack at a time."""

_EITHER = 32 + zlib.MAX_WBITS
"""Has zlib tell by the first bytes whether this is gzip or deflate."""


class Unpacker:
    """Unpacks one body.

    Args:
        encoding: The answer's content encoding; "" if it has none.

    Raises:
        MalformedAnswer: It is one that we did not ask for and cannot unpack.
    """

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        packed = encoding not in {"", "identity"}
        if packed and encoding not in {"gzip", "deflate"}:
            raise MalformedAnswer(f"the answer is packed as {encoding!r}, unasked")
        self._zlib = zlib.decompressobj(_EITHER) if packed else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes of the body.

        Args:
            data: Any number of bytes, cut anywhere.

        Yields:
            What they hold, a bounded piece at a time.

        Raises:
            MalformedAnswer: They cannot be unpacked.
        """
        if self._zlib is None:
            yield data
            return
        try:
            while data:
                yield self._zlib.decompress(data, _STEP)
                data = self._zlib.unconsumed_tail
        except zlib.error as error:
            raise MalformedAnswer(f"the answer cannot be unpacked: {error}") from error
