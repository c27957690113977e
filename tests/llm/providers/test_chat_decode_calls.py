"""The chat decoder: tool calls, usage, and what else is sent."""

import json
from typing import Any

import pytest

from agentflow.llm import (
    AnswerTooLarge,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
    Request,
    TextPart,
    Usage,
)
from agentflow.llm._codec import decode
from agentflow.llm.providers._answers import AnswerDecoder
from tests.llm.providers.test_chat_decode import (
    CODEC,
    STOP,
    call,
    calls_of,
    delta,
    read,
    sent,
)


def test_parallel_calls_by_index() -> None:
    """Their pieces may alternate; an id that is sent again, or empty, changes nothing."""
    reply = read(
        call(0, id="a", name="f", arguments=""),
        call(1, id="b", name="g", arguments="{"),
        call(0, id="", arguments="{}"),
        call(1, id="b", name="g", arguments="}"),
        delta("tool_calls"),
    )
    assert calls_of(reply) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_calls_without_index() -> None:
    """Told apart by their ids; without those, a name begins a call."""
    by_id = read(
        call(None, id="a", name="f", arguments="1"),
        call(None, id="b", name="f", arguments="2"),
        call(None, id="a", arguments="3"),
        call(None, arguments="4"),
        STOP,
    )
    assert calls_of(by_id) == [("a", "f", "13"), ("b", "f", "24")]
    bare = read(
        call(None, name="f", arguments="1"),
        call(None, arguments="2"),
        call(None, name="g", arguments="3"),
        STOP,
    )
    assert calls_of(bare) == [("call_0", "f", "12"), ("call_1", "g", "3")]


def test_calls_that_all_have_the_same_index() -> None:
    """Another id with a name is another call."""
    reply = read(call(0, id="a", name="f"), call(0, id="b", name="g"), STOP)
    assert calls_of(reply) == [("a", "f", ""), ("b", "g", "")]


def test_an_id_may_come_late() -> None:
    """The one made up for the first piece gives way."""
    reply = read(call(0, name="f"), call(0, id="a", arguments="{}"), STOP)
    assert calls_of(reply) == [("a", "f", "{}")]


def test_a_piece_without_anything_begins_a_call() -> None:
    """Nothing is dropped, even if nothing says what it is."""
    assert calls_of(read(call(None, arguments="{}"), STOP)) == [("call_0", "", "{}")]


def test_arguments_may_be_an_object() -> None:
    """Where a server forgot that they are text; null is no text."""
    assert calls_of(read(call(name="f", arguments={"a": 1}), STOP))[0][2] == '{"a":1}'
    assert calls_of(read(call(name="f", arguments=None), STOP))[0][2] == ""


def test_the_old_form_of_a_call() -> None:
    """One call, without an id."""
    reply = read(delta(function_call={"name": "f", "arguments": "{}"}), STOP)
    assert calls_of(reply) == [("call_0", "f", "{}")]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}},
            Usage(cached_tokens=4, cache_write_tokens=2),
        ),
        ({"prompt_cache_hit_tokens": 4}, Usage(cached_tokens=4)),
        ({"num_cached_tokens": 4}, Usage(cached_tokens=4)),
        ({"cache_creation_input_tokens": 4}, Usage(cache_write_tokens=4)),
        (
            {"completion_tokens_details": {"reasoning_tokens": 4}},
            Usage(reasoning_tokens=4),
        ),
        (
            {"reasoning_tokens": 4, "completion_tokens_details": None},
            Usage(reasoning_tokens=4),
        ),
    ],
)
@pytest.mark.parametrize("place", ["chunk", "choice", "x_groq"])
def test_usage_by_all_its_names_and_places(
    usage: dict[str, Any], expected: Usage, place: str
) -> None:
    """One value; the raw one is kept."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, **usage}
    chunks: dict[str, Any] = {
        "chunk": {"choices": [], "usage": usage},
        "choice": {"choices": [{"index": 0, "usage": usage}]},
        "x_groq": {"choices": [], "x_groq": {"usage": usage}},
    }
    reply = read(delta("stop", content="x"), chunks[place])
    assert reply.usage == expected
    assert reply.metadata["usage"] == usage


def test_what_else_is_sent_is_kept() -> None:
    """Lists grow, objects merge, of the rest the last counts; other choices too."""
    reply = read(
        {**delta(content="a"), "citations": ["x"], "timings": {"a": 1}, "p": "pad"},
        {**delta("stop", annotations=[1]), "citations": ["y"], "timings": {"b": 2}},
        {"choices": [{"index": 1, "delta": {"content": "other"}}], "provider": "P"},
    )
    assert reply.text == "a"
    assert reply.metadata == {
        "citations": ["x", "y"],
        "timings": {"a": 1, "b": 2},
        "annotations": [1],
        "provider": "P",
        "choices": [{"index": 1, "delta": {"content": "other"}}],
    }


def test_log_probabilities_add_up() -> None:
    """They come with each token."""
    chunks: list[Any] = [delta(content="a"), delta("stop", content="b")]
    for chunk in chunks:
        chunk["choices"][0]["logprobs"] = {"content": [{"token": "t"}]}
    logprobs: Any = read(*chunks).metadata["logprobs"]
    assert logprobs == {"content": [{"token": "t"}, {"token": "t"}]}


def test_spoken_output_is_a_part_of_its_own() -> None:
    """Its data and transcript come in pieces."""
    reply = read(
        delta(audio={"id": "a", "data": "AA", "transcript": "h"}),
        delta(audio={"id": "a", "data": "BB", "transcript": "i", "expires_at": 0}),
        delta("stop", audio={"expires_at": 5}),
    )
    (part,) = reply.message.content
    assert isinstance(part, ProviderPart)
    assert part.blob.raw == {
        "id": "a",
        "data": "AABB",
        "transcript": "hi",
        "expires_at": 5,
    }


def test_a_text_completion_is_text() -> None:
    """The oldest form of all."""
    body = b'{"choices": [{"text": "hi", "finish_reason": "stop"}]}'
    assert decode(CODEC, 200, body).text == "hi"


def test_a_message_beside_a_delta_is_not_read_twice() -> None:
    """Perplexity sends both, Together repeats the text."""
    chunk = delta("stop", content="b")
    chunk["choices"][0] |= {"message": {"content": "ab"}, "text": "b"}
    assert read(delta(content="a"), chunk).text == "ab"
    body = {"choices": [{"message": {"content": "ab"}, "delta": {"content": ""}}]}
    assert decode(CODEC, 200, json.dumps(body).encode()).text == "ab"
    old = {"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}
    assert read(old).text == "ab"


def test_parts_stand_in_the_order_they_came() -> None:
    """Text behind a call is another part."""
    reply = read(delta(content="a"), call(name="f"), delta(content="b"), STOP)
    kinds = [type(p).__name__ for p in reply.message.content]
    assert kinds == ["TextPart", "ToolCall", "TextPart"]
    assert reply.message.content[2] == TextPart("b")


def test_an_answer_goes_into_the_next_request() -> None:
    """Whatever it was made of."""
    reply = read(delta(content="a", reasoning="r"), call(id="c", name="f"), STOP)
    first, second = sent(
        Request(model="m", messages=[LLMMessage(content="x"), reply.message])
    )
    assert first["role"] == "user"
    assert second["tool_calls"][0]["id"] == "c"
    assert isinstance(reply.message.content[0], ReasoningPart)


def test_text_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for one answer is bounded."""
    monkeypatch.setattr("agentflow.llm._assembly.MAX_CHARS", 10)
    with pytest.raises(AnswerTooLarge, match="more than 10 characters"):
        read(delta(content="12345"), call(name="f", arguments="678901"))


def test_parts_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is bounded, too."""
    monkeypatch.setattr("agentflow.llm._assembly.MAX_PARTS", 3)
    with pytest.raises(AnswerTooLarge, match="more than 3 parts"):
        read(*[call(i, name="f") for i in range(4)])


def test_a_body_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As is white space that never comes to an answer."""
    monkeypatch.setattr("agentflow.llm.providers._answers.MAX_BODY", 10)
    monkeypatch.setattr("agentflow.llm.providers._answers.MAX_NOISE", 10)
    with pytest.raises(AnswerTooLarge, match="larger than 10 bytes"):
        decode(CODEC, 200, b'{"a": "12345"}')
    with pytest.raises(AnswerTooLarge, match="white space"):
        decode(CODEC, 200, b" " * 11)


def test_a_decoder_is_one_of_ours() -> None:
    """Codecs build on the same base."""
    assert isinstance(CODEC.decoder(), AnswerDecoder)
    assert CODEC.api == "openai-chat/openai"


def test_whole_calls_without_ids_may_share_an_index() -> None:
    """Each has a name, and arguments that end where they begin."""
    reply = read(
        call(0, name="f", arguments='{"a":1}'),
        call(0, name="f", arguments='{"a":2}'),
        call(0, name="g", arguments="{}"),
        STOP,
    )
    assert calls_of(reply) == [
        ("call_0", "f", '{"a":1}'),
        ("call_1", "f", '{"a":2}'),
        ("call_2", "g", "{}"),
    ]


def test_a_name_that_is_repeated_begins_no_call() -> None:
    """Its arguments go on where they were cut."""
    reply = read(
        call(0, name="f", arguments='{"a":{"b":1}'),
        call(0, name="f", arguments="}"),
        STOP,
    )
    assert calls_of(reply) == [("call_0", "f", '{"a":{"b":1}}')]
