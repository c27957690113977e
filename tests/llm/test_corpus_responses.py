"""Answers of the Responses API as recorded from several servers."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from agentflow.llm import (
    IncompleteStream,
    LLMError,
    ReasoningDelta,
    Reply,
    Request,
    TextDelta,
    ToolCallDelta,
)
from agentflow.llm.providers.openai_responses import ResponsesCodec
from tests.llm.corpus import Record, outcome, outcome_of_cuts, records, same
from tests.llm.recorded import arguments_of, mangled_body

pytestmark = pytest.mark.timeout(240)  # a busy machine takes many times as long

CODEC = ResponsesCodec()
SEEDS = 3


def differences(reply: Reply, sdk: dict[str, Any]) -> set[str]:
    """Name what differs from what the official SDK made of the same bytes."""
    calls = sdk["tool_calls"]
    usage = sdk["usage"]
    pairs = {
        "text": (sdk["text"], reply.text),
        "calls": (
            [(x["id"], x["name"], x["arguments"]) for x in calls],
            [(x.id, x.name, x.arguments) for x in reply.tool_calls],
        ),
        "stop": (sdk["incomplete"] or sdk["status"], reply.raw_stop),
        "input": (usage["in"], reply.usage.input_tokens),
        "output": (usage["out"], reply.usage.output_tokens),
        "cached": (usage["cached"] or 0, reply.usage.cached_tokens),
    }
    return {name for name, (theirs, ours) in pairs.items() if theirs != ours}


def _lists_nothing_last(record: Record) -> bool:
    return record.fields["provider"] == "codex" and not (record.sdk or {})["items"]


def _holds_several(record: Record) -> bool:
    return record.body.count(b'"type":"response.completed"') > 1


EXCEPTIONS: tuple[tuple[str, set[str], Callable[[Record], bool]], ...] = (
    (
        "Codex's last event lists no items; the SDK reads no other, we read all",
        {"text", "calls"},
        _lists_nothing_last,
    ),
    (
        "the recorder put several answers into one; the SDK takes the last, we the first",
        {"text", "calls", "input", "output"},
        _holds_several,
    ),
)
"""Why something may differ from the SDK, what may, and how to tell that this is it."""


def test_every_answer_decodes_the_same_however_it_is_cut(
    record_property: Callable[[str, object], None],
) -> None:
    """Each record gives a reply or a typed error, whole and in random pieces."""
    seen = Counter[str]()
    for record in records("openai.responses"):
        whole = outcome(CODEC, record)
        for seed in range(SEEDS):
            fields = {**record.fields, "id": f"{record.id} {seed}"}
            again = outcome_of_cuts(CODEC, attrs.evolve(record, fields=fields))
            assert same(whole, again), f"{record.id}: {whole!r} != {again!r}"
        seen[type(whole).__name__] += 1
    record_property("outcomes", dict(seen))
    assert seen["Reply"] > 0


def test_replies_equal_what_the_official_sdk_makes_of_them(
    record_property: Callable[[str, object], None],
) -> None:
    """Text, tool calls, stop and usage; the exceptions have a reason each."""
    compared = Counter[str]()
    for record in records("openai.responses"):
        reply = outcome(CODEC, record)
        if not isinstance(reply, Reply) or not record.sdk or "text" not in record.sdk:
            continue
        different = differences(reply, record.sdk)
        reasons = [
            reason
            for reason, names, applies in EXCEPTIONS
            if different and different <= names and applies(record)
        ]
        assert reasons or not different, f"{record.id}: {different}"
        compared[reasons[0] if reasons else "equal"] += 1
    record_property("compared", dict(compared))
    assert compared.total() < 1.1 * compared["equal"]


def test_errors_are_errors_to_the_official_sdk_and_the_other_way_round() -> None:
    """And they say status, words or code."""
    for record in records("openai.responses"):
        error = outcome(CODEC, record)
        if record.sdk is not None:
            assert isinstance(error, LLMError) == ("error" in record.sdk), record.id
        if isinstance(error, LLMError):
            assert error.status == record.status, record.id
            assert error.info.message or error.code, record.id


def test_spoilt_answers_are_replies_or_typed_errors() -> None:
    """Keys gone, nonsense in their place: a reply that can go back, or an error."""
    ends = Counter[str]()
    for record in records("openai.responses"):
        chance = random.Random(record.id)
        decoder = CODEC.decoder()
        try:
            decoder.feed(mangled_body(record.body, chance))
            reply = decoder.finish()
        except LLMError as error:
            ends[type(error).__name__] += 1
        else:
            CODEC.encode(Request(model="m", messages=[reply.message]))
            ends["Reply"] += 1
    assert ends["Reply"] > 0


def test_nothing_of_an_item_is_dropped() -> None:
    """Each item of a last event is in the reply, with all it says."""
    for record in records("openai.responses"):
        reply = outcome(CODEC, record)
        if isinstance(reply, LLMError) or _holds_several(record):
            continue
        if not record.body.lstrip().startswith(b"{"):
            continue
        told = repr(reply)
        for item in arguments_of(record.body.decode())["output"]:
            for key, value in item.items():
                assert (
                    key in {"arguments", "content"}
                    or value is None
                    or (repr(value) in told)
                ), f"{record.id}: {item['type']}.{key}"


def test_the_pieces_add_up_to_the_answer() -> None:
    """Text and arguments of the deltas are those of the reply."""
    streams = Counter[bool]()
    for record in records("openai.responses"):
        whole = outcome(CODEC, record)
        if isinstance(whole, LLMError) or not record.body.startswith(b"event:"):
            continue
        deltas = CODEC.decoder().feed(record.body)
        text = "".join(x.text for x in deltas if isinstance(x, TextDelta))
        thought = "".join(x.text for x in deltas if isinstance(x, ReasoningDelta))
        calls = defaultdict[str, str](str)
        for delta in deltas:
            if isinstance(delta, ToolCallDelta):
                calls[delta.id] += delta.arguments
        streams[
            text == whole.text
            and thought == whole.reasoning
            and calls == {x.id: x.arguments for x in whole.tool_calls}
        ] += 1
    # A few were written by hand: their last event says another text than their pieces.
    assert 10 * streams[False] < streams[True]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_record_that_is_cut_off_is_an_error(share: float) -> None:
    """A stream without its end is IncompleteStream, with what came of the text."""
    streams = 0
    for record in records("openai.responses"):
        end = record.body.find(b"response.completed")
        if isinstance(outcome(CODEC, record), LLMError) or end < 0:
            continue
        decoder = CODEC.decoder()
        deltas = decoder.feed(record.body[: int(end * share)])
        text = "".join(x.text for x in deltas if isinstance(x, TextDelta))
        with pytest.raises(IncompleteStream) as caught:
            decoder.finish()
        partial = caught.value.partial
        assert (partial.text if partial else "") == text, record.id
        streams += 1
    assert streams > 0
