"""Traces to look at: made up, but line for line as a session writes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]

HEADER: Line = {
    "record": "Header",
    "format": 1,
    "agentflow": "0.1.0",
    "wall": 1_700_000_000.0,
    "time": 50.0,
    "pid": 1,
}
AGENTS = ("Splitter", "Worker", "Joiner")


def event(
    kind: str, flow: str, parent: str | None, *, number: int, **fields: Any
) -> Line:
    """Write an event in full."""
    return {
        "type": f"shop:{kind}",
        "version": 1,
        "id": f"{flow}-{number}",
        "correlation_id": flow,
        "parent_id": parent,
        "source": "main" if parent is None else "shop:Agent",
        "source_kind": "name",
        "fields": fields,
    }


class Writer:
    """Writes the records of one flow, one after the other."""

    def __init__(self, flow: str, start: float) -> None:
        self.flow = flow
        self.now = start
        self.lines: list[Line] = []
        self._numbers = 0

    def tell(self, record: str, after: float = 0.001, **fields: Any) -> None:
        """Write a record."""
        self.now += after
        place = {"time": self.now, "correlation_id": self.flow}
        self.lines.append({"record": record, **place, **fields})

    def accept(
        self, kind: str, parent: str | None, agents: list[str], **fields: Any
    ) -> Line:
        """Write that an event was accepted; return the reference to it."""
        self._numbers += 1
        whole = event(kind, self.flow, parent, number=self._numbers, **fields)
        self.tell("EventAccepted", event=whole, agents=agents)
        return {"id": whole["id"], "type": whole["type"]}

    def call(self, event: Line, agent: str, answer: str) -> None:
        """Write a question to a model and its answer."""
        call: Line = {"event": event, "agent": agent, "call": f"{event['id']}-call"}
        call |= {"provider": "local", "model": "tiny"}
        self.tell("LLMCallStarted", **call, messages=[message("user", "?")])
        self.tell(
            "LLMCallFinished",
            0.02,
            **call,
            duration=0.02,
            attempts=1,
            usage={"input_tokens": 100, "output_tokens": 10, "cached_tokens": 40},
            stop="end",
            message=message("assistant", answer),
        )


def message(role: str, *said: str | Line) -> Line:
    """Write a message of texts and other parts."""
    part = "agentflow.llm._messages:TextPart"
    content = [
        {"$type": part, "text": one, "blob": None} if isinstance(one, str) else one
        for one in said
    ]
    kind = "agentflow.llm._messages:LLMMessage"
    return {"$type": kind, "role": role, "content": content, "blob": None}


def error(kind: str, text: str, **more: Any) -> Line:
    """Write an exception."""
    shown = f"Traceback (most recent call last):\n  File 'shop.py'\n{kind}: {text}\n"
    return {
        "type": f"builtins:{kind}",
        "message": text,
        "notes": ["agent 'Worker'"],
        "traceback": shown,
    } | more


def flow(
    name: str, start: float, *, parts: int = 12, fails: bool = False
) -> list[Line]:
    """Write a flow: a text is split, each part worked on, and all joined."""
    to = Writer(name, start)
    to.tell("FlowStarted")
    text = to.accept("TextEvent", None, ["Splitter"], text=f"the text of {name}")
    to.tell("HandlerStarted", event=text, agent="Splitter", attempt=1)
    found = [
        to.accept("PartEvent", text["id"], ["Worker"], part=n) for n in range(parts)
    ]
    to.tell("HandlerFinished", event=text, agent="Splitter", duration=0.01)
    for n, part in enumerate(found):
        to.tell("HandlerStarted", event=part, agent="Worker", attempt=1)
        to.call(part, "Worker", f"answer {n}")
        if fails and n == parts - 1:
            break
        done = to.accept("DoneEvent", part["id"], ["Joiner"], part=n)
        to.tell("HandlerFinished", event=part, agent="Worker", duration=0.03)
        to.tell("HandlerStarted", event=done, agent="Joiner", attempt=1)
        to.tell("HandlerFinished", event=done, agent="Joiner", duration=0.001)
    outcome: Line = {"outcome": "finished", "reason": ""}
    if fails:
        why: Line = {"error": error("ValueError", f"no answer in {name}")}
        why |= {"attempt": 1, "consequence": "fail flow", "retry_in": None}
        to.tell("HandlerFailed", event=found[-1], agent="Worker", duration=0.02, **why)
        outcome = {"outcome": "failed", "reason": "Worker raised ValueError"}
    to.tell("FlowEnded", **outcome, events=2 * parts + 1, duration=to.now - start)
    return to.lines


def session(flows: int, *, parts: int = 12, failing: int = 7) -> Iterator[Line]:
    """Write many flows, a little apart from each other; every so often one fails."""
    yield HEADER
    for n in range(flows):
        fails = n % failing == failing - 1
        yield from flow(f"flow-{n:04}", 50 + n * 0.05, parts=parts, fails=fails)


def line(record: Line) -> str:
    """Write a record as a line of a file."""
    return json.dumps(record)


def write(path: Path, lines: Iterator[Line] | list[Line]) -> Path:
    """Write a trace file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line(record) + "\n" for record in lines)
    return path
