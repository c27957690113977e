"""Recorded answers of real providers, where they are at hand.

They are not part of the project: they lie in ``../shared/corpus`` beside it, or where
``AGENTFLOW_CORPUS`` says.
"""

import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from agentflow.llm import Codec, LLMError, Reply
from agentflow.llm._codec import decode

_BESIDE = Path(__file__).parents[3] / "shared" / "corpus"


def corpus() -> Path:
    """Return where the recordings are; skip the test if they are nowhere."""
    root = Path(os.environ.get("AGENTFLOW_CORPUS") or _BESIDE)
    if not (root / "dev").is_dir():
        pytest.skip(f"no recordings at {root}; set AGENTFLOW_CORPUS to run this test")
    return root / "dev"


@attrs.frozen
class Record:
    """One recorded interaction, and what the official SDK made of it, if it was asked."""

    fields: dict[str, Any]
    sdk: dict[str, Any] | None

    @property
    def id(self) -> str:
        """Name the record."""
        return f"{self.fields['provider']} {self.fields['id']}"

    @property
    def request(self) -> Any:
        """Return the JSON that was sent; None if it is not known."""
        return self.fields["request"]["json"]

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return int(self.fields["response"]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the answer."""
        return {k.lower(): v for k, v in self.fields["response"]["headers"].items()}

    @property
    def body(self) -> bytes:
        """Return the body of the answer."""
        return str(self.fields["response"]["text"]).encode()


def records(name: str) -> Iterator[Record]:
    """Read the records of one file."""
    root = corpus()
    sdk: dict[str, dict[str, Any]] = {}
    with gzip.open(root / "expected.jsonl.gz") as lines:
        for entry in map(json.loads, lines):
            sdk[entry["id"]] = entry["sdk"]
    with gzip.open(root / f"{name}.jsonl.gz") as lines:
        for fields in map(json.loads, lines):
            yield Record(fields, sdk.get(fields["id"]))


def outcome(codec: Codec, record: Record) -> Reply | LLMError:
    """Decode an answer that is at hand; anything but a typed error is a failure."""
    try:
        return decode(codec, record.status, record.body, headers=record.headers)
    except LLMError as error:
        return error


def outcome_of_cuts(codec: Codec, record: Record) -> Reply | LLMError:
    """Decode an answer that comes in pieces, cut anywhere."""
    if not 200 <= record.status < 300:
        return codec.error(record.status, record.headers, record.body)
    cuts = random.Random(record.id)
    longest = cuts.choice((1, 7, 100, 5000) if len(record.body) < 5000 else (30, 5000))
    decoder = codec.decoder()
    body, at = record.body, 0
    try:
        while at < len(body) and not decoder.done:
            size = cuts.randint(1, longest)
            decoder.feed(body[at : at + size])
            at += size
        return decoder.finish()
    except LLMError as error:
        return error


def same(one: Reply | LLMError, other: Reply | LLMError) -> bool:
    """Tell whether two ways to cut an answer led to the same."""
    if isinstance(one, LLMError) and isinstance(other, LLMError):
        return type(one) is type(other) and one.args == other.args
    return one == other


def differences(reply: Reply, sdk: dict[str, Any]) -> set[str]:
    """Name what differs from what the official SDK made of the same bytes."""
    calls = [(t["id"], t["name"], t["arguments"]) for t in sdk["tool_calls"]]
    usage = sdk.get("usage") or {"in": 0, "out": 0, "cached": 0}
    pairs = {
        "text": (sdk["text"] or "", reply.text),
        "refusal": (sdk.get("refusal") or "", reply.refusal),
        "tool calls": (
            [c[1:] for c in calls],
            [(t.name, t.arguments) for t in reply.tool_calls],
        ),
        "ids": ([c[0] for c in calls], [t.id for t in reply.tool_calls]),
        "stop": (sdk["stop"] or None, reply.raw_stop),
        "input": (usage["in"], reply.usage.input_tokens),
        "output": (usage["out"], reply.usage.output_tokens),
        "cached": (usage["cached"] or 0, reply.usage.cached_tokens),
    }
    return {name for name, (theirs, ours) in pairs.items() if theirs != ours}
