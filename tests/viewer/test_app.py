"""The app: what it answers to whom, alone and mounted."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from agentflow import UsageError
from agentflow.viewer import Price, create_app
from tests.viewer import traces

TOKEN = "a-token-of-16-or-more"


def client(app: Starlette, base: str = "http://localhost:8000") -> httpx.AsyncClient:
    """Talk to an app without a network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base)


def app_of(folder: Path, **options: object) -> Starlette:
    """Make an app that shows a small trace."""
    path = traces.write(folder / "run.jsonl", traces.session(1, parts=1))
    return create_app(path, token=TOKEN, **options)  # type: ignore[arg-type]


def events(body: str) -> list[tuple[str, list[str]]]:
    """Read server-sent events: of each its name and its lines."""
    found: list[tuple[str, list[str]]] = []
    for block in body.split("\n\n")[:-1]:
        name, *data = block.split("\n")
        lines = [
            line.removeprefix("data: ") for line in data if line.startswith("data")
        ]
        found.append((name.removeprefix("event: "), lines))
    return found


async def test_the_link_leaves_a_cookie_and_leads_to_the_page(tmp_path: Path) -> None:
    """The token then stands in the address no more, and scripts cannot read it."""
    async with client(app_of(tmp_path)) as http:
        link = await http.get("/", params={"token": TOKEN})
        assert (link.status_code, link.headers["location"]) == (303, "./")
        cookie = link.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "path=/;" in cookie
        assert "secure" not in cookie
        page = await http.get("/")
    assert page.status_code == 200
    assert page.text.startswith("<!doctype html>")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/records", "/?token=wrong"])
async def test_without_the_token_all_is_forbidden(tmp_path: Path, path: str) -> None:
    """The page too, and the answer is no page."""
    async with client(app_of(tmp_path)) as http:
        answer = await http.get(path)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/plain")
    assert "token" in answer.text


@pytest.mark.parametrize("path", ["/", "/records"])
async def test_another_host_is_forbidden_in_spite_of_the_token(
    tmp_path: Path, path: str
) -> None:
    """Its name may be a trick to reach this machine."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with client(app_of(tmp_path), "http://evil.example") as http:
        answer = await http.get(path, headers=headers)
    assert answer.status_code == 403
    assert "evil.example" in answer.text


async def test_the_records_of_a_file_come_line_by_line(tmp_path: Path) -> None:
    """Greeting, a fresh start, all lines as they stand in the file, and the end."""
    prices = {
        "tiny": Price(input=1, output=3),
        "big": Price(input=2, output=4, cached=1),
    }
    app = app_of(tmp_path, prices=prices)
    async with client(app) as http:
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = await http.get("/records", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    (hello, [about]), (reset, _), (records, lines), (end, _) = events(answer.text)
    assert [hello, reset, records, end] == ["hello", "reset", "records", "end"]
    assert '"name":"run.jsonl","live":false' in about
    assert '"tiny":{"input":1,"output":3,"cached":1}' in about
    assert '"big":{"input":2,"output":4,"cached":1}' in about
    assert lines == (tmp_path / "run.jsonl").read_text("utf-8").splitlines()


async def test_a_trace_in_several_files_is_shown_whole(tmp_path: Path) -> None:
    """The oldest first; a file of another trace that happens to lie there is not."""
    for number, trace in enumerate(["now", "now", "before"]):
        name = f"run.jsonl.{number}" if number else "run.jsonl"
        header = traces.HEADER | {"trace": trace, "part": 2 - number}
        record = {"record": "Mark", "number": number}
        traces.write(tmp_path / name, [header, record])
    async with client(create_app(tmp_path / "run.jsonl", token=TOKEN)) as http:
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = await http.get("/records", headers=headers)
    lines = [line for _, data in events(answer.text) for line in data]
    assert [line[-2] for line in lines if "Mark" in line] == ["1", "0"]


async def test_bytes_that_would_break_the_stream_are_harmless(tmp_path: Path) -> None:
    """Carriage returns, empty lines, no UTF-8, no line end: each stays on its line."""
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b'{"a":1}\r\n\n{"b"\r:2}\n\xff\xfe\n{"cut')
    async with client(create_app(path, token=TOKEN)) as http:
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = await http.get("/records", headers=headers)
    lines = answer.content.split(b"\n\n")[2].split(b"\n")[1:]
    assert lines == [
        b'data: {"a":1}',
        b"data: ",
        b'data: {"b" :2}',
        b"data: \xff\xfe",
        b'data: {"cut',
    ]


async def test_the_app_mounts_below_a_path_of_another(tmp_path: Path) -> None:
    """Its cookie is for that path alone, over https for https alone."""
    app = Starlette(
        routes=[Mount("/trace", app_of(tmp_path, hosts=["apps.example.com"]))]
    )
    async with client(app, "https://apps.example.com") as http:
        link = await http.get("/trace/", params={"token": TOKEN})
        cookie = link.headers["set-cookie"].lower()
        assert "path=/trace/;" in cookie
        assert "secure" in cookie
        assert (await http.get("/trace/")).status_code == 200
        assert (await http.get("/trace/records")).status_code == 200


async def test_nothing_can_be_changed(tmp_path: Path) -> None:
    """It only shows."""
    async with client(app_of(tmp_path)) as http:
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert (await http.post("/", headers=headers)).status_code == 405
        assert (await http.get("/other", headers=headers)).status_code == 404


def test_a_file_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    """Before anybody opens a page."""
    with pytest.raises(UsageError, match=r"no trace file .*missing\.jsonl"):
        create_app(tmp_path / "missing.jsonl", token=TOKEN)
