"""Gemini as recorded, at its own API and at Vertex AI."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from agentflow.llm import (
    IncompleteStream,
    LLMError,
    ProviderPart,
    Reply,
    Request,
)
from agentflow.llm.providers.gemini import GeminiCodec
from tests.llm.corpus import Record, outcome, outcome_of_cuts, records, same

CODEC = GeminiCodec()
Property = Callable[[str, object], None]

STOPS = {1: "STOP", 2: "MAX_TOKENS"}
"""Finish reasons by number, as recorded from clients that ask for numbers."""


def all_records() -> Iterator[Record]:
    """Read both files."""
    yield from records("gemini.generate")
    yield from records("gemini.stream")


def renamed(record: Record, seed: int) -> Record:
    """Give a record another id, and so other cuts."""
    return Record({**record.fields, "id": f"{record.fields['id']}-{seed}"}, record.sdk)


def chunks_of(record: Record) -> list[dict[str, Any]]:
    """Read the responses of a body, in whatever framing."""
    text = record.body.decode()
    if text.lstrip()[:1] in {"{", "["}:
        body: Any = json.loads(text)
        return body if text.lstrip()[0] == "[" else [body]
    lines = text.replace("\r\n", "\n").split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def put(root: dict[str, Any], path: str, value: Any) -> None:
    """Put a value, or the next piece of a text, at a JSON path."""
    steps = [int(n) if n else k for k, n in re.findall(r"\.(\w+)|\[(\d+)\]", path)]
    here: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fresh: Any = [] if isinstance(following, int) else {} if following else ""
        if step == 0 or (isinstance(step, int) and step == len(here)):
            here += [fresh] * (len(here) == step)
        elif isinstance(step, str):
            here.setdefault(step, fresh)
        if following is None:
            here[step] += value
        here = here[step]


def read(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Read responses in the plainest way there is."""
    said: dict[str, Any] = {
        "text": "",
        "reasoning": "",
        "calls": [],
        "ids": [],
        "other": 0,
        "signatures": [],
        "stop": None,
        "usage": {},
    }
    for chunk in chunks:
        said["usage"] |= chunk.get("usageMetadata", {})
        blocked = chunk.get("promptFeedback", {}).get("blockReason")
        said["stop"] = blocked or said["stop"]
        for candidate in chunk.get("candidates", []):
            for part in candidate.get("content", {}).get("parts", []):
                read_part(said, part)
            word = candidate.get("finishReason")
            said["stop"] = STOPS.get(word, word) or said["stop"]
    return said


def read_part(said: dict[str, Any], part: dict[str, Any]) -> None:
    """Read one part."""
    if "thoughtSignature" in part:
        said["signatures"].append(part["thoughtSignature"])
    call = part.get("functionCall")
    if "text" in part:
        said["reasoning" if part.get("thought") else "text"] += part["text"]
    elif call is not None:
        if "name" in call:
            said["calls"].append((call["name"], dict(call.get("args", {}))))
            said["ids"].append(call.get("id"))
        for piece in call.get("partialArgs", []):
            put(said["calls"][-1][1], piece["jsonPath"], piece["stringValue"])
    elif part.keys() - {"thought", "thoughtSignature"}:
        said["other"] += 1


def signatures_of(reply: Reply) -> list[Any]:
    """List the signatures that would go back."""
    blobs = [getattr(p, "blob", None) for p in reply.message.content]
    raws = [b.raw for b in blobs if b is not None]
    return [raw["thoughtSignature"] for raw in raws if "thoughtSignature" in raw]


def test_every_answer_decodes_the_same_however_it_is_cut(
    record_property: Property,
) -> None:
    """Each record gives a reply or a typed error, whole and in random pieces."""
    seen = Counter[str]()
    for record in all_records():
        whole = outcome(CODEC, record)
        for seed in range(3):
            again = outcome_of_cuts(CODEC, renamed(record, seed))
            assert same(whole, again), f"{record.id}: {whole!r} != {again!r}"
        seen[f"{record.fields['provider']} {type(whole).__name__}"] += 1
    record_property("counts", dict(seen))
    assert seen["gemini Reply"] > 0


def test_replies_equal_what_the_recorded_json_says(record_property: Property) -> None:
    """Text, thoughts, calls, signatures, stop and usage, by a reader of its own."""
    compared = 0
    for record in all_records():
        reply = outcome(CODEC, record)
        if not isinstance(reply, Reply):
            assert record.status >= 400, record.id
            continue
        said = read(chunks_of(record))
        count = Counter[str]({
            k: v for k, v in said["usage"].items() if isinstance(v, int)
        })
        usage = reply.usage
        assert reply.text == said["text"], record.id
        assert reply.reasoning == said["reasoning"], record.id
        calls = [(c.name, c.parsed()) for c in reply.tool_calls]
        assert calls == said["calls"], record.id
        for call, given in zip(reply.tool_calls, said["ids"], strict=True):
            assert call.id == given or (given is None and call.id), record.id
        others = [p for p in reply.message.content if isinstance(p, ProviderPart)]
        assert len(others) == said["other"], record.id
        assert signatures_of(reply) == said["signatures"], record.id
        assert reply.raw_stop == said["stop"], record.id
        assert usage.cached_tokens == count["cachedContentTokenCount"], record.id
        if count["promptTokenCount"]:
            assert usage.total_tokens == count["totalTokenCount"], record.id
        compared += 1
    record_property("equal", compared)
    assert compared > 0


def test_errors_say_what_the_provider_said(record_property: Property) -> None:
    """Status, code and words stand in each error, and a bad key is told apart."""
    errors = Counter[str]()
    for record in all_records():
        error = outcome(CODEC, record)
        if isinstance(error, LLMError):
            assert error.status == record.status, record.id
            assert error.info.message, record.id
            assert error.code, record.id
            bad_key = b"API_KEY_INVALID" in record.body
            assert (error.code == "API_KEY_INVALID") == bad_key, record.id
            errors[type(error).__name__] += 1
    record_property("errors", dict(errors))
    assert errors["AuthenticationFailed"] > 0


def test_all_parts_of_an_answer_go_back_as_they_came(record_property: Property) -> None:
    """The reply of a whole body, sent back, holds the parts it held."""
    parts = 0
    for record in records("gemini.generate"):
        reply = outcome(CODEC, record)
        if not isinstance(reply, Reply) or reply.refusal:
            continue
        request = Request(model="gemini-3", messages=(reply.message,))
        sent: Any = CODEC.encode(request).json["contents"]
        candidate = json.loads(record.body)["candidates"][0]
        theirs = [canonical(p) for p in candidate.get("content", {}).get("parts", [])]
        ours: Any = sent[0]["parts"] if sent else []
        assert ours == joined([p for p in theirs if p != {"text": ""}]), record.id
        parts += len(theirs)
    record_property("parts", parts)
    assert parts > 0


def test_a_stream_that_is_cut_off_is_an_error(record_property: Property) -> None:
    """Without its finish reason, a stream gives IncompleteStream with what had come."""
    cut = 0
    for record in records("gemini.stream"):
        whole = outcome(CODEC, record)
        if isinstance(whole, Reply) and record.body.startswith(b"data:"):
            decoder = CODEC.decoder()
            decoder.feed(record.body[: record.body.rfind(b"data:")])
            try:
                reply = decoder.finish()
            except IncompleteStream as error:
                cut += 1
                text = error.partial.text if error.partial else ""
                assert whole.text.startswith(text), record.id
            else:
                # Only a usage was cut off.
                assert reply.text == whole.text, record.id
    record_property("cut", cut)
    assert cut > 0


def canonical(part: dict[str, Any]) -> dict[str, Any]:
    """Leave out marks that say nothing."""
    written = {k: v for k, v in part.items() if v not in (False, None)}
    call = written.get("functionCall")
    if call is not None:
        written["functionCall"] = {"args": {}, **call}
    result = written.get("functionResponse")
    if result is not None and "parts" in result:
        parts = [canonical(p) for p in result["parts"]]
        written["functionResponse"] = {**result, "parts": parts}
    data = written.get("inlineData")
    if data is not None:
        plain = data["data"].replace("-", "+").replace("_", "/")
        written["inlineData"] = {**data, "data": plain}
    return written


def joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join texts that follow each other, as a stream would have been."""
    written: list[dict[str, Any]] = []
    for part in parts:
        if written and part.keys() == written[-1].keys() and part.keys() <= {"text"}:
            written[-1]["text"] += part["text"]
        else:
            written.append({**part})
    return written
