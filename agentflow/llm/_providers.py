"""The providers by name: where each is, how it is spoken to, where its key is found.

This is the one file that reads the environment: keys and addresses, under the names that
the providers' own tools use.
"""

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs

from agentflow.llm._codec import Codec
from agentflow.llm._endpoint import Endpoint, HttpSettings
from agentflow.llm._errors import ConfigurationError, MissingKey
from agentflow.llm._http import HttpClient, HttpGateway
from agentflow.llm._request import OutputMode
from agentflow.llm.providers import _chat_dialect as dialects
from agentflow.llm.providers._chat_dialect import ChatDialect
from agentflow.llm.providers.anthropic import AnthropicCodec
from agentflow.llm.providers.gemini import GeminiCodec
from agentflow.llm.providers.ollama import OllamaCodec
from agentflow.llm.providers.openai_chat import ChatCodec
from agentflow.llm.providers.openai_responses import ResponsesCodec


@attrs.frozen(kw_only=True)
class Provider:
    """A provider, as data.

    Attributes:
        codec: Its wire format.
        url: Base URL; empty where each user has one of their own.
        keys: Environment variables that may hold the key, the first that is set counts.
        needs_key: True if it answers nobody without one.
        urls: Environment variables that may hold another base URL.
        url_path: What follows the URL of such a variable.
        key_header: See ``Endpoint.key_header``.
        key_format: See ``Endpoint.key_format``.
    """

    codec: Codec
    url: str = ""
    keys: tuple[str, ...] = ()
    needs_key: bool = True
    urls: tuple[str, ...] = ()
    url_path: str = ""
    key_header: str = "authorization"
    key_format: str = "Bearer {key}"


def _chat(dialect: ChatDialect, url: str, *keys: str) -> Provider:
    """Describe a provider that speaks Chat Completions and wants a key."""
    return Provider(codec=ChatCodec(dialect), url=url, keys=keys)


def _local(dialect: ChatDialect, url: str, *keys: str) -> Provider:
    """Describe a server that speaks Chat Completions, on this machine as a rule."""
    return Provider(codec=ChatCodec(dialect), url=url, keys=keys, needs_key=False)


_OPENAI: Final = Provider(
    codec=ChatCodec(),
    url="https://api.openai.com/v1",
    keys=("OPENAI_API_KEY",),
    urls=("OPENAI_BASE_URL",),
)
_AZURE: Final = Provider(
    codec=ChatCodec(dialects.AZURE),
    keys=("AZURE_OPENAI_API_KEY",),
    urls=("AZURE_OPENAI_ENDPOINT",),
    url_path="/openai/v1",
    key_header="api-key",
    key_format="{key}",
)

PROVIDERS: Final[Mapping[str, Provider]] = {
    "openai": _OPENAI,
    "openai-responses": attrs.evolve(_OPENAI, codec=ResponsesCodec()),
    "anthropic": Provider(
        codec=AnthropicCodec(),
        url="https://api.anthropic.com",
        keys=("ANTHROPIC_API_KEY",),
        urls=("ANTHROPIC_BASE_URL",),
        key_header="x-api-key",
        key_format="{key}",
    ),
    "gemini": Provider(
        codec=GeminiCodec(),
        url="https://generativelanguage.googleapis.com/v1beta",
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        key_header="x-goog-api-key",
        key_format="{key}",
    ),
    "ollama": Provider(
        codec=OllamaCodec(),
        url="http://localhost:11434",
        keys=("OLLAMA_API_KEY",),
        needs_key=False,
        urls=("OLLAMA_HOST",),
    ),
    "groq": _chat(dialects.GROQ, "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "openrouter": _chat(
        dialects.OPENROUTER, "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"
    ),
    "deepseek": _chat(
        dialects.DEEPSEEK, "https://api.deepseek.com", "DEEPSEEK_API_KEY"
    ),
    "mistral": _chat(dialects.MISTRAL, "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "together": _chat(
        dialects.TOGETHER, "https://api.together.xyz/v1", "TOGETHER_API_KEY"
    ),
    "xai": _chat(dialects.XAI, "https://api.x.ai/v1", "XAI_API_KEY"),
    "azure": _AZURE,
    "azure-responses": attrs.evolve(_AZURE, codec=ResponsesCodec(name="azure")),
    "cerebras": _chat(
        dialects.CEREBRAS, "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"
    ),
    "perplexity": _chat(
        dialects.PERPLEXITY, "https://api.perplexity.ai", "PERPLEXITY_API_KEY"
    ),
    "fireworks": _chat(
        dialects.FIREWORKS,
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
    ),
    "huggingface": _chat(
        dialects.HUGGINGFACE,
        "https://router.huggingface.co/v1",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
    ),
    "alibaba": _chat(
        dialects.ALIBABA,
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
    ),
    "llamacpp": _local(dialects.LLAMACPP, "http://localhost:8080/v1"),
    "llamacpp-responses": Provider(
        codec=ResponsesCodec(
            name="llama.cpp", names_tools=False, output_mode=OutputMode.TOOL
        ),
        url="http://localhost:8080/v1",
        needs_key=False,
    ),
    "llamacpp-anthropic": Provider(
        codec=AnthropicCodec(
            name="llama.cpp", names_tools=False, output_mode=OutputMode.TOOL
        ),
        url="http://localhost:8080",
        needs_key=False,
    ),
    "vllm": _local(dialects.VLLM, "http://localhost:8000/v1", "VLLM_API_KEY"),
    "lmstudio": _local(dialects.LMSTUDIO, "http://localhost:1234/v1"),
    "compatible": _local(dialects.COMPATIBLE, ""),
}
"""By the word before the colon in the name of a model."""

_OLLAMA_PORT = 11434
_ALSO_AT_OLLAMA = frozenset({"mistral"})
"""Names that are a provider's as well as a model's in Ollama's library."""

_TAG = re.compile(
    r"latest|(.*-)?cloud|[ev]?\d+(\.\d+)?(x\d+(\.\d+)?)?[bmt](-.*)?|(.*[-_])?i?q\d.*|"
    r"(.*-)?b?fp?(16|32)|v\d[\d.]*(-.*)?|"
    r"(mini|small|medium|large|tiny|base|chat|code|instruct|text|thinking|vision)(-.*)?",
    re.IGNORECASE,
)
"""The tags of Ollama's library: "8b", "8x7b-instruct", "latest", "mini", "Q4_K_M"."""


def find_provider(model: str) -> tuple[str, str]:
    """Split the name of a model into provider and model.

    Args:
        model: "PROVIDER:MODEL", or a plain name, which is a model of the local Ollama; its
            tag ("qwen3:8b", "llama3:latest") is no provider.

    Returns:
        Name of the provider, and of the model as the provider knows it.

    Raises:
        ConfigurationError: There is no such provider.
    """
    prefix, colon, rest = model.partition(":")
    is_tag = _TAG.fullmatch(rest) is not None
    known = prefix in PROVIDERS and not (is_tag and prefix in _ALSO_AT_OLLAMA)
    if known and rest:
        return prefix, rest
    if not model or known:
        raise ConfigurationError(
            f"{model!r} names no model; write LLMBroker('PROVIDER:MODEL')"
        )
    # A model that Ollama fetched from elsewhere has a path before its tag.
    if not colon or is_tag or "/" in prefix:
        return "ollama", model
    raise ConfigurationError(
        f"there is no provider {prefix!r} for {model!r}; there are: "
        f"{', '.join(sorted(PROVIDERS))}. For a model of Ollama's with a tag of its own "
        f"write 'ollama:{model}', for any other server gateway=..."
    )


def open_gateway(
    name: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    http_client: HttpClient | None = None,
    settings: HttpSettings | None = None,
) -> HttpGateway:
    """Make the gateway to a provider.

    Args:
        name: A name of ``PROVIDERS``.
        base_url: Another base URL than the provider's own.
        api_key: The key; by default that of the environment.
        http_client: See ``HttpGateway``.
        settings: See ``HttpGateway``.

    Returns:
        The gateway.

    Raises:
        MissingKey: The provider wants a key, and there is none.
        ConfigurationError: There is no base URL, or the key cannot stand in a header.
    """
    provider = PROVIDERS[name]
    url = base_url or _url(provider)
    if not url:
        where = f" or set {provider.urls[0]}" if provider.urls else ""
        raise ConfigurationError(
            f"{name} has no URL of its own; give LLMBroker(base_url=...){where}"
        )
    key = api_key if api_key is not None else _first(provider.keys)
    # Behind a URL of the user's own may be a server that wants none.
    if not key and provider.needs_key and base_url is None:
        raise MissingKey(
            f"{name} wants an API key: set {' or '.join(provider.keys)}, or give "
            "LLMBroker(api_key=...)"
        )
    endpoint = Endpoint(
        name=name,
        base_url=url,
        codec=provider.codec,
        key_header=provider.key_header,
        key_format=provider.key_format,
    )
    return HttpGateway(
        endpoint, api_key=key, http_client=http_client, settings=settings
    )


def _first(names: tuple[str, ...]) -> str:
    """Return the first of these environment variables that says something."""
    return next((os.environ[n].strip() for n in names if os.environ.get(n)), "")


def _url(provider: Provider) -> str:
    """Return the base URL, from the environment if that has another."""
    told = _first(provider.urls)
    if not told:
        return provider.url
    if "OLLAMA_HOST" in provider.urls:
        return ollama_url(told)
    told = told.rstrip("/")
    return told if told.endswith(provider.url_path) else told + provider.url_path


def ollama_url(host: str) -> str:
    """Read what OLLAMA_HOST says, in the forms that Ollama takes.

    Args:
        host: A host, a port, or both, with or without a scheme.

    Returns:
        The base URL.

    Raises:
        ConfigurationError: It is no address.
    """
    has_scheme = "://" in host
    try:
        parts = urlsplit(host if has_scheme else f"http://{host}")
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"OLLAMA_HOST is no address: {error}") from None
    if port is None:
        usual = {"http": 80, "https": 443}.get(parts.scheme, _OLLAMA_PORT)
        port = usual if has_scheme else _OLLAMA_PORT
    # A server listens on these addresses; a client has to name one.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104 - not bound to
        parts.hostname or "", parts.hostname or "localhost"
    )
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/')}"
