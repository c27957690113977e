"""What the HTTP door does with a real connection."""

import anyio
import pytest

from agentflow.llm import (
    AttemptTimeout,
    ConnectionFailed,
    HttpSettings,
    IncompleteStream,
    LLMBroker,
    OpenAIGateway,
    RetryPolicy,
    TextDelta,
)
from tests.llm.wire import (
    DONE,
    HEAD,
    WHOLE,
    Connection,
    answer_whole,
    chunk,
    event,
    open_server,
)

FAST = HttpSettings(retry=RetryPolicy(first=0.001, jitter=0))


def broker(url: str, settings: HttpSettings = FAST) -> LLMBroker:
    """Make a broker for a server."""
    return LLMBroker("m", gateway=OpenAIGateway(base_url=url, settings=settings))


async def test_a_streamed_answer_is_read() -> None:
    """The text of all chunks makes the reply."""
    async with open_server(answer_whole) as server:
        reply = await broker(server.url).generate("hello")
    assert reply.text == "Hi"


async def test_an_entered_broker_keeps_its_connection() -> None:
    """Calls one after another use one connection; without the block each makes one."""
    async with open_server(answer_whole) as server:
        async with broker(server.url) as llm:
            await llm.generate("one")
            await llm.generate("two")
        assert server.connections == 1
        await llm.generate("three")
        assert server.connections == 2


async def test_calls_at_the_same_time_share_a_pool_without_a_block() -> None:
    """Forty calls on a broker that nobody entered all end well."""
    async with open_server(answer_whole) as server:
        llm = broker(server.url)
        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(llm.generate, "hello")
        assert len(server.requests) == 40


async def test_leaving_a_stream_early_closes_the_connection() -> None:
    """After one delta the reader leaves; the server sees the end at once."""

    async def handler(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(HEAD + chunk(event("Hi")) + chunk(event(" there")))
        await connection.wait_closed()

    async with open_server(handler) as server:
        async with broker(server.url).stream("hello") as deltas:
            assert await anext(deltas) == TextDelta("Hi")
        with anyio.fail_after(1):
            await server.closed.wait()


async def test_leaving_an_entered_broker_s_stream_early_closes_the_connection() -> None:
    """The pool does not keep a connection whose answer was not read to its end."""

    async def handler(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(HEAD + chunk(event("Hi")))
        await connection.wait_closed()

    async with open_server(handler) as server, broker(server.url) as llm:
        async with llm.stream("hello") as deltas:
            await anext(deltas)
        with anyio.fail_after(1):
            await server.closed.wait()


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + chunk(event("Hi"))])
async def test_cancelling_a_call_closes_the_connection(sent: bytes) -> None:
    """A cancelled call ends its exchange, wherever the answer stands."""
    asked = anyio.Event()

    async def handler(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(sent)
        asked.set()
        await connection.wait_closed()

    async with open_server(handler) as server, anyio.create_task_group() as group:
        group.start_soon(broker(server.url).generate, "hello")
        await asked.wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel("the test cancels the call")
        with anyio.CancelScope(shield=True), anyio.fail_after(1):
            await server.closed.wait()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", HEAD])
async def test_a_connection_lost_before_the_first_byte_is_tried_again(
    sent: bytes,
) -> None:
    """The second connection answers, whatever there was of the first one's head."""

    async def handler(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(WHOLE if len(connection.requests) > 1 else sent)

    async with open_server(handler) as server:
        reply = await broker(server.url).generate("hello")
        assert reply.text == "Hi"
        assert server.connections == 2


async def send_half(connection: Connection) -> None:
    """Answer by half."""
    await connection.receive_request()
    await connection.send(HEAD + chunk(event("Half")))


async def test_a_connection_lost_in_the_answer_is_an_incomplete_stream() -> None:
    """The error holds what came, and what has been seen is not asked for again."""
    async with open_server(send_half) as server:
        async with broker(server.url).stream("hello") as answer:
            assert await anext(answer) == TextDelta("Half")
            with pytest.raises(IncompleteStream) as caught:
                await answer.finish()
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Half"
        assert isinstance(caught.value.__cause__, ConnectionFailed)
        assert server.connections == 1


async def test_half_an_answer_that_nobody_saw_is_asked_for_again() -> None:
    """The next try brings the whole one."""

    async def handler(connection: Connection) -> None:
        if len(connection.requests) == 0:
            await send_half(connection)
        else:
            await answer_whole(connection)

    async with open_server(handler) as server:
        assert (await broker(server.url).generate("hello")).text == "Hi"
        assert server.connections == 2


async def test_half_an_answer_each_time_is_an_incomplete_stream() -> None:
    """The tries are counted, and the last one's half is at hand."""
    async with open_server(send_half) as server:
        with pytest.raises(IncompleteStream) as caught:
            await broker(server.url).generate("hello")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Half"
        assert server.connections == 3


async def test_a_connection_lost_behind_the_end_mark_is_no_error() -> None:
    """The finish reason has come, so the answer is whole."""

    async def handler(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(HEAD + chunk(event("Hi", finish="stop")))

    async with open_server(handler) as server:
        assert (await broker(server.url).generate("hello")).text == "Hi"


async def test_a_server_that_keeps_the_connection_open_behind_done() -> None:
    """The answer is handed out without waiting for the end of the body."""

    async def handler(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(HEAD + chunk(event("Hi", finish="stop") + DONE))
        await connection.wait_closed()

    async with open_server(handler) as server:
        with anyio.fail_after(2):
            assert (await broker(server.url).generate("hello")).text == "Hi"
            await server.closed.wait()


async def test_a_stalled_answer_ends_at_the_deadline_of_its_try() -> None:
    """The error names the time it was given."""

    async def handler(connection: Connection) -> None:
        await connection.receive_request()
        await connection.send(HEAD + chunk(event("Hi")))
        await connection.wait_closed()

    settings = HttpSettings(attempt_timeout=0.1)
    async with open_server(handler) as server:
        with pytest.raises(AttemptTimeout, match=r"0\.1 seconds|silent"):
            await broker(server.url, settings).generate("hello")
        await server.closed.wait()


async def test_an_unreachable_server_is_named() -> None:
    """The error says where nobody answered, after all tries."""
    async with open_server(answer_whole) as server:
        url = server.url
    with pytest.raises(ConnectionFailed, match="is the server running") as caught:
        await broker(url).generate("hello")
    assert url in str(caught.value)
