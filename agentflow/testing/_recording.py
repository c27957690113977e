"""Recording what is said over HTTP, and saying it again: the test kit's door to httpx.

It is a transport of httpx, below everything that agentflow does with an answer. So what is
replayed takes the same way as what comes from a server: the same decoder, the same
retries, the same errors.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Unpack

import anyio
import anyio.lowlevel
import httpx

from agentflow.llm._broker import LLMBroker
from agentflow.llm._gateways import OpenAIGateway
from agentflow.llm.local import LocalModelOptions, open_local_server
from agentflow.llm.providers._chat_dialect import COMPATIBLE
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
from agentflow.testing._virtual import current_virtual_clock, real_time

Record = Literal["none", "once", "new", "all"]
"""When to ask for real: never, if there is no recording, for what it lacks, always."""

_MODES = ("none", "once", "new", "all")
_CLOSE = 5.0
"""Seconds that closing a connection may take."""


class RecordedLLM:
    """A model that says again what a real one has said.

    ::

        llm = recorded_llm.broker("openai:gpt-5-mini", temperature=0)

    An answer comes in the chunks in which it came, and at their pace where time is
    virtual; on a real clock at once. A request that is not in the recording, and an
    exchange that nobody asked for, fail the test at its end: through the fixture
    ``recorded_llm``, or with ``open_test_session(router, checked=[recorded])``.

    Args:
        path: The file.
        record: When to ask a real model: "none" never does, "once" if there is no file yet,
            "new" for what the file lacks, "all" always, and writes the file anew.

    Raises:
        ValueError: There is no such way to record, or the file is no recording.
    """

    def __init__(self, path: str | PathLike[str], record: Record = "none") -> None:
        if record not in _MODES:
            raise ValueError(
                f"record must be one of {', '.join(_MODES)}, not {record!r}"
            )
        self.path: Path = Path(path)
        self.is_recording: bool = record in {"new", "all"} or (
            record == "once" and not self.path.exists()
        )
        """Whether a real model may be asked."""
        self._kept = [] if record == "all" else load(self.path)
        self._left = list(self._kept)
        self._new: list[Exchange] = []
        self._unexpected: list[str] = []
        self._drops: list[int] = []
        self._private: list[str] = []
        self.http_client: httpx.AsyncClient = httpx.AsyncClient(
            transport=_Transport(self)
        )
        """For whatever takes an httpx client: ``OpenAIGateway(http_client=...)``."""

    def broker(self, model: str, **settings: Any) -> LLMBroker:  # noqa: ANN401 -- its own
        """Return a broker whose model is recorded.

        Args:
            model: The model, with its provider, as in "openai:gpt-5-mini".
            settings: See ``LLMBroker``. Nobody needs a key for what is replayed.

        Returns:
            The broker.
        """
        if not self.is_recording:
            settings.setdefault("api_key", "replayed")
        return LLMBroker(model, http_client=self.http_client, **settings)

    @asynccontextmanager
    async def open_local_model(
        self,
        path: str | PathLike[str] | None = None,
        **options: Unpack[LocalModelOptions],
    ) -> AsyncGenerator[OpenAIGateway]:
        """Record the embedded model; to replay it, neither it nor its wheels are needed.

        Args:
            path: As ``agentflow.llm.local.open_local_model`` takes it.
            options: Likewise.

        Yields:
            The way to the model, for ``LLMBroker("smollm2", gateway=...)``.

        Cancellation:
            The model's process is killed, and waited for.
        """
        if not self.is_recording:
            yield self._local("http://localhost", None)
            return
        with real_time():
            async with open_local_server(path, **options) as server:
                # It names its file in each answer; whose folder that is in is private.
                self._private.append(f"{server.model.parent}/")
                yield self._local(server.address, server.api_key)

    def _local(self, address: str, key: str | None) -> OpenAIGateway:
        return OpenAIGateway(
            base_url=f"{address}/v1",
            api_key=key,
            http_client=self.http_client,
            dialect=COMPATIBLE,
        )

    def drop_connection(self, after: int = 0) -> None:
        """Have the connection break during the next answer that is replayed.

        Args:
            after: After so many chunks of it; 0 is before it is there at all.
        """
        self._drops.append(after)

    def save(self) -> None:
        """Write down what has been recorded; without any of it the file stays as it is."""
        if self._new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(dump([*self._kept, *self._new]), encoding="utf-8")

    def unexpected(self) -> list[str]:
        """Say which requests are not in the recording."""
        return list(self._unexpected)

    def unused(self) -> list[str]:
        """Say which exchanges nobody asked for."""
        return [unused_exchange(each, self.path) for each in self._left]


@contextmanager
def open_recording(
    path: str | PathLike[str], record: Record = "none"
) -> Generator[RecordedLLM]:
    """Record or replay a model, and save what is new at the end of the block.

    Args:
        path: The file.
        record: When to ask a real model; see `RecordedLLM`.

    Yields:
        The model.

    Raises:
        ValueError: There is no such way to record, or the file is no recording.
    """
    recorded = RecordedLLM(path, record)
    try:
        yield recorded
    finally:
        recorded.save()


class _Transport(httpx.AsyncBaseTransport):
    """Answers requests from a recording, or passes them on and listens."""

    def __init__(self, recorded: RecordedLLM) -> None:
        self._recorded = recorded

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request.

        Returns:
            The answer, whose body is still to come.

        Raises:
            AssertionError: It is not in the recording, and must not be asked for real.
            ConnectError: The test wants the connection to break.

        Cancellation: the request is closed.
        """
        recorded = self._recorded
        asked, secrets = asked_of(
            request.method,
            url=str(request.url),
            headers=dict(request.headers),
            body=await request.aread(),
        )
        await anyio.lowlevel.checkpoint()
        for exchange in recorded._left:
            if exchange.asked.is_like(asked):
                recorded._left.remove(exchange)
                return _replay(exchange, recorded._drops)
        if recorded.is_recording:
            exchange = Exchange(asked=asked, status=0, headers={})
            note = _Note(exchange, [*secrets, *recorded._private], recorded._new.append)
            return await _listen(request, note)
        problem = changed_request(asked, recorded._left, recorded.path)
        recorded._unexpected.append(problem)
        raise AssertionError(problem)


def _replay(exchange: Exchange, drops: list[int]) -> httpx.Response:
    """Make the answer of an exchange.

    Returns:
        The answer.

    Raises:
        ConnectError: The test wants the connection to break before it.
    """
    drop = drops.pop(0) if drops else None
    if drop == 0:
        raise httpx.ConnectError("drop_connection() of the test")
    return httpx.Response(
        exchange.status, headers=exchange.headers, stream=_Replayed(exchange, drop)
    )


class _Replayed(httpx.AsyncByteStream):
    """A body that comes again as it came."""

    def __init__(self, exchange: Exchange, drop: int | None) -> None:
        self._exchange = exchange
        self._drop = drop
        self._given = 0
        self._start = anyio.current_time()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunks = self._exchange.chunks
        if self._given == self._drop:
            raise httpx.ReadError("drop_connection() of the test")
        if self._given == len(chunks):
            await anyio.lowlevel.checkpoint()
            if self._exchange.is_cut:
                raise httpx.ReadError("the recording ends here: nobody read on")
            raise StopAsyncIteration
        chunk = chunks[self._given]
        self._given += 1
        if current_virtual_clock() is None:
            await anyio.lowlevel.checkpoint()
        else:
            await anyio.sleep_until(self._start + chunk.at)
        return chunk.data


class _Note:
    """Writes an exchange down while it goes on.

    Args:
        exchange: What is known of it.
        secrets: What must not be written down.
        keep: Takes the exchange when it is over.
    """

    def __init__(
        self,
        exchange: Exchange,
        secrets: list[str],
        keep: Callable[[Exchange], object],
    ) -> None:
        self.exchange: Exchange = exchange
        self._secrets = secrets
        self._keep = keep
        self._start = anyio.current_time()

    def heard(self, data: bytes) -> None:
        """Note a chunk."""
        at = anyio.current_time() - self._start
        self.exchange.chunks.append(Chunk(at, data))

    def over(self, *, is_whole: bool) -> None:
        """Note the end."""
        self.exchange.is_cut = not is_whole
        clean(self.exchange, self._secrets)
        self._keep(self.exchange)


async def _listen(request: httpx.Request, note: _Note) -> httpx.Response:
    """Ask for real, and note what is said."""
    transport = httpx.AsyncHTTPTransport()
    try:
        with real_time():
            response = await transport.handle_async_request(request)
    except BaseException:
        await _close(transport)  # noqa: ASYNC102 -- shielded, with a deadline
        raise
    note.exchange.status = response.status_code
    note.exchange.headers = kept_headers(response.headers)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=_Heard(response.stream, transport, note),
        extensions=response.extensions,
    )


async def _close(what: httpx.AsyncHTTPTransport | httpx.AsyncByteStream) -> None:
    """Close something, whatever happens."""
    with anyio.move_on_after(_CLOSE, shield=True), real_time():
        await what.aclose()


class _Heard(httpx.AsyncByteStream):
    """A body that is written down while it is read."""

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        transport: httpx.AsyncHTTPTransport,
        note: _Note,
    ) -> None:
        self._stream = stream
        self._chunks = stream.__aiter__()
        self._transport = transport
        self._note = note
        self._is_whole = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            with real_time():
                data = await anext(self._chunks)
        except StopAsyncIteration:
            self._is_whole = True
            raise
        self._note.heard(data)
        return data

    async def aclose(self) -> None:
        """Close the connection, and keep what has been heard.

        Cancellation: it is closed all the same.
        """
        self._note.over(is_whole=self._is_whole)
        try:
            await _close(self._stream)
        finally:
            await _close(self._transport)  # noqa: ASYNC102 -- shielded, with a deadline
