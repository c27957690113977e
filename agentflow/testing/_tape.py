"""What was said over HTTP, as a file that people read, compare and commit.

Decisions over values: what is kept, what is a secret, which exchange answers a request.
Of the headers only those are kept that answers depend on, so no key gets into the file;
a key that a server repeats in its answer is struck out there, too.
"""

import base64
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

FORMAT = "agentflow recording 1"

_KEPT_REQUEST = frozenset({"content-type", "anthropic-version", "anthropic-beta"})
_KEPT_RESPONSE = re.compile(
    r"content-type|content-encoding|retry-after(-ms)?|(x-)?request-id|x-should-retry"
)
_SECRET_HEADERS = re.compile(r".*(authorization|api-key|apikey|token|cookie).*")
_SECRET_QUERY = re.compile(r"(?i).*(key|token|sig|signature|secret|password)")
_SHORTEST_SECRET = 6
_STRUCK_OUT = "***"


@attrs.frozen(kw_only=True)
class Asked:
    """A request, without its secrets.

    Attributes:
        method: The HTTP method.
        url: The URL; of this machine's own servers without the port, which changes.
        headers: Those that answers depend on.
        body: The body: JSON as a value, all else as text.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: object

    def is_like(self, other: "Asked") -> bool:
        """Whether the same answer is right for both."""
        mine, theirs = (self.method, self.url), (other.method, other.url)
        return mine == theirs and self.body == other.body


@attrs.frozen
class Chunk:
    """A piece of an answer.

    Attributes:
        at: Seconds since the request was sent.
        data: The bytes.
    """

    at: float
    data: bytes


@attrs.define(kw_only=True, eq=False)
class Exchange:
    """A request and its answer.

    Attributes:
        asked: The request.
        status: HTTP status of the answer.
        headers: Headers of the answer that matter.
        chunks: Its body, as it came in.
        is_cut: Whether nobody read it to its end.
    """

    asked: Asked
    status: int
    headers: Mapping[str, str]
    chunks: list[Chunk] = attrs.field(factory=list[Chunk])
    is_cut: bool = False


def asked_of(
    method: str, *, url: str, headers: Mapping[str, str], body: bytes
) -> tuple[Asked, list[str]]:
    """Take the secrets out of a request.

    Args:
        method: The HTTP method.
        url: The whole URL.
        headers: All headers, their names in lower case.
        body: The body.

    Returns:
        What may be written down, and the secrets.
    """
    secrets = [
        word
        for name, value in headers.items()
        if _SECRET_HEADERS.fullmatch(name)
        for word in re.split(r"[\s;,]+", value)
    ]
    plain_url, more = _without_secrets(url)
    secrets = [each for each in [*secrets, *more] if len(each) >= _SHORTEST_SECRET]
    text = _strike_out(body, secrets).decode("utf-8", "replace")
    try:
        content: object = json.loads(text)
    except ValueError:
        content = text
    kept = {name: headers[name] for name in sorted(headers) if name in _KEPT_REQUEST}
    return Asked(method=method, url=plain_url, headers=kept, body=content), secrets


def _without_secrets(url: str) -> tuple[str, list[str]]:
    parts = urlsplit(url)
    secrets = [parts.password or ""]
    query: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_QUERY.fullmatch(name):
            secrets.append(value)
        else:
            query.append((name, value))
    host = parts.hostname or ""
    is_local = host in {"localhost", "::1"} or host.startswith("127.")
    place = "localhost" if is_local else host
    if parts.port and not is_local:
        place += f":{parts.port}"
    plain = urlunsplit((parts.scheme, place, parts.path, urlencode(query), ""))
    return plain, secrets


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an answer that matter to who reads it again."""
    return {n: headers[n] for n in sorted(headers) if _KEPT_RESPONSE.fullmatch(n)}


def clean(exchange: Exchange, secrets: Sequence[str]) -> None:
    """Strike the secrets out of an answer, also where chunks cut them in two."""
    whole = b"".join(chunk.data for chunk in exchange.chunks)
    if _strike_out(whole, secrets) == whole:
        return
    exchange.chunks = [
        Chunk(chunk.at, _strike_out(chunk.data, secrets)) for chunk in exchange.chunks
    ]
    whole = b"".join(chunk.data for chunk in exchange.chunks)
    if (cleaned := _strike_out(whole, secrets)) != whole:
        exchange.chunks = [Chunk(exchange.chunks[-1].at, cleaned)]


def _strike_out(data: bytes, secrets: Iterable[str]) -> bytes:
    for secret in secrets:
        data = data.replace(secret.encode(), _STRUCK_OUT.encode())
    return data


# -- the file ---------------------------------------------------------------------------


def load(path: Path) -> list[Exchange]:
    """Read a recording.

    Args:
        path: The file; one that does not exist holds nothing.

    Returns:
        Its exchanges.

    Raises:
        ValueError: It is no recording.
    """
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text("utf-8"))
        return [_exchange(each) for each in content[FORMAT]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no recording of agentflow's ({error!r}); remove it, and record "
            "again with --agentflow-record=once"
        ) from error


def _exchange(content: Mapping[str, Any]) -> Exchange:
    asked, answer = content["request"], content["response"]
    return Exchange(
        asked=Asked(
            method=asked["method"],
            url=asked["url"],
            headers=asked["headers"],
            body=asked["body"],
        ),
        status=answer["status"],
        headers=answer["headers"],
        chunks=[_chunk(each) for each in answer["chunks"]],
        is_cut=answer.get("is_cut", False),
    )


def _chunk(content: Mapping[str, Any]) -> Chunk:
    if "base64" in content:
        return Chunk(content["at"], base64.b64decode(content["base64"]))
    return Chunk(content["at"], "".join(content["text"]).encode())


def dump(exchanges: Iterable[Exchange]) -> str:
    """Write a recording as text: JSON, with the lines of each chunk one below the other."""
    content = {FORMAT: [_plain(each) for each in exchanges]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _plain(exchange: Exchange) -> dict[str, object]:
    answer: dict[str, object] = {
        "status": exchange.status,
        "headers": dict(exchange.headers),
        "chunks": [_plain_chunk(chunk) for chunk in exchange.chunks],
    }
    if exchange.is_cut:
        answer["is_cut"] = True
    return {"request": attrs.asdict(exchange.asked), "response": answer}


def _plain_chunk(chunk: Chunk) -> dict[str, object]:
    at = round(chunk.at, 4)
    try:
        text = chunk.data.decode("utf-8")
    except UnicodeDecodeError:  # cut within a character
        return {"at": at, "base64": base64.b64encode(chunk.data).decode("ascii")}
    return {"at": at, "text": re.findall(r"[^\n]*\n|[^\n]+", text)}


# -- what is wrong ----------------------------------------------------------------------


def changed_request(asked: Asked, left: Sequence[Exchange], path: Path) -> str:
    """Say how a request differs from the recorded one that is most like it.

    Args:
        asked: The request.
        left: The exchanges nobody has asked for yet.
        path: The file they are in.

    Returns:
        The message.
    """
    what = f"an unexpected call: {asked.method} {asked.url}"
    if not path.exists():
        return (
            f"{what}, and there is no recording {path}. Make it where the model can be "
            "reached, with --agentflow-record=once"
        )
    if not left:
        return (
            f"{what}, but everything in {path} has been asked for. Add it with "
            "--agentflow-record=new, or find out why the agent asks again"
        )
    now = _lines(asked)
    nearest = max(left, key=lambda each: _likeness(each.asked, asked))
    diff = difflib.unified_diff(
        _lines(nearest.asked), now, "recorded", "asked now", lineterm="", n=1
    )
    lines = "".join(f"\n  {line}" for line in diff)
    return (
        f"{what}, which {path} does not hold; beside the one most like it:{lines}\nIf it "
        "is meant to be so, record anew with --agentflow-record=all"
    )


def _lines(asked: Asked) -> list[str]:
    content = cast("object", attrs.asdict(asked))
    return json.dumps(
        content, indent=1, ensure_ascii=False, sort_keys=True
    ).splitlines()


def _likeness(one: Asked, other: Asked) -> float:
    a, b = ("\n".join(_lines(each)) for each in (one, other))
    return difflib.SequenceMatcher(a=a, b=b, autojunk=False).ratio()


def unused_exchange(exchange: Exchange, path: Path) -> str:
    """Say that nobody asked for an exchange."""
    asked = exchange.asked
    return (
        f"an unused reply: {path} holds a {asked.method} {asked.url} that was not asked "
        "for. Record anew with --agentflow-record=all, or find out why the agent did not "
        "ask"
    )
