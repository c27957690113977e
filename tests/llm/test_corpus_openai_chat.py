"""Chat Completions as recorded from seventeen providers."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from agentflow.llm import IncompleteStream, LLMError, Reply
from agentflow.llm.providers import ChatCodec
from tests.llm.corpus import (
    Record,
    differences,
    outcome,
    outcome_of_cuts,
    records,
    same,
)

pytestmark = pytest.mark.timeout(240)  # a busy machine takes many times as long

CODEC = ChatCodec()


def _list_content(record: Record, _: Reply) -> bool:
    return isinstance((record.sdk or {})["text"], list)


def _usage(record: Record) -> dict[str, Any]:
    return (record.sdk or {}).get("usage") or {}


def _never(_: Record, __: Reply) -> bool:
    return False


def _not_added_up(record: Record, reply: Reply) -> bool:
    theirs = [t["id"] for t in (record.sdk or {})["tool_calls"]]
    ours = [t.id for t in reply.tool_calls]
    return all(
        (a or "").startswith(b) or b in (a or "") or a is None or set(a) == {b}
        for a, b in zip(theirs, ours, strict=True)
    )


def _reasons_beside(record: Record, reply: Reply) -> bool:
    beside: int = reply.usage.output_tokens - _usage(record)["out"]
    return beside == reply.usage.reasoning_tokens


EXCEPTIONS: dict[str, tuple[str, Callable[[Record, Reply], bool]]] = {
    "text": ("Mistral's content is a list; we take the text out of it", _list_content),
    "tool calls": (
        "an old function_call is a tool call to us; a name sent twice is no longer name",
        lambda r, _: b'"function_call"' in r.body or b"llm_version" in r.body,
    ),
    "ids": (
        "the SDK adds up an id that is sent again, and leaves one out that is missing",
        lambda r, reply: b'"function_call"' in r.body or _not_added_up(r, reply),
    ),
    "input": (
        "the SDK's stream drops usage outside of the places it knows",
        lambda r, _: (
            (r.sdk or {}).get("usage") is None and b'"prompt_tokens"' in r.body
        ),
    ),
    "output": (
        "the SDK's stream drops usage; xAI counts reasoning beside the output, we in it",
        lambda r, reply: not _usage(r) or _reasons_beside(r, reply),
    ),
    "cached": (
        "the SDK knows one name for it, of half a dozen",
        lambda r, _: not _usage(r).get("cached"),
    ),
}
"""What may differ from the SDK, why, and how to tell that this is the reason."""


def test_every_answer_decodes_the_same_however_it_is_cut(
    record_property: Callable[[str, object], None],
) -> None:
    """Each record gives a reply or a typed error, whole and in random pieces."""
    seen = Counter[str]()
    for record in records("openai.chat"):
        whole = outcome(CODEC, record)
        again = outcome_of_cuts(CODEC, record)
        assert same(whole, again), f"{record.id}: {whole!r} != {again!r}"
        seen[type(whole).__name__] += 1
    record_property("outcomes", dict(seen))
    assert seen["Reply"] > 0


def test_replies_equal_what_the_official_sdk_makes_of_them(
    record_property: Callable[[str, object], None],
) -> None:
    """Text, refusal, tool calls, stop and usage; the exceptions have a reason each."""
    compared = Counter[str]()
    for record in records("openai.chat"):
        reply = outcome(CODEC, record)
        if (
            not isinstance(reply, Reply)
            or record.sdk is None
            or "text" not in record.sdk
        ):
            continue
        different = differences(reply, record.sdk)
        for name in different:
            reason, applies = EXCEPTIONS.get(name, ("none", _never))
            assert applies(record, reply), f"{record.id}: {name} differs ({reason})"
            compared[f"{name} differs"] += 1
        compared["equal" if not different else "excepted"] += 1
    record_property("compared", dict(compared))
    assert 10 * compared["excepted"] < compared["equal"]


def test_errors_are_errors_to_the_official_sdk_too() -> None:
    """What is an error to us is one to the SDK, or it saw nothing in the answer."""
    for record in records("openai.chat"):
        error = outcome(CODEC, record)
        if isinstance(error, LLMError) and record.sdk and "error" not in record.sdk:
            empty = not record.sdk.get("text") and not record.sdk.get("tool_calls")
            assert empty, f"{record.id}: {error}"


def test_errors_say_what_the_provider_said() -> None:
    """Status, and words or code, are there in every error that has a body."""
    for record in records("openai.chat"):
        error = outcome(CODEC, record)
        if isinstance(error, LLMError) and not isinstance(error, IncompleteStream):
            assert error.status == record.status, record.id
            if record.body.strip() not in {b"", b"{}"}:
                assert error.info.message or error.code, record.id


def test_a_record_that_is_cut_off_is_an_error() -> None:
    """A stream without its end ends in IncompleteStream, with what came."""
    streams = 0
    for record in records("openai.chat"):
        whole = outcome(CODEC, record)
        if isinstance(whole, LLMError) or not record.body.startswith(b"data:"):
            continue
        streams += 1
        decoder = CODEC.decoder()
        decoder.feed(record.body[: len(record.body) // 4])
        with pytest.raises(IncompleteStream) as caught:
            decoder.finish()
        partial = caught.value.partial
        assert partial is None or whole.text.startswith(partial.text), record.id
    assert streams > 0
