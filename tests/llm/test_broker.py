"""Turns of the broker, with a model that follows a script."""

import threading
from typing import Any, Self

import anyio
import attrs
import pytest

from agentflow.llm import (
    ContentRefused,
    ForcedTool,
    InvalidObject,
    LLMBroker,
    LLMMessage,
    MalformedAnswer,
    Options,
    OutputMode,
    RateLimited,
    RefusalPart,
    Reply,
    Request,
    Role,
    SchemaError,
    StopReason,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolFailed,
    ToolLoopExceeded,
    ToolResult,
    ToolSettings,
    TurnLimits,
    Usage,
    tool,
)
from agentflow.testing import ScriptedGateway


@attrs.frozen
class Answer:
    """An answer."""

    n: int


def call(name: str, arguments: str = "{}", call_id: str = "1") -> ToolCall:
    """Make a tool call."""
    return ToolCall(id=call_id, name=name, arguments=arguments)


def broker(
    *script: Any, mode: OutputMode = OutputMode.NATIVE, **more: Any
) -> LLMBroker:
    """Make a broker whose model follows a script."""
    return LLMBroker("m", gateway=ScriptedGateway(script, output_mode=mode), **more)


def requests(llm: LLMBroker) -> list[Request]:
    """Return what the model was asked."""
    assert isinstance(llm.gateway, ScriptedGateway)
    return llm.gateway.requests


def results(request: Request) -> list[ToolResult]:
    """Return the tool results at the end of a request."""
    return [p for p in request.messages[-1].content if isinstance(p, ToolResult)]


async def test_a_prompt_is_answered() -> None:
    """With the broker's settings, and those of the call over them."""
    llm = broker("hello", "again", temperature=0.0, max_tokens=5)
    reply = await llm.generate("hi", max_tokens=7)
    assert str(reply) == "hello"
    (request,) = requests(llm)
    assert request == Request(
        model="m", messages=[LLMMessage(content="hi")], temperature=0.0, max_tokens=7
    )
    await llm.generate([LLMMessage(content="a"), LLMMessage(content="b")])
    assert requests(llm)[1].max_tokens == 5


async def test_an_answer_is_seen_as_it_comes() -> None:
    """Deltas, then the reply as the last item; then nothing more."""
    async with broker("one two").stream("hi") as deltas:
        items = [item async for item in deltas]
        assert items[:-1] == [TextDelta("one"), TextDelta(" two")]
        assert isinstance(items[-1], Reply)
        assert deltas.messages[-1].text == "one two"
        with pytest.raises(StopAsyncIteration):
            await anext(deltas)


async def test_tools_are_called_until_there_is_an_answer() -> None:
    """Two rounds; every message of the turn goes back to the model."""

    def double(n: int) -> int:
        """Double a number."""
        return 2 * n

    llm = broker(
        [TextPart("let me see"), call("double", '{"n": 2}')],
        call("double", '{"n": 4}', "2"),
        "It is 8.",
    )
    async with llm.stream("2 * 2 * 2?", tools=[double]) as deltas:
        items = [item async for item in deltas]
    assert ToolCallDelta(index=0, id="1", name="double", arguments='{"n": 2}') in items
    assert str(items[-1]) == "It is 8."
    last = requests(llm)[-1]
    assert [m.role for m in last.messages] == [
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL,
        Role.ASSISTANT,
        Role.TOOL,
    ]
    assert results(last)[0].text == "8"
    assert [t.name for t in last.tools] == ["double"]


async def test_usage_is_that_of_the_whole_turn() -> None:
    """All exchanges together."""
    message = LLMMessage(role=Role.ASSISTANT, content=call("f"))
    used = Usage(input_tokens=3, output_tokens=1)
    first = Reply(message=message, stop=StopReason.TOOL_CALLS, usage=used)
    text = LLMMessage(role=Role.ASSISTANT, content="x")
    llm = broker(first, Reply(message=text, stop=StopReason.END, usage=used))

    def f() -> None:
        """Do nothing."""

    async with llm.stream("hi", tools=[f]) as deltas:
        finish = await deltas.finish()
        assert finish.reply.usage == deltas.usage == used + used


async def test_tools_of_a_round_run_side_by_side() -> None:
    """Each waits for the other to have begun; results keep the order of the calls."""
    begun = [anyio.Event(), anyio.Event()]

    @tool
    async def meet(n: int) -> int:
        """Wait for the other one."""
        begun[n].set()
        await begun[1 - n].wait()
        return n

    llm = broker([call("meet", '{"n": 0}', "a"), call("meet", '{"n": 1}', "b")], "ok")
    await llm.generate("hi", tools=[meet])
    assert [(r.call_id, r.text) for r in results(requests(llm)[1])] == [
        ("a", "0"),
        ("b", "1"),
    ]


async def test_tools_at_the_same_time_are_bounded() -> None:
    """With one at a time, ten that take a second take ten."""

    async def slow() -> None:
        """Take a second."""
        await anyio.sleep(0.1)

    calls = [call("slow", call_id=str(n)) for n in range(10)]
    llm = broker(calls, "ok", tools=ToolSettings(parallel=1))
    start = anyio.current_time()
    await llm.generate("hi", tools=[slow])
    assert anyio.current_time() - start == pytest.approx(1.0)


async def test_a_sync_tool_runs_in_a_thread() -> None:
    """It may block; the loop goes on."""
    threads: list[int] = []

    def where() -> str:
        """Tell the thread."""
        threads.append(threading.get_ident())
        return "there"

    llm = broker(call("where"), "ok")
    await llm.generate("hi", tools=[where])
    assert threads != [threading.get_ident()]
    assert results(requests(llm)[1])[0].text == "there"


async def test_an_async_call_operator_runs_on_the_loop() -> None:
    """A callable object may be a tool, too."""

    class Where:
        async def __call__(self) -> int:
            """Tell the thread."""
            return threading.get_ident()

    llm = broker(call("where"), "ok")
    await llm.generate("hi", tools=[tool(name="where")(Where())])
    assert results(requests(llm)[1])[0].text == str(threading.get_ident())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"n": "2"}', "Error: $.n: expected an integer, got '2'"),
        ('{"n": 13}', "Error: ValueError: bad luck"),
        ('{"n": 14}', "Error: KeyError: 'n'"),
        ('{"n": 15}', "Error: TimeoutError: no answer within 60 seconds"),
    ],
)
async def test_a_tool_s_mistake_goes_back_to_the_model(
    arguments: str, words: str
) -> None:
    """Which mends it in the next round."""

    async def lucky(n: int) -> str:
        """Try a number."""
        if n == 13:
            raise ValueError("bad luck")
        if n == 14:
            raise KeyError("n")
        if n == 15:
            await anyio.sleep_forever()
        return "won"

    llm = broker(call("lucky", arguments), call("lucky", '{"n": 7}', "2"), "done")
    settings = attrs.evolve(
        llm.tool_settings, timeout=60 if "15" not in arguments else 3
    )
    llm.tool_settings = settings
    assert (await llm.generate("hi", tools=[lucky])).text == "done"
    (bad,) = results(requests(llm)[1])
    assert bad.is_error
    assert bad.text == words.replace("60", f"{settings.timeout:g}")
    (good,) = results(requests(llm)[2])
    assert (good.is_error, good.text) == (False, "won")


async def test_a_tool_that_is_not_there_is_a_mistake() -> None:
    """The model hears which there are."""
    llm = broker(call("nothing"), "sorry")
    await llm.generate("hi")
    assert results(requests(llm)[1])[0].text == (
        "Error: there is no tool 'nothing'; there are: none"
    )


async def test_mistakes_without_end_are_stopped() -> None:
    """By the limits of the broker."""
    llm = broker(*[call("nothing")] * 9, limits=TurnLimits(max_mistakes=1))
    with pytest.raises(ToolLoopExceeded, match="told of mistakes 1 times"):
        await llm.generate("hi")
    assert len(requests(llm)) == 2


@pytest.mark.parametrize("grouped", [False, True])
async def test_tool_failed_ends_the_turn(grouped: bool) -> None:
    """Other tools of the round are cancelled; a tool's own task group hides nothing."""
    cancelled: list[str] = []

    async def stop() -> None:
        """End it."""
        if not grouped:
            raise ToolFailed("that is enough")
        async with anyio.create_task_group() as group:  # noqa: ASYNC112 -- it wraps
            group.start_soon(fail)

    async def fail() -> None:  # noqa: ASYNC124 -- a task
        raise ToolFailed("that is enough")

    async def wait() -> None:
        """Wait for ever."""
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.append("wait")
            raise

    llm = broker([call("wait"), call("stop", call_id="2")])
    with pytest.raises(ToolFailed, match="that is enough"):
        await llm.generate("hi", tools=[stop, wait])
    assert cancelled == ["wait"]


async def test_a_group_of_other_errors_is_a_mistake() -> None:
    """The model is told of it as of any other."""

    def fail() -> None:
        """Fail in a group."""
        raise ExceptionGroup("several", [ValueError("a")])

    llm = broker(call("fail"), "ok")
    await llm.generate("hi", tools=[fail])
    assert "ExceptionGroup: several" in results(requests(llm)[1])[0].text


async def test_cancelling_cancels_running_tools() -> None:
    """Nothing of the turn is left."""
    ended = anyio.Event()
    begun = anyio.Event()

    async def wait() -> None:
        """Wait for ever."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    llm = broker(call("wait"))
    async with anyio.create_task_group() as group:

        async def turn() -> None:
            await llm.generate("hi", tools=[wait])

        group.start_soon(turn)
        await begun.wait()
        group.cancel_scope.cancel("the test cancels the turn")
    assert ended.is_set()


@pytest.mark.parametrize(
    "choice", [ToolChoice.REQUIRED, ForcedTool("f"), ToolChoice.AUTO]
)
async def test_a_forced_tool_is_forced_once(choice: ToolChoice | ForcedTool) -> None:
    """Else the model could never answer."""

    def f() -> None:
        """Do nothing."""

    llm = broker(call("f"), "done")
    await llm.generate("hi", tools=[f], tool_choice=choice)
    first, second = requests(llm)
    assert first.tool_choice == choice
    assert second.tool_choice is (choice if choice is ToolChoice.AUTO else None)


async def test_an_object_is_asked_for_natively() -> None:
    """Its schema goes along."""
    llm = broker('{"n": 1}')
    assert await llm.generate_object("hi", Answer) == Answer(1)
    schema = requests(llm)[0].response_schema
    assert schema is not None
    assert schema.name == "Answer"
    assert schema.schema is not None
    assert schema.schema["required"] == ["n"]


async def test_an_object_may_be_asked_for_as_a_tool() -> None:
    """Forced; with tools of the user's beside it, some tool is."""
    llm = broker(call("Answer", '{"n": 2}'), mode=OutputMode.TOOL)
    assert await llm.generate_object("hi", Answer) == Answer(2)
    assert requests(llm)[0].tool_choice == ForcedTool("Answer")

    def f() -> None:
        """Do nothing."""

    llm = broker(call("f"), call("Answer", '{"n": 3}', "2"), mode=OutputMode.TOOL)
    assert await llm.generate_object("hi", Answer, tools=[f]) == Answer(3)
    assert [r.tool_choice for r in requests(llm)] == [ToolChoice.REQUIRED] * 2
    assert [t.name for t in requests(llm)[0].tools] == ["f", "Answer"]


async def test_an_object_may_be_asked_for_in_words() -> None:
    """The schema is told first."""
    llm = broker('Here: {"n": 4}', mode=OutputMode.PROMPTED)
    assert await llm.generate_object("hi", Answer) == Answer(4)
    told, asked = requests(llm)[0].messages
    assert told.role is Role.SYSTEM
    assert '"required":["n"]' in told.text
    assert asked.text == "hi"


async def test_an_object_that_does_not_fit_is_mended_once() -> None:
    """The model is told what is wrong."""
    llm = broker('{"n": "1"}', '{"n": 1}')
    assert await llm.generate_object("hi", Answer) == Answer(1)
    assert "expected an integer" in requests(llm)[1].messages[-1].text
    llm = broker("no", "no")
    with pytest.raises(InvalidObject, match="does not fit the response model"):
        await llm.generate_object("hi", Answer)


async def test_a_class_that_cannot_be_expressed_is_refused_before_any_request() -> None:
    """Class and field are named."""

    @attrs.frozen
    class Odd:
        field: bytes

    llm = broker()
    with pytest.raises(SchemaError, match=r"Odd\.field: bytes"):
        await llm.generate_object("hi", Odd)
    assert requests(llm) == []


async def test_a_refusal_is_an_error() -> None:
    """It names the gateway."""
    with pytest.raises(ContentRefused, match=r"scripted .*I will not"):
        await broker(RefusalPart("I will not")).generate("hi")


async def test_the_gateway_s_errors_pass_through() -> None:
    """As they are."""
    error = RateLimited("slow down")
    with pytest.raises(RateLimited) as caught:
        await broker(error).generate("hi")
    assert caught.value is error


async def test_an_entered_broker_keeps_its_gateway_open() -> None:
    """From the first to the last line of the block; each call for itself without."""
    llm = broker("a", "b")
    gateway = llm.gateway
    assert isinstance(gateway, ScriptedGateway)
    async with llm as entered:
        assert entered is llm
        await llm.generate("hi")
        assert gateway.users == 1
    assert gateway.users == 0
    async with llm.stream("hi"):
        assert gateway.users == 1
    assert gateway.users == 0


async def test_a_gateway_that_ends_without_a_reply_breaks_its_promise() -> None:
    """The error names it."""

    class Empty(ScriptedGateway):
        def stream(self, request: Request) -> Any:
            """Give nothing."""
            return Nothing()

    with pytest.raises(MalformedAnswer, match="without a reply"):
        await LLMBroker("m", gateway=Empty([])).generate("hi")


class Nothing:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


async def test_wrong_messages_are_refused() -> None:
    """Before any request."""
    wrong: Any = [{"role": "user"}]
    with pytest.raises(TypeError, match="LLMMessage values, not dict"):
        await broker().generate(wrong)


async def test_options_are_a_dictionary_too() -> None:
    """Settings may be kept and handed on."""
    options: Options = {"temperature": 0.5, "stop": ["x"]}
    llm = broker("a", **options)
    await llm.generate("hi")
    assert requests(llm)[0].stop == ("x",)
    assert repr(llm).startswith("LLMBroker('m', gateway=<agentflow.testing")
