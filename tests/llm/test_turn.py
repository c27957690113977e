"""The tool loop as a decision."""

from typing import Any

import attrs
import pytest

from agentflow.llm import (
    ContentRefused,
    InvalidObject,
    LLMError,
    LLMMessage,
    MalformedAnswer,
    RefusalPart,
    Reply,
    Role,
    StopReason,
    TextPart,
    ToolCall,
    ToolLoopExceeded,
    ToolResult,
    TurnLimits,
    Usage,
)
from agentflow.llm._objects import ObjectModel
from agentflow.llm._request import OutputMode
from agentflow.llm._structure import DoesNotFit
from agentflow.llm._turn import (
    AskAgain,
    CallTools,
    Fail,
    Finish,
    Goal,
    Step,
    Turn,
    decide,
    json_in,
    with_results,
)


@attrs.frozen
class Answer:
    n: int


GOAL = ObjectModel.of(Answer).goal(OutputMode.NATIVE)
BY_TOOL = ObjectModel.of(Answer).goal(OutputMode.TOOL)
START = Turn(messages=(LLMMessage(content="ask"),))
LIMITS = TurnLimits()


def reply(*parts: Any, stop: StopReason = StopReason.END) -> Reply:
    """Make a reply."""
    content = [TextPart(p) if isinstance(p, str) else p for p in parts]
    message = LLMMessage(role=Role.ASSISTANT, content=content)
    return Reply(message=message, stop=stop, usage=Usage(output_tokens=1))


def call(name: str = "f", arguments: str = "{}", call_id: str = "1") -> ToolCall:
    """Make a tool call."""
    return ToolCall(id=call_id, name=name, arguments=arguments)


def after(answer: Reply, goal: Goal | None = None, turn: Turn = START) -> Step:
    """Decide with the usual limits."""
    return decide(turn, answer, goal=goal, limits=LIMITS)


def error_of(step: Step | Fail) -> LLMError:
    """Return the error of a step that must be a failure."""
    assert isinstance(step, Fail)
    return step.error


def test_a_text_finishes_the_turn() -> None:
    """The conversation goes on with it, and usage adds up."""
    turn = attrs.evolve(START, usage=Usage(output_tokens=5))
    step = after(reply("hello"), turn=turn)
    assert isinstance(step, Finish)
    assert step.reply.text == "hello"
    assert step.reply.usage.output_tokens == 6
    assert step.turn.messages[-1].text == "hello"
    assert step.value is None


def test_calls_are_called() -> None:
    """All of one reply, in order."""
    calls = (call(call_id="1"), call(call_id="2"))
    step = after(reply("let me see", *calls, stop=StopReason.TOOL_CALLS))
    assert isinstance(step, CallTools)
    assert step.calls == calls


def test_results_go_back_to_the_model() -> None:
    """In one message, and a round without mistakes forgets those before."""
    turn = attrs.evolve(START, mistakes=3)
    step = with_results(turn, [ToolResult(call_id="1", content="3")], limits=LIMITS)
    assert isinstance(step, AskAgain)
    assert step.turn.messages[-1].role is Role.TOOL
    assert step.turn.mistakes == 0


def test_mistakes_in_a_row_are_bounded() -> None:
    """The last one is told in the error."""
    bad = [ToolResult(call_id="1", name="f", content="Error: no", is_error=True)]
    turn = START
    for _ in range(LIMITS.max_mistakes):
        step = with_results(turn, bad, limits=LIMITS)
        assert isinstance(step, AskAgain)
        turn = step.turn
    error = error_of(with_results(turn, bad, limits=LIMITS))
    assert isinstance(error, ToolLoopExceeded)
    assert "3 times in a row and made another; the last, by tool 'f': Error: no" in str(
        error
    )


def test_rounds_are_bounded() -> None:
    """A model that calls tools for ever is stopped; an answer in the last round counts."""
    turn = attrs.evolve(START, rounds=LIMITS.max_rounds - 1)
    assert isinstance(after(reply("x"), turn=turn), Finish)
    error = error_of(after(reply(call()), turn=turn))
    assert "max_rounds=16" in str(error)


def test_calls_of_one_round_are_bounded() -> None:
    """Nobody needs a hundred at once."""
    error = error_of(after(reply(*[call(call_id=str(i)) for i in range(65)])))
    assert "65 tool calls at once" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        reply(RefusalPart("I will not")),
        reply("I will not", stop=StopReason.REFUSED),
    ],
)
@pytest.mark.parametrize("goal", [None, GOAL], ids=["text", "object"])
def test_a_refusal_is_an_error_that_holds_the_reply(
    answer: Reply, goal: Goal | None
) -> None:
    """An agent must not take it for an answer."""
    error = error_of(after(answer, goal))
    assert isinstance(error, ContentRefused)
    assert error.reply == answer
    assert "I will not" in str(error)


def test_a_refusal_without_words_says_so() -> None:
    """A filter gives none."""
    error = error_of(after(reply(stop=StopReason.REFUSED)))
    assert "filter stopped the answer" in str(error)


def test_a_pause_goes_on() -> None:
    """The conversation is sent back as it is."""
    step = after(reply("part", stop=StopReason.PAUSED))
    assert isinstance(step, AskAgain)
    assert len(step.turn.messages) == 2


def test_an_answer_cut_off_inside_a_call_is_an_error() -> None:
    """Asking again would end in the same place."""
    cut = reply(call(arguments='{"a"'), stop=StopReason.LENGTH)
    error = error_of(after(cut))
    assert isinstance(error, MalformedAnswer)
    assert "inside a call of tool 'f'; raise max_tokens" in str(error)


def test_whole_calls_are_called_though_the_answer_was_cut_off() -> None:
    """The model may go on after them."""
    step = after(reply(call(), stop=StopReason.LENGTH))
    assert isinstance(step, CallTools)


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1}',
        ' {"n": 1}\n',
        'Here you are:\n```json\n{"n": 1}\n```\nAnything else?',
        '```\n{"n": 1}\n```',
        'Sure! {"n": 1} is it.',
    ],
)
def test_an_object_is_found_in_the_text(text: str) -> None:
    """Models put words or a fence around it."""
    step = after(reply(text), GOAL)
    assert isinstance(step, Finish)
    assert step.value == Answer(1)


@pytest.mark.parametrize("text", ["", "no", "{", "```json\n{\n```", "[" * 100_000])
def test_text_without_json_does_not_fit(text: str) -> None:
    """The words say so."""
    with pytest.raises(DoesNotFit, match="not valid JSON"):
        json_in(text)


def test_an_object_that_does_not_fit_is_sent_back_once() -> None:
    """With what is wrong; the second time it is an error."""
    step = after(reply('{"n": "1"}'), GOAL)
    assert isinstance(step, AskAgain)
    told = step.turn.messages[-1]
    assert told.role is Role.USER
    assert "$.n: expected an integer, got '1'" in told.text
    error = error_of(after(reply('{"n": true}'), GOAL, step.turn))
    assert isinstance(error, InvalidObject)
    assert error.reply is not None
    assert error.reply.text == '{"n": true}'
    assert isinstance(error.__cause__, DoesNotFit)


def test_an_object_that_was_cut_off_is_not_sent_back() -> None:
    """The error says what to raise."""
    error = error_of(after(reply('{"n": ', stop=StopReason.LENGTH), GOAL))
    assert isinstance(error, InvalidObject)
    assert "raise max_tokens" in str(error)


def test_tools_are_called_before_an_object_is_there() -> None:
    """The text beside the calls is no answer."""
    step = after(reply("thinking", call()), GOAL)
    assert isinstance(step, CallTools)


def test_an_object_may_come_through_a_tool() -> None:
    """Its arguments are the answer; other tools are called first."""
    step = after(reply(call("Answer", '{"n": 2}')), BY_TOOL)
    assert isinstance(step, Finish)
    assert step.value == Answer(2)
    assert isinstance(after(reply(call("other")), BY_TOOL), CallTools)
    text = after(reply('{"n": 3}'), BY_TOOL)
    assert isinstance(text, Finish)
    assert text.value == Answer(3)


def test_a_tool_s_object_that_does_not_fit_is_answered_as_a_tool_is() -> None:
    """Every call gets a result, or the provider refuses the conversation."""
    answer = reply(call("Answer", "{}", "1"), call("other", "{}", "2"))
    step = after(answer, BY_TOOL)
    assert isinstance(step, AskAgain)
    told = step.turn.messages[-1]
    assert told.role is Role.TOOL
    results = [p for p in told.content if isinstance(p, ToolResult)]
    assert [r.call_id for r in results] == ["1", "2"]
    assert all(r.is_error for r in results)
