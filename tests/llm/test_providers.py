"""Models by name, and where their keys come from."""

import json
from typing import Any

import httpx
import pytest

from agentflow.llm import (
    ConfigurationError,
    HttpGateway,
    HttpSettings,
    LLMBroker,
    LLMError,
    MissingKey,
    OutputMode,
)
from agentflow.llm._providers import PROVIDERS, find_provider, ollama_url
from agentflow.testing import ScriptedGateway

CHAT = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}'
    b"\n\ndata: [DONE]\n\n"
)
OLLAMA = b'{"message":{"role":"assistant","content":"Hi"},"done":true}\n'


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS.values():
        for name in (*provider.keys, *provider.urls):
            monkeypatch.delenv(name, raising=False)


def network(body: bytes) -> tuple[httpx.AsyncClient, list[httpx.Request]]:
    """Make a client whose network answers with one body, and the list of what it saw."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=body)

    transport = httpx.MockTransport(handler)
    return httpx.AsyncClient(transport=transport), seen


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("openai:gpt-5", "openai", "gpt-5"),
        ("openai-responses:gpt-5", "openai-responses", "gpt-5"),
        ("anthropic:claude-x", "anthropic", "claude-x"),
        (
            "openrouter:deepseek/deepseek-r1:free",
            "openrouter",
            "deepseek/deepseek-r1:free",
        ),
        ("ollama:qwen3:32b", "ollama", "qwen3:32b"),
        ("mistral:mistral-large-latest", "mistral", "mistral-large-latest"),
        ("mistral:7b", "ollama", "mistral:7b"),
        ("llama3", "ollama", "llama3"),
        ("qwen3:32b", "ollama", "qwen3:32b"),
        ("qwen2.5:0.5b-instruct", "ollama", "qwen2.5:0.5b-instruct"),
        ("mixtral:8x7b", "ollama", "mixtral:8x7b"),
        ("gemma3n:e4b", "ollama", "gemma3n:e4b"),
        ("llama3:latest", "ollama", "llama3:latest"),
        ("phi3:mini-128k", "ollama", "phi3:mini-128k"),
        ("llava:v1.6", "ollama", "llava:v1.6"),
        ("some:fp16", "ollama", "some:fp16"),
        ("gpt-oss:120b-cloud", "ollama", "gpt-oss:120b-cloud"),
        ("hf.co/me/model-GGUF:Q4_K_M", "ollama", "hf.co/me/model-GGUF:Q4_K_M"),
        ("hf.co/me/model-GGUF:odd", "ollama", "hf.co/me/model-GGUF:odd"),
    ],
)
def test_a_name_says_who_is_asked(name: str, provider: str, model: str) -> None:
    """A word before the colon is a provider; a tag after it is Ollama's."""
    assert find_provider(name) == (provider, model)


def test_an_unknown_provider_is_refused() -> None:
    """The error lists the known ones and says what else may have been meant."""
    with pytest.raises(ConfigurationError) as caught:
        LLMBroker("antropic:claude-x")
    words = str(caught.value)
    assert "no provider 'antropic'" in words
    assert "anthropic, azure" in words
    assert "'ollama:antropic:claude-x'" in words


@pytest.mark.parametrize("name", ["", "openai:"])
def test_a_name_without_a_model_is_refused(name: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigurationError, match="names no model"):
        LLMBroker(name)


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.needs_key])
def test_a_missing_key_is_named_before_any_request(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable that may hold it."""
    if name.startswith("azure"):
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.azure.test")
    with pytest.raises(MissingKey, match=PROVIDERS[name].keys[0]):
        LLMBroker(f"{name}:m")


@pytest.mark.parametrize(
    ("name", "provider"), [(n, p) for n, p in PROVIDERS.items() if p.url]
)
async def test_every_provider_is_asked_at_its_own_url_with_its_key(
    name: str, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the header it wants, and nowhere else."""
    for variable in provider.keys[:1]:
        monkeypatch.setenv(variable, " sk-secret\n")
    client, seen = network(b"no answer")
    llm = LLMBroker(f"{name}:m", http_client=client)
    assert "sk-secret" not in repr(llm)
    assert llm.model == "m"
    assert llm.gateway.name == name
    with pytest.raises(LLMError):
        await llm.generate("hi")
    (request,) = seen
    assert str(request.url).startswith(provider.url)
    if provider.keys:
        told = request.headers[provider.key_header]
        assert told == provider.key_format.format(key="sk-secret")


async def test_a_plain_name_is_asked_of_the_local_ollama() -> None:
    """In its own format, without a key."""
    client, seen = network(OLLAMA)
    reply = await LLMBroker("qwen3:8b", http_client=client).generate("hi")
    assert str(reply) == "Hi"
    assert str(seen[0].url) == "http://localhost:11434/api/chat"
    assert json.loads(seen[0].content)["model"] == "qwen3:8b"
    assert "authorization" not in seen[0].headers


async def test_url_and_key_may_be_given() -> None:
    """They win over the provider's own."""
    client, seen = network(CHAT)
    llm = LLMBroker(
        "groq:m",
        base_url="http://proxy.test/v1",
        api_key="sk-mine",
        http_client=client,
        http_settings=HttpSettings(max_connections=3),
    )
    await llm.generate("hi")
    assert str(seen[0].url) == "http://proxy.test/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer sk-mine"
    assert isinstance(llm.gateway, HttpGateway)
    assert llm.gateway.concurrency == 3


async def test_a_url_of_one_s_own_needs_no_key() -> None:
    """The server behind it may want none."""
    client, seen = network(CHAT)
    url = "http://box.test/v1"
    await LLMBroker("openai:m", base_url=url, http_client=client).generate("hi")
    assert "authorization" not in seen[0].headers
    with pytest.raises(ConfigurationError, match="compatible has no URL of its own"):
        LLMBroker("compatible:m")
    with pytest.raises(ConfigurationError, match="or set AZURE_OPENAI_ENDPOINT"):
        LLMBroker("azure:m", api_key="k")


@pytest.mark.parametrize(
    ("setting", "model", "url"),
    [
        (
            "AZURE_OPENAI_ENDPOINT=https://me.openai.azure.com/",
            "azure:m",
            "https://me.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            "OPENAI_BASE_URL=http://proxy.test/v1/",
            "openai-responses:m",
            "http://proxy.test/v1/responses",
        ),
        ("OLLAMA_HOST=box:1234", "m", "http://box:1234/api/chat"),
    ],
)
async def test_the_environment_may_say_where(
    setting: str, model: str, url: str, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the provider's own tools read it."""
    monkeypatch.setenv(*setting.split("="))
    client, seen = network(b"no answer")
    with pytest.raises(LLMError):
        await LLMBroker(model, api_key="k", http_client=client).generate("hi")
    assert str(seen[0].url) == url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("box", "http://box:11434"),
        ("box:99", "http://box:99"),
        (":99", "http://localhost:99"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - not bound to
        ("[::]:99", "http://[::1]:99"),
        ("http://box", "http://box:80"),
        ("https://ollama.com/", "https://ollama.com:443"),
        ("https://box:99/ollama/", "https://box:99/ollama"),
        ("tcp://box", "tcp://box:11434"),
    ],
)
def test_the_address_of_ollama_has_many_forms(host: str, url: str) -> None:
    """All that Ollama itself takes."""
    assert ollama_url(host) == url


def test_an_address_that_is_none_is_refused() -> None:
    """The variable is named."""
    with pytest.raises(ConfigurationError, match="OLLAMA_HOST is no address"):
        ollama_url("box:many")


def test_a_gateway_brings_its_own_settings() -> None:
    """Nothing that is given beside it goes unheard."""
    gateway = ScriptedGateway([])
    assert LLMBroker("a:b:c", gateway=gateway).model == "a:b:c"
    with pytest.raises(ConfigurationError, match="takes no base_url"):
        LLMBroker("m", gateway=gateway, api_key="k")


async def test_the_way_to_an_object_may_be_set() -> None:
    """Whatever the provider is best at."""

    class Answer(dict[str, int]):
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object", "properties": {"n": {"type": "integer"}}}

        @classmethod
        def model_validate(cls, value: Any) -> "Answer":
            return cls(value)

    gateway = ScriptedGateway(['{"n": 1}'])
    llm = LLMBroker("m", gateway=gateway, output_mode=OutputMode.PROMPTED)
    assert await llm.generate_object("hi", Answer) == {"n": 1}
    assert gateway.requests[0].response_schema is None


def test_a_password_in_a_url_is_not_shown() -> None:
    """Neither in a repr nor in an error."""
    llm = LLMBroker("compatible:m", base_url="http://me:pass@box.test/v1?key=k")
    assert "http://box.test/v1" in repr(llm)
    assert "pass" not in repr(llm)
    assert "key=k" not in repr(llm)
