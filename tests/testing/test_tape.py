"""What a recording holds, and what is wrong with a request."""

import json
from pathlib import Path

import pytest

from agentflow.testing._tape import (
    Chunk,
    Exchange,
    asked_of,
    changed_request,
    clean,
    dump,
    kept_headers,
    load,
    unused_exchange,
)

URL = "https://user:hunter22@api.example.com:8443/v1/chat?key=abcdefgh&alt=sse#x"


def exchange(text: str = "hello", url: str = URL) -> Exchange:
    """Return an exchange that asked for this."""
    body = json.dumps({"text": text, "n": 1}).encode()
    asked, _ = asked_of("POST", url=url, headers={}, body=body)
    return Exchange(asked=asked, status=200, headers={})


def test_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    """Not in headers, URL or bodies, also where chunks cut them in two."""
    headers = {
        "authorization": "Bearer sk-123456",
        "x-api-key": "another-key",
        "api-key": "third-key",
        "x-goog-api-key": "fourth-key",
        "cookie": "session=tasty-cookie",
        "content-type": "application/json",
        "user-agent": "whatever",
    }
    body = b'{"echo": "sk-123456"}'
    asked, secrets = asked_of("POST", url=URL, headers=headers, body=body)
    assert asked.url == "https://api.example.com:8443/v1/chat?alt=sse"
    assert asked.headers == {"content-type": "application/json"}
    said = Exchange(asked=asked, status=401, headers={})
    said.chunks = [
        Chunk(0.1, b"wrong key sk-123456, "),
        Chunk(0.2, b"or another-k"),
        Chunk(0.3, b"ey"),
    ]
    clean(said, secrets)
    assert said.chunks == [Chunk(0.3, b"wrong key ***, or ***")]
    text = dump([said])
    for secret in (*headers.values(), "sk-123456", "hunter22", "abcdefgh", "tasty"):
        assert secret == "application/json" or secret not in text
    clean(said, secrets)
    said.chunks = [Chunk(0.1, b"key sk-123456"), Chunk(0.2, b"!")]
    clean(said, secrets)
    assert said.chunks == [Chunk(0.1, b"key ***"), Chunk(0.2, b"!")]


def test_headers_of_answers_are_kept_if_they_matter() -> None:
    """Cookies and accounts are nobody's business."""
    headers = {"set-cookie": "a", "openai-organization": "b", "retry-after": "3"}
    assert kept_headers(headers) == {"retry-after": "3"}


def test_a_file_reads_as_it_was_written(tmp_path: Path) -> None:
    """Lines one below the other, bytes that are no text included."""
    said = exchange()
    said.chunks = [Chunk(0.25, "data: ä\n\nda".encode()), Chunk(0.5, b"\xc3")]
    said.is_cut = True
    path = tmp_path / "a.json"
    path.write_text(dump([said]), encoding="utf-8")
    assert '"data: ä\\n",\n' in path.read_text("utf-8")
    (again,) = load(path)
    assert again.asked == said.asked
    assert again.chunks == said.chunks
    assert (again.status, again.is_cut) == (200, True)
    assert load(tmp_path / "missing.json") == []


@pytest.mark.parametrize("text", ["{", "[]", '{"agentflow recording 1": [{}]}'])
def test_a_file_that_is_no_recording_is_refused(text: str, tmp_path: Path) -> None:
    """With its name and what to do."""
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json is no recording.*remove it"):
        load(path)


def test_servers_of_this_machine_are_alike_on_any_port() -> None:
    """They get another one each time."""
    one, other = (
        exchange(url=f"http://{host}/v1").asked
        for host in ("127.0.0.1:4711", "localhost:8080")
    )
    assert one.is_like(other)
    assert not one.is_like(exchange("other", "http://localhost/v1").asked)
    assert not one.is_like(exchange(url="http://localhost/v2").asked)


def test_a_body_that_is_no_json_is_kept_as_text() -> None:
    """It compares as well."""
    asked, _ = asked_of("GET", url="http://x/", headers={}, body=b"plain")
    assert asked.body == "plain"


def test_a_changed_request_is_shown_beside_the_one_most_like_it(tmp_path: Path) -> None:
    """As a diff of what changed."""
    path = tmp_path / "a.json"
    asked = exchange("good evening").asked
    left = [exchange("something else entirely, and longer"), exchange("good morning")]
    assert "there is no recording" in changed_request(asked, [], path)
    path.write_text("")
    assert "everything in" in changed_request(asked, [], path)
    said = changed_request(asked, left, path)
    assert '  -  "text": "good morning"\n' in said
    assert '  +  "text": "good evening"\n' in said
    assert "something else" not in said
    assert "was not asked for. Record anew" in unused_exchange(left[0], path)
