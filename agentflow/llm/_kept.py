"""What models and tools have answered, kept with the event in a durable session.

Theory of operation. A handler that runs again after a crash asks the same questions,
and gets the answers it had. An answer is kept under what was asked (a digest of the
provider and the whole request) and its number among the answers to that very question,
so that tasks side by side do not mix theirs, and a question that has changed is a new
one. A number is given away when the answer is there, not when it is asked for: a
question that failed leaves no hole.

It is kept for the attempt. A retry after an error asks anew, as it would without a
journal: the answer may be what the handler failed of.

The result of a tool is kept under the answer that called for it, and its place in that.
What the tool itself does in the session (events, changes of the shared memory, waits,
`once`) counts as a step of its own, so that leaving it out shifts nothing around it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from functools import cache
from hashlib import blake2b
from json import dumps, loads
from typing import TypeVar

import cattrs
from anyio.lowlevel import checkpoint

from agentflow._context import Memos, current_delivery, current_memos, current_step
from agentflow._converter import make_converter
from agentflow._durable_counts import OF_ATTEMPT
from agentflow._encoding import EventRegistry
from agentflow._errors import EncodingError
from agentflow.llm._json import JSON, plain_mapping
from agentflow.llm._messages import LLMMessage, ToolCall, ToolResult
from agentflow.llm._reply import Delta, Reply, deltas_of
from agentflow.llm._request import Request

_T = TypeVar("_T")


class Kept:
    """A question of the running handler, and the answers to it.

    Args:
        memos: Where answers are kept.
        counts: How many answers of each name this run of the handler has had.
        name: What the question is called.
    """

    def __init__(self, memos: Memos, counts: dict[str, int], name: str) -> None:
        self.memos: Memos = memos
        self._counts = counts
        self._name = name
        self.answer: str = ""
        """The name of the answer, once it is there."""

    def recall(self) -> str | None:
        """Return the next answer, if it has come before the handler ran again."""
        number = self._counts.get(self._name, 0) + 1
        text = self.memos.recall(f"{self._name}:{number}")
        if text is not None:
            self._take(number)
        return text

    async def keep(self, text: str) -> None:
        """Keep an answer that has just come.

        Raises:
            SessionError: The event is not the handler's any more.
            JournalError: The journal cannot be written.

        Cancellation:
            It is kept all the same.
        """
        self._take(self._counts.get(self._name, 0) + 1)
        await self.memos.keep(self.answer, text)

    def _take(self, number: int) -> None:
        self._counts[self._name] = number
        self.answer = f"{self._name}:{number}"


def ask(kind: str, what: Callable[[], str]) -> Kept | None:
    """Return a question of the running handler.

    Args:
        kind: What kind of question it is.
        what: Returns all that the answer depends on.

    Returns:
        The question; None outside of the handlers of durable sessions.
    """
    memos = current_memos.get()
    if memos is None:
        return None
    delivery, counts = current_delivery.get(), memos.answers()
    if delivery is None or counts is None:
        return None
    digest = _digest(current_step.get(), what())
    return Kept(memos, counts, f"{OF_ATTEMPT}{delivery.attempt}:{kind}:{digest}")


async def settled(
    kind: str, messages: tuple[LLMMessage, ...], make: Callable[[], str]
) -> str:
    """Return a text that is the same when the running handler runs again.

    Args:
        kind: What kind of text it is.
        messages: What it is for.
        make: Makes it.

    Returns:
        The text.

    Raises:
        SessionError: The event is not the handler's any more.
        JournalError: The journal cannot be written.

    Cancellation:
        It is kept all the same.
    """
    kept = ask(kind, lambda: _text_of(messages, tuple[LLMMessage, ...]))
    known = None if kept is None else kept.recall()
    if known is not None or kept is None:
        await checkpoint()
        return make() if known is None else known
    text = make()
    await kept.keep(text)
    return text


class KeptReply:
    """The answer to one request.

    Args:
        kept: The question.
        provider: Name of the provider.
    """

    def __init__(self, kept: Kept, provider: str) -> None:
        self._kept = kept
        self._provider = provider

    @classmethod
    def to(cls, request: Request, provider: str) -> "KeptReply | None":
        """Return the answer to a request; None outside of handlers with a journal."""
        kept = ask("llm", lambda: f"{provider}\0{_text_of(request, Request)}")
        return None if kept is None else cls(kept, provider)

    def recall(self) -> "Recalled | None":
        """Return the answer, if it has come before the handler ran again."""
        text = self._kept.recall()
        return None if text is None else Recalled(_read(text, Reply))

    async def keep(self, reply: Reply) -> None:
        """Keep the answer that has just come.

        Raises:
            EncodingError: It holds something that is no JSON.
            SessionError: The event is not the handler's any more.
            JournalError: The journal cannot be written.

        Cancellation:
            It is kept all the same.
        """
        await self._kept.keep(_written(reply, Reply, self._provider))

    def result(self, index: int, call: ToolCall) -> "KeptResult":
        """Return the result that a call of the answer leads to.

        Args:
            index: Which call of the answer it is.
            call: The call.

        Returns:
            The result, before or after it has come.
        """
        return KeptResult(self._kept.memos, f"{self._kept.answer}:tool:{index}", call)


class KeptResult:
    """The result of one tool call.

    Args:
        memos: Where it is kept.
        name: What it is called.
        call: The call.
    """

    def __init__(self, memos: Memos, name: str, call: ToolCall) -> None:
        self._memos = memos
        self._name = name
        self._call = call

    def recall(self) -> ToolResult | None:
        """Return the result, if the tool was called before the handler ran again."""
        text = self._memos.recall(self._name)
        return None if text is None else _read(text, ToolResult)

    def step(self) -> AbstractContextManager[None]:
        """Take the code of a block for the tool's."""
        # Another attempt of the handler may come to the same call.
        place = self._name.split(":", 2)[2]
        call = self._call
        return self._memos.within(f"tool:{_digest(place, call.name, call.arguments)}")

    async def keep(self, result: ToolResult) -> None:
        """Keep the result.

        Raises:
            EncodingError: It holds something that is no JSON.
            SessionError: The event is not the handler's any more.
            JournalError: The journal cannot be written.

        Cancellation:
            It is kept all the same.
        """
        text = _written(result, ToolResult, f"tool {self._call.name}")
        await self._memos.keep(self._name, text)


class Recalled(AsyncIterator[Delta | Reply]):
    """An answer that has come before, as it comes in again.

    Args:
        reply: The answer.
    """

    attempts: int = 0
    """Nobody was asked."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._items: list[Delta | Reply] = [reply, *reversed(deltas_of(reply))]

    def give_whole(self) -> None:
        """Leave out the deltas."""
        self._items = [self._reply]

    async def __anext__(self) -> Delta | Reply:
        """Return the next delta, or the reply at last.

        Raises:
            StopAsyncIteration: The reply was the last one.

        Cancellation: the next item is the one that would have come now.
        """
        await checkpoint()
        if not self._items:
            raise StopAsyncIteration
        return self._items.pop()


def _digest(*parts: str) -> str:
    whole = "\0".join(parts).encode("utf-8", "surrogatepass")
    return blake2b(whole, digest_size=16).hexdigest()


@cache
def _converter() -> cattrs.Converter:
    """Return what writes and reads the values of this half."""
    registry = EventRegistry()
    converter = make_converter(registry.write, registry.read)
    # What providers send may hold numbers that JSON has none for; Python writes them.
    converter.register_unstructure_hook_func(lambda form: form is JSON, _as_it_is)
    return converter


def _as_it_is(value: object) -> object:
    return value


def _text_of(value: object, form: type) -> str:
    """Return a value as text, for a digest: what JSON cannot say, as Python writes it."""
    return dumps(_converter().unstructure(value, form), default=_or_repr)


def _or_repr(value: object) -> object:
    try:
        return plain_mapping(value)
    except TypeError:
        return repr(value)


def _written(value: object, form: type, giver: str) -> str:
    """Return a value as text.

    Raises:
        EncodingError: It holds something that is no JSON.
    """
    try:
        return dumps(_converter().unstructure(value, form), default=plain_mapping)
    except Exception as error:
        raise EncodingError(
            f"the answer of {giver} cannot be kept in the journal: {error}; what it holds "
            "must be what its types say, and JSON where they say so"
        ) from error


def _read(text: str, form: type[_T]) -> _T:
    return _converter().structure(loads(text), form)
