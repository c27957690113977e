"""Proxies and certificates: a broker finds both where httpx does."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio.abc
import anyio.streams.tls
import httpx
import pytest
import trustme

from agentflow.llm import ConnectionFailed, HttpSettings, LLMBroker, RetryPolicy
from tests.llm.wire import WHOLE, Connection, Server, answer_whole, open_server

pytestmark = pytest.mark.anyio

HOST = "model.test"
SETTINGS = HttpSettings(retry=RetryPolicy(retries=0))
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return an authority that nobody knows."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.upper, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def trusted(authority: trustme.CA, folder: Path) -> str:
    """Write the authority's certificate into a file."""
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def certificate(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Make what a server of these names needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = authority.issue_cert(*names).private_key_and_cert_chain_pem
    with pem.tempfile() as path:
        context.load_cert_chain(path)
    return context


def broker(base_url: str) -> LLMBroker:
    """Make a broker that tries once."""
    return LLMBroker("compatible:m", base_url=base_url, http_settings=SETTINGS)


async def receive_head(stream: anyio.abc.ByteStream) -> bytes:
    """Read a request's head, and whatever comes along with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    return data


async def answer_encrypted(
    stream: anyio.abc.SocketStream, context: ssl.SSLContext
) -> None:
    """Be the server at the other end of an encrypted connection."""
    wrapped = await anyio.streams.tls.TLSStream.wrap(
        stream, server_side=True, ssl_context=context, standard_compatible=False
    )
    await receive_head(wrapped)
    await wrapped.send(WHOLE)


@asynccontextmanager
async def open_encrypted_server(authority: trustme.CA) -> AsyncGenerator[Server]:
    """Run a server whose certificate this authority signed."""
    context = certificate(authority, "127.0.0.1")

    async def serve(connection: Connection) -> None:
        with suppress(ssl.SSLError):  # the client may know no such authority
            await answer_encrypted(connection.stream, context)

    async with open_server(serve) as server:
        server.url = server.url.replace("http:", "https:")
        yield server


async def test_an_authority_of_the_user_s_own_is_trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as SSL_CERT_FILE names it, and not before or after."""
    async with open_encrypted_server(authority) as server:
        with pytest.raises(ConnectionFailed, match="certificate verify failed"):
            await broker(server.url).generate("hello")
        with monkeypatch.context() as told:
            told.setenv("SSL_CERT_FILE", trusted(authority, tmp_path))
            assert (await broker(server.url).generate("hello")).text == "Hi"
        with pytest.raises(ConnectionFailed, match="certificate verify failed"):
            await broker(server.url).generate("hello")


async def test_a_client_of_the_user_s_own_brings_its_certificates(
    authority: trustme.CA,
) -> None:
    """Without any environment variable."""
    known = authority.cert_pem.bytes().decode("ascii")
    context = ssl.create_default_context(cadata=known)
    async with (
        open_encrypted_server(authority) as server,
        httpx.AsyncClient(verify=context) as client,
    ):
        llm = LLMBroker("compatible:m", base_url=server.url, http_client=client)
        assert (await llm.generate("hello")).text == "Hi"


async def test_certificates_are_read_once_for_all_brokers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading them takes longer than a call to a local model."""
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(ssl.create_default_context())
        return made[-1]

    monkeypatch.setattr(httpx, "create_ssl_context", make)
    async with open_server(answer_whole) as server:
        for _ in range(3):
            await broker(server.url).generate("hello")
    assert len(made) == 1


async def test_a_plain_call_goes_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy is told the whole URL, and passes on the answer."""
    async with open_server(answer_whole) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        reply = await broker(f"http://{HOST}/v1").generate("hello")
    assert reply.text == "Hi"
    (request,) = proxy.requests
    assert request.startswith(f"POST http://{HOST}/v1/chat/completions ".encode())


async def test_an_encrypted_call_goes_through_the_proxy_unread(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a tunnel, at whose end is the server, with a certificate of its name."""
    context = certificate(authority, HOST)
    asked: list[bytes] = []

    async def tunnel(connection: Connection) -> None:
        asked.append(await receive_head(connection.stream))
        await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await answer_encrypted(connection.stream, context)

    monkeypatch.setenv("SSL_CERT_FILE", trusted(authority, tmp_path))
    async with open_server(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/v1"))
        reply = await broker(f"https://{HOST}/v1").generate("hello")
    assert reply.text == "Hi"
    assert asked[0].startswith(f"CONNECT {HOST}:443 ".encode())


async def test_no_proxy_stands_before_this_machine_s_own_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor before those that NO_PROXY names."""
    async with open_server(answer_whole) as server, open_server(answer_whole) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        assert (await broker(server.url).generate("hello")).text == "Hi"
        monkeypatch.setenv("NO_PROXY", HOST)
        with pytest.raises(ConnectionFailed):
            await broker(f"http://{HOST}/v1").generate("hello")
    assert len(server.requests) == 1
    assert proxy.connections == 0
