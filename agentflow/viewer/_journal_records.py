"""A flow of a journal as records, so that the page shows it as it shows a trace.

Theory of operation. A journal says how things stand, a trace what happened. So each flow is
told once as it stands, and later what is new: events, failures, deliveries that are gone or
that somebody has opened again. Of most things the journal does not keep the time; those
records have the time at which it was the latest, and ``stored``, which has the page show
none. Two kinds are none of a session's: ``DeliveryOpen`` and ``DeliveryDead``.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs

from agentflow._steps import Entry
from agentflow.journal._story import (
    Failed,
    FlowStory,
    Pending,
    circumstances,
    event_json,
    memo_words,
)

Line: TypeAlias = dict[str, Any]
"""A record, as one object."""

_OUTCOMES = {"done": "finished"}
"""What a trace calls the end of a flow, where that differs."""

_DROPPING = frozenset({"cancelled", "terminated"})
"""The ends of a flow that its open deliveries vanish with."""


@attrs.define(kw_only=True)
class FlowTelling:
    """Tells one flow; ask again when it may have changed.

    Attributes:
        most: How many events are told at first, the newest.
    """

    most: int
    _status: str = ""
    _times: dict[str, float] = attrs.field(factory=dict[str, float])
    """When each event was told to have been accepted."""
    _types: dict[str, str] = attrs.field(factory=dict[str, str])
    _failures: int = 0
    _open: dict[tuple[str, str], str] = attrs.field(factory=dict[tuple[str, str], str])
    """Open deliveries, with what was said of them."""
    _dead: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]])
    _done: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]])

    def tell(self, story: FlowStory, now: float) -> list[Line]:
        """Return what is new.

        Args:
            story: The flow, as it stands.
            now: The Unix time.

        Returns:
            The records.
        """
        told = [*self._begin(story), *self._accept(story, now)]
        told += self._fail(story)
        told += self._settle(story, now)
        told += self._end(story)
        for line in told:
            line["correlation_id"] = story.flow.id
        return told

    def _begin(self, story: FlowStory) -> Iterator[Line]:
        is_open_again = story.flow.status == "open" != self._status
        if is_open_again or not self._status:
            self._status = "open"
            yield {"record": "FlowStarted", "time": story.flow.started}

    def _accept(self, story: FlowStory, now: float) -> Iterator[Line]:
        is_first = not self._times
        agents = story.agents()
        for entry in story.entries[-self.most if is_first else 0 :]:
            if entry.id in self._times:
                continue
            time = self._time_of(entry, story, now=None if is_first else now)
            event = event_json(entry)
            self._times[entry.id] = time
            self._types[entry.id] = str(event.get("type", ""))
            yield {
                "record": "EventAccepted",
                "time": time,
                "event": {**event, "id": entry.id, "parent_id": entry.parent},
                "agents": agents[entry.id],
                "stored": True,
            }

    def _time_of(self, entry: Entry, story: FlowStory, now: float | None) -> float:
        """Return when an event came; at first no more is known than whom it follows."""
        if now is not None:
            return now
        return self._times.get(entry.parent or "", story.flow.started)

    def _about(self, record: str, pair: tuple[str, str], time: float) -> Line:
        event, agent = pair
        about = {"id": event, "type": self._types.get(event, "")}
        line = {"record": record, "time": time, "event": about, "agent": agent}
        return {**line, "stored": True}

    def _fail(self, story: FlowStory) -> Iterator[Line]:
        pending = {(one.event, one.agent): one for one in story.pending}
        new, self._failures = story.failures[self._failures :], len(story.failures)
        for failed in new:
            pair = (failed.event, failed.agent)
            yield {
                **self._about("HandlerFailed", pair, failed.failure.time),
                "error": _error_json(failed.failure.error),
                "attempt": failed.failure.attempt,
                **_consequence(failed, story, pending.get(pair)),
            }

    def _settle(self, story: FlowStory, now: float) -> Iterator[Line]:
        """Tell of deliveries that are open, dead, or gone."""
        pending = {(one.event, one.agent): one for one in story.pending}
        for pair, one in pending.items():
            self._done.discard(pair)
            yield from self._dead_or_open(pair, one, story, now=now)
        emitted = set(story.emitters)
        for pair in story.takers:
            if pair in pending or pair in self._done:
                continue
            was_open = self._open.pop(pair, None) is not None
            self._dead.discard(pair)
            self._done.add(pair)
            time = now if was_open else self._times.get(pair[0], story.flow.started)
            yield from self._gone(pair, story, time=time, emitted=pair in emitted)
        for pair in [pair for pair in self._open if pair not in pending]:
            del self._open[pair]
            self._done.add(pair)
            yield from self._gone(pair, story, time=now, emitted=False)

    def _dead_or_open(
        self, pair: tuple[str, str], one: Pending, story: FlowStory, *, now: float
    ) -> Iterator[Line]:
        if one.is_dead:
            self._open.pop(pair, None)
            if pair not in self._dead:
                self._dead.add(pair)
                time = story.flow.ended or now
                reason = story.flow.reason
                yield {**self._about("DeliveryDead", pair, time), "reason": reason}
            return
        kept = [memo_words(name, value) for name, value in one.memos]
        was_dead = ["it was a dead letter"] if pair in self._dead else []
        self._dead.discard(pair)
        words = ", ".join([*was_dead, *circumstances(one), *kept])
        if words and self._open.get(pair) != words:
            yield {**self._about("DeliveryOpen", pair, now), "reason": words}
        self._open[pair] = words

    def _gone(
        self, pair: tuple[str, str], story: FlowStory, *, time: float, emitted: bool
    ) -> Iterator[Line]:
        """Tell of a delivery that is not there any more."""
        flow = story.flow
        if flow.status in _DROPPING and not emitted:
            reason = flow.reason or flow.status
            yield {**self._about("DeliveryDropped", pair, time), "reason": reason}
        else:
            yield self._about("HandlerFinished", pair, time)

    def _end(self, story: FlowStory) -> Iterator[Line]:
        flow = story.flow
        if flow.ended is None or flow.status == self._status:
            return
        self._status = flow.status
        yield {
            "record": "FlowEnded",
            "time": flow.ended,
            "outcome": _OUTCOMES.get(flow.status, flow.status),
            "reason": flow.reason,
            "events": flow.events,
            "duration": flow.ended - flow.started,
        }


def _consequence(
    failed: Failed, story: FlowStory, pending: Pending | None
) -> dict[str, Any]:
    """Say what followed from a failure; the one that ended the flow has its time."""
    if failed.failure.time == story.flow.ended and story.flow.status == "failed":
        return {"consequence": "fail flow"}
    is_next = pending is not None and pending.attempt == failed.failure.attempt + 1
    if pending is None or not is_next or not pending.due:
        return {"consequence": "retry"}
    wait = pending.due - failed.failure.time
    return {"consequence": "retry", "retry_in": wait}


def _error_json(text: str) -> Line:
    """Write an error of which only the words are kept: "ValueError: no", and notes."""
    first, _, notes = text.partition("\n")
    name, colon, message = first.partition(": ")
    if " " in name:
        name, colon, message = "", "", first
    return {
        "type": name if colon or not message else "error",
        "message": message,
        "notes": notes.splitlines(),
        "traceback": "",
    }
