"""Gateways to known providers."""

from agentflow.llm._endpoint import Endpoint, HttpSettings
from agentflow.llm._errors import MissingKey
from agentflow.llm._http import HttpClient, HttpGateway
from agentflow.llm.providers._chat_dialect import COMPATIBLE, ChatDialect
from agentflow.llm.providers.openai_chat import ChatCodec

OPENAI_URL = "https://api.openai.com/v1"


class OpenAIGateway(HttpGateway):
    """Reaches OpenAI, or any server that speaks its Chat Completions.

    Args:
        base_url: URL up to and with the version, such as "http://127.0.0.1:8080/v1".
        api_key: The key; None for a server that wants none.
        http_client: See ``HttpGateway``.
        settings: See ``HttpGateway``.
        dialect: How the server differs; by default OpenAI's own way at OpenAI, and the
            older one that most others speak elsewhere.
    """

    def __init__(
        self,
        *,
        base_url: str = OPENAI_URL,
        api_key: str | None = None,
        http_client: HttpClient | None = None,
        settings: HttpSettings | None = None,
        dialect: ChatDialect | None = None,
    ) -> None:
        at_home = base_url == OPENAI_URL
        if at_home and not api_key:
            raise MissingKey(
                "OpenAI wants a key: OpenAIGateway(api_key=...), or base_url=... for a "
                "server of your own"
            )
        if dialect is None:
            dialect = ChatDialect() if at_home else COMPATIBLE
        super().__init__(
            Endpoint(name=dialect.name, base_url=base_url, codec=ChatCodec(dialect)),
            api_key=api_key,
            http_client=http_client,
            settings=settings,
        )
