"""OpenAI Chat Completions, and the many servers that speak a dialect of it."""

from collections.abc import Mapping

import attrs

from agentflow.llm._codec import Decoder, HttpCall
from agentflow.llm._errors import LLMError
from agentflow.llm._request import OutputMode, Request
from agentflow.llm.providers._chat_decode import ChatDecoder
from agentflow.llm.providers._chat_dialect import ChatDialect
from agentflow.llm.providers._chat_encode import encode_chat
from agentflow.llm.providers._failures import error_from_body
from agentflow.llm.providers._forcing import offer_alone


@attrs.frozen
class ChatCodec:
    """Codec of Chat Completions.

    Attributes:
        dialect: What sets the provider's way of speaking it apart; OpenAI's own by default.
    """

    dialect: ChatDialect = attrs.field(factory=ChatDialect)

    @property
    def api(self) -> str:
        """See ``Codec.api``: what one dialect sends another may not take."""
        return self.dialect.api

    @property
    def output_mode(self) -> OutputMode:
        """See ``Codec.output_mode``."""
        return self.dialect.output_mode

    def encode(self, request: Request) -> HttpCall:
        """See ``Codec.encode``."""
        if not self.dialect.names_tools:
            request = offer_alone(request)
        return HttpCall(path=self.dialect.path, json=encode_chat(request, self.dialect))

    def decoder(self) -> Decoder:
        """See ``Codec.decoder``."""
        return ChatDecoder(self.dialect.api)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
        """See ``Codec.error``."""
        del headers  # this API says all in the body
        return error_from_body(status, body)
