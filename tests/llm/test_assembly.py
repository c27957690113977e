"""Putting an answer together."""

from agentflow.llm import (
    Blob,
    LLMMessage,
    ProviderPart,
    ReasoningPart,
    Role,
    StopReason,
    TextPart,
    ToolCall,
)
from agentflow.llm._assembly import ReplyBuilder

BLOB = Blob(api="x", raw={"signature": "s"})


def test_pieces_of_one_kind_make_one_part() -> None:
    """Until the part is sealed, or another kind comes between."""
    builder = ReplyBuilder()
    assert builder.empty
    for text in ("a", "b"):
        builder.text(text)
    builder.seal()
    builder.text("c")
    builder.reasoning("d")
    builder.text("e")
    assert builder.build().message == LLMMessage(
        role=Role.ASSISTANT,
        content=[
            TextPart("ab"),
            TextPart("c"),
            ReasoningPart(text="d"),
            TextPart("e"),
        ],
    )


def test_blobs_stay_with_their_parts() -> None:
    """With the part that grows, with a call, with the message."""
    builder = ReplyBuilder()
    builder.attach(BLOB)
    builder.reasoning("")
    builder.attach(BLOB)
    builder.call("k", call_id="1", name="f")
    builder.attach(Blob(api="y", raw=None))
    builder.attach_call("k", BLOB)
    builder.message_blob = BLOB
    message = builder.build().message
    assert message.content == (
        ReasoningPart(blob=BLOB),
        ToolCall(id="1", name="f", blob=BLOB),
    )
    assert message.blob == BLOB
    assert builder.has_calls is True


def test_a_reply_that_has_not_ended_has_no_known_reason() -> None:
    """Parts that came whole are there as they are."""
    builder = ReplyBuilder()
    part = ProviderPart(kind="k", blob=BLOB)
    builder.part(part)
    reply = builder.build()
    assert reply.stop is StopReason.OTHER
    assert reply.message.content == (part,)
