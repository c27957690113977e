"""The wire formats of the providers, one pure codec each."""

from agentflow.llm.providers._chat_dialect import ChatDialect as ChatDialect
from agentflow.llm.providers.openai_chat import ChatCodec as ChatCodec
