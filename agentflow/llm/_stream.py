"""A turn on its way: what ``_turn`` decides, carried out.

One exchange with the gateway at a time, and the tool calls of a round side by side. Each
is counted against the limits that hold, and told to the session's recorder.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import Any, cast

import anyio
import anyio.to_thread
import attrs

from agentflow.llm._errors import IncompleteStream, MalformedAnswer, ToolFailed
from agentflow.llm._gateway import Answer, Gateway
from agentflow.llm._kept import KeptReply, Recalled
from agentflow.llm._limits import (
    Price,
    UsageLimit,
    cost_of,
    count_request,
    count_tool_calls,
)
from agentflow.llm._messages import LLMMessage, ToolCall, ToolResult
from agentflow.llm._reply import Delta, Reply, Usage
from agentflow.llm._request import ForcedTool, Request, ToolChoice
from agentflow.llm._structure import DoesNotFit
from agentflow.llm._telling import ToldCall, ToldTool
from agentflow.llm._tools import AnyTool, bind_call, tool_error, tool_result
from agentflow.llm._turn import (
    AskAgain,
    CallTools,
    Fail,
    Finish,
    Goal,
    Step,
    Turn,
    TurnLimits,
    decide,
    with_results,
)


@attrs.frozen(kw_only=True)
class ToolSettings:
    """How tools are called.

    Attributes:
        timeout: Seconds one call may take.
        parallel: Calls of one round that run at the same time.
    """

    timeout: float = 60.0
    parallel: int = 16


@attrs.frozen(kw_only=True)
class Means:
    """What a turn is carried out with.

    Attributes:
        gateway: The way to the provider.
        limits: How much the turn may take.
        tools: How tools are called.
        price: What the model costs, if known.
        records_content: Whether records refer to messages.
    """

    gateway: Gateway
    limits: TurnLimits
    tools: ToolSettings
    price: Price | None
    records_content: bool


class ReplyStream(AsyncIterator[Delta | Reply]):
    """A turn on its way: deltas as they come, the whole reply as the last item.

    Between the deltas of one exchange and those of the next, tools are called.
    """

    def __init__(
        self,
        means: Means,
        request: Request,
        *,
        tools: Iterable[AnyTool],
        goal: Goal | None,
        stack: AsyncExitStack,
    ) -> None:
        self._means = means
        self._goal = goal
        self._request = request
        self._tools: Mapping[str, AnyTool] = {t.spec.name: t for t in tools}
        self._stack = stack
        self._answer: Answer | None = None
        self._told: ToldCall
        self._kept: KeptReply | None = None
        self._counted: tuple[UsageLimit, ...] = ()
        self._last = Usage()
        self._turn: Turn = Turn(messages=request.messages)
        self._finish: Finish | None = None
        self._over = False
        self._whole = False

    @property
    def messages(self) -> tuple[LLMMessage, ...]:
        """The conversation with all that the turn has added, so far."""
        return self._turn.messages

    @property
    def usage(self) -> Usage:
        """Tokens of all finished exchanges of the turn, so far."""
        return self._turn.usage

    @property
    def is_finished(self) -> bool:
        """True once the answer is there."""
        return self._finish is not None

    @property
    def last_usage(self) -> Usage:
        """Tokens of the last finished exchange: what the whole conversation counts."""
        return self._last

    async def finish(self) -> Finish:
        """Read to the end.

        Returns:
            How the turn ended.

        Raises:
            LLMError: There is no answer.

        Cancellation: leaving the block of the stream ends the turn.
        """
        self._whole = True
        async for _ in self:
            pass
        assert self._finish is not None
        return self._finish

    async def __anext__(self) -> Delta | Reply:
        """Return the next item.

        Raises:
            StopAsyncIteration: The reply was the last one.
            LLMError: There is no answer.

        Cancellation: leaving the block of the stream ends the turn.
        """
        while not self._over:
            if self._answer is None:
                self._answer = await self._begin_exchange()
            answer = self._answer
            try:
                item = await anext(answer)
            except StopAsyncIteration:
                raise self._broken_off(answer) from None
            except Exception as error:
                self._failed(error, attempts_of(answer))
                raise
            if not isinstance(item, Reply):
                return item
            await self._end_exchange(answer, item)
            finish = await self._after(item)
            if finish is not None:
                return finish.reply
        raise StopAsyncIteration

    def _broken_off(self, answer: Answer) -> MalformedAnswer:
        """Tell of an answer that ends without a reply."""
        error = MalformedAnswer(
            f"{self._means.gateway!r} ended its answer without a reply"
        )
        self._failed(error, attempts_of(answer))
        return error

    async def _end_exchange(self, answer: Answer, reply: Reply) -> None:
        """Close the exchange whose reply has come, and count it."""
        is_new = not isinstance(answer, Recalled)
        self._told.finished(reply, attempts_of(answer), from_journal=not is_new)
        self._last = reply.usage
        self._answer = None
        cost = self._count(reply)
        if is_new and self._kept is not None:
            await self._kept.keep(reply)
        await self._stack.aclose()
        for limit in self._counted:
            limit.check_cost(cost, provider=self._means.gateway.name)

    async def _begin_exchange(self) -> Answer:
        """Ask the model with the conversation as it is now."""
        request = self._request
        if self._turn.messages is not request.messages:
            request = attrs.evolve(request, messages=self._turn.messages)
        self._counted = count_request()
        means = self._means
        gateway = means.gateway
        self._told = ToldCall(request, gateway.name, content=means.records_content)
        self._stack.callback(self._told.close)
        self._kept = KeptReply.to(request, gateway.name)
        answer: Answer | None = self._kept.recall() if self._kept else None
        try:
            if answer is None:
                stream = gateway.stream(request)
                answer = await self._stack.enter_async_context(stream)
        except Exception as error:
            self._failed(error, 1)
            raise
        if self._whole:
            give_whole(answer)
        return answer  # noqa: ASYNC910 -- which comes in, if it had come before

    def _failed(self, error: Exception, attempts: int) -> None:
        """Tell of an error, and count what is known of an answer that broke off."""
        self._told.failed(error, attempts)
        if isinstance(error, IncompleteStream) and error.partial is not None:
            self._count(error.partial)

    def _count(self, reply: Reply) -> float | None:
        """Count an answer for the limits that held when it was asked for."""
        cost = cost_of(reply, self._means.price)
        for limit in self._counted:
            limit.add(reply.usage, cost)
        return cost

    async def _after(self, reply: Reply) -> Finish | None:
        """Carry out what follows from a reply."""
        limits = self._means.limits
        step: Step = decide(self._turn, reply, goal=self._goal, limits=limits)
        if isinstance(step, CallTools):
            self._turn = step.turn
            count_tool_calls(len(step.calls))
            results = await self._call_tools(step.calls)
            step = with_results(step.turn, results, limits=limits)
            self._release_tool_choice()
        self._turn = step.turn
        if isinstance(step, AskAgain):
            return None  # noqa: ASYNC910 -- the exchange has awaited
        self._over = True
        if isinstance(step, Fail):
            raise step.error.about(provider=self._means.gateway.name, request_id=None)
        assert isinstance(step, Finish)
        self._finish = step
        return step  # noqa: ASYNC910 -- likewise

    def _release_tool_choice(self) -> None:
        """Let the model answer once it has called the tool it had to."""
        choice = self._request.tool_choice
        forced = choice is ToolChoice.REQUIRED or isinstance(choice, ForcedTool)
        if forced and (self._goal is None or self._goal.tool_name is None):
            self._request = attrs.evolve(self._request, tool_choice=None)

    async def _call_tools(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Call the tools of one round side by side; return their results in order."""
        results: dict[int, ToolResult] = {}
        failures: list[ToolFailed] = []
        group = anyio.create_task_group()
        limiter = anyio.Semaphore(self._means.tools.parallel)

        async def call_one(index: int, call: ToolCall) -> None:
            async with limiter:
                try:
                    results[index] = await self._call_tool(index, call)
                except ToolFailed as error:
                    failures.append(error)
                    group.cancel_scope.cancel(f"tool {call.name!r} ended the turn")

        async with group:
            for index, call in enumerate(calls):
                group.start_soon(call_one, index, call, name=f"tool {call.name}")
        if failures:
            self._over = True
            raise failures[0]
        return [results[index] for index in range(len(calls))]

    async def _call_tool(self, index: int, call: ToolCall) -> ToolResult:
        """Call one tool, unless it has been before the handler ran again; tell of it."""
        content = self._means.records_content
        kept = self._kept.result(index, call) if self._kept else None
        with ToldTool(call, self._told.id, content=content) as told:
            known = None if kept is None else kept.recall()
            if known is not None:
                told.finished(known, from_journal=True)
                return known  # noqa: ASYNC910 -- its task was just started
            with nullcontext() if kept is None else kept.step():
                result, error = await self._answer_of(call)
            if error is None:
                told.finished(result)
            else:
                told.failed(error)
            if kept is not None:
                await kept.keep(result)
            return result

    async def _answer_of(self, call: ToolCall) -> tuple[ToolResult, Exception | None]:
        """Call one tool; its mistakes become a result for the model to mend."""
        try:
            arguments = bind_call(call, self._tools)
        except DoesNotFit as error:
            words = str(error)
            return tool_error(call, words), error  # noqa: ASYNC910 -- nothing is called
        seconds = self._means.tools.timeout
        try:
            with anyio.fail_after(seconds):
                value = await _run(self._tools[call.name], arguments)
        except ToolFailed:
            raise
        except Exception as error:
            failed = _tool_failed(error)
            if failed is not None:
                raise failed from error
            words = str(error) or f"no answer within {seconds:g} seconds"
            words = f"{type(error).__name__}: {words}"
            return tool_error(call, words), error  # noqa: ASYNC910 -- it was awaited
        return tool_result(call, value), None


def attempts_of(answer: Answer) -> int:
    """Return how often the gateway asked; one that does not say asks once."""
    attempts: object = getattr(answer, "attempts", 1)
    return attempts if isinstance(attempts, int) else 1


def give_whole(answer: Answer) -> None:
    """Tell an answer that nobody wants its deltas, if it has an ear for that."""
    method: object = getattr(answer, "give_whole", None)
    if callable(method):
        method()


async def _run(tool: AnyTool, arguments: Mapping[str, object]) -> object:
    """Run a tool's function where it belongs."""
    if tool.is_async:
        return await cast("Any", tool.function)(**arguments)
    call = partial(tool.function, **arguments)
    # A thread cannot be cancelled; it is left behind, or it would hold up the turn.
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)


def _tool_failed(error: Exception) -> ToolFailed | None:
    """Find a ToolFailed that a tool's own task group has wrapped."""
    if isinstance(error, ExceptionGroup):
        for inner in cast("ExceptionGroup[Exception]", error).exceptions:
            found = inner if isinstance(inner, ToolFailed) else _tool_failed(inner)
            if found is not None:
                return found
    return None
