"""Where the text stands in what each SDK hands out."""

from anthropic.types import RawMessageStreamEvent
from ollama import ChatResponse
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent


def chat_text(chunk: ChatCompletionChunk) -> str:
    """Return the text of a chunk."""
    return "".join(c.delta.content or "" for c in chunk.choices[:1])


def responses_text(event: ResponseStreamEvent) -> str:
    """Return the text of an event."""
    return event.delta if event.type == "response.output_text.delta" else ""


def anthropic_text(event: RawMessageStreamEvent) -> str:
    """Return the text of an event."""
    if event.type != "content_block_delta" or event.delta.type != "text_delta":
        return ""
    return str(event.delta.text)


def ollama_text(part: ChatResponse) -> str:
    """Return the text of a line."""
    return part.message.content or ""
