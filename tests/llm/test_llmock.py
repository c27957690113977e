"""What a broker does about a provider's failures; llmock makes them and is the judge.

It holds against a client what no client can show it: that an answer which broke off was
not taken for a whole one. Where the pieces have been handed out already, so that the broker
may not ask again, these tests do as a program would, and do.
"""

import functools
from collections.abc import Callable, Generator

import attrs
import pytest

from agentflow.llm import (
    AttemptTimeout,
    AuthenticationFailed,
    BadRequest,
    HttpSettings,
    IncompleteStream,
    LLMBroker,
    LLMError,
    MalformedAnswer,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Reply,
    RetryPolicy,
    ServerFailed,
    StopReason,
    TextDelta,
)
from tests.llm.llmock_server import Faults, open_llmock

pytestmark = pytest.mark.anyio

KEY = "sk-secret"
PROMPT = "Name the colours of the rainbow, please."
FIRST = 0.05
SETTINGS = HttpSettings(retry=RetryPolicy(first=FIRST, jitter=0))
WAIT = 0.1
SHORT = 0.02
PATHS = {"openai": "/v1", "openai-responses": "/v1", "anthropic": "/anthropic"}

Make = Callable[[HttpSettings], LLMBroker]


@pytest.fixture(scope="module")
def server() -> Generator[Faults]:
    """Run one server for all tests of this file."""
    with open_llmock() as faults:
        yield faults


@pytest.fixture
def faults(server: Faults) -> Faults:
    """Begin with a server that knows of nothing."""
    server.reset()
    return server


def broker(url: str, provider: str, settings: HttpSettings) -> LLMBroker:
    """Make a broker."""
    return LLMBroker(
        f"{provider}:model",
        base_url=url + PATHS[provider],
        api_key=KEY,
        http_settings=settings,
        max_tokens=200,
    )


@pytest.fixture(params=PATHS)
def make(request: pytest.FixtureRequest, faults: Faults) -> Make:
    """Return a function that makes a broker for one of the three APIs."""
    return functools.partial(broker, faults.url, request.param)


@pytest.fixture
def llm(make: Make) -> LLMBroker:
    """Return a broker for one of the three APIs."""
    return make(SETTINGS)


async def failure(llm: LLMBroker) -> LLMError:
    """Ask, and return the error there has to be."""
    with pytest.raises(LLMError) as caught:
        await llm.generate(PROMPT)
    assert KEY not in str(caught.value)
    return caught.value


def is_whole(reply: Reply) -> bool:
    """Say whether a reply is one that nothing happened to."""
    return reply.stop is StopReason.END and len(reply.text) > 20


async def test_an_answer_without_a_fault(llm: LLMBroker, faults: Faults) -> None:
    """Text, stop and usage come; a second asking brings the same text."""
    async with llm:
        one, two = await llm.generate(PROMPT), await llm.generate(PROMPT)
    assert is_whole(one)
    assert one.text == two.text
    assert one.usage.output_tokens > 0
    assert faults.findings() == []


async def test_the_wait_that_a_429_asks_for_is_kept(
    llm: LLMBroker, faults: Faults
) -> None:
    """Two refusals with Retry-After, and the third try brings the answer."""
    faults.add("fail", status=429, retry_after=WAIT, times=2)
    assert is_whole(await llm.generate(PROMPT))
    first, second, third = faults.requests()
    assert second["started_at"] - first["ended_at"] >= WAIT
    assert third["started_at"] - second["ended_at"] >= WAIT
    assert faults.findings() == []


async def test_a_429_that_stays_is_rate_limited(llm: LLMBroker, faults: Faults) -> None:
    """After two more tries the caller learns how long to wait."""
    faults.add("fail", status=429, retry_after=WAIT, times=3)
    error = await failure(llm)
    assert isinstance(error, RateLimited)
    assert error.retry_after == WAIT
    assert len(faults.requests()) == 3
    assert faults.findings() == []


DOWN = {529: Overloaded, 503: Overloaded, 500: ServerFailed}


@pytest.mark.parametrize("status", DOWN)
async def test_a_provider_that_is_down_is_asked_again(
    llm: LLMBroker, faults: Faults, status: int
) -> None:
    """Once more helps if it comes back; if it does not, the error says what it was."""
    faults.add("fail", status=status, retry_after=SHORT)
    assert is_whole(await llm.generate(PROMPT))
    assert len(faults.requests()) == 2
    faults.add("fail", status=status, retry_after=SHORT, times=3)
    error = await failure(llm)
    assert isinstance(error, DOWN[status])
    assert error.status == status
    assert len(faults.requests()) == 5
    assert faults.findings() == []


async def test_a_529_that_asks_for_no_wait_gets_a_growing_one(
    llm: LLMBroker, faults: Faults
) -> None:
    """The policy's waits count where the provider has none to offer."""
    faults.add("fail", status=529, retry_after=0, times=2)
    assert is_whole(await llm.generate(PROMPT))
    first, second, third = faults.requests()
    assert second["started_at"] - first["ended_at"] >= FIRST
    assert third["started_at"] - second["ended_at"] >= 2 * FIRST
    assert faults.findings() == []


async def test_what_no_second_try_can_mend_gets_none(
    llm: LLMBroker, faults: Faults
) -> None:
    """Each status has its error, after one request."""
    kinds = {
        400: BadRequest,
        401: AuthenticationFailed,
        403: PermissionDenied,
        404: NotFound,
    }
    for count, (status, kind) in enumerate(kinds.items(), start=1):
        faults.add("fail", status=status)
        error = await failure(llm)
        assert isinstance(error, kind)
        assert error.status == status
        assert len(faults.requests()) == count
        # The next one is a new call, not another try of this one.
    assert is_whole(await llm.generate("And those of the sea?"))


async def test_a_connection_lost_before_the_answer_is_tried_again(
    llm: LLMBroker, faults: Faults
) -> None:
    """Not one byte had come, so nothing can come twice."""
    faults.add("stream_fault", kind="disconnect", after_chunks=0)
    assert is_whole(await llm.generate(PROMPT))
    assert [note["chunks_sent"] == 0 for note in faults.requests()] == [True, False]
    assert faults.findings() == []


FAULTS = ("disconnect", "truncate")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_broken_answer_that_nobody_saw_is_asked_for_again(
    llm: LLMBroker, faults: Faults, fault: str
) -> None:
    """The caller gets the whole one, and the judge sees a client that noticed."""
    faults.add("stream_fault", kind=fault, after_chunks=6)
    assert is_whole(await llm.generate(PROMPT))
    assert len(faults.requests()) == 2
    assert faults.findings() == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_half_an_answer_is_an_error(
    llm: LLMBroker, faults: Faults, fault: str
) -> None:
    """Its pieces may have been used already, so it is the caller who asks again."""
    faults.add("stream_fault", kind=fault, after_chunks=6)
    pieces: list[str] = []
    with pytest.raises(IncompleteStream) as caught:
        async with llm.stream(PROMPT) as answer:
            async for item in answer:
                assert isinstance(item, TextDelta)
                pieces.append(item.text)
    seen = "".join(pieces)
    assert caught.value.partial is not None
    assert caught.value.partial.text == seen != ""
    assert len(faults.requests()) == 1
    whole = await llm.generate(PROMPT)
    assert is_whole(whole)
    assert whole.text.startswith(seen)
    assert faults.findings() == []


async def test_an_answer_without_anything_in_it_is_incomplete(
    llm: LLMBroker, faults: Faults
) -> None:
    """A status of 200 and then the end is not taken for an empty text."""
    faults.add("stream_fault", kind="truncate", after_chunks=0)
    assert is_whole(await llm.generate(PROMPT))
    assert faults.findings() == []
    faults.add("stream_fault", kind="truncate", after_chunks=0, times=3)
    error = await failure(llm)
    assert isinstance(error, IncompleteStream)
    assert error.partial is None
    assert len(faults.requests()) == 5


async def test_an_event_that_is_no_json_ends_the_answer(
    llm: LLMBroker, faults: Faults
) -> None:
    """The rest is not read: the server finds the connection closed."""
    faults.add("reply", text="word " * 20_000)
    faults.add("stream_fault", kind="malformed", after_chunks=6)
    assert is_whole(await llm.generate(PROMPT))
    first, second = faults.requests()
    assert first["chunks_sent"] < 20_000
    assert second["chunks_sent"] > 6
    assert faults.findings() == []


async def test_an_event_that_is_no_json_is_malformed_if_the_rest_was_seen(
    llm: LLMBroker, faults: Faults
) -> None:
    """It is told, and not left out."""
    faults.add("reply", text="word " * 20_000)
    faults.add("stream_fault", kind="malformed", after_chunks=6)
    async with llm.stream(PROMPT) as answer:
        assert isinstance(await anext(answer), TextDelta)
        with pytest.raises(MalformedAnswer, match="not valid JSON"):
            await answer.finish()
    (note,) = faults.requests()
    assert note["chunks_sent"] < 20_000
    assert is_whole(await llm.generate(PROMPT))
    assert faults.findings() == []


async def test_a_stalled_answer_ends_at_its_deadline(
    make: Make, faults: Faults
) -> None:
    """The connection is given up long before the server goes on."""
    faults.add("stream_fault", kind="stall", after_chunks=4, stall_seconds=30)
    settings = HttpSettings(attempt_timeout=0.2, retry=RetryPolicy(retries=0))
    assert isinstance(await failure(make(settings)), AttemptTimeout)
    (note,) = faults.requests()
    assert note["stall_waited"] < 10
    assert faults.findings() == []


async def test_a_late_first_token_is_a_reason_to_ask_again(
    make: Make, faults: Faults
) -> None:
    """Nothing of the answer had come at the deadline of the first try."""
    faults.add("slow_first_token", seconds=30)
    settings = attrs.evolve(SETTINGS, attempt_timeout=0.25)
    assert is_whole(await make(settings).generate(PROMPT))
    assert len(faults.requests()) >= 2
    assert faults.findings() == []


async def test_each_round_of_a_tool_loop_has_its_own_tries(
    llm: LLMBroker, faults: Faults
) -> None:
    """The provider goes down while the tool runs, which is not called again for that."""
    cities: list[str] = []

    def get_weather(city: str) -> str:
        """Return the weather in a city."""
        cities.append(city)
        faults.add("fail", status=529, retry_after=SHORT, times=2)
        return "rain"

    faults.add("fail", status=429, retry_after=SHORT, times=2)
    call = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    faults.add("reply", tool_calls=[call])
    reply = await llm.generate("Is it wet in Oslo?", tools=[get_weather])
    assert cities == ["Oslo"]
    assert is_whole(reply)
    statuses = [note["status"] for note in faults.requests()]
    assert statuses == [429, 429, 200, 529, 529, 200]
    assert faults.findings() == []


@pytest.mark.parametrize("fault", ["malformed_arguments", "unknown_tool"])
async def test_a_broken_tool_call_goes_back_to_the_model(
    llm: LLMBroker, faults: Faults, fault: str
) -> None:
    """The model is told, and answers without the tool."""

    def get_weather(city: str) -> str:
        """Return the weather in a city."""
        raise AssertionError(f"called with {city}")

    faults.add("tool_fault", kind=fault)
    reply = await llm.generate("What is the weather in Oslo?", tools=[get_weather])
    assert is_whole(reply)
    assert len(faults.requests()) == 2
    assert faults.findings() == []
