"""Anthropic Messages, and the servers that speak it too."""

from collections.abc import Mapping

import attrs

from agentflow.llm._codec import Decoder, HttpCall
from agentflow.llm._errors import LLMError
from agentflow.llm._request import OutputMode, Request
from agentflow.llm.providers._anthropic_decode import AnthropicDecoder
from agentflow.llm.providers._anthropic_encode import FAMILY, encode_messages
from agentflow.llm.providers._failures import error_from_body
from agentflow.llm.providers._forcing import offer_alone

_VERSION = "2023-06-01"


@attrs.frozen(kw_only=True)
class AnthropicCodec:
    """Codec of Anthropic Messages.

    ``Options.reasoning_effort`` takes a word for the effort ("low" … "max"), a number of
    tokens for the thinking budget of older models, or "none".

    Attributes:
        name: Name of the server; what it wants back is sent to no other.
        output_mode: How the model is brought to answer with an object. The native way
            takes no dicts with free keys and no recursion; ``OutputMode.TOOL`` does.
        names_tools: True if the tool that must be called can be named; else no other is
            offered.
        max_tokens: Most tokens to answer with if a request does not say: this API must be
            told.
        betas: Names of beta features to turn on.
    """

    name: str = "anthropic"
    output_mode: OutputMode = OutputMode.NATIVE
    names_tools: bool = True
    max_tokens: int = 8192
    betas: tuple[str, ...] = ()

    @property
    def api(self) -> str:
        """See ``Codec.api``: one server's signatures mean nothing to another."""
        return f"{FAMILY}/{self.name}"

    def encode(self, request: Request) -> HttpCall:
        """See ``Codec.encode``."""
        if not self.names_tools:
            request = offer_alone(request)
        headers = {"anthropic-version": _VERSION}
        if self.betas:
            headers["anthropic-beta"] = ",".join(self.betas)
        body = encode_messages(request, api=self.api, max_tokens=self.max_tokens)
        return HttpCall(path="/v1/messages", headers=headers, json=body)

    def decoder(self) -> Decoder:
        """See ``Codec.decoder``."""
        return AnthropicDecoder(self.api)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
        """See ``Codec.error``."""
        del headers  # the request id stands in one, which the HTTP door reads
        return error_from_body(status, body)
