"""A trace in the format of Chrome's tracing, which https://ui.perfetto.dev opens.

Theory of operation. Each agent is a process there, with as many threads as it had handlers
running at once: slices of one thread must not overlap, so a handler takes the first thread
of its agent that is free. Calls of models and tools may overlap in one handler; they are
async slices of the agent. An arrow leads from the handler that emitted an event to each
handler of it. Failures, cancellations and drops are instants, and the slices say how they
ended, in their arguments. Times are microseconds of the event loop's clock.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from agentflow._lenient import DEFAULT_BOUNDS, JSON, dumps
from agentflow._record_json import record_as_json
from agentflow._records import (
    DeliveryDropped,
    DeliveryRecord,
    EventAccepted,
    HandlerCancelled,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    LLMCallCancelled,
    LLMCallFailed,
    LLMCallFinished,
    LLMCallRecord,
    LLMCallStarted,
    Record,
    ToolCallCancelled,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallRecord,
    ToolCallStarted,
)

Entry: TypeAlias = dict[str, JSON]

_HANDLER_ENDS = (HandlerFinished, HandlerFailed, HandlerCancelled)
_CALL_ENDS = (
    LLMCallFinished,
    LLMCallFailed,
    LLMCallCancelled,
    ToolCallFinished,
    ToolCallFailed,
    ToolCallCancelled,
)


def chrome_trace(records: Iterable[Record]) -> dict[str, JSON]:
    """Return records in the format of Chrome's tracing.

    Args:
        records: In order of time, as a tracer or a trace file has them.

    Returns:
        The object that a file of this format holds.
    """
    writer = _Writer()
    for record in records:
        writer.take(record)
    return {"displayTimeUnit": "ms", "traceEvents": [*writer.finish()]}


def write_chrome_trace(path: str | Path, records: Iterable[Record]) -> None:
    """Write records to a file that Perfetto opens. It blocks.

    Args:
        path: The file.
        records: In order of time, as a tracer or a trace file has them.

    Raises:
        OSError: It cannot be written.
    """
    Path(path).write_text(dumps(chrome_trace(records)), "utf-8")


class _Slice:
    """A handler that has begun."""

    def __init__(self, record: HandlerStarted, pid: int, tid: int) -> None:
        self.started: HandlerStarted = record
        self.pid: int = pid
        self.tid: int = tid


class _Writer:
    """What has been written of a trace, and what is still open."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._pids: dict[str, int] = {}
        self._lanes: dict[int, list[bool]] = {}
        self._open: dict[tuple[str, str], _Slice] = {}
        self._emitted: dict[str, _Slice] = {}
        """By event: the latest handler of it, whose outputs name it as their parent."""
        self._parents: dict[str, str] = {}
        self._calls: dict[str, Entry] = {}
        self._now = 0.0

    def take(self, record: Record) -> None:
        """Write what a record says."""
        self._now = max(self._now, record.time)
        if isinstance(record, EventAccepted):
            self._parents[record.event.id or ""] = record.event.parent_id or ""
        elif isinstance(record, HandlerStarted):
            self._begin(record)
        elif isinstance(record, _HANDLER_ENDS):
            self._end(record)
        elif isinstance(record, DeliveryDropped):
            self._instant(record, "dropped", tid=1)
        elif isinstance(record, LLMCallStarted | ToolCallStarted):
            self._begin_call(record)
        elif isinstance(record, _CALL_ENDS):
            self._end_call(record)

    def finish(self) -> list[Entry]:
        """Close what is open, and return all of it."""
        for slice_ in tuple(self._open.values()):
            self._close(slice_, {"outcome": "still running"}, self._now)
        for entry in self._calls.values():
            self._entries.append({**entry, "ph": "e", "ts": _micro(self._now)})
        self._open.clear()
        self._calls.clear()
        return self._entries

    # -- handlers -------------------------------------------------------------------------

    def _begin(self, record: HandlerStarted) -> None:
        pid = self._pid(record.agent)
        lanes = self._lanes[pid]
        if all(lanes):
            lanes.append(False)
            count = len(lanes)
            self._name("thread_name", f"{record.agent} {count}", pid=pid, tid=count)
        tid = lanes.index(False) + 1
        lanes[tid - 1] = True
        slice_ = _Slice(record, pid, tid)
        self._open[_key(record)] = slice_
        self._arrow(record, slice_)
        self._emitted[record.event.id or ""] = slice_

    def _arrow(self, record: HandlerStarted, to: _Slice) -> None:
        """Lead from the handler that emitted the event to this one."""
        source = self._emitted.get(self._parents.get(record.event.id or "", ""))
        if source is None:
            return
        common: Entry = {
            "name": type(record.event).__name__,
            "cat": "event",
            "id": f"{record.event.id}/{record.agent}/{record.attempt}",
        }
        start: Entry = {"pid": source.pid, "tid": source.tid, "ph": "s"}
        end: Entry = {"pid": to.pid, "tid": to.tid, "ph": "f", "bp": "e"}
        begun = _micro(source.started.time)
        self._entries += [
            {**common, **start, "ts": begun},
            {**common, **end, "ts": _micro(record.time)},
        ]

    def _end(self, record: HandlerFinished | HandlerFailed | HandlerCancelled) -> None:
        slice_ = self._open.pop(_key(record), None)
        if slice_ is None:
            return
        outcome: dict[str, JSON] = {"outcome": "finished"}
        if isinstance(record, HandlerFailed):
            outcome = _arguments(record, "error", "consequence", outcome="failed")
            self._instant(record, "failed", tid=slice_.tid)
        elif isinstance(record, HandlerCancelled):
            outcome = {"outcome": "cancelled", "reason": record.reason}
            self._instant(record, "cancelled", tid=slice_.tid)
        self._close(slice_, outcome, record.time)

    def _close(self, slice_: _Slice, outcome: dict[str, JSON], end: float) -> None:
        self._lanes[slice_.pid][slice_.tid - 1] = False
        record = slice_.started
        self._entries.append({
            "name": type(record.event).__name__,
            "cat": "handler",
            "ph": "X",
            "ts": _micro(record.time),
            "dur": _micro(end - record.time),
            "pid": slice_.pid,
            "tid": slice_.tid,
            "args": {**_arguments(record, "event", "attempt"), **outcome},
        })

    def _instant(self, record: DeliveryRecord, name: str, *, tid: int) -> None:
        self._entries.append({
            "name": name,
            "cat": "handler",
            "ph": "i",
            "s": "t",
            "ts": _micro(record.time),
            "pid": self._pid(record.agent),
            "tid": tid,
            "args": _arguments(record, "event", "reason"),
        })

    # -- models and tools -----------------------------------------------------------------

    def _begin_call(self, record: LLMCallStarted | ToolCallStarted) -> None:
        entry: Entry = {
            "name": (
                f"chat {record.model}"
                if isinstance(record, LLMCallStarted)
                else f"execute_tool {record.tool}"
            ),
            "cat": "model" if isinstance(record, LLMCallStarted) else "tool",
            "id": _call_key(record),
            "pid": self._pid(record.agent),
            "tid": 1,
        }
        self._calls[_call_key(record)] = entry
        arguments = _arguments(record, "event", "messages", "request")
        began: Entry = {"ph": "b", "ts": _micro(record.time), "args": arguments}
        self._entries.append({**entry, **began})

    def _end_call(self, record: Any) -> None:  # noqa: ANN401 -- one of _CALL_ENDS
        entry = self._calls.pop(_call_key(record), None)
        if entry is not None:
            names = ("usage", "stop", "attempts", "message", "result", "error")
            arguments = _arguments(record, *names)
            ended: Entry = {"ph": "e", "ts": _micro(record.time), "args": arguments}
            self._entries.append({**entry, **ended})

    # -- names ----------------------------------------------------------------------------

    def _pid(self, agent: str) -> int:
        pid = self._pids.get(agent)
        if pid is None:
            pid = self._pids[agent] = len(self._pids) + 1
            self._lanes[pid] = [False]
            self._name("process_name", agent, pid=pid, tid=0)
            self._name("thread_name", f"{agent} 1", pid=pid, tid=1)
        return pid

    def _name(self, what: str, name: str, *, pid: int, tid: int) -> None:
        self._entries.append({
            "name": what,
            "ph": "M",
            "pid": pid,
            "tid": tid,
            "args": {"name": name},
        })


def _key(record: DeliveryRecord) -> tuple[str, str]:
    return record.event.id or "", record.agent


def _call_key(record: LLMCallRecord | ToolCallRecord) -> str:
    if isinstance(record, ToolCallRecord):
        return f"{record.call}/{record.tool_call}"
    return record.call


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _arguments(record: Record, *names: str, **more: JSON) -> dict[str, JSON]:
    """Return some fields of a record, and its flow, for the inspector."""
    shown = record_as_json(record, DEFAULT_BOUNDS)
    fields = {name: shown[name] for name in names if name in shown}
    return {"flow": record.correlation_id, **fields, **more}
