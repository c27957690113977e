"""A key is sent to its provider and shown to nobody."""

import base64
import logging
import traceback

import pytest

from agentflow import AsyncDispatcher, Event, FlowFailed, Router
from agentflow.llm import BaseAsyncLLMAgent, LLMBroker, UsageLimit
from agentflow.llm._providers import PROVIDERS
from agentflow.tracing import Tracer
from tests.llm.wire import Connection, answer_whole, open_server

KEY = "sk-very-secret-0123456789"


class Question(Event):
    text: str


class Answerer(BaseAsyncLLMAgent[str]):
    async def receive_event_async(self, event: Event) -> list[Event]:
        """Ask the model, in vain."""
        assert isinstance(event, Question)
        await self.generate_response(event.text)
        return []


async def quote_the_key(connection: Connection) -> None:
    """Refuse every request, and say with which key."""
    while True:
        await connection.receive_request()
        words = b'{"error": {"message": "wrong key: %s", "code": "%s"}}'
        body = words % (KEY.encode(), KEY.encode())
        head = b"HTTP/1.1 401 No\r\nx-request-id: 7\r\ncontent-length: %d\r\n\r\n"
        await connection.send(head % len(body) + body)


def everything(value: object, seen: set[int]) -> str:
    """Write a value, and all that it is made of and may be shown."""
    if id(value) in seen:
        return ""
    seen.add(id(value))
    text = f"{value!r} {value}"
    if isinstance(value, BaseException):
        text += everything(value.__cause__, seen)
        text += "".join(traceback.format_exception(value))
        text += everything(getattr(value, "info", None), seen)
    return text


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["openai", "openai-responses", "anthropic", "gemini"])
async def test_a_key_is_in_no_error_log_or_record(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even if the provider quotes it, and everything is logged."""
    caplog.set_level(logging.DEBUG)
    tracer = Tracer()
    async with open_server(quote_the_key) as server:
        llm = LLMBroker(
            f"{name}:m", base_url=server.url, api_key=KEY, records_content=True
        )
        router = Router({Question: [Answerer(llm)]})
        with UsageLimit() as limit, pytest.raises(FlowFailed) as caught:
            async with AsyncDispatcher(router, tracer=tracer) as dispatcher:
                await dispatcher.run(Question(source="test", text="hi"), Question)
        assert KEY.encode() in server.requests[0]
    assert len(tracer) > 3
    shown: list[object] = [
        llm,
        llm.gateway,
        limit,
        caught.value,
        *caught.value.exceptions,
    ]
    shown += tracer.records()
    text = "".join(everything(x, set()) for x in shown) + caplog.text
    assert "***" in text
    assert len(caplog.records) > 3
    assert KEY not in text


@pytest.mark.parametrize("name", PROVIDERS)
def test_no_broker_shows_its_key(name: str) -> None:
    """Whichever provider it is for."""
    llm = LLMBroker(f"{name}:m", base_url="http://a.test", api_key=KEY)
    assert KEY not in everything(llm, set()) + everything(llm.gateway, set())


@pytest.mark.anyio
async def test_a_password_in_the_base_url_is_in_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is sent as the header that it stands for."""
    caplog.set_level(logging.DEBUG)
    async with open_server(answer_whole) as server:
        url = server.url.replace("//", f"//me:{KEY}%40home@")
        llm = LLMBroker("compatible:m", base_url=url)
        assert (await llm.generate("hello")).text == "Hi"
        sent = base64.b64encode(f"me:{KEY}@home".encode())
        assert b"authorization: basic " + sent.lower() in server.requests[0].lower()
    assert str(server.url).removeprefix("http://") in caplog.text
    assert KEY not in caplog.text + everything(llm, set())
