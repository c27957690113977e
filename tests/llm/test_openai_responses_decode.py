"""Answers of the Responses API: events and items."""

import json
from typing import Any

import pytest

from agentflow.llm import (
    OutputMode,
    ProviderPart,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    StopReason,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers.openai_responses import ResponsesCodec
from tests.llm.responses_wire import (
    API,
    CODEC,
    added,
    argued,
    blob,
    call,
    deltas,
    done,
    event,
    last,
    message,
    read,
    said,
    sse,
    thought,
)


@pytest.mark.parametrize("names", [True, False])
def test_text_arrives_in_pieces_and_as_a_whole(names: bool) -> None:
    """With names of events, or as OpenRouter sends them, without."""
    stream = sse(
        event("created", response={"id": "r1", "model": "m"}),
        added(0, type="message", content=[], id="m1"),
        said("Good"),
        said(" day"),
        event("output_text.done", 0, content_index=0, text="Good day"),
        done(0, **message("Good day", id="m1", phase="final", status=None)),
        last(
            message("Good day", id="m1"), id="r1", model="m-2", service_tier="default"
        ),
        names=names,
    )
    decoder = CODEC.decoder()
    assert decoder.feed(stream) == [TextDelta("Good"), TextDelta(" day")]
    assert decoder.done
    reply = decoder.finish()
    about = {"type": "message", "role": "assistant", "id": "m1", "phase": "final"}
    raw: Any = {"item": about, "part": {"annotations": []}, "reasoned": False}
    assert reply.message.content == (TextPart("Good day", blob=blob(raw)),)
    assert (reply.id, reply.model, reply.stop) == ("r1", "m-2", StopReason.END)
    assert reply.metadata == {"service_tier": "default"}


def test_the_name_of_an_event_serves_where_its_json_has_no_type() -> None:
    """The type inside counts first."""
    body = b'event: response.output_text.delta\ndata: {"delta": "hi"}\n\n'
    assert CODEC.decoder().feed(body) == [TextDelta("hi")]


def test_a_whole_body_is_read_as_well() -> None:
    """From a server that did not stream."""
    usage = {
        "input_tokens": 9,
        "output_tokens": 8,
        "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 6},
    }
    body = {"id": "r1", "status": "completed", "usage": usage, "tools": [{"x": 1}]}
    items = [message("hi"), call('{"a": 1}')]
    reply = decode(CODEC, 200, json.dumps({**body, "output": items}).encode())
    assert (reply.text, reply.stop) == ("hi", StopReason.TOOL_CALLS)
    assert [(x.id, x.name, x.parsed()) for x in reply.tool_calls] == [
        ("c1", "add", {"a": 1})
    ]
    assert reply.usage == Usage(
        input_tokens=9,
        output_tokens=8,
        cached_tokens=7,
        cache_write_tokens=1,
        reasoning_tokens=6,
    )
    assert reply.metadata == {"usage": usage}


def test_parallel_calls_may_grow_side_by_side() -> None:
    """Each piece finds its call; the id is that which a result must name."""
    first = call("", call_id="a", id="f1", status="in_progress")
    second = call("", call_id="b", name="sub")
    got = deltas(
        added(0, **first),
        added(1, **second),
        argued('{"x"', 0),
        argued('{"y"', 1),
        argued(":1}", 0),
        argued(":2}", 1),
    )
    assert got == [
        ToolCallDelta(index=0, id="a", name="add"),
        ToolCallDelta(index=1, id="b", name="sub"),
        ToolCallDelta(index=0, id="a", name="add", arguments='{"x"'),
        ToolCallDelta(index=1, id="b", name="sub", arguments='{"y"'),
        ToolCallDelta(index=0, id="a", name="add", arguments=":1}"),
        ToolCallDelta(index=1, id="b", name="sub", arguments=":2}"),
    ]
    whole = {**first, "arguments": '{"x":1}', "status": "completed"}
    reply = read(added(1, **second), argued("{}", 1), done(0, **whole), last())
    raw = {
        "item": {"type": "function_call", "id": "f1", "status": "completed"},
        "reasoned": False,
    }
    assert reply.tool_calls == (
        ToolCall(id="a", name="add", arguments='{"x":1}', blob=blob(raw)),
        ToolCall(id="b", name="sub", arguments="{}"),
    )


def test_a_call_is_named_after_what_there_is() -> None:
    """Its call id, else the id of its item, else its place."""
    bare = {"type": "function_call", "name": "f"}
    reply = read(last({**bare, "id": "fc_1"}, {**bare, "arguments": {"a": 1}}))
    assert [(x.id, x.arguments) for x in reply.tool_calls] == [
        ("fc_1", ""),
        ("call_1", '{"a":1}'),
    ]


def test_reasoning_keeps_its_item_and_its_paragraphs() -> None:
    """The summary's texts are paragraphs; the encrypted item goes back."""
    item = {
        "type": "reasoning",
        "id": "rs1",
        "encrypted_content": "gAAA",
        "status": None,
        "summary": [
            {"type": "summary_text", "text": "one"},
            {"type": "summary_text", "text": "two"},
        ],
    }
    events = [
        added(0, type="reasoning", id="rs1"),
        thought("one"),
        thought("two", part=1),
    ]
    assert deltas(*events) == [ReasoningDelta("one"), ReasoningDelta("\n\ntwo")]
    reply = read(*events, done(0, **item), last(item, call()))
    raw = {k: v for k, v in item.items() if v is not None}
    assert reply.message.content[0] == ReasoningPart(text="one\n\ntwo", blob=blob(raw))
    about = {"item": {"type": "function_call"}, "reasoned": True}
    assert reply.tool_calls[0].blob == blob(about)


def test_open_reasoning_is_read_where_it_stands() -> None:
    """As content of the item, as open models send it."""
    part = {"type": "reasoning_text", "text": "hm"}
    piece = event("reasoning_text.delta", 0, content_index=0, delta="hm")
    item = {"type": "reasoning", "summary": [], "content": [part]}
    assert deltas(piece, done(0, **item)) == [ReasoningDelta("hm")]
    assert read(piece, last(item)).reasoning == "hm"


def test_a_refusal_is_a_reply_that_refuses() -> None:
    """In pieces and as a whole; its item's id is kept for the next turn."""
    content = [{"type": "refusal", "refusal": "No."}]
    item = {"type": "message", "id": "m1", "content": content}
    piece = event("refusal.delta", 0, content_index=0, delta="No.")
    assert deltas(piece) == [RefusalDelta("No.")]
    reply = read(piece, done(0, **item), last(item))
    assert reply.message.content == (RefusalPart("No."),)
    assert reply.message.blob is not None
    assert read(piece, last()).message.blob is None


@pytest.mark.parametrize(
    ("fields", "raw", "stop"),
    [
        ({"status": "completed"}, "completed", StopReason.END),
        ({"status": "complete"}, "complete", StopReason.END),
        ({"status": None}, "completed", StopReason.END),
        ({"status": "cancelled"}, "cancelled", StopReason.OTHER),
        ({"status": "incomplete"}, "incomplete", StopReason.LENGTH),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
            },
            "max_output_tokens",
            StopReason.LENGTH,
        ),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "content_filter"},
            },
            "content_filter",
            StopReason.REFUSED,
        ),
    ],
)
def test_stop_reasons(fields: dict[str, Any], raw: str, stop: StopReason) -> None:
    """The reason of what is incomplete, else the status."""
    reply = read(last(message("x"), **fields))
    assert (reply.raw_stop, reply.stop) == (raw, stop)


def test_items_of_tools_that_run_at_the_provider_are_kept() -> None:
    """As they came, and so are contents that nobody knows yet."""
    search = {"type": "web_search_call", "id": "ws1", "action": {"query": "x"}}
    audio = {"type": "output_audio", "data": "AAAA"}
    odd = {"type": "message", "id": "m", "content": [audio, 7]}
    reply = read(
        added(0, type="web_search_call", id="ws1"),
        event("web_search_call.searching", 0, item_id="ws1"),
        done(0, **search),
        last(search, odd),
    )
    about = {"type": "message", "id": "m"}
    assert reply.message.content == (
        ProviderPart(kind="web_search_call", blob=blob(search)),
        ProviderPart(
            kind="output_audio",
            blob=blob({"item": about, "part": audio, "reasoned": False}),
        ),
        ProviderPart(
            kind="part",
            blob=blob({"item": about, "part": {}, "reasoned": False}),
        ),
    )


def test_citations_and_probabilities_are_metadata_too() -> None:
    """Of all texts of the answer, one behind the other."""
    texts = [
        {"type": "output_text", "text": "a", "annotations": [{"url": "u1"}]},
        {"type": "text", "text": "b", "annotations": [{"url": "u2"}], "logprobs": [1]},
    ]
    reply = read(last({"type": "message", "content": texts}))
    assert reply.text == "ab"
    assert reply.metadata == {
        "annotations": [{"url": "u1"}, {"url": "u2"}],
        "logprobs": [1],
    }


def test_whole_items_serve_where_no_pieces_came() -> None:
    """What is missing of the text comes as one piece."""
    assert deltas(done(0, **message("Good day"))) == [TextDelta("Good day")]
    assert deltas(said("Good"), last(message("Good day"))) == [
        TextDelta("Good"),
        TextDelta(" day"),
    ]
    assert deltas(added(0, **call("")), done(0, **call('{"a":1}'))) == [
        ToolCallDelta(index=0, id="c1", name="add"),
        ToolCallDelta(index=0, id="c1", name="add", arguments='{"a":1}'),
    ]
    assert deltas(said("Hi", part=1), last(message("Hi"))) == [TextDelta("Hi")]


def test_pieces_serve_where_the_whole_item_is_empty() -> None:
    """Or where it never comes; several servers leave the last event's items out."""
    empty: dict[str, Any] = {"type": "message", "id": "m1", "content": []}
    assert read(said("Hi"), done(0, **empty), last()).text == "Hi"
    assert read(said("Hi"), last(message(""))).text == "Hi"
    reply = read(added(0, **call("{}")), argued('{"a":1}'), last())
    assert reply.tool_calls[0].arguments == '{"a":1}'
    assert read(thought("hm"), last()).reasoning == "hm"


def test_the_whole_item_counts_where_it_says_otherwise() -> None:
    """And nothing is told twice."""
    stream = [said("Goo day"), last(message("Good day"))]
    assert deltas(*stream) == [TextDelta("Goo day")]
    assert read(*stream).text == "Good day"


def test_the_last_event_does_not_take_back_what_an_item_held() -> None:
    """It lacks encrypted reasoning at some proxies."""
    item: dict[str, Any]
    item = {"type": "reasoning", "encrypted_content": "gAAA", "summary": []}
    reply = read(
        done(0, **item), last({**item, "encrypted_content": None, "id": "rs2"})
    )
    (part,) = reply.message.content
    assert isinstance(part, ReasoningPart)
    assert part.blob == blob({**item, "id": "rs2"})


def test_items_are_told_apart_by_whatever_their_server_sends() -> None:
    """Ids alone, the same index for all, other ids in every event, or nothing."""
    by_id = read(
        added(None, **call("", id="f1", call_id="a")),
        added(None, **call("", id="f2", call_id="b")),
        argued("[1]", None, item_id="f1"),
        argued("[2]", None, item_id="f2"),
        done(None, **call("[3]", id="f3", call_id="c")),
        last(),
    )
    assert [x.arguments for x in by_id.tool_calls] == ["[1]", "[2]", "[3]"]
    same_index = read(
        added(0, id="m1", type="message"),
        said("a", item_id="m1"),
        done(0, **message("a", id="m1")),
        done(0, **message("b", id="m2")),
        last(),
    )
    assert same_index.text == "ab"
    changing = read(
        added(0, id="x1", type="message"),
        said("a", item_id="x2"),
        done(0, **message("ab", id="x3")),
        last(message("ab", id="x4")),
    )
    assert changing.text == "ab"
    pieces = [event("output_text.delta", delta=x) for x in "ab"]
    assert read(*pieces, last()).text == "ab"


def test_a_text_never_ends_up_in_an_item_of_another_kind() -> None:
    """Even if a server gives everything the same place."""
    reply = read(
        thought("hm"),
        said("hi"),
        added(0, **call("", call_id="a")),
        argued("{}", 0),
        done(0, **message("ho")),
        last(),
    )
    assert (reply.reasoning, reply.text) == ("hm", "hiho")
    assert [(x.id, x.arguments) for x in reply.tool_calls] == [("a", "{}")]
    odd = {"type": "some_future_type", "id": "x", "content": [{"text": "hi"}]}
    strange = read(added(0, type="some_future_type"), said("hi"), last(odd))
    assert strange.message.content == (
        ProviderPart(kind="some_future_type", blob=blob(odd)),
    )


def test_items_stand_in_the_order_of_their_indexes() -> None:
    """However they arrive."""
    reply = read(said("b", 1), said("a", 0), said("c", 1), last())
    assert reply.text == "abc"


def test_shortened_items_are_understood() -> None:
    """A content that is plain text; an item without a type is a message."""
    assert read(last({"role": "assistant", "content": "hi"})).text == "hi"


def test_an_unknown_event_changes_nothing() -> None:
    """What keeps alive, progress, and what is yet to be thought of."""
    stream = [{"type": "keepalive"}, {}, event("queued"), said("hi"), last()]
    assert read(*stream).text == "hi"


def test_the_codec_says_what_it_is() -> None:
    """Blobs of one server are not those of another."""
    codec = ResponsesCodec(name="xai", output_mode=OutputMode.TOOL)
    assert (codec.api, codec.output_mode) == ("openai-responses/xai", OutputMode.TOOL)
    assert (CODEC.api, CODEC.output_mode) == (API, OutputMode.NATIVE)
