"""The tool loop as a decision: conversation and reply in, what to do next out.

A turn begins with a conversation and ends with an answer, or an error. In between the model
may call tools, several at once and round after round. After each reply ``decide`` says what
comes next:

- it calls tools: ``CallTools``. The results go to ``with_results``, and the model is asked
  again;
- it paused, or its text does not fit the object wanted: ``AskAgain``;
- its answer is what was wanted: ``Finish``;
- it refused, was cut off in the middle of a call, or uses up what the turn may cost:
  ``Fail``.

Mistakes (arguments that do not fit, tools that raise, text that is not the object wanted)
are told to the model, ``max_mistakes`` times in a row; a round without one starts the count
anew. ``max_rounds`` bounds the exchanges of the turn, whatever happens in them.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import attrs

from agentflow.llm._errors import (
    ContentRefused,
    ErrorInfo,
    InvalidObject,
    LLMError,
    MalformedAnswer,
    ToolLoopExceeded,
)
from agentflow.llm._json import JSON, InvalidJSON, loads
from agentflow.llm._messages import LLMMessage, Role, ToolCall, ToolResult
from agentflow.llm._reply import Reply, StopReason, Usage
from agentflow.llm._structure import DoesNotFit


@attrs.frozen(kw_only=True)
class TurnLimits:
    """How much one turn may take.

    Attributes:
        max_rounds: Exchanges with the model, tool rounds and repairs included.
        max_calls: Tool calls in one round.
        max_mistakes: Rounds in a row in which the model may be told of mistakes.
    """

    max_rounds: int = 16
    max_calls: int = 64
    max_mistakes: int = 3


@attrs.frozen(kw_only=True)
class Goal:
    """What the answer must be.

    Attributes:
        read: Reads the answer's JSON as the object wanted; raises DoesNotFit.
        repairs: How often the model is told that its answer does not fit.
        tool_name: The tool through which the object comes; None if the text is it.
    """

    read: Callable[[JSON], object]
    repairs: int = 1
    tool_name: str | None = None


@attrs.frozen(kw_only=True)
class Turn:
    """A turn as far as it has come.

    Attributes:
        messages: The conversation with all that the turn has added.
        rounds: Exchanges made.
        mistakes: Rounds with mistakes since the last one without.
        repairs: How often an answer that does not fit has been sent back.
        usage: Tokens of all exchanges.
    """

    messages: tuple[LLMMessage, ...]
    rounds: int = 0
    mistakes: int = 0
    repairs: int = 0
    usage: Usage = attrs.field(factory=Usage)


@attrs.frozen
class CallTools:
    """Call these, then continue with ``with_results(turn, …)``."""

    turn: Turn
    calls: tuple[ToolCall, ...]


@attrs.frozen
class AskAgain:
    """Ask the model again, with the turn as it is now."""

    turn: Turn


@attrs.frozen
class Finish:
    """The answer is there.

    Attributes:
        turn: The turn, with the answer in its conversation.
        reply: The answer; its usage is that of the whole turn.
        value: The object, if one was wanted.
    """

    turn: Turn
    reply: Reply
    value: object = None


@attrs.frozen
class Fail:
    """The turn ends without an answer."""

    turn: Turn
    error: LLMError


Step: TypeAlias = CallTools | AskAgain | Finish | Fail
"""What to do next."""


def decide(turn: Turn, reply: Reply, *, goal: Goal | None, limits: TurnLimits) -> Step:
    """Say what to do after a reply.

    Args:
        turn: The turn before it.
        reply: The reply.
        goal: The object wanted; None if any text will do.
        limits: How much the turn may take.

    Returns:
        The next step.
    """
    turn = attrs.evolve(
        turn,
        messages=(*turn.messages, reply.message),
        rounds=turn.rounds + 1,
        usage=turn.usage + reply.usage,
    )
    step = _step(turn, reply, goal)
    exceeded = _exceeded(turn, step, limits)
    return Fail(turn, exceeded) if exceeded else step


def with_results(
    turn: Turn, results: Sequence[ToolResult], *, limits: TurnLimits
) -> AskAgain | Fail:
    """Say what to do after tools have answered.

    Args:
        turn: The turn before it.
        results: The results, in the order of the calls.
        limits: How much the turn may take.

    Returns:
        Whether to ask the model again.
    """
    bad = [r for r in results if r.is_error]
    mistakes = turn.mistakes + 1 if bad else 0
    message = LLMMessage(role=Role.TOOL, content=results)
    turn = attrs.evolve(turn, messages=(*turn.messages, message), mistakes=mistakes)
    if mistakes > limits.max_mistakes:
        last = bad[-1]
        return Fail(
            turn,
            ToolLoopExceeded(
                f"the model was told of mistakes {limits.max_mistakes} times in a row "
                f"and made another; the last, by tool {last.name!r}: {last.text}"
            ),
        )
    return AskAgain(turn)


def _step(turn: Turn, reply: Reply, goal: Goal | None) -> Step:
    """Decide by the reply alone."""
    if reply.stop is StopReason.REFUSED or (reply.refusal and not reply.tool_calls):
        words = (
            reply.refusal or reply.text or "the provider's filter stopped the answer"
        )
        code = reply.raw_stop
        info = ErrorInfo(status=200, code=code, message=words)
        return Fail(turn, ContentRefused(info=info, reply=reply))
    wanted = goal.tool_name if goal is not None else None
    answer = next((c for c in reply.tool_calls if c.name == wanted), None)
    if goal is not None and answer is not None:
        return _read_object(turn, goal, reply, text=answer.arguments)
    if reply.tool_calls:
        return _call_tools(turn, reply)
    if reply.stop is StopReason.PAUSED:
        return AskAgain(turn)
    return _answer(turn, goal, reply)


def _answer(turn: Turn, goal: Goal | None, reply: Reply) -> Step:
    """Take the text as the answer."""
    if goal is not None:
        return _read_object(turn, goal, reply, text=reply.text)
    return Finish(turn, _with_usage(reply, turn))


def _call_tools(turn: Turn, reply: Reply) -> Step:
    """Call the tools, unless the answer was cut off inside a call."""
    cut = reply.stop in {StopReason.LENGTH, StopReason.CONTEXT_FULL}
    if cut and reply.tool_calls[-1].parsed() is None:
        return Fail(
            turn,
            MalformedAnswer(
                f"the answer was cut off ({reply.stop}) inside a call of tool "
                f"{reply.tool_calls[-1].name!r}; raise max_tokens",
                info=ErrorInfo(status=200),
            ),
        )
    return CallTools(turn, reply.tool_calls)


def _exceeded(turn: Turn, step: Step, limits: TurnLimits) -> LLMError | None:
    """Say what the next step would use up, if anything."""
    if isinstance(step, CallTools) and len(step.calls) > limits.max_calls:
        return ToolLoopExceeded(
            f"the model asked for {len(step.calls)} tool calls at once, more than "
            f"max_calls={limits.max_calls}"
        )
    if isinstance(step, CallTools | AskAgain) and turn.rounds >= limits.max_rounds:
        return ToolLoopExceeded(
            f"the model did not come to an answer in max_rounds={limits.max_rounds} "
            "exchanges"
        )
    return None


def _with_usage(reply: Reply, turn: Turn) -> Reply:
    """Give the last reply the usage of all."""
    return attrs.evolve(reply, usage=turn.usage)


def _read_object(turn: Turn, goal: Goal, reply: Reply, *, text: str) -> Step:
    """Read the answer as the object wanted, or tell the model why it is not."""
    try:
        value = goal.read(json_in(text))
    except DoesNotFit as error:
        return _repair(turn, goal, reply, error=error)
    return Finish(turn, _with_usage(reply, turn), value)


def _repair(turn: Turn, goal: Goal, reply: Reply, *, error: DoesNotFit) -> Step:
    """Send an answer that does not fit back to the model, or give up."""
    cut = reply.stop in {StopReason.LENGTH, StopReason.CONTEXT_FULL}
    if cut or turn.repairs >= goal.repairs:
        hint = f" (it was cut off: {reply.stop}; raise max_tokens)" if cut else ""
        failure = InvalidObject(
            f"the answer does not fit the response model{hint}: {error}",
            info=ErrorInfo(status=200),
            reply=reply,
        )
        failure.__cause__ = error
        return Fail(turn, failure)
    words = f"Your answer does not fit: {error}. Answer again with the corrected JSON."
    told: LLMMessage
    if reply.tool_calls:
        told = LLMMessage(role=Role.TOOL, content=_rejected(reply.tool_calls, words))
    else:
        told = LLMMessage(content=words)
    messages = (*turn.messages, told)
    return AskAgain(attrs.evolve(turn, messages=messages, repairs=turn.repairs + 1))


def _rejected(calls: Iterable[ToolCall], words: str) -> list[ToolResult]:
    """Answer each call; providers refuse a conversation with one left open."""
    return [
        ToolResult(call_id=c.id, name=c.name, content=words, is_error=True)
        for c in calls
    ]


_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def json_in(text: str) -> JSON:
    """Find the JSON in an answer; models like to put words or a fence around it.

    Args:
        text: The answer.

    Returns:
        The value.

    Raises:
        DoesNotFit: There is none in it.
    """
    try:
        return loads(text)
    except InvalidJSON as error:
        problem = str(error)
    fenced = _FENCED.search(text)
    start = text.find("{")
    for candidate in (fenced[1] if fenced else "", text[start:] if start >= 0 else ""):
        try:
            value: JSON = json.JSONDecoder().raw_decode(candidate.strip())[0]
        except (ValueError, RecursionError):
            continue
        return value
    raise DoesNotFit([f"the answer is not valid JSON ({problem})"])
