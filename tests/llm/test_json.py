"""JSON as wires send it."""

from types import MappingProxyType

import pytest

from agentflow.llm._json import (
    JSON,
    InvalidJSON,
    as_count,
    as_label,
    as_list,
    as_object,
    as_text,
    dumps,
    loads,
)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"",
        b"\xff\xfe{\x00",
        b'"\xff"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b"{} {}",
    ],
)
def test_what_is_no_json_is_one_error(text: bytes) -> None:
    """Broken, nested too deeply, absurd, or not UTF-8: all the same to callers."""
    with pytest.raises(InvalidJSON):
        loads(text)


def test_json_comes_from_bytes_and_text() -> None:
    """A byte order mark is no JSON, but nothing else is changed."""
    assert loads(b'{"a": [1, null]}') == {"a": [1, None]}
    assert loads('"\\ud800"') == "\ud800"
    assert loads(b" \r\n\t1\n") == 1


def test_json_is_written_compactly() -> None:
    """Lone surrogates survive; what is no JSON is refused."""
    assert dumps({"a": [1, "\ud800é"]}) == '{"a":[1,"\\ud800\\u00e9"]}'
    with pytest.raises(TypeError, match="object is not JSON"):
        dumps(object())


def test_frozen_mappings_are_objects() -> None:
    """Whatever behaves as a mapping is written as one."""
    assert dumps(MappingProxyType({"a": 1})) == '{"a":1}'


@pytest.mark.parametrize("value", [None, 1, "x", True, 1.5])
def test_getters_never_fail(value: JSON) -> None:
    """They answer with something empty of their kind."""
    assert as_object(value) == {}
    assert as_list(value) == []
    assert as_text(value) == (value if isinstance(value, str) else "")


@pytest.mark.parametrize(
    ("value", "count"),
    [(3, 3), (3.0, 3), (True, 0), (-1, 0), ("3", 0), (None, 0), (1e300, 0)],
)
def test_counts_are_numbers_that_count(value: JSON, count: int) -> None:
    """Anything else is 0."""
    assert as_count(value) == count
    assert as_count(float("nan")) == as_count(float("inf")) == 0


def test_labels_are_texts_or_numbers() -> None:
    """Several providers send numbers as codes."""
    assert as_label(400) == "400"
    assert as_label("x") == "x"
    assert as_label("") is as_label(None) is as_label(True) is None
