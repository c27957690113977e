"""The one door to the network: drives a codec over httpx.

Always asks for a stream, since cancelling a streamed call frees the server at once and a
plain one does not. Retries as ``_retry`` says, as long as nothing of the answer has been
handed on. Errors leave typed, with provider and request id, and without the key.
"""

import math
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Self, TypeAlias

import anyio
import anyio.lowlevel
import httpx

from agentflow.llm._codec import Decoder, HttpCall
from agentflow.llm._endpoint import Endpoint, HttpSettings
from agentflow.llm._errors import (
    AttemptTimeout,
    ConfigurationError,
    ConnectionFailed,
    LLMError,
    ProviderError,
    words_of,
)
from agentflow.llm._gateway import Answer
from agentflow.llm._json import dumps
from agentflow.llm._reply import Delta, Reply, deltas_of
from agentflow.llm._request import OutputMode, Request
from agentflow.llm._retry import Failure, retry_after, retry_delay
from agentflow.llm._slots import Slots
from agentflow.llm._tls import shared_context
from agentflow.llm._unpack import Unpacker

_MAX_ERROR_BODY = 2**20
"""Bytes of an error's body to read."""

_DRAIN = 0.1
"""Seconds to wait for the end of a body behind the end of its answer, so that the
connection can be used again; most servers send it along."""

_CLOSE = 5.0
"""Seconds that closing a connection may take."""

_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid")

_HEADERS: Mapping[str, str] = {
    "accept": "text/event-stream, application/json",
    # A compressed stream would arrive in lumps.
    "accept-encoding": "identity",
    "content-type": "application/json",
    "user-agent": "trio-agentflow",
}

HttpClient: TypeAlias = httpx.AsyncClient
"""The client a user may bring."""

_HTTPX_DEFAULT = httpx.Timeout(5.0)
"""What a client has if its user set no timeouts: far too short for a model."""


class HttpGateway:
    """Reaches a provider over HTTP.

    Entered as a context manager it keeps one pool of connections; else the pool lives as
    long as an exchange does, and exchanges at the same time share it.

    Args:
        endpoint: Where the provider is.
        api_key: The key; None for a server that wants none.
        http_client: A client of your own, with the proxy, certificates or transport you
            need. It stays yours to close.
        settings: Timeouts, connections, retries.

    Raises:
        ConfigurationError: The key cannot stand in a header.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        api_key: str | None = None,
        http_client: HttpClient | None = None,
        settings: HttpSettings | None = None,
    ) -> None:
        key = (api_key or "").strip()
        if not key.isascii() or not key.isprintable():
            raise ConfigurationError(
                f"{endpoint.name}: the API key holds characters that no HTTP header may"
            )
        self._endpoint = endpoint
        self._key = key
        self._own_client = http_client
        self._settings = settings or HttpSettings()
        # Beyond connecting, the deadline of a try is all there is.
        self._timeout = httpx.Timeout(None, connect=self._settings.connect_timeout)
        self._path: str | None = None
        self._url = httpx.URL()
        self._slots = Slots(self._settings.max_connections)
        self._pool: httpx.AsyncClient | None = None
        self._users = 0

    def __repr__(self) -> str:
        """Say where it leads, and nothing of the key."""
        return f"<{type(self).__name__} {self.name} at {self._endpoint.place}>"

    @property
    def name(self) -> str:
        """See ``Gateway.name``."""
        return self._endpoint.name

    @property
    def output_mode(self) -> OutputMode:
        """See ``Gateway.output_mode``."""
        return self._endpoint.codec.output_mode

    @property
    def concurrency(self) -> int:
        """Exchanges that may be underway now.

        It is ``max_connections`` until the provider says that this is too much; then it
        falls, and grows again with every answer.
        """
        return self._slots.limit

    async def __aenter__(self) -> Self:
        """Keep the connections until the block ends.

        Returns:
            The gateway itself.

        Cancellation: nothing is open yet.
        """
        if not self._users:
            await anyio.lowlevel.checkpoint()
        self._users += 1
        return self  # it costs no switch while others use it

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the connections if nobody uses them any more.

        Cancellation: they are closed all the same.
        """
        self._users -= 1
        if self._users:
            return  # likewise
        self._slots.close()
        pool, self._pool = self._pool, None
        with anyio.move_on_after(_CLOSE, shield=True):
            if pool is not None:
                await pool.aclose()
            else:
                await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Answer, None]:
        """Make one exchange; see ``Gateway.stream``.

        Args:
            request: What to ask.

        Yields:
            The answer, item by item; tries again as long as none has been read.

        Raises:
            LLMError: Reading the answer failed, for good.

        Cancellation: the connection is closed at once.
        """
        call = self._endpoint.codec.encode(request)
        async with self:
            exchange = _Exchange(self, call)
            try:
                yield exchange
            finally:
                await exchange.aclose()

    def _client(self) -> httpx.AsyncClient:
        """Return the client to use now; called with the gateway entered."""
        if self._own_client is not None:
            if self._own_client.is_closed:
                raise ConfigurationError(
                    f"{self.name}: the http_client given is closed"
                )
            return self._own_client
        if self._pool is None:
            size = self._settings.max_connections
            self._pool = httpx.AsyncClient(
                verify=shared_context(httpx.create_ssl_context),
                # No proxy reaches this machine's own loopback interface.
                trust_env=not self._endpoint.is_local,
                timeout=self._timeout,
                limits=httpx.Limits(
                    max_connections=size, max_keepalive_connections=size
                ),
            )
        return self._pool

    def _request(self, call: HttpCall) -> httpx.Request:
        """Make the request of a call, with URL, key and timeouts."""
        client = self._client()
        endpoint = self._endpoint
        headers = {**_HEADERS, **endpoint.headers, **call.headers}
        if self._key:
            headers[endpoint.key_header] = endpoint.key_format.format(key=self._key)
        headers |= endpoint.login
        if self._path != call.path:
            # httpx takes as long to read a URL as to do all the rest of this.
            self._url = httpx.URL(endpoint.url + call.path)
            self._path = call.path
        content = dumps(call.json).encode("ascii")
        # A client of the user's has settings to merge in, which takes its time.
        theirs = client is self._own_client
        make = client.build_request if theirs else httpx.Request
        timeout = client.timeout
        if theirs and timeout == _HTTPX_DEFAULT:
            timeout = self._timeout
        return make(
            call.method,
            self._url,
            headers=headers,
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )


class _Exchange(AsyncIterator[Delta | Reply]):
    """One exchange: an answer, after as many tries as it takes.

    Attributes:
        attempts: Tries so far.
    """

    def __init__(self, gateway: HttpGateway, call: HttpCall) -> None:
        self._gateway = gateway
        self._call = call
        self._ready: deque[Delta | Reply] = deque()
        self.attempts = 1
        self._deadline = math.inf
        self._response: httpx.Response | None = None
        self._body: AsyncIterator[bytes] | None = None
        self._unpacker = Unpacker("")
        self._decoder: Decoder | None = None
        self._begun = False
        self._heard = False
        self._late: LLMError | None = None
        self._given = False
        self._whole = False
        self._finished = False

    def give_whole(self) -> None:
        """Give the reply alone, which then may be tried for until it is there."""
        self._whole = True

    async def __anext__(self) -> Delta | Reply:
        """Return the next item of the answer.

        Raises:
            StopAsyncIteration: The reply was the last one.
            LLMError: The exchange failed, for good.

        Cancellation: the exchange cannot go on; leaving its block closes the connection.
        """
        while not self._ready:
            if self._finished:
                raise StopAsyncIteration
            failed, self._late = self._late, None
            try:
                if failed is None:
                    await self._advance()
            except LLMError as error:
                failed = error
            if failed is not None and self._ready:
                self._late = failed  # what came before it is given first
            elif failed is not None:
                await self._try_again(failed)
        self._given = True
        return self._ready.popleft()  # noqa: ASYNC910 -- what is at hand costs no switch

    async def aclose(self) -> None:  # noqa: ASYNC910 -- nothing may be open
        """End the exchange; the connection goes back if its answer came to an end.

        Cancellation: it is closed all the same.
        """
        response, self._response = self._response, None
        body, self._body = self._body, None
        try:
            if response is not None and body is not None and not response.is_closed:
                with anyio.move_on_after(_CLOSE, shield=True):
                    await _abandon(body)
                    await response.aclose()
        finally:
            self._gateway._slots.give_back(self)

    async def _advance(self) -> None:
        """Send the request, or take the next bytes of its answer."""
        if self._decoder is None:
            settings = self._gateway._settings
            await self._gateway._slots.take(self)
            self._deadline = anyio.current_time() + settings.attempt_timeout
            self._decoder = await self._send()
        else:
            assert self._body is not None
            await self._receive(self._decoder, self._body)

    async def _send(self) -> Decoder:
        """Send the request and look at the head of the answer."""
        gateway = self._gateway
        with self._guarded():
            request = gateway._request(self._call)
            self._response = await gateway._client().send(request, stream=True)
        response = self._response
        assert response is not None
        encoding = ""
        if response.is_stream_consumed:
            self._body = _Once(response.content)
        else:
            self._body = response.aiter_raw()
            encoding = response.headers.get("content-encoding", "")
        self._unpacker = Unpacker(encoding)
        if response.is_success:
            return gateway._endpoint.codec.decoder()
        body = await self._error_body(self._body)
        headers = dict(response.headers)
        raise gateway._endpoint.codec.error(response.status_code, headers, body)

    async def _error_body(self, body: AsyncIterator[bytes]) -> bytes:
        """Read as much of an error's body as there is, within bounds."""
        read = bytearray()
        with self._guarded():
            async for data in body:
                for piece in self._unpacker.feed(data):
                    read += piece[: _MAX_ERROR_BODY - len(read)]
                if len(read) >= _MAX_ERROR_BODY:
                    break
        return bytes(read)

    async def _receive(self, decoder: Decoder, body: AsyncIterator[bytes]) -> None:
        """Take the next bytes of the answer."""
        data: bytes | None = None
        lost: LLMError | None = None
        try:
            with self._guarded():
                data = await anext(body, None)
        except ConnectionFailed as error:
            if not self._begun:
                raise
            lost = error
        if data is not None:
            self._begun = True
            for piece in self._unpacker.feed(data):
                deltas = decoder.feed(piece)
                self._heard = self._heard or bool(deltas)
                if not self._whole:
                    self._ready.extend(deltas)
            if not decoder.done:
                return  # noqa: ASYNC910 -- the read has awaited
        self._finish(decoder, lost)
        if data is not None:
            await _drain(body)
        await self.aclose()

    def _finish(self, decoder: Decoder, lost: LLMError | None) -> None:
        """Add the whole reply behind the deltas."""
        try:
            reply = decoder.finish()
        except LLMError as error:
            raise error from lost
        if not self._heard and not self._whole:
            self._ready.extend(deltas_of(reply))
        self._ready.append(reply)
        self._finished = True
        self._gateway._slots.answered()

    async def _try_again(self, error: LLMError) -> None:
        """Wait for the next try, or raise the error for good."""
        gateway = self._gateway
        response = self._response
        gateway._slots.failed(self, error)
        await self.aclose()
        headers = dict(response.headers) if response is not None else {}
        status = response.status_code if response is not None else None
        error.about(provider=gateway.name, request_id=_request_id(headers))
        error.redact(gateway._key)
        now = time.time()
        is_good = response is not None and response.is_success
        if isinstance(error, ProviderError) and not is_good:
            # What the body says of it counts where no header does.
            asked = retry_after(headers, now=now)
            error.retry_after = error.retry_after if asked is None else asked
        delay = retry_delay(
            gateway._settings.retry,
            Failure(
                error=error,
                attempt=self.attempts,
                status=status,
                headers=headers,
                begun=self._begun,
                heard=self._heard,
                given=self._given,
            ),
            now=now,
            chance=random.random(),
        )
        if delay is None:
            self._finished = True
            raise error
        await anyio.sleep(delay)
        self.attempts += 1
        self._decoder = None
        self._begun = self._heard = False
        self._ready.clear()

    @contextmanager
    def _guarded(self) -> Generator[None]:
        """Hold what is awaited to the deadline of this try, and errors to our types."""
        try:
            with anyio.CancelScope(deadline=self._deadline) as scope:
                yield
        except (
            httpx.InvalidURL,
            httpx.UnsupportedProtocol,
            httpx.LocalProtocolError,
        ) as error:
            # Not chained: it may quote the headers, and so the key.
            raise ConfigurationError(f"cannot ask {self._where}: {error}") from None
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise AttemptTimeout(f"{self._where} fell silent") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            what = "lost the connection to" if self._begun else "cannot reach"
            words = words_of(error)
            hint = "" if self._begun else "; is the server running, and the URL right?"
            raise ConnectionFailed(f"{what} {self._where}: {words}{hint}") from error
        if scope.cancelled_caught:
            seconds = self._gateway._settings.attempt_timeout
            raise AttemptTimeout(
                f"{self._gateway.name} did not answer in full within {seconds:g} seconds"
            )

    @property
    def _where(self) -> str:
        """Whom this asks, for errors."""
        return f"{self._gateway.name} at {self._gateway._endpoint.place}"


class _Once(AsyncIterator[bytes]):
    """A body that a transport had at hand and httpx has read and unpacked already."""

    def __init__(self, data: bytes) -> None:
        self._data = [data]

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self._data:
            raise StopAsyncIteration
        return self._data.pop()


async def _drain(  # noqa: ASYNC910 -- the body may be at hand
    body: AsyncIterator[bytes],
) -> None:
    """Read on to the end of a body whose answer is complete, if it comes soon."""
    with anyio.move_on_after(_DRAIN), suppress(httpx.HTTPError):
        async for _ in body:
            pass


async def _abandon(  # noqa: ASYNC910 -- likewise
    body: AsyncIterator[bytes],
) -> None:
    """End the generators that read a body.

    Closing the outer one leaves those inside httpx to the garbage collector, about which
    trio warns. A cancelled read ends them all, and closes the connection.
    """
    with anyio.CancelScope() as scope, suppress(httpx.HTTPError, httpx.StreamError):
        scope.cancel("nobody reads the rest of this answer")
        async for _ in body:
            pass


def _request_id(headers: Mapping[str, str]) -> str | None:
    """Find the id under which the provider logged the request."""
    return next((headers[name] for name in _REQUEST_IDS if name in headers), None)
