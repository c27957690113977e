"""The format of Chrome's tracing: what Perfetto needs to open a trace."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio

from agentflow import AsyncDispatcher, BaseAsyncAgent, Event, Retry, Router
from agentflow.llm import LLMBroker, ToolCall
from agentflow.testing import ScriptedGateway
from agentflow.tracing import Tracer, chrome_trace, write_chrome_trace
from tests.fakes import Boom, Other, Ping, Pong, fail, failing_session, router_of

PHASES = {"X", "M", "i", "s", "f", "b", "e"}


async def three(event: Ping) -> list[Event]:
    """Emit three at once."""
    await anyio.sleep(1)
    return [Pong(source="three", n=n) for n in range(3)]


async def work(event: Pong) -> None:
    """Take longer for larger numbers."""
    await anyio.sleep(1 + event.n)


def entries_of(tracer: Tracer) -> list[dict[str, Any]]:
    """Return the entries of a trace, each checked for what its phase must have."""
    document: Any = json.loads(json.dumps(chrome_trace(tracer.records())))
    entries: list[dict[str, Any]] = document["traceEvents"]
    for entry in entries:
        assert entry["ph"] in PHASES
        assert isinstance(entry["name"], str)
        assert isinstance(entry["pid"], int)
        assert isinstance(entry["tid"], int)
        if entry["ph"] != "M":
            assert isinstance(entry["ts"], float)
    assert_nothing_overlaps(entries)
    assert_pairs(entries, "s", "f")
    assert_pairs(entries, "b", "e")
    return entries


def assert_nothing_overlaps(entries: list[dict[str, Any]]) -> None:
    """Check that the slices of a thread follow each other, and that it has a name."""
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for entry in entries:
        if entry["ph"] == "X":
            place = entry["pid"], entry["tid"]
            end = entry["ts"] + entry["dur"]
            lanes.setdefault(place, []).append((entry["ts"], end))
    names = {
        (e["pid"], e["tid"]): e["args"]["name"]
        for e in entries
        if e["name"] == "thread_name"
    }
    for place, slices in lanes.items():
        assert place in names
        slices.sort()
        for (_, end), (start, _) in pairwise(slices):
            assert start >= end


def assert_pairs(entries: list[dict[str, Any]], first: str, second: str) -> None:
    """Check that each arrow and each async slice has two ends, in order of time."""
    begins = {e["id"]: e["ts"] for e in entries if e["ph"] == first}
    ends = {e["id"]: e["ts"] for e in entries if e["ph"] == second}
    assert begins.keys() == ends.keys()
    assert all(begins[key] <= ends[key] for key in begins)


async def test_handlers_are_slices_in_lanes_of_their_agent() -> None:
    """(T3) Those that run at the same time stand in different lanes; arrows link them."""
    tracer = Tracer()
    router = router_of((Ping, three), (Pong, work))
    async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
        start = anyio.current_time()
        dispatcher.dispatch(Ping(source="t"))
    entries = entries_of(tracer)
    slices = [e for e in entries if e["ph"] == "X"]
    pings = [e for e in slices if e["name"] == "Ping"]
    pongs = [e for e in slices if e["name"] == "Pong"]
    assert [e["dur"] for e in pings] == [1e6]
    assert sorted(e["dur"] for e in pongs) == [1e6, 2e6, 3e6]
    assert {e["ts"] for e in pongs} == {(start + 1) * 1e6}
    assert len({e["tid"] for e in pongs}) == 3
    assert {e["args"]["outcome"] for e in slices} == {"finished"}
    arrows = [e for e in entries if e["ph"] == "s"]
    assert len(arrows) == 3
    assert {e["pid"] for e in arrows} == {pings[0]["pid"]}
    processes = [e for e in entries if e["name"] == "process_name"]
    assert [e["args"]["name"] for e in processes] == ["three", "work"]


async def test_what_went_wrong_is_marked() -> None:
    """(T3) Failures, cancellations and drops are instants, with their reasons."""

    class Slow(BaseAsyncAgent):
        async def receive_event_async(self, event: Event) -> None:
            await anyio.sleep_forever()

    tracer = Tracer()
    router = Router()
    router.add_route(Boom, fail, retry=Retry(attempts=2, initial=1))
    router.add_route(Boom, Slow())
    async with failing_session(router, tracer=tracer) as (dispatcher, _):
        for _ in range(2):
            dispatcher.dispatch(Boom(source="t", correlation_id="c"))
    entries = entries_of(tracer)
    instants = [e["name"] for e in entries if e["ph"] == "i"]
    assert set(instants) == {"failed", "cancelled", "dropped"}
    outcomes = [e["args"] for e in entries if e["ph"] == "X"]
    failed = [a for a in outcomes if a["outcome"] == "failed"]
    assert {a["consequence"] for a in failed} == {"retry", "fail flow"}
    assert failed[0]["error"]["message"] == "boom"
    cancelled = [a["reason"] for a in outcomes if a["outcome"] == "cancelled"]
    assert cancelled
    assert set(cancelled) == {"fail raised ValueError: boom"}


class Asker(BaseAsyncAgent):
    def __init__(self, broker: LLMBroker) -> None:
        self.broker = broker

    async def receive_event_async(self, event: Other) -> None:
        await self.broker.generate("hi", tools=[look])


async def look() -> str:
    """Look."""
    await anyio.sleep(0.1)
    return "seen"


async def test_calls_of_models_and_tools_are_slices_of_their_agent() -> None:
    """(T3) With tokens and how they ended."""
    tracer = Tracer()
    gateway = ScriptedGateway([ToolCall(id="t", name="look"), "done"])
    async with LLMBroker("m", gateway=gateway) as broker:
        router = router_of((Other, Asker(broker)))
        async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
            dispatcher.dispatch(Other(source="t"))
    entries = entries_of(tracer)
    begun = [e["name"] for e in entries if e["ph"] == "b"]
    assert begun == ["chat m", "execute_tool look", "chat m"]
    (model,) = {e["pid"] for e in entries if e["ph"] == "b"}
    assert model == next(e["pid"] for e in entries if e["ph"] == "X")
    ended = [e["args"] for e in entries if e["ph"] == "e" and e["cat"] == "model"]
    assert [a["stop"] for a in ended] == ["tool_calls", "end"]
    assert "output_tokens" in ended[0]["usage"]


async def test_a_trace_that_breaks_off_is_closed() -> None:
    """(T3) What still runs ends with the trace, and what began before it is left out."""
    tracer = Tracer()
    gateway = ScriptedGateway([ToolCall(id="t", name="look"), "done"])
    async with LLMBroker("m", gateway=gateway) as broker:
        router = router_of((Other, Asker(broker)), (Ping, three), (Pong, work))
        async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
            dispatcher.dispatch(Other(source="t"))
            dispatcher.dispatch(Ping(source="t"))
    records = tracer.records()
    for number in range(len(records)):
        part = Tracer()
        for record in records[:number]:
            part.record(record)
        running = [
            e for e in entries_of(part) if e.get("args", {}).get("outcome") is not None
        ]
        assert all(e["dur"] >= 0 for e in running)
        rest = Tracer()
        for record in records[number:]:
            rest.record(record)
        entries_of(rest)


async def test_a_trace_is_written_for_perfetto(tmp_path: Path) -> None:
    """(T3) The file holds one JSON object, from memory or from a trace file."""
    tracer = Tracer()
    router = router_of((Ping, three), (Pong, work))
    async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
        dispatcher.dispatch(Ping(source="t"))
    write_chrome_trace(tmp_path / "trace.json", tracer.records())
    document = json.loads((tmp_path / "trace.json").read_text("utf-8"))
    assert document["displayTimeUnit"] == "ms"
    assert len(document["traceEvents"]) == len(entries_of(tracer))
