"""Recorded answers that nobody recorded: changed without meaning, and broken at random.

Recordings are a sample. What else may come is made of them: written in other ways, with
what other providers do differently, or spoilt. ``--hypothesis-profile=long`` makes 250
times as many, other ones each time.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any

import hypothesis
import pytest

from agentflow.llm import (
    Codec,
    ConfigurationError,
    LLMError,
    LLMMessage,
    Reply,
    Request,
    Role,
    ToolResult,
)
from agentflow.llm._providers import PROVIDERS
from tests.llm.corpus import Record, records, same
from tests.llm.mutations import Answer, Event, Style, broken, neutral, take_apart
from tests.llm.oddities import ALL, made_odd

pytestmark = pytest.mark.timeout(240)  # a busy machine takes many times as long

CODECS = {
    "openai.chat": "openai",
    "openai.responses": "openai-responses",
    "anthropic.messages": "anthropic",
    "gemini.generate": "gemini",
    "gemini.stream": "gemini",
    "ollama.chat": "ollama",
}
"""The provider whose codec reads each file of recordings."""

ROUNDS = max(1, hypothesis.settings().max_examples // 40)
PER_ANSWER = 2
FRESH = not hypothesis.settings().derandomize
Notes = Callable[[str, object], None]


@cache
def answers(name: str) -> list[tuple[Record, Answer]]:
    """Read the answers of one file, taken apart."""
    found = ((r, take_apart(r.body.decode())) for r in records(name))
    return [(record, answer) for record, answer in found if answer.events]


def chances(record: Record, purpose: str) -> Iterator[random.Random]:
    """Give chances, the same every time unless fresh ones are wanted."""
    for count in range(ROUNDS):
        seed = None if FRESH else f"{purpose} {record.id} {count}"
        yield random.Random(seed)


def read(name: str, record: Record, body: bytes, *, cuts: random.Random) -> Any:
    """Decode a body that comes in pieces; anything but a typed error is a failure."""
    codec: Codec = PROVIDERS[CODECS[name]].codec
    if not 200 <= record.status < 300:
        return codec.error(record.status, record.headers, body)
    decoder = codec.decoder()
    longest = cuts.choice((1, 7, 100, 5000) if len(body) < 2000 else (60, 5000))
    at = 0
    try:
        while at < len(body) and not decoder.done:
            size = cuts.randint(1, longest)
            decoder.feed(body[at : at + size])
            at += size
        return decoder.finish()
    except LLMError as error:
        return error


def meaning(outcome: Reply | LLMError) -> object:
    """Return what of an outcome means something."""
    if isinstance(outcome, LLMError):
        return type(outcome)
    calls = [(c.name, c.parsed() or c.arguments) for c in outcome.tool_calls]
    return (
        outcome.text,
        outcome.reasoning,
        outcome.refusal,
        calls,
        outcome.stop,
        outcome.raw_stop,
        outcome.usage,
    )


@pytest.mark.parametrize("name", CODECS)
def test_another_way_to_write_it_changes_nothing(
    name: str, record_property: Notes
) -> None:
    """Unknown keys, comments, line ends, the order of keys, and where it is cut."""
    seen = Counter[str]()
    for record, answer in answers(name):
        meant = meaning(read(name, record, record.body, cuts=random.Random(0)))
        for chance in chances(record, "neutral"):
            body = neutral(answer, chance)
            assert meaning(read(name, record, body, cuts=chance)) == meant, (
                record.id,
                body,
            )
            seen[answer.kind] += 1
    record_property("changed", dict(seen))
    assert seen


STREAMS = [name for name in CODECS if name != "gemini.generate"]


@pytest.mark.parametrize("name", STREAMS)
def test_what_other_providers_do_differently_changes_nothing(
    name: str, record_property: Notes
) -> None:
    """Two of the oddities with each stream, and all of them in the long run."""
    seen = Counter[str]()
    for record, answer in answers(name):
        meant = meaning(read(name, record, record.body, cuts=random.Random(0)))
        for chance in chances(record, "odd"):
            names = chance.sample(sorted(ALL), len(ALL))
            made = ((n, made_odd(answer, ALL[n], chance)) for n in names)
            changed = ((n, odd) for n, odd in made if odd != answer)
            for oddity, odd in islice(changed, PER_ANSWER):
                found = read(name, record, Style().write(odd), cuts=chance)
                assert meaning(found) == meant, (record.id, oddity)
                seen[oddity] += 1
    record_property("oddities", dict(seen))
    assert seen


def goes_back(codec: Codec, reply: Reply) -> None:
    """Check that a reply may be part of the next request, whatever it holds."""
    results = [
        ToolResult(call_id=c.id, name=c.name, content="x") for c in reply.tool_calls
    ]
    messages = [LLMMessage(content="hi"), reply.message]
    if results:
        messages.append(LLMMessage(role=Role.TOOL, content=results))
    try:
        call = codec.encode(Request(model="m", messages=messages))
    except ConfigurationError:
        return
    assert json.loads(json.dumps(dict(call.json)))


@cache
def strangers() -> list[Event]:
    """Collect events of all the APIs."""
    return [e for n in CODECS for _, answer in answers(n)[::9] for e in answer.events]


@pytest.mark.parametrize("name", CODECS)
def test_a_broken_answer_ends_in_a_reply_or_a_typed_error(
    name: str, record_property: Notes
) -> None:
    """In the same one wherever its bytes are cut, and the reply may go back."""
    seen = Counter[str]()
    for record, answer in answers(name):
        for chance in chances(record, "broken"):
            body = broken(answer, strangers(), chance)
            one = read(name, record, body, cuts=chance)
            assert isinstance(one, Reply | LLMError)
            assert same(one, read(name, record, body, cuts=chance)), (record.id, body)
            if isinstance(one, Reply):
                goes_back(PROVIDERS[CODECS[name]].codec, one)
            seen[type(one).__name__] += 1
    record_property("broken", dict(seen))
    assert seen
