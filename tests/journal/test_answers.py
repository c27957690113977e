"""What models have answered and tools have done is kept with the event."""

from typing import Any

import anyio
import attrs
import pytest
from anyio.abc import TaskGroup

from agentflow import AsyncDispatcher, EncodingError, Event, FlowFailed, Retry, Router
from agentflow._records import LLMCallFinished
from agentflow.encoding import EventRegistry
from agentflow.llm import (
    BaseAsyncLLMAgent,
    BaseAsyncLLMAgentWithMemory,
    Blob,
    ChatSession,
    LLMBroker,
    LLMMessage,
    Price,
    ProviderPart,
    RateLimited,
    ReasoningPart,
    RefusalPart,
    Reply,
    Role,
    StopReason,
    TextDelta,
    TextPart,
    Usage,
    UsageLimit,
    UsageLimitExceeded,
)
from agentflow.testing import ScriptedGateway
from tests.fakes import Log, Ping, Pong, router_of
from tests.journal.lives import Cutting, MakeJournal, finish, finish_one, live_shortly

WHOLE = Reply(
    message=LLMMessage(
        role=Role.ASSISTANT,
        blob=Blob(api="responses", raw={"id": "m", "items": [1, None, {"deep": []}]}),
        content=[
            ReasoningPart(
                text="hm", blob=Blob(api="anthropic", raw={"signature": "="})
            ),
            TextPart("It is \ud83d", blob=Blob(api="gemini", raw=[True, 2**60])),
            ProviderPart(kind="audio", blob=Blob(api="openai", raw="UklGRg==")),
        ],
    ),
    stop=StopReason.OTHER,
    raw_stop="odd",
    usage=Usage(input_tokens=7, output_tokens=5, cached_tokens=3, reasoning_tokens=1),
    model="m-2",
    id="chatcmpl-1",
    metadata={"logprobs": [-0.5, float("-inf")], "usage": {"cost": 0.25}},
)


@attrs.frozen
class City:
    """A city."""

    name: str


async def test_a_model_is_not_asked_again(make: MakeJournal) -> None:
    """(J18) The answer that comes back is the whole of the one that came."""
    model = ScriptedGateway([WHOLE])
    llm = model.broker()
    first, second = await Cutting(lambda: llm.generate("What?")).run_twice(make())
    assert first == second == WHOLE
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"messages": "What?"}, {"messages": "Who?"}),
        ({"messages": "What?"}, {"messages": "What?", "temperature": 1}),
        ({"messages": "What?"}, {"messages": "What?", "extra": {"top_k": {1, 2}}}),
    ],
)
async def test_a_question_that_has_changed_is_asked(
    before: dict[str, Any], after: dict[str, Any], make: MakeJournal
) -> None:
    """(J18) Messages and settings belong to it."""
    model = ScriptedGateway(["one", "two"])
    llm = model.broker()
    asked = iter([before, after])
    first, second = await Cutting(lambda: llm.generate(**next(asked))).run_twice(make())
    assert [str(first), str(second)] == ["one", "two"]


async def test_another_provider_is_asked(make: MakeJournal) -> None:
    """(J18) Its answer would have been another."""
    one, other = ScriptedGateway(["one"]), ScriptedGateway(["other"])
    other.name = "other"
    asked = iter([one.broker(), other.broker()])
    first, second = await Cutting(lambda: next(asked).generate("What?")).run_twice(
        make()
    )
    assert [str(first), str(second)] == ["one", "other"]


async def test_the_same_question_gets_its_answers_in_their_order(
    make: MakeJournal,
) -> None:
    """(J18) Each once."""
    model = ScriptedGateway(["red", "blue"])
    llm = model.broker()

    async def work() -> list[str]:
        return [str(await llm.generate("A color?")) for _ in range(2)]

    assert await Cutting(work).run_twice(make()) == [["red", "blue"]] * 2


async def test_tasks_side_by_side_get_answers_to_their_own_questions(
    make: MakeJournal,
) -> None:
    """(J18) In whatever order they ask; what was not answered is asked again."""
    model = ScriptedGateway()
    model.reply("cat", when="animal", delay=0.01)
    model.reply("oak", when="tree")
    model.reply("slow", when="color", delay=60)
    model.reply("quick", when="color")
    llm = model.broker()
    orders = iter([("animal", "tree", "color"), ("color", "tree", "animal")])
    answers: list[dict[str, str]] = []

    async def handler(event: Ping) -> None:
        got: dict[str, str] = {}
        answers.append(got)

        async def ask(what: str) -> None:
            got[what] = str(await llm.generate(what))

        async with anyio.create_task_group() as tasks:
            for what in next(orders):
                tasks.start_soon(ask, what)

    router = router_of((Ping, handler))
    await live_shortly(router, make(), Ping(source="x"))
    await finish(router, make())
    assert answers[0] == {"animal": "cat", "tree": "oak"}
    assert answers[1] == {"animal": "cat", "tree": "oak", "color": "quick"}
    assert len(model.requests) == 4


async def test_a_question_that_failed_before_leaves_no_hole(make: MakeJournal) -> None:
    """(J18) The answer to its repetition is the first, and is not asked for again."""
    model = ScriptedGateway([RateLimited("later"), "now"])
    llm = model.broker()

    async def work() -> str:
        try:
            return str(await llm.generate("What?"))
        except RateLimited:
            return str(await llm.generate("What?"))

    assert await Cutting(work).run_twice(make()) == ["now", "now"]
    assert len(model.requests) == 2


async def test_an_answer_is_kept_though_nobody_waits_for_the_disk(
    make: MakeJournal,
) -> None:
    """(J18) What has been paid for is kept, if the handler is cancelled at that moment."""
    model = ScriptedGateway(["dear"])
    llm = model.broker()
    tasks: list[TaskGroup] = []

    class Stop(Log):
        def record(self, record: Any, /) -> None:
            if isinstance(record, LLMCallFinished):
                tasks[0].cancel_scope.cancel("now")

    async def handler(event: Ping) -> None:
        said.append(str(await llm.generate("What?")))

    said: list[str] = []
    router = router_of((Ping, handler))
    async with anyio.create_task_group() as group:
        tasks.append(group)
        async with AsyncDispatcher(router, journal=make(), tracer=Stop()) as dispatcher:
            await dispatcher.send(Ping(source="x"))
            await anyio.sleep_forever()
    assert said == []
    await finish(router, make())
    assert said == ["dear"]
    assert len(model.requests) == 1


async def test_a_stream_that_was_read_comes_again(make: MakeJournal) -> None:
    """(J18) With the same text and the same reply."""
    model = ScriptedGateway(["one two"])
    llm = model.broker()

    async def work() -> tuple[str, Reply]:
        text = ""
        async with llm.stream("Count.") as answer:
            async for item in answer:
                if isinstance(item, TextDelta):
                    text += item.text
                elif isinstance(item, Reply):
                    return text, item
        raise AssertionError

    first, second = await Cutting(work).run_twice(make())
    assert first == second
    assert first[0] == "one two"
    assert len(model.requests) == 1


async def test_a_stream_that_was_left_is_asked_again(make: MakeJournal) -> None:
    """(J18) There is no answer to keep."""
    model = ScriptedGateway(["one two", "three four"])
    llm = model.broker()

    async def work() -> str:
        async with llm.stream("Count.") as answer:
            first = await anext(answer)
            assert isinstance(first, TextDelta)
            return first.text.strip()
        raise AssertionError

    assert await Cutting(work).run_twice(make()) == ["one", "three"]


async def test_an_object_comes_again_with_the_repair_it_took(make: MakeJournal) -> None:
    """(J18) No exchange of the turn is made again."""
    model = ScriptedGateway(["{}", City("Rome")])
    llm = model.broker()
    work = await Cutting(lambda: llm.generate_object("Where?", City)).run_twice(make())
    assert work == [City("Rome")] * 2
    assert len(model.requests) == 2


async def test_a_limit_counts_what_was_paid_before(make: MakeJournal) -> None:
    """(J18) It holds at the same place, whether the handler has run before or not."""
    priced = attrs.evolve(WHOLE, metadata={})
    model = ScriptedGateway([priced, priced])
    llm = model.broker(price=Price(input=1e6, output=0.0, cached=1e6))

    async def work() -> tuple[int, int, float, bool]:
        with UsageLimit(requests=2) as limit:
            for _ in range(2):
                await llm.generate("What?")
            try:
                await llm.generate("What?")
            except UsageLimitExceeded:
                return limit.requests, limit.usage.total_tokens, limit.cost, True
        raise AssertionError

    assert await Cutting(work).run_twice(make()) == [(2, 24, 14.0, True)] * 2


async def test_a_record_says_that_an_answer_is_from_the_journal(
    make: MakeJournal,
) -> None:
    """(J18) And that nobody was asked and nothing used, so that sums stay right."""
    logs = Log(), Log()
    llm = ScriptedGateway([WHOLE]).broker(records_content=True)
    handler = Cutting(lambda: llm.generate("What?"))
    router = router_of((Ping, handler))
    with anyio.move_on_after(1):
        async with AsyncDispatcher(router, journal=make(), tracer=logs[0]) as first:
            await first.send(Ping(source="x"))
            await anyio.sleep_forever()
    await finish(router, make(), tracer=logs[1])
    (before,), (after,) = (log.of(LLMCallFinished) for log in logs)
    assert (before.from_journal, before.attempts) == (False, 1)
    assert before.usage["input_tokens"] == 7
    assert (after.from_journal, after.attempts) == (True, 0)
    assert set(after.usage.values()) == {0}
    assert before.message == after.message == WHOLE.message


async def test_a_retry_asks_anew(make: MakeJournal) -> None:
    """(J18) The answer may be what the handler failed of; a crash then changes nothing."""
    model = ScriptedGateway(["bad", "good"])
    llm = model.broker()
    said: list[str] = []

    async def handler(event: Ping) -> None:
        said.append(str(await llm.generate("What?")))
        if said[-1] == "bad":
            raise ValueError("a bad answer")
        if said.count("good") == 1:
            await anyio.sleep_forever()

    router = Router()
    router.add_route(Ping, handler, retry=Retry(attempts=2, initial=0))
    await live_shortly(router, make(), Ping(source="x"))
    await finish(router, make())
    assert said == ["bad", "good", "good"]
    assert len(model.requests) == 2


async def test_a_dead_letter_that_is_opened_again_asks_anew(make: MakeJournal) -> None:
    """(J18) Or it would fail for the same answer for ever."""
    model = ScriptedGateway(["bad", "good"])
    llm = model.broker()

    async def handler(event: Ping) -> None:
        if str(await llm.generate("What?")) == "bad":
            raise ValueError("a bad answer")

    router = router_of((Ping, handler))
    with pytest.raises(FlowFailed):
        await finish_one(router, make(), Ping(source="x"))
    (letter,) = await make().dead_letters()
    assert await make().retry(letter.key.flow) == 1
    await finish(router, make())
    assert len(model.requests) == 2


class Asker(BaseAsyncLLMAgent[City]):
    """Asks for a city, and is cut off once."""

    runs = 0

    async def receive_event_async(self, event: Ping) -> Pong:
        city = await self.generate_response("Where?")
        self.runs += 1
        if self.runs == 1:
            await anyio.sleep_forever()
        return Pong(source=city.name)


async def test_an_agent_of_a_later_process_goes_on_with_the_answer(
    make: MakeJournal,
) -> None:
    """(J18) It is another object, whose broker has asked nothing yet."""
    before, after = ScriptedGateway([City("Rome")]), ScriptedGateway()
    one = Asker(before.broker(), response_model=City)
    await live_shortly(Router({Ping: [one]}), make(), Ping(source="x"))
    other = Asker(after.broker(), response_model=City)
    other.runs = 1
    got: list[str] = []

    async def sink(event: Pong) -> None:
        got.append(str(event.source))

    await finish(Router({Ping: [other], Pong: [sink]}), make())
    assert got == ["Rome"]
    assert after.requests == []


class Learner(BaseAsyncLLMAgentWithMemory[str]):
    """Learns, asks again with what it learned, and is cut off once."""

    runs = 0

    async def receive_event_async(self, event: Ping) -> None:
        for question in ("Who?", "Who?"):
            await self.generate_response(question)
        self.runs += 1
        if self.runs == 1:
            await anyio.sleep_forever()


async def test_an_agent_with_memory_asks_what_it_asked(make: MakeJournal) -> None:
    """(J18) Though it remembers more by then; what it learned is merged once."""
    fact = '{"path": ["%s"], "value": "%s"}'
    answer = '{"answer": "me", "learned": [%s]}'
    model = ScriptedGateway([
        answer % (fact % ("name", "Ann")),
        answer % (fact % ("age", "8")),
    ])
    agent = Learner(model.broker())
    router = Router({Ping: [agent]})
    await live_shortly(router, make(), Ping(source="x"))
    async with AsyncDispatcher(router, journal=make()) as dispatcher:
        assert await dispatcher.wait_for_empty_queue()
        memory = dispatcher.shared_working_memory
        assert memory.get_working_memory() == {"name": "Ann", "age": "8"}
    assert agent.runs == 2
    assert len(model.requests) == 2
    assert "Ann" in model.requests[1].messages[1].text


async def test_a_conversation_in_a_handler_is_had_once(make: MakeJournal) -> None:
    """(J18) Its later questions hold the earlier answers, and find theirs."""
    model = ScriptedGateway(["one", "two"])
    llm = model.broker()

    async def work() -> list[str]:
        chat = ChatSession(llm)
        return [await chat.send("Count."), await chat.send("Go on.")]

    assert await Cutting(work).run_twice(make()) == [["one", "two"]] * 2
    assert len(model.requests) == 2


async def test_an_answer_that_cannot_be_kept_is_an_error(make: MakeJournal) -> None:
    """(J12) It names who gave it."""
    odd: Any = {"what": {1, 2}}
    llm = ScriptedGateway([attrs.evolve(WHOLE, metadata=odd)]).broker()

    async def handler(event: Ping) -> None:
        with pytest.raises(EncodingError, match=r"answer of scripted .* kept"):
            await llm.generate("What?")

    await finish_one(router_of((Ping, handler)), make(), Ping(source="x"))


async def test_a_model_asked_outside_of_a_handler_is_asked(make: MakeJournal) -> None:
    """(J18) There is no event that its answer could be kept with."""
    model = ScriptedGateway(["one", "two"])
    llm: LLMBroker = model.broker()
    asked: list[str] = []

    async def ask() -> None:
        await anyio.sleep(1)
        asked.append(str(await llm.generate("What?")))

    async def handler(event: Ping) -> None:
        outside.start_soon(ask)

    async with anyio.create_task_group() as outside:
        await finish_one(router_of((Ping, handler)), make(), Ping(source="x"))
        await finish_one(router_of((Ping, handler)), make(), Ping(source="x"))
    assert sorted(asked) == ["one", "two"]


def test_an_event_may_hold_a_reply() -> None:
    """(J12) It is read back as it was."""

    class Answered(Event):
        reply: Reply

    registry = EventRegistry(Answered)
    reply = attrs.evolve(
        WHOLE,
        message=LLMMessage(
            role=Role.ASSISTANT, content=[TextPart("Y"), RefusalPart("n")]
        ),
        metadata={"logprobs": [-0.5]},
    )
    event = Answered(source="x", reply=reply)
    assert registry.read(registry.write(event)) == event
