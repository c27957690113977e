"""Lines and events out of bytes that are cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from agentflow.llm import AnswerTooLarge
from agentflow.llm._sse import LineSplitter, NdjsonReader, SseReader

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXTS = st.text(alphabet="ab: \u2028\x85\U0001f600", max_size=6).map(str.encode)
CUTS = st.lists(st.integers(0, 200), max_size=20)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at the places given."""
    places = sorted({0, *(c for c in cuts if c < len(data)), len(data)})
    return [data[a:b] for a, b in pairwise(places)]


@given(st.lists(st.tuples(TEXTS, ENDS)), TEXTS, CUTS)
def test_lines_do_not_depend_on_the_cuts(
    lines: list[tuple[bytes, bytes]], rest: bytes, cuts: list[int]
) -> None:
    """LF, CRLF and CR end a line, nothing else does, wherever the bytes are cut."""
    # A CR line with an empty LF line behind it cannot be told from one CRLF.
    lines = [(t, b"\n" if e == b"\r" else e) for t, e in lines]
    data = b"".join(text + end for text, end in lines) + rest
    splitter = LineSplitter()
    got = [line for piece in pieces(data, cuts) for line in splitter.feed(piece)]
    assert got == [text for text, _ in lines]
    assert splitter.close() == rest


def test_cr_alone_ends_a_line() -> None:
    """Three ends, three lines; an LF behind a cut-off CR belongs to it."""
    splitter = LineSplitter()
    assert splitter.feed(b"a\rb\r") == [b"a", b"b"]
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b"c\r\rd\n") == [b"c", b"", b"d"]
    assert splitter.feed(b"") == []


def test_a_line_without_end_is_refused() -> None:
    """The error comes as soon as the line outgrows its limit."""
    splitter = LineSplitter(max_line=10)
    splitter.feed(b"12345")
    with pytest.raises(AnswerTooLarge, match="longer than 10 bytes"):
        splitter.feed(b"678901")


def test_events_have_name_and_data() -> None:
    """Data lines add up; one space behind the colon goes; other fields are skipped."""
    reader = SseReader()
    events = reader.feed(
        b"\xef\xbb\xbf: hello\nevent: ping\nid: 7\ndata:  a\ndata:b\ndata\n\n"
        b"\n\ndata: {}\n\n"
    )
    assert events == [("ping", b" a\nb\n"), ("", b"{}")]
    assert reader.close() is None


@pytest.mark.parametrize("cut", range(4))
def test_a_byte_order_mark_belongs_to_the_first_line_alone(cut: int) -> None:
    """It is left out there, wherever it is cut; later it is a part of its line."""
    body = b"\xef\xbb\xbfdata: 1\n\xef\xbb\xbfdata: 2\n\n"
    reader = SseReader()
    assert reader.feed(body[:cut]) + reader.feed(body[cut:]) == [("", b"1")]
    reader = SseReader()
    assert reader.feed(body[:10]) == []
    assert reader.close() == ("", b"1")


def test_an_event_name_without_data_names_nothing_else() -> None:
    """A blank line ends an event that has no data, and its name with it."""
    assert SseReader().feed(b"event: x\n\ndata: 1\n\n") == [("", b"1")]


def test_the_last_event_may_lack_its_blank_line() -> None:
    """Closing the reader gives the event the end has cut off."""
    reader = SseReader()
    assert reader.feed(b"data: 1") == []
    assert reader.close() == ("", b"1")
    assert reader.close() is None


@given(CUTS)
def test_events_do_not_depend_on_the_cuts(cuts: list[int]) -> None:
    """The same events come out of any pieces."""
    data = "event: a\r\ndata: \u2028é\r\n\r\n: c\r\n\r\ndata: 2\r\n\r\n".encode()
    reader = SseReader()
    got = [event for piece in pieces(data, cuts) for event in reader.feed(piece)]
    assert got == [("a", "\u2028é".encode()), ("", b"2")]


@pytest.mark.parametrize(
    "noise", [b": ping\n", b"\n", b"event: x\n", b"retry: 5\n", b"\r\n"]
)
def test_endless_noise_is_refused(noise: bytes) -> None:
    """Comments, blank lines and unknown fields may not go on for ever."""
    reader = SseReader(max_noise=100)
    with pytest.raises(AnswerTooLarge, match="100 bytes of the answer held comments"):
        for _ in range(200):
            reader.feed(noise)


def test_noise_is_counted_from_the_last_event() -> None:
    """A long stream with a comment now and then is fine."""
    reader = SseReader(max_noise=20)
    for _ in range(50):
        assert reader.feed(b": keepalive\n\ndata: 1\n\n") == [("", b"1")]


def test_an_event_of_endless_lines_is_refused() -> None:
    """Many short data lines of one event have a limit together."""
    reader = SseReader(max_line=100)
    with pytest.raises(AnswerTooLarge, match="event of the answer is larger"):
        for _ in range(30):
            reader.feed(b"data: 1234\n")


def test_ndjson_lines_are_events_without_name() -> None:
    """Blank lines are skipped; the last line needs no end."""
    reader = NdjsonReader()
    assert reader.feed(b'{"a":1}\r\n \n{"b"') == [("", b'{"a":1}')]
    assert reader.close() == ("", b'{"b"')
    assert reader.close() is None


def test_endless_blank_lines_of_ndjson_are_refused() -> None:
    """They bring no line of JSON nearer."""
    reader = NdjsonReader(max_noise=10)
    with pytest.raises(AnswerTooLarge, match="10 bytes of the answer held blank"):
        reader.feed(b"\n" * 11)
