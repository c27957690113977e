"""What one provider or another does differently, done to the answer of any.

Each of these has been seen in recordings; none changes what an answer means. Each takes the
events of a stream, and gives others.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from tests.llm.mutations import Answer, Event
from tests.llm.recorded import is_list, is_object

Oddity = Callable[[list[Event], random.Random], list[Event]]


def _like(event: Event, value: Any) -> Event:
    """Make an event of the same name."""
    return attrs.evolve(event, value=value)


def _choices(event: Event) -> list[Any]:
    """List the choices of a chunk."""
    found: Any = event.value.get("choices") if is_object(event.value) else None
    return [x for x in found if is_object(x)] if is_list(found) else []


def _deltas(events: list[Event]) -> Iterator[dict[str, Any]]:
    """List the deltas of a stream of Chat Completions."""
    for event in events:
        for choice in _choices(event):
            if is_object(choice.get("delta")):
                yield choice["delta"]


def _calls(events: list[Event]) -> list[dict[str, Any]]:
    """List the pieces of calls of a stream of Chat Completions."""
    found: list[dict[str, Any]] = []
    for delta in _deltas(events):
        calls: Any = delta.get("tool_calls")
        found += [x for x in calls if is_object(x)] if is_list(calls) else []
    return found


def _name(call: dict[str, Any]) -> str:
    """Return the name in a piece of a call; "" if it has none."""
    function: Any = call.get("function")
    return str(function.get("name") or "") if is_object(function) else ""


def no_end_mark(events: list[Event], _chance: random.Random) -> list[Event]:
    """Perplexity and Hugging Face send no ``[DONE]``."""
    finished = any(c.get("finish_reason") for e in events for c in _choices(e))
    return [e for e in events if not finished or e.value != "[DONE]"]


def empty_chunks(events: list[Event], chance: random.Random) -> list[Event]:
    """Azure sends chunks without a choice, before the first and in between."""
    if any(is_object(e.value) and "choices" in e.value for e in events):
        empty = Event("", {"choices": [], "prompt_filter_results": []})
        events.insert(0, empty)
        events.insert(chance.randrange(1, len(events)), empty)
    return events


def nulls(events: list[Event], _chance: random.Random) -> list[Event]:
    """Many send null for what is not there."""
    for delta in _deltas(events):
        for key in ("tool_calls", "refusal", "function_call", "content", "audio"):
            delta.setdefault(key, None)
    return events


def roles(events: list[Event], _chance: random.Random) -> list[Event]:
    """Some say with every chunk who speaks."""
    for delta in _deltas(events):
        delta["role"] = "assistant"
    return events


def split_finish(events: list[Event], _chance: random.Random) -> list[Event]:
    """Mistral finishes together with the text, others in a chunk of its own."""
    written: list[Event] = []
    for event in events:
        choices = _choices(event)
        if len(choices) != 1 or not choices[0].get("finish_reason"):
            written.append(event)
            continue
        begin, end = copy.deepcopy(event.value), copy.deepcopy(event.value)
        begin["choices"][0]["finish_reason"] = None
        begin.pop("usage", None)
        begin.pop("x_groq", None)
        end["choices"][0]["delta"] = {}
        written += [_like(event, begin), _like(event, end)]
    return written


def early_finish(events: list[Event], _chance: random.Random) -> list[Event]:
    """Together and Baseten send pieces behind the finish reason."""
    at = next((i for i, e in enumerate(events) if _finishes(e)), 0)
    before = at - 1
    if at and _choices(events[before]) and not events[before].value.get("usage"):
        events[before], events[at] = events[at], events[before]
    return events


def _finishes(event: Event) -> bool:
    """Tell whether a chunk holds a finish reason and nothing else."""
    choices = _choices(event)
    delta: Any = choices[0].get("delta") if len(choices) == 1 else None
    bare = is_object(delta) and not any(delta.values())
    return bare and bool(choices[0].get("finish_reason"))


def repeated_finish(events: list[Event], _chance: random.Random) -> list[Event]:
    """Some finish twice."""
    return [x for e in events for x in ([e, e] if _finishes(e) else [e])]


def blank_ids(events: list[Event], _chance: random.Random) -> list[Event]:
    """Alibaba sends empty ids, and Mistral a null for a type, with later pieces."""
    seen = set[Any]()
    for call in _calls(events):
        if call.get("index") in seen and not _name(call):
            call["id"], call["type"] = "", None
        seen.add(call.get("index"))
    return events


def no_index(events: list[Event], _chance: random.Random) -> list[Event]:
    """Mistral leaves the index out; the pieces come one call after the other."""
    order = [call.get("index") for call in _calls(events)]
    changes = [x for i, x in enumerate(order) if i == 0 or order[i - 1] != x]
    named = {c.get("index") for c in _calls(events) if c.get("id")}
    if len(changes) == len(set(changes)) and set(order) <= named:
        for call in _calls(events):
            call.pop("index", None)
    return events


def same_index(events: list[Event], _chance: random.Random) -> list[Event]:
    """One dialect gives all calls the same index, each whole and with an id."""
    calls = _calls(events)
    whole = [c for c in calls if c.get("id") and _name(c)]
    if len(whole) == len(calls) == len({c["id"] for c in whole}):
        for call in calls:
            call["index"] = 0
    return events


def groq_usage(events: list[Event], _chance: random.Random) -> list[Event]:
    """Groq counts in a place of its own."""
    for event in events:
        if _choices(event) and event.value.get("usage"):
            event.value["x_groq"] = {"usage": event.value.pop("usage")}
    return events


def usage_apart(events: list[Event], _chance: random.Random) -> list[Event]:
    """OpenAI counts in a chunk without a choice, Perplexity in every chunk."""
    written: list[Event] = []
    for event in events:
        usage = event.value.pop("usage", None) if _choices(event) else None
        written.append(event)
        if usage:
            written.append(_like(event, {"choices": [], "usage": usage}))
    return written


def no_names(events: list[Event], _chance: random.Random) -> list[Event]:
    """OpenRouter leaves the names of events out; they stand in the JSON, too."""
    named = all(
        not e.name or (is_object(e.value) and "type" in e.value) for e in events
    )
    return [attrs.evolve(e, name="") for e in events] if named else events


def pings(events: list[Event], chance: random.Random) -> list[Event]:
    """Anthropic shows that it is alive."""
    if any(e.name == "message_start" for e in events):
        at = chance.randrange(len(events))
        events.insert(at, Event("ping", {"type": "ping"}))
    return events


def _text_places(value: Any) -> Iterator[tuple[Any, str]]:
    """Find the pieces of text in an event that may as well come in two."""
    if not is_object(value):
        return
    kind = str(value.get("type", ""))
    if kind.startswith("response.") and kind.endswith(".delta"):
        yield value, "delta"
    delta: Any = value.get("delta")
    if is_object(delta) and kind == "content_block_delta":
        yield from ((delta, k) for k in ("text", "thinking", "partial_json"))
    message: Any = value.get("message")
    if is_object(message) and not value.get("done"):
        yield from ((message, k) for k in ("content", "thinking"))
    choices = _choices(Event("", value))
    if len(choices) == 1 and is_object(choices[0].get("delta")):
        spoken = {k for k, x in choices[0]["delta"].items() if x} - {"role"}
        if spoken == {"content"}:
            yield choices[0]["delta"], "content"


def two_pieces(events: list[Event], _chance: random.Random) -> list[Event]:
    """Where a text is cut is for each provider to say."""
    written: list[Event] = []
    for event in events:
        first, second = copy.deepcopy(event.value), copy.deepcopy(event.value)
        places = zip(_text_places(first), _text_places(second), strict=True)
        cut = False
        for (begin, key), (end, _) in places:
            text: Any = begin.get(key)
            alone = not is_object(first.get("message")) or len(begin) <= len("xx")
            if isinstance(text, str) and len(text) > 1 and alone and not cut:
                begin[key], end[key] = text[:1], text[1:]
                cut = True
        written += [_like(event, first), _like(event, second)] if cut else [event]
    return written


def as_one_list(events: list[Event], _chance: random.Random) -> list[Event]:
    """Gemini sends one JSON list to those who do not ask for events."""
    if all(is_object(e.value) and "candidates" in e.value for e in events):
        return [Event("", [e.value for e in events])]
    return events


CHAT: Mapping[str, Oddity] = {
    f.__name__: f
    for f in (
        no_end_mark,
        empty_chunks,
        nulls,
        roles,
        split_finish,
        early_finish,
        repeated_finish,
        blank_ids,
        no_index,
        same_index,
        groq_usage,
        usage_apart,
    )
}
"""Those of Chat Completions, by name."""

ALL: Mapping[str, Oddity] = {
    **CHAT,
    **{f.__name__: f for f in (no_names, pings, two_pieces, as_one_list)},
}
"""All of them, by name."""


def made_odd(answer: Answer, oddity: Oddity, chance: random.Random) -> Answer:
    """Do one of these to an answer.

    Args:
        answer: The answer; one that is not a stream stays as it is.
        oddity: What is done.
        chance: Decides where.

    Returns:
        The answer.
    """
    if answer.kind == "json" or not answer.events:
        return answer
    events = oddity(copy.deepcopy(list(answer.events)), chance)
    whole = len(events) == 1 and is_list(events[0].value)
    return Answer("json" if whole else answer.kind, tuple(events))
