"""The replies of a script: what they say, which requests they are for, what is left.

Decisions over values; `_scripted` does the waiting.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeGuard, cast

import attrs
from cattrs.preconf.json import make_converter

from agentflow.llm._json import dumps
from agentflow.llm._messages import LLMMessage, Part, Role, TextPart, ToolCall
from agentflow.llm._reply import Delta, Reply, StopReason, TextDelta, ToolCallDelta
from agentflow.llm._request import ForcedTool, Request

Scripted: TypeAlias = object
"""One answer: text, a part such as a tool call or a list of parts, a whole reply, an
``LLMError`` to raise, or any object that the agent's response model describes."""

Matcher: TypeAlias = str | re.Pattern[str] | Callable[[Request], bool]
"""Which requests a reply is for: a text or pattern that stands in one of the messages, or
a function that says so."""

_LONGEST = 70
_converter = make_converter(use_alias=True)


@attrs.define(eq=False, kw_only=True)
class Line:
    """One reply of a script.

    Attributes:
        number: Which it is, from 1.
        answer: What the model says.
        when: Which requests it is for; None for any.
        delay: Seconds until the answer begins.
        pace: Seconds between its pieces.
        pieces: The text as it comes in, piece by piece; None for word by word.
    """

    number: int
    answer: Scripted
    when: Matcher | None = None
    delay: float = 0.0
    pace: float = 0.0
    pieces: tuple[str, ...] | None = None

    def fits(self, request: Request) -> bool:
        """Whether it may be the answer to a request."""
        if self.when is None:
            return True
        if isinstance(self.when, str):
            return any(self.when in text for text in texts_of(request))
        if isinstance(self.when, re.Pattern):
            return any(self.when.search(text) for text in texts_of(request))
        return self.when(request)

    def describe(self) -> str:
        """Say which reply it is, and what it waits for."""
        said = _shorten(repr(self.answer))
        return f"reply {self.number}, {said}{self._for()}"

    def _for(self) -> str:
        if self.when is None:
            return ""
        wanted = self.when if isinstance(self.when, str) else self._wanted()
        return f", for requests with {wanted!r}"

    def _wanted(self) -> str:
        if isinstance(self.when, re.Pattern):
            return self.when.pattern
        return getattr(self.when, "__name__", repr(self.when))

    def reply_to(self, request: Request) -> Reply:
        """Make the whole reply."""
        return whole(self.answer, request)

    def deltas(self, reply: Reply) -> list[Delta]:
        """Cut a reply into the pieces in which it comes in."""
        if self.pieces is not None:
            return [TextDelta(piece) for piece in self.pieces]
        return _deltas(reply)


def texts_of(request: Request) -> list[str]:
    """Return the text of each message of a request."""
    return [message.text for message in request.messages]


def whole(answer: Scripted, request: Request) -> Reply:
    """Make a reply of what a script says.

    Args:
        answer: The script's line.
        request: What it answers: it may want an object in the form of a tool call.

    Returns:
        The reply.
    """
    if isinstance(answer, Reply):
        return answer
    content = _content(answer, request)
    message = LLMMessage(role=Role.ASSISTANT, content=content)
    stop = StopReason.TOOL_CALLS if message.tool_calls else StopReason.END
    return Reply(message=message, stop=stop)


def _content(answer: object, request: Request) -> str | tuple[Part, ...]:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Part):
        return (answer,)
    if _is_parts(answer):
        return tuple(answer)
    text = _as_json(answer)
    if isinstance(request.tool_choice, ForcedTool):
        name = request.tool_choice.name
        return (ToolCall(id="scripted", name=name, arguments=text),)
    return text


def _is_parts(answer: object) -> TypeGuard[Sequence[Part]]:
    return isinstance(answer, list | tuple) and all(
        isinstance(part, Part) for part in cast("Sequence[object]", answer)
    )


def _as_json(answer: object) -> str:
    """Write an object as a model would: attrs classes, dataclasses, pydantic, dicts."""
    dump = getattr(answer, "model_dump_json", None)
    return str(dump()) if callable(dump) else dumps(_converter.unstructure(answer))


def _deltas(reply: Reply) -> list[Delta]:
    """Cut a reply into deltas, text word by word."""
    deltas: list[Delta] = []
    calls = 0
    for part in reply.message.content:
        if isinstance(part, TextPart):
            words = part.text.split(" ")
            deltas += [TextDelta(w if i == 0 else f" {w}") for i, w in enumerate(words)]
        elif isinstance(part, ToolCall):
            deltas.append(
                ToolCallDelta(
                    index=calls, id=part.id, name=part.name, arguments=part.arguments
                )
            )
            calls += 1
    return deltas


def unexpected_call(number: int, request: Request, left: Sequence[Line]) -> str:
    """Say what is wrong with a request that no reply is for, with a diff.

    Args:
        number: Which request it is.
        request: The request.
        left: The replies that nobody has asked for yet.

    Returns:
        The message.
    """
    asked = "".join(
        f"\n  {message.role}: {_shorten(message.text)}" for message in request.messages
    )
    if not left:
        return (
            f"an unexpected call: the script has no answer left for request {number}:"
            f"{asked}\nScript one more with scripted_llm.reply(...), or find out why the "
            "agent asks again"
        )
    lines = "".join(f"\n- {line.describe()}{_diff(line, request)}" for line in left)
    return (
        f"an unexpected call: request {number} fits none of the replies that are left:"
        f"{asked}\nwhat is left (-), and what came instead (+):{lines}"
    )


def _diff(line: Line, request: Request) -> str:
    """Show a text that was wanted beside the one most like it."""
    if not isinstance(line.when, str):
        return ""
    wanted = line.when
    nearest = max(
        (text for text in texts_of(request)),
        key=lambda text: difflib.SequenceMatcher(None, wanted, text).ratio(),
        default="",
    )
    diff = difflib.ndiff(wanted.splitlines(), nearest.splitlines())
    return "".join(f"\n    {each.rstrip()}" for each in diff)


def unused_reply(line: Line, asked: int, of: int) -> str:
    """Say that nobody asked for a reply."""
    times = "once" if asked == 1 else f"{asked} times"
    return (
        f"an unused reply: {line.describe()}, of {of}; the model was asked "
        f"{times if asked else 'nothing'}. Drop it from the script, or find out why the "
        "agent did not ask"
    )


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
