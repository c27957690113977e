"""OpenAI Responses, and the servers that speak it too."""

from collections.abc import Mapping

import attrs

from agentflow.llm._codec import Decoder, HttpCall
from agentflow.llm._errors import LLMError
from agentflow.llm._request import OutputMode, Request
from agentflow.llm.providers._failures import error_from_body
from agentflow.llm.providers._forcing import offer_alone
from agentflow.llm.providers._responses_decode import ResponsesDecoder
from agentflow.llm.providers._responses_encode import encode_responses


@attrs.frozen(kw_only=True)
class ResponsesCodec:
    """Codec of the Responses API; the defaults are OpenAI's.

    Settings of ``Request.extra`` go over those written here, objects key by key, so that
    ``{"text": {"verbosity": "low"}}`` leaves the answer's schema alone. A seed is left
    out, since the API has none.

    Attributes:
        name: Name of the dialect; what it wants back is sent to no other.
        path: Path below the base URL.
        instructions: True if the first system message goes into the field of that name;
            False sends it as an item like any other.
        names_tools: True if the tool that must be called can be named; else no other is
            offered.
        output_mode: How the server is best brought to answer with an object: several
            take ``text.format`` and ignore it.
    """

    name: str = "openai"
    path: str = "/responses"
    instructions: bool = True
    names_tools: bool = True
    output_mode: OutputMode = OutputMode.NATIVE

    @property
    def api(self) -> str:
        """See ``Codec.api``: what one server sends another may not take."""
        return f"openai-responses/{self.name}"

    def encode(self, request: Request) -> HttpCall:
        """See ``Codec.encode``."""
        if not self.names_tools:
            request = offer_alone(request)
        body = encode_responses(request, self.api, instructions=self.instructions)
        return HttpCall(path=self.path, json=body)

    def decoder(self) -> Decoder:
        """See ``Codec.decoder``."""
        return ResponsesDecoder(self.api)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
        """See ``Codec.error``."""
        del headers  # this API says all in the body
        return error_from_body(status, body)
