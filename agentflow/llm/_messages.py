"""What is said: a conversation as frozen values that every provider's codec can write.

A message is a role and a tuple of parts. What a provider wants back unchanged in the next
turn (signatures of reasoning, encrypted items, server-side tool results) travels in a
``Blob``: the API that made it, and its JSON as it came. A codec sends back the blobs of its
own API and leaves out the others, so a conversation may move from one provider to another.
"""

import base64
import enum
from collections.abc import Iterable
from typing import TypeAlias

import attrs

from agentflow.llm._json import JSON, InvalidJSON, JSONObject, loads


class Role(enum.StrEnum):
    """Who speaks. The values are the words most wires use."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@attrs.frozen(kw_only=True)
class Blob:
    """Something one API sent and wants back unchanged.

    Attributes:
        api: Name of the API that understands it, as its codec is named.
        raw: The JSON as it came. Not to be changed.
    """

    api: str
    raw: JSON


@attrs.frozen
class TextPart:
    """Text.

    Attributes:
        text: The text.
        blob: What the API wants back with it.
    """

    text: str
    blob: Blob | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(kw_only=True)
class ImagePart:
    """An image, by its bytes or by a URL that the provider fetches.

    Attributes:
        data: The bytes of the image file; None for an image by URL.
        media_type: Media type of ``data``, such as "image/png".
        url: Where the provider finds it; None for an image by its bytes.
        detail: "low", "high" or "auto", for APIs that know it; None leaves it to them.
        blob: What the API wants back with it.
    """

    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str = "image/png"
    url: str | None = None
    detail: str | None = None
    blob: Blob | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse an image that is nowhere, or in two places."""
        if (self.data is None) == (self.url is None):
            raise ValueError("ImagePart: give either data= or url=")

    def base64(self) -> str:
        """Return the bytes as base64 text, empty for an image by URL."""
        return base64.b64encode(self.data or b"").decode("ascii")


@attrs.frozen(kw_only=True)
class ToolCall:
    """The model asks for a tool to be called.

    Attributes:
        id: Names the call, so that its result finds it. Codecs make one up where the
            provider sends none.
        name: Name of the tool.
        arguments: The arguments as JSON text, as the model wrote it: it may be broken, and
            an empty text means no arguments.
        blob: What the API wants back with it.
    """

    id: str
    name: str
    arguments: str = ""
    blob: Blob | None = None

    def parsed(self) -> JSONObject | None:
        """Return the arguments as an object, or None if the text is not one."""
        if not self.arguments.strip():
            return {}
        try:
            value = loads(self.arguments)
        except InvalidJSON:
            return None
        return value if isinstance(value, dict) else None


@attrs.frozen(kw_only=True)
class ReasoningPart:
    """What the model thought before it spoke.

    Attributes:
        text: The readable part; empty where the provider keeps it to itself.
        blob: What the API wants back with it: a signature, an encrypted item.
    """

    text: str = ""
    blob: Blob | None = None


@attrs.frozen
class RefusalPart:
    """The model's refusal, in its own words."""

    text: str


@attrs.frozen(kw_only=True)
class ProviderPart:
    """Content that only one API knows: audio, files, results of server-side tools.

    Attributes:
        kind: What it is, in the provider's word.
        blob: The content itself.
    """

    kind: str
    blob: Blob


def _result_parts(
    content: "str | TextPart | ImagePart | Iterable[TextPart | ImagePart]",
) -> "tuple[TextPart | ImagePart, ...]":
    """Take a text, a part or several as the content of a tool's result."""
    if isinstance(content, str):
        return (TextPart(content),)
    if isinstance(content, TextPart | ImagePart):
        return (content,)
    return tuple(content)


@attrs.frozen(kw_only=True)
class ToolResult:
    """What a tool answered.

    Attributes:
        call_id: The ``id`` of the ToolCall that it answers.
        name: Name of the tool.
        content: Text and images; a plain string serves.
        is_error: True if this is an error message for the model to mend.
        blob: What the API wants back with it.
    """

    call_id: str
    name: str = ""
    content: tuple[TextPart | ImagePart, ...] = attrs.field(converter=_result_parts)
    is_error: bool = False
    blob: Blob | None = None

    @property
    def text(self) -> str:
        """All text of the content."""
        return "".join(x.text for x in self.content if isinstance(x, TextPart))


Part: TypeAlias = (
    TextPart
    | ImagePart
    | ToolCall
    | ToolResult
    | ReasoningPart
    | RefusalPart
    | ProviderPart
)
"""Whatever a message may be made of."""

_PARTS = (
    TextPart,
    ImagePart,
    ToolCall,
    ToolResult,
    ReasoningPart,
    RefusalPart,
    ProviderPart,
)


def _parts(content: str | Part | Iterable[Part]) -> tuple[Part, ...]:
    """Take a text, a part or several as the content of a message."""
    if isinstance(content, str):
        return (TextPart(content),)
    if isinstance(content, _PARTS):
        return (content,)
    parts = tuple(content)
    for part in parts:
        if not isinstance(part, _PARTS):
            raise TypeError(
                f"LLMMessage: content takes a string or message parts, "
                f"not {type(part).__name__}"
            )
    return parts


@attrs.frozen(kw_only=True)
class LLMMessage:
    """One message of a conversation.

    Attributes:
        role: Who speaks; the user by default.
        content: What is said; a plain string, one part or any iterable of parts serve.
        blob: What the API wants back with the message as a whole.
    """

    role: Role = attrs.field(default=Role.USER, converter=Role)
    content: tuple[Part, ...] = attrs.field(converter=_parts)
    blob: Blob | None = None

    @property
    def text(self) -> str:
        """All text of the content, without reasoning and refusals."""
        return "".join(x.text for x in self.content if isinstance(x, TextPart))

    @property
    def reasoning(self) -> str:
        """All readable reasoning of the content."""
        return "".join(x.text for x in self.content if isinstance(x, ReasoningPart))

    @property
    def refusal(self) -> str:
        """The refusal, if the content holds one."""
        return "".join(x.text for x in self.content if isinstance(x, RefusalPart))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """All calls the content asks for, in order."""
        return tuple(x for x in self.content if isinstance(x, ToolCall))


def as_conversation(
    messages: str | LLMMessage | Iterable[LLMMessage],
) -> tuple[LLMMessage, ...]:
    """Take a prompt, a message or several as a conversation.

    Args:
        messages: A string is one message of the user's.

    Returns:
        The conversation.

    Raises:
        TypeError: Something among them is no LLMMessage.
    """
    if isinstance(messages, str):
        return (LLMMessage(content=messages),)
    if isinstance(messages, LLMMessage):
        return (messages,)
    conversation = tuple(messages)
    for message in conversation:
        if not isinstance(message, LLMMessage):
            raise TypeError(
                f"messages must be LLMMessage values, not {type(message).__name__}"
            )
    return conversation
