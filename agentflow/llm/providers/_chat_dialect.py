"""How the servers that speak Chat Completions differ, as data."""

from collections.abc import Mapping
from typing import Final

import attrs

from agentflow.llm._request import OutputMode


@attrs.frozen(kw_only=True)
class ChatDialect:
    """One provider's way of speaking Chat Completions; the defaults are OpenAI's.

    Attributes:
        name: Name of the dialect; what it wants back is sent to no other.
        path: Path below the base URL.
        max_tokens: Name of the field that limits the answer.
        seed: Name of the field for the seed.
        required: The word for "must call some tool".
        names_tools: True if the tool that must be called can be named; else no other is
            offered.
        tuple_items: See ``with_tuples``.
        call_ids: Pattern of the ids of calls it takes; others, which another provider
            made, are written as one of these.
        include_usage: True if usage has to be asked for; False where asking is refused.
        sends_reasoning: True if reasoning goes back with the next turn.
        effort: Name of the field for the effort of reasoning.
        output_mode: How it is best brought to answer with an object.
        extra: Fields every request to it needs.
    """

    name: str = "openai"
    path: str = "/chat/completions"
    max_tokens: str = "max_completion_tokens"
    seed: str = "seed"
    required: str = "required"
    names_tools: bool = True
    tuple_items: bool = True
    call_ids: str = ".{1,40}"
    include_usage: bool = True
    sends_reasoning: bool = True
    effort: str = "reasoning_effort"
    output_mode: OutputMode = OutputMode.NATIVE
    extra: Mapping[str, str | bool | int] = attrs.field(
        factory=dict[str, str | bool | int]
    )

    @property
    def api(self) -> str:
        """Name of the wire format together with the dialect."""
        return f"openai-chat/{self.name}"


_OLDER: Final = ChatDialect(max_tokens="max_tokens")
"""OpenAI's older field names, which most others follow."""

COMPATIBLE: Final = attrs.evolve(
    _OLDER, name="compatible", names_tools=False, tuple_items=False
)
"""Any server: what the least of them take, and the others take as well."""

GROQ: Final = ChatDialect(name="groq", output_mode=OutputMode.TOOL)
"""Only some of Groq's models take a schema for the answer."""

OPENROUTER: Final = ChatDialect(
    name="openrouter", max_tokens="max_tokens", output_mode=OutputMode.TOOL
)
"""OpenRouter drops a schema silently where the provider behind it has no use for one."""

DEEPSEEK: Final = ChatDialect(
    name="deepseek", max_tokens="max_tokens", output_mode=OutputMode.TOOL
)
"""DeepSeek takes no schema for the answer."""

MISTRAL: Final = ChatDialect(
    name="mistral",
    max_tokens="max_tokens",
    seed="random_seed",
    required="any",
    include_usage=False,
    call_ids="[a-zA-Z0-9]{9}",
)
"""Mistral sends usage unasked."""

TOGETHER: Final = attrs.evolve(_OLDER, name="together")
XAI: Final = ChatDialect(name="xai")
AZURE: Final = ChatDialect(name="azure")
CEREBRAS: Final = ChatDialect(name="cerebras")
PERPLEXITY: Final = attrs.evolve(_OLDER, name="perplexity", include_usage=False)
FIREWORKS: Final = attrs.evolve(_OLDER, name="fireworks")
HUGGINGFACE: Final = attrs.evolve(
    _OLDER, name="huggingface", output_mode=OutputMode.TOOL
)
ALIBABA: Final = attrs.evolve(_OLDER, name="alibaba", output_mode=OutputMode.TOOL)
LLAMACPP: Final = attrs.evolve(COMPATIBLE, name="llama.cpp")
"""llama.cpp reads the name of a tool that must be called as "may call any", and of a
tuple's items and places the former only."""

LMSTUDIO: Final = attrs.evolve(COMPATIBLE, name="lmstudio")
"""LM Studio, which is llama.cpp inside, refuses such a name."""

VLLM: Final = attrs.evolve(_OLDER, name="vllm", tuple_items=False)
