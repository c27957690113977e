"""How many exchanges at the same time a provider can bear."""

import anyio
import httpx
import pytest
from hypothesis import given, strategies as st

from agentflow.llm import (
    HttpSettings,
    LLMBroker,
    Overloaded,
    RateLimited,
    RetryPolicy,
    ToolSettings,
)
from agentflow.llm._pressure import Pressure

GOOD = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}'
    b"\n\ndata: [DONE]\n\n"
)
CALL = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a",'
    b'"function":{"name":"look","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}'
    b"\n\ndata: [DONE]\n\n"
)


def test_it_falls_to_half_of_what_runs_and_grows_by_one() -> None:
    """By one for as many answers as there are slots."""
    pressure = Pressure(ceiling=100)
    assert pressure.slots == 100
    begun = pressure.begin()
    pressure.refused(begun, running=8)
    assert pressure.slots == 4
    for _ in range(5):
        pressure.answered()
    assert pressure.slots == 5


def test_a_burst_of_refusals_is_one() -> None:
    """What began before the fall says nothing about the limit after it."""
    pressure = Pressure(ceiling=64)
    old = pressure.begin()
    for _ in range(10):
        pressure.refused(old, running=64)
    assert pressure.slots == 32
    pressure.refused(pressure.begin(), running=32)
    assert pressure.slots == 16


@given(st.integers(1, 50), st.lists(st.tuples(st.booleans(), st.integers(1, 50))))
def test_it_stays_between_one_and_the_ceiling(
    ceiling: int, steps: list[tuple[bool, int]]
) -> None:
    """Whatever happens."""
    pressure = Pressure(ceiling=ceiling)
    for is_refused, running in steps:
        if is_refused:
            pressure.refused(pressure.begin(), running)
        else:
            pressure.answered()
        assert 1 <= pressure.slots <= ceiling
    for _ in range(ceiling * (ceiling + 1)):
        pressure.answered()
    assert pressure.slots == ceiling


class Provider:
    """A provider that can bear so many exchanges at the same time."""

    def __init__(self, bears: int, status: int = 429) -> None:
        self.bears = bears
        self.seconds = 1.0
        self.status = status
        self.running = 0
        self.most = 0
        self.refused = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer after a while, or refuse at once."""
        if self.running >= self.bears:
            self.refused += 1
            return httpx.Response(self.status)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.running -= 1
        return httpx.Response(200, content=GOOD)


def broker(provider: Provider, *, retries: int = 50, at_most: int = 16) -> LLMBroker:
    """Make a broker that asks it."""
    settings = HttpSettings(
        max_connections=at_most, retry=RetryPolicy(retries=retries, jitter=0)
    )
    client = httpx.AsyncClient(transport=httpx.MockTransport(provider.answer))
    return LLMBroker(
        "compatible:m",
        base_url="http://model.test/v1",
        http_client=client,
        http_settings=settings,
    )


@pytest.mark.parametrize("status", [429, 529, 503])
async def test_a_busy_provider_is_asked_for_less(status: int) -> None:
    """Every call ends well, and fewer of them are refused than without."""
    provider = Provider(4, status)
    provider.seconds = 0.1
    llm = broker(provider)
    async with llm, anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(llm.generate, "hi")
    assert provider.most == 4
    assert provider.refused < 40


async def test_no_more_than_the_limit_run() -> None:
    """The others wait for a slot, in order; the limit grows back with good answers."""
    provider = Provider(100)
    llm = broker(provider, at_most=3)
    start = anyio.current_time()
    async with llm, anyio.create_task_group() as group:
        for _ in range(9):
            group.start_soon(llm.generate, "hi")
    assert provider.most == 3
    assert anyio.current_time() - start == pytest.approx(3, abs=0.5)


async def test_the_limit_falls_and_grows_back() -> None:
    """To see in ``concurrency``."""
    provider = Provider(0)
    llm = broker(provider, retries=0, at_most=2)
    gateway = llm.gateway
    with pytest.raises(RateLimited):
        await llm.generate("hi")
    assert getattr(gateway, "concurrency", None) == 1
    provider.bears = 1
    async with llm:
        for _ in range(2):
            await llm.generate("hi")
    assert getattr(gateway, "concurrency", None) == 2


async def test_an_overload_inside_an_answer_counts() -> None:
    """It comes with a good status."""
    failed = b'event: error\ndata: {"error":{"type":"overloaded_error"}}\n\n'

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=failed)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    llm = LLMBroker(
        "compatible:m",
        base_url="http://model.test/v1",
        http_client=client,
        http_settings=HttpSettings(max_connections=8, retry=RetryPolicy(retries=0)),
    )
    with pytest.raises(Overloaded):
        await llm.generate("hi")
    assert getattr(llm.gateway, "concurrency", None) == 1


async def test_a_slot_is_not_held_across_a_tool_call() -> None:
    """Else a tool that asks the same model would wait for itself."""
    answers = iter([CALL, GOOD, GOOD])

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=next(answers))

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    llm = LLMBroker(
        "compatible:m",
        base_url="http://model.test/v1",
        http_client=client,
        http_settings=HttpSettings(max_connections=1),
        tools=ToolSettings(timeout=1),
    )

    async def look() -> str:
        """Ask the same model."""
        return str(await llm.generate("and you?"))

    async with llm.stream("hi", tools=[look]) as answer:
        finish = await answer.finish()
    assert [m.text for m in finish.turn.messages[2:]] == ["", "Hi"]
    assert "Hi" in str(finish.turn.messages[2].content)


async def test_a_slot_is_free_while_waiting_for_another_try() -> None:
    """Another call goes first."""
    answers = iter([httpx.Response(500), httpx.Response(200, content=GOOD)])
    times: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        times.append(anyio.current_time())
        return next(answers, httpx.Response(200, content=GOOD))

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    llm = LLMBroker(
        "compatible:m",
        base_url="http://model.test/v1",
        http_client=client,
        http_settings=HttpSettings(
            max_connections=1, retry=RetryPolicy(first=3, jitter=0)
        ),
    )
    start = anyio.current_time()
    async with llm, anyio.create_task_group() as group:
        group.start_soon(llm.generate, "a")
        group.start_soon(llm.generate, "b")
    assert times[1] - start < 1
    assert times[2] - start == pytest.approx(3, abs=0.5)


async def test_a_cancelled_call_leaves_its_slot() -> None:
    """Also while it waits for one."""
    provider = Provider(100)
    llm = broker(provider, at_most=1)
    async with llm:
        async with anyio.create_task_group() as group:
            group.start_soon(llm.generate, "a")
            group.start_soon(llm.generate, "b")
            await anyio.sleep(0.5)
            group.cancel_scope.cancel("the test has seen enough")
        with anyio.fail_after(2):
            assert str(await llm.generate("c")) == "Hi"
