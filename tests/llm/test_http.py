"""The HTTP door, with httpx's own transport for tests behind it."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import anyio
import httpx
import pytest

from agentflow.llm import (
    AnswerTooLarge,
    AuthenticationFailed,
    BadRequest,
    ConfigurationError,
    ConnectionFailed,
    Endpoint,
    HttpGateway,
    HttpSettings,
    LLMBroker,
    LLMError,
    LLMMessage,
    MalformedAnswer,
    MissingKey,
    OpenAIGateway,
    OutputMode,
    RateLimited,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Request,
    RetryPolicy,
    ServerFailed,
    TextDelta,
    ToolCallDelta,
)
from agentflow.llm._stream import give_whole
from agentflow.llm.providers import ChatCodec, ChatDialect

URL = "http://model.test/v1"
KEY = "sk-very-secret"
REQUEST = Request(model="m", messages=[LLMMessage(content="hello")])
GOOD = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
GEMINI = (
    b'data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}'
    b"\n\n"
)
Handler = Callable[[httpx.Request], httpx.Response]


def gateway(handler: Handler, **more: Any) -> OpenAIGateway:
    """Make a gateway whose network is a function."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return OpenAIGateway(base_url=URL, api_key=KEY, http_client=client, **more)


def answers(
    *responses: httpx.Response | Exception,
) -> tuple[Handler, list[httpx.Request]]:
    """Make a handler that gives these answers in order, and the list of what it saw."""
    seen: list[httpx.Request] = []
    left = iter(responses)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        response = next(left)
        if isinstance(response, Exception):
            raise response
        return response

    return handler, seen


async def ask(way: HttpGateway) -> list[Any]:
    """Make one exchange and return all its items."""
    async with way.stream(REQUEST) as answer:
        return [item async for item in answer]


async def failure(way: HttpGateway) -> LLMError:
    """Make one exchange that must fail."""
    with pytest.raises(LLMError) as caught:
        await ask(way)
    assert KEY not in repr(caught.value) + str(caught.value.info)
    return caught.value


async def test_a_request_has_url_key_and_body() -> None:
    """And headers that ask for a stream."""
    handler, seen = answers(httpx.Response(200, content=GOOD))
    delta, reply = await ask(gateway(handler))
    assert delta == TextDelta("Hi")
    assert reply.text == "Hi"
    (request,) = seen
    assert str(request.url) == f"{URL}/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert json.loads(request.content)["stream"] is True


async def test_an_endpoint_says_where_the_key_goes() -> None:
    """Under another header, in another form; other headers are sent along."""
    handler, seen = answers(httpx.Response(200, content=GOOD))
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    endpoint = Endpoint(
        name="own",
        base_url=URL + "/",
        codec=ChatCodec(),
        key_header="x-api-key",
        key_format="{key}",
        headers={"x-version": "1"},
    )
    way = HttpGateway(endpoint, api_key=f" {KEY}\n", http_client=client)
    assert (way.name, way.output_mode) == ("own", OutputMode.NATIVE)
    await ask(way)
    assert seen[0].headers["x-api-key"] == KEY
    assert seen[0].headers["x-version"] == "1"
    assert "authorization" not in seen[0].headers
    assert str(seen[0].url) == f"{URL}/chat/completions"


async def test_without_a_key_none_is_sent() -> None:
    """A local server wants none."""
    handler, seen = answers(httpx.Response(200, content=GOOD))
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    await ask(OpenAIGateway(base_url=URL, http_client=client))
    assert "authorization" not in seen[0].headers


async def test_a_failure_is_tried_again_after_a_while() -> None:
    """First half a second, then one; the third answer counts."""
    handler, seen = answers(
        httpx.Response(500),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=GOOD),
    )
    start = anyio.current_time()
    settings = HttpSettings(retry=RetryPolicy(jitter=0))
    items = await ask(gateway(handler, settings=settings))
    assert isinstance(items[-1], Reply)
    assert len(seen) == 3
    assert anyio.current_time() - start == pytest.approx(1.5, abs=0.2)


async def test_a_wait_that_the_provider_asks_for_is_obeyed() -> None:
    """To the second."""
    limited = httpx.Response(429, headers={"retry-after": "30"})
    handler, _ = answers(limited, httpx.Response(200, content=GOOD))
    start = anyio.current_time()
    with pytest.raises(TimeoutError), anyio.fail_after(3):
        await ask(gateway(handler))
    assert anyio.current_time() - start == pytest.approx(3, abs=0.2)


async def test_a_wait_that_is_too_long_is_the_caller_s_to_decide() -> None:
    """The error says how long it would be."""
    handler, seen = answers(httpx.Response(429, headers={"retry-after": "600"}))
    error = await failure(gateway(handler))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 600
    assert len(seen) == 1


async def test_the_last_failure_is_raised() -> None:
    """After three tries, with all that is known of it."""
    body = b'{"error": {"message": "sorry", "code": "x"}}'
    headers = {"x-request-id": "r3"}
    handler, seen = answers(*[
        httpx.Response(500, content=body, headers=headers) for _ in range(3)
    ])
    error = await failure(gateway(handler))
    assert isinstance(error, ServerFailed)
    assert str(error) == "compatible answered 500 x: sorry (request id r3)"
    assert len(seen) == 3
    assert error.retry_after is None


async def test_a_key_that_is_quoted_back_is_taken_out() -> None:
    """Providers do that."""
    body = f'{{"error": {{"message": "Incorrect API key: {KEY}"}}}}'.encode()
    handler, _ = answers(httpx.Response(401, content=body))
    error = await failure(gateway(handler))
    assert isinstance(error, AuthenticationFailed)
    assert "Incorrect API key: ***" in str(error)


def test_a_gateway_does_not_show_its_key() -> None:
    """Nor does a broker on top of it."""
    way = gateway(answers()[0])
    assert repr(way) == f"<OpenAIGateway compatible at {URL}>"
    assert KEY not in repr(LLMBroker("m", gateway=way))


@pytest.mark.parametrize("key", ["sk-\u00e9", "sk\nsk", "sk\x00"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    """When the gateway is made, without saying the key."""
    with pytest.raises(ConfigurationError, match="API key holds characters") as caught:
        OpenAIGateway(base_url=URL, api_key=key)
    assert key not in str(caught.value)


def test_openai_wants_a_key() -> None:
    """Before any request."""
    with pytest.raises(MissingKey, match="api_key="):
        OpenAIGateway()
    assert OpenAIGateway(api_key=KEY).name == "openai"
    own = OpenAIGateway(base_url=URL, dialect=ChatDialect(name="mistral"))
    assert own.name == "mistral"


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x/v1", "/v1"])
async def test_a_url_that_is_none_is_named(url: str) -> None:
    """It is not tried again."""
    error = await failure(OpenAIGateway(base_url=url))
    assert isinstance(error, ConfigurationError)
    assert url in str(error)


async def test_a_client_that_is_closed_is_named() -> None:
    """The user closed it too early."""
    client = httpx.AsyncClient()
    await client.aclose()
    way = OpenAIGateway(base_url=URL, http_client=client)
    with pytest.raises(ConfigurationError, match="http_client given is closed"):
        await ask(way)


async def test_a_client_of_the_user_s_stays_open() -> None:
    """It is theirs to close."""
    handler, _ = answers(*[httpx.Response(200, content=GOOD) for _ in range(2)])
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    async with OpenAIGateway(base_url=URL, http_client=client) as way:
        await ask(way)
    assert not client.is_closed
    await ask(way)


async def test_timeouts_that_the_user_set_are_kept() -> None:
    """The five seconds of httpx itself, which nobody set, give way to our deadline."""
    handler, seen = answers(*[httpx.Response(200, content=GOOD) for _ in range(2)])
    transport = httpx.MockTransport(handler)
    for timeout in (httpx.Timeout(5.0), httpx.Timeout(7.0)):
        client = httpx.AsyncClient(transport=transport, timeout=timeout)
        await ask(OpenAIGateway(base_url=URL, http_client=client))
    first, second = (r.extensions["timeout"]["read"] for r in seen)
    assert (first, second) == (None, 7.0)


async def test_an_answer_in_one_piece_still_comes_as_deltas() -> None:
    """Those who show an answer as it comes show this one, too."""
    message = {
        "content": "a",
        "reasoning": "r",
        "refusal": "n",
        "audio": {"id": "x"},
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
    }
    handler, _ = answers(httpx.Response(200, json={"choices": [{"message": message}]}))
    *deltas, reply = await ask(gateway(handler))
    assert deltas == [
        ReasoningDelta("r"),
        TextDelta("a"),
        RefusalDelta("n"),
        ToolCallDelta(index=0, id="c", name="f", arguments="{}"),
    ]
    assert isinstance(reply, Reply)


class Body(httpx.AsyncByteStream):
    """A body in pieces, that may break."""

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self.pieces = iter(pieces)
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces."""
        for piece in self.pieces:
            await anyio.lowlevel.checkpoint()
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True


async def test_an_error_inside_a_stream_is_tried_again_if_nothing_was_given() -> None:
    """Nobody has seen anything of it yet."""
    overloaded = b'data: {"error": {"type": "overloaded_error", "message": "m"}}\n\n'
    body = Body([b": ping\n", overloaded])
    handler, _ = answers(
        httpx.Response(200, stream=body), httpx.Response(200, content=GOOD)
    )
    assert (await ask(gateway(handler)))[-1].text == "Hi"
    assert body.closed


async def test_an_error_inside_a_stream_is_raised_if_part_of_it_was_given() -> None:
    """The reader would see that part twice."""
    overloaded = b'data: {"error": {"type": "overloaded_error", "message": "m"}}\n\n'
    body = Body([GOOD.replace(b'"stop"', b"null").partition(b"data: [")[0], overloaded])
    handler, seen = answers(httpx.Response(200, stream=body))
    async with gateway(handler).stream(REQUEST) as answer:
        assert await anext(answer) == TextDelta("Hi")
        with pytest.raises(LLMError, match="overloaded_error"):
            await anext(answer)
        with pytest.raises(StopAsyncIteration):
            await anext(answer)
    assert len(seen) == 1


async def test_an_endless_error_body_is_read_in_part() -> None:
    """A megabyte says it all."""
    body = Body(b"x" * 2**16 for _ in range(2**30))
    handler, _ = answers(httpx.Response(400, stream=body))
    error = await failure(gateway(handler))
    assert isinstance(error, BadRequest)
    assert len(str(error)) < 1000
    assert body.closed


async def test_a_hostile_stream_is_cut_off() -> None:
    """An endless line: a typed error, bounded memory, and the connection is closed."""
    body = Body(b"x" * 2**20 for _ in range(2**30))
    handler, _ = answers(httpx.Response(200, stream=body))
    error = await failure(gateway(handler))
    assert isinstance(error, MalformedAnswer)
    assert body.closed


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("status", [200, 400])
async def test_a_body_that_cannot_be_unpacked_is_malformed(
    encoding: str, status: int
) -> None:
    """The server said it was packed, or packed it in a way nobody asked for."""
    headers = {"content-encoding": encoding}
    body = Body([b"no gzip"])
    handler, _ = answers(httpx.Response(status, stream=body, headers=headers))
    assert isinstance(await failure(gateway(handler)), MalformedAnswer)
    assert body.closed


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_a_packed_body_is_unpacked(encoding: str) -> None:
    """In whatever pieces it comes."""
    packed = {
        "gzip": gzip.compress(GOOD),
        "deflate": zlib.compress(GOOD),
        "identity": GOOD,
    }[encoding]
    body = Body(packed[n : n + 1] for n in range(len(packed)))
    headers = {"content-encoding": encoding}
    handler, _ = answers(httpx.Response(200, stream=body, headers=headers))
    assert (await ask(gateway(handler)))[-1].text == "Hi"


async def test_a_bomb_is_unpacked_in_small_pieces() -> None:
    """A megabyte of zeros for each kilobyte: refused before it fills the memory."""
    bomb = gzip.compress(b"data: " + b"0" * 2**27)
    headers = {"content-encoding": "gzip"}
    handler, _ = answers(httpx.Response(200, stream=Body([bomb]), headers=headers))
    tracemalloc.start()
    error = await failure(gateway(handler))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(error, AnswerTooLarge)
    assert peak < 100 * 2**20


async def test_silence_is_a_timeout() -> None:
    """Not a lost connection."""
    errors = [httpx.ReadTimeout("read") for _ in range(3)]
    handler, seen = answers(*errors)
    error = await failure(gateway(handler))
    assert "fell silent" in str(error)
    assert len(seen) == 3


async def test_a_lost_connection_without_words_names_its_kind() -> None:
    """Some errors of the network have no text."""
    handler, _ = answers(*[httpx.ReadError("") for _ in range(3)])
    error = await failure(gateway(handler))
    assert isinstance(error, ConnectionFailed)
    assert "cannot reach compatible at http://model.test/v1: ReadError" in str(error)


async def test_a_connection_lost_behind_done_is_no_error() -> None:
    """The end of the body is not worth waiting for."""
    body = Body([GOOD, httpx.ReadError("reset")])
    handler, _ = answers(httpx.Response(200, stream=body))
    assert (await ask(gateway(handler)))[-1].text == "Hi"


async def test_a_wait_that_gemini_s_error_asks_for_is_obeyed() -> None:
    """It stands in the details of the body, and in no header."""
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [retry]}
    handler, seen = answers(
        httpx.Response(429, json={"error": error}), httpx.Response(200, content=GEMINI)
    )
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    llm = LLMBroker("gemini:m", api_key=KEY, http_client=client)
    start = anyio.current_time()
    assert (await llm.generate("hello")).text == "Hi"
    assert anyio.current_time() - start == pytest.approx(3.5)
    assert len(seen) == 2


async def test_the_reply_alone_is_given_to_those_who_want_no_deltas() -> None:
    """What nobody has seen of an answer that broke off is asked for again."""
    half = GOOD.partition(b"data: [")[0].replace(b'"stop"', b"null")
    for broken in (half, half + b"data: {nonsense\n\n"):
        handler, seen = answers(
            httpx.Response(200, content=broken), httpx.Response(200, content=GOOD)
        )
        async with gateway(handler).stream(REQUEST) as answer:
            give_whole(answer)
            assert [str(item) async for item in answer] == ["Hi"]
        assert len(seen) == 2


async def test_what_was_no_answer_from_the_start_is_not_asked_for_again() -> None:
    """A web page, say: the base URL is wrong, and stays so."""
    handler, seen = answers(httpx.Response(200, content=b"<html>Welcome</html>"))
    assert isinstance(await failure(gateway(handler)), MalformedAnswer)
    assert len(seen) == 1


@pytest.mark.parametrize("pieces", [1, 2])
async def test_what_came_before_an_error_is_given_first(pieces: int) -> None:
    """Whether it came in the same piece of the body or in one of its own."""
    parts = [GOOD.partition(b"data: [")[0].replace(b'"stop"', b"null"), b"data: {x\n\n"]
    body = Body(parts if pieces == len(parts) else [b"".join(parts)])
    handler, seen = answers(httpx.Response(200, stream=body))
    async with gateway(handler).stream(REQUEST) as answer:
        assert await anext(answer) == TextDelta("Hi")
        with pytest.raises(MalformedAnswer):
            await anext(answer)
    assert len(seen) == 1
    assert body.closed
