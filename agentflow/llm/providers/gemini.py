"""Gemini's ``generateContent``, at Google's Gemini API and at Vertex AI."""

from collections.abc import Mapping
from urllib.parse import quote

import attrs

from agentflow.llm._codec import Decoder, HttpCall
from agentflow.llm._errors import LLMError
from agentflow.llm._request import OutputMode, Request
from agentflow.llm.providers._gemini_decode import GeminiDecoder
from agentflow.llm.providers._gemini_encode import encode_contents
from agentflow.llm.providers._gemini_errors import gemini_error


@attrs.frozen(kw_only=True)
class GeminiCodec:
    """Codec of Gemini.

    ``Options.reasoning_effort`` takes a level of thinking ("low", "high" …), a number of
    tokens for the thinking budget of older models (-1 leaves it to them), or "none".

    The base URL ends where the models begin: ``…/v1beta`` at the Gemini API,
    ``…/publishers/google`` at Vertex AI.

    Attributes:
        output_mode: How the model is brought to answer with an object. Models before
            Gemini 3 take the native way without tools only.
    """

    output_mode: OutputMode = OutputMode.NATIVE

    @property
    def api(self) -> str:
        """See ``Codec.api``."""
        return "gemini"

    def encode(self, request: Request) -> HttpCall:
        """See ``Codec.encode``."""
        # Tuned models and endpoints have a path of their own.
        model = request.model if "/" in request.model else f"models/{request.model}"
        return HttpCall(
            path=f"/{quote(model)}:streamGenerateContent?alt=sse",
            json=encode_contents(request, api=self.api),
        )

    def decoder(self) -> Decoder:
        """See ``Codec.decoder``."""
        return GeminiDecoder(self.api)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
        """See ``Codec.error``."""
        del headers  # this API says all in the body
        return gemini_error(status, body)
