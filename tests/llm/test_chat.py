"""Conversations that remember."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from agentflow.llm import (
    ChatSession,
    ContextTooLong,
    ImagePart,
    LLMBroker,
    LLMMessage,
    ProviderPart,
    RateLimited,
    Reply,
    Request,
    Role,
    StopReason,
    TextDelta,
    TextPart,
    ToolCall,
    ToolResult,
    Usage,
    image,
)
from agentflow.llm._messages import Blob
from agentflow.llm._window import Round, Window, estimate
from agentflow.testing import ScriptedGateway

PNG = b"\x89PNG\r\n\x1a\n123"


def chat(*script: Any, **more: Any) -> tuple[ChatSession, ScriptedGateway]:
    """Make a conversation with a model that follows a script."""
    gateway = ScriptedGateway(script)
    return ChatSession(LLMBroker("m", gateway=gateway), **more), gateway


def counted(text: str, total: int) -> Reply:
    """Make a reply after which the conversation counts so many tokens."""
    return Reply(
        message=LLMMessage(role=Role.ASSISTANT, content=text),
        stop=StopReason.END,
        usage=Usage(input_tokens=total - 10, output_tokens=10),
    )


def texts(request: Request) -> list[str]:
    """Return what a request says, message by message."""
    return [m.text for m in request.messages]


async def test_a_question_is_asked_with_all_that_was_said() -> None:
    """The system prompt stands first."""
    session, gateway = chat("one", "two", system_prompt="Be brief.")
    assert await session.send("first") == "one"
    assert await session.send("second", temperature=0.0) == "two"
    assert texts(gateway.requests[1]) == ["Be brief.", "first", "one", "second"]
    assert gateway.requests[1].temperature == 0.0
    assert [m.text for m in session.messages][-1] == "two"
    session.clear()
    assert [m.text for m in session.messages] == ["Be brief."]


async def test_tools_are_part_of_the_conversation() -> None:
    """With their results."""

    def look() -> str:
        """Look."""
        return "seen"

    session, gateway = chat(
        ToolCall(id="1", name="look"), "ok", "two", system_prompt="", tools=[look]
    )
    await session.send("first")
    await session.send("second")
    roles = [m.role for m in gateway.requests[2].messages]
    assert roles == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.USER]


async def test_an_answer_may_be_seen_as_it_comes() -> None:
    """It belongs to the conversation once it has come to its end."""
    session, gateway = chat("one two", "three four", "five")
    async with session.stream("first") as answer:
        assert await anext(answer) == TextDelta("one")
    assert len(session.messages) == 1
    async with session.stream("second") as answer:
        await answer.finish()
    await session.send("third")
    assert texts(gateway.requests[2])[1:] == ["second", "three four", "third"]


async def test_a_question_without_an_answer_is_not_remembered() -> None:
    """It may be asked again."""
    session, gateway = chat(RateLimited("slow down"), "one")
    with pytest.raises(RateLimited):
        await session.send("first")
    await session.send("first")
    assert texts(gateway.requests[1])[1:] == ["first"]


async def test_questions_are_asked_one_after_the_other() -> None:
    """Each sees the answer to the one before."""
    session, gateway = chat("one", "two")
    async with anyio.create_task_group() as group:
        group.start_soon(session.send, "a")
        group.start_soon(session.send, "b")
    assert len(gateway.requests[1].messages) == 4


async def test_the_oldest_rounds_are_left_out() -> None:
    """By the tokens that the provider counts, not by ours."""
    session, gateway = chat(
        counted("one", 400),
        counted("two", 700),
        counted("three", 650),
        max_context=1000,
        reserve=200,
    )
    await session.send("a")
    assert session.tokens == 400
    await session.send("b")
    assert session.tokens == 700
    await session.send("c")
    assert texts(gateway.requests[2])[1:] == ["a", "one", "b", "two", "c"]
    session.insert_message(LLMMessage(content="x" * 600))
    assert [m.text for m in session.messages][1:3] == ["b", "two"]


async def test_what_does_not_fit_after_all_is_asked_again_with_less() -> None:
    """Until nothing is left to leave out."""
    too_long = ContextTooLong("too long")
    session, gateway = chat(
        "one", "two", too_long, too_long, "three", too_long, too_long
    )
    await session.send("a")
    await session.send("b")
    assert await session.send("c") == "three"
    assert [len(r.messages) for r in gateway.requests[2:]] == [6, 4, 2]
    with pytest.raises(ContextTooLong):
        await session.send("d")


def test_the_reserve_is_what_the_broker_may_answer() -> None:
    """Unless it is said."""
    llm = LLMBroker("m", gateway=ScriptedGateway([]), max_tokens=100)
    with pytest.raises(ValueError, match=r"max_context=100 .* reserve=100"):
        ChatSession(llm, max_context=100)
    assert ChatSession(llm, max_context=100, reserve=0).tokens > 0


async def test_images_go_with_a_question(tmp_path: Path) -> None:
    """From files, bytes or parts."""
    (tmp_path / "cat.png").write_bytes(PNG)
    url = ImagePart(url="http://images.test/cat.png")
    session, gateway = chat("a cat", "again", system_prompt="")
    await session.send("What?", images=[tmp_path / "cat.png", b"\xff\xd8\xffx", url])
    text, png, jpeg, third = gateway.requests[0].messages[0].content
    assert text == TextPart("What?")
    assert png == ImagePart(data=PNG, media_type="image/png")
    assert isinstance(jpeg, ImagePart)
    assert jpeg.media_type == "image/jpeg"
    assert third is url
    await session.send("", images=[PNG])
    assert len(gateway.requests[1].messages[-1].content) == 1


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    """The file is named."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"notes\.txt: no PNG"):
        image(path)
    with pytest.raises(ValueError, match="4 bytes: no PNG"):
        image(b"text")


def test_every_part_is_estimated() -> None:
    """On the careful side."""
    blob = Blob(api="x", raw={})
    result = ToolResult(call_id="1", content=[TextPart("x" * 30), ImagePart(url="u")])
    message = LLMMessage(
        content=[
            TextPart("x" * 30),
            ToolCall(id="1", name="x" * 30),
            result,
            ImagePart(url="u"),
            ProviderPart(kind="audio", blob=blob),
        ]
    )
    assert estimate([message]) == 8 + 11 + 11 + 11 + 1500 + 1500


def test_reasoning_does_not_count_again() -> None:
    """The provider drops it, or counts it as new."""
    window = Window(size=1000, reserve=0, fixed=5000)
    usage = Usage(input_tokens=100, output_tokens=60, reasoning_tokens=50)
    window.add([LLMMessage(content="a")], usage)
    assert window.tokens == 110
    window.add([LLMMessage(content="b")], Usage(input_tokens=50))
    assert window.tokens == 110


@given(st.lists(st.integers(0, 500)), st.integers(0, 300))
def test_what_is_left_fits(sizes: list[int], fixed: int) -> None:
    """Or nothing is left; what is left is the newest."""
    rounds = [Round((LLMMessage(content=str(n)),), n) for n in sizes]
    window = Window(size=1000, reserve=100, fixed=fixed, rounds=list(rounds))
    question = [LLMMessage(content="x" * 90)]
    window.make_room(question)
    assert not window.rounds or window.tokens + estimate(question) + 100 <= 1000
    assert window.rounds == rounds[len(rounds) - len(window.rounds) :]
