"""Ollama's own chat API."""

from collections.abc import Mapping

import attrs

from agentflow.llm._codec import Decoder, HttpCall
from agentflow.llm._errors import LLMError
from agentflow.llm._request import OutputMode, Request
from agentflow.llm.providers._failures import error_from_body
from agentflow.llm.providers._ollama_decode import OllamaDecoder
from agentflow.llm.providers._ollama_encode import encode_ollama


@attrs.frozen(kw_only=True)
class OllamaCodec:
    """Codec of Ollama's chat API.

    Settings of ``Request.extra`` go over those written here, objects key by key:
    ``{"options": {"num_ctx": 8192}, "keep_alive": "5m"}`` leaves the other options alone.

    Attributes:
        path: Path below the base URL.
        output_mode: How the models are best brought to answer with an object.
    """

    path: str = "/api/chat"
    output_mode: OutputMode = OutputMode.NATIVE

    @property
    def api(self) -> str:
        """See ``Codec.api``."""
        return "ollama"

    def encode(self, request: Request) -> HttpCall:
        """See ``Codec.encode``."""
        return HttpCall(path=self.path, json=encode_ollama(request, self.api))

    def decoder(self) -> Decoder:
        """See ``Codec.decoder``."""
        return OllamaDecoder(self.api)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
        """See ``Codec.error``."""
        del headers  # this API says all in the body
        return error_from_body(status, body)
