"""`agentflow chat`: a conversation with a model."""

import sys
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TypeGuard

import attrs
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from agentflow._errors import FlowFailed
from agentflow.cli._exits import DONE, FAILED, CommandUsageError
from agentflow.cli._observing import open_observers
from agentflow.cli._progress import failures_of
from agentflow.cli._screen import Screen
from agentflow.cli._signals import dumping, interrupts_stay_here
from agentflow.cli._talk import Answer, Talk, open_talk
from agentflow.cli._targets import load_kind
from agentflow.cli._words import count
from agentflow.llm import (
    ChatSession,
    ConfigurationError,
    LLMBroker,
    Options,
    SchemaError,
    Usage,
)
from agentflow.llm._tools import ToolLike, as_tools
from agentflow.llm.local import TOOLS_TEMPLATE, open_local_model

PROMPT = "> "

_LOCAL_CONTEXT = 2048
"""Tokens of the embedded model's context window."""

_CONTEXT = 32768
"""Tokens that other models have room for at least, as a rule."""


@attrs.frozen(kw_only=True)
class Asked:
    """Which model to talk to, and how.

    Attributes:
        model: "PROVIDER:MODEL", "local", or a .gguf file.
        base_url: Another URL than the provider's own.
        api_key: The key; None for that of the environment.
        system: How the model is to behave.
        tools: What it may call.
        context: Tokens of its context window; None for what is usual.
        options: Settings for every request.
    """

    model: str
    base_url: str | None
    api_key: str | None = attrs.field(repr=False)
    system: str
    tools: tuple[ToolLike, ...]
    context: int | None
    options: Options

    @property
    def is_local(self) -> bool:
        """Whether the model runs in a child process of ours."""
        return self.model == "local" or self.model.endswith(".gguf")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[ChatSession]:
        """Open the way to the model.

        Yields:
            An empty conversation.

        Raises:
            CommandUsageError: There is no such provider, key or context.
            LocalModelError: The model's wheels or its file are missing.

        Cancellation:
            The model is closed.
        """
        if not self.is_local:
            yield self._session(self._broker())
            return
        path = None if self.model == "local" else Path(self.model)
        template = TOOLS_TEMPLATE if self.tools and path is None else ""
        context = self.context or _LOCAL_CONTEXT
        async with open_local_model(
            path, slots=1, context=context, chat_template=template
        ) as gateway:
            name = "smollm2" if path is None else path.stem
            llm = LLMBroker(name, gateway=gateway, records_content=True, **self.options)
            yield self._session(llm)

    def _broker(self) -> LLMBroker:
        try:
            return LLMBroker(
                self.model,
                base_url=self.base_url,
                api_key=self.api_key,
                records_content=True,
                **self.options,
            )
        except ConfigurationError as error:
            raise CommandUsageError(str(error)) from error

    def _session(self, llm: LLMBroker) -> ChatSession:
        context = self.context or (_LOCAL_CONTEXT if self.is_local else _CONTEXT)
        try:
            return ChatSession(llm, self.system, tools=self.tools, max_context=context)
        except ValueError as error:
            raise CommandUsageError(str(error)) from error


def chat(  # noqa: PLR0913 -- each is an option of its own
    model: str,
    /,
    *,
    system: str = "You are a helpful assistant.",
    tool: tuple[str, ...] = (),
    base_url: str | None = None,
    api_key: str | None = None,
    context: int | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    trace: Path | None = None,
) -> int:
    """Talk to a language model.

    MODEL is PROVIDER:MODEL, as in openai:gpt-5-mini, anthropic:claude-sonnet-4-5 or
    ollama:qwen3:8b; the key is that of the provider's environment variable. "local" is
    SmolLM2 in a child process, and FILE.gguf any other model in one.

    Each line is a question, each answer is shown as it comes, with the tools it calls and
    the tokens it took. Ctrl-C stops the answer; at the prompt, or a second time, it
    leaves, as Ctrl-D does. Where questions are piped in, answers alone go to standard
    output. SIGUSR1 prints what the session is doing.

    Exit codes: 0 done, 1 a piped question had no answer, 2 wrong command line or model,
    130 interrupted.

    Args:
        model: Which model.
        system: How it is to behave.
        tool: A function the model may call, as MODULE:FUNCTION, with annotated parameters
            and a docstring; may be given several times.
        base_url: Another URL than the provider's own.
        api_key: The key; other users of this machine can see it here.
        context: Tokens of the model's context window; the oldest rounds are left out
            beyond it.
        temperature: How much chance there is in the answer.
        max_tokens: How long an answer may be.
        trace: Write every record to this file, what was said included; see agentflow
            trace.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: There is no such model, provider, key or tool.
    """
    if context is not None and context < 1:
        raise CommandUsageError(f"--context must be 1 or more, not {context}")
    options = Options()
    if temperature is not None:
        options["temperature"] = temperature
    if max_tokens is not None:
        options["max_tokens"] = max_tokens
    asked = Asked(
        model=model,
        base_url=base_url,
        api_key=api_key,
        system=system,
        tools=_load_tools(tool),
        context=context,
        options=options,
    )
    screen = Screen()
    with ExitStack() as stack:
        with interrupts_stay_here():
            portal = stack.enter_context(start_blocking_portal("trio"))
        talk = stack.enter_context(
            portal.wrap_async_context_manager(_open(asked, screen, trace))
        )
        stack.enter_context(dumping(talk.dispatcher.dump, screen.aside, talk.token))
        return _Chat(portal, talk, screen).run()


def _load_tools(names: tuple[str, ...]) -> tuple[ToolLike, ...]:
    kind = "a function that a model can call"
    loaded = tuple(load_kind(name, _is_tool, kind) for name in names)
    try:
        return as_tools(loaded)
    except SchemaError as error:
        raise CommandUsageError(str(error)) from error


def _is_tool(found: object) -> TypeGuard[ToolLike]:
    return callable(found) and not isinstance(found, type)


@asynccontextmanager
async def _open(
    asked: Asked, screen: Screen, trace: Path | None
) -> AsyncGenerator[Talk]:
    async with (
        open_observers(trace) as observers,
        asked.open() as session,
        open_talk(session, screen, observers) as talk,
    ):
        yield talk


class _Chat:
    """The half of a chat that owns the terminal."""

    def __init__(self, portal: BlockingPortal, talk: Talk, screen: Screen) -> None:
        self._portal = portal
        self._talk = talk
        self._screen = screen
        self._is_terminal = sys.stdin.isatty()
        self._failed = False

    def run(self) -> int:
        """Ask what the user asks until there is no more."""
        for question in self._questions():
            if question.strip():
                self._ask(question.strip())
        if self._is_terminal:
            total = _tokens(self._talk.usage)
            self._screen.note(f"{count(self._talk.asked, 'answer')}, {total}")
        return FAILED if self._failed and not self._is_terminal else DONE

    def _questions(self) -> Iterator[str]:
        if not self._is_terminal:
            yield from sys.stdin
            return
        if sys.stdout.isatty():
            import_module("readline")  # being imported, it edits lines
        while True:
            try:
                yield self._screen.ask(PROMPT)
            except (EOFError, KeyboardInterrupt):
                self._screen.note("")
                return

    def _ask(self, question: str) -> None:
        scope = trio.CancelScope()
        future = self._portal.start_task_soon(self._talk.ask, question, scope)
        try:
            answer = self._result(future, scope)
        except FlowFailed as failed:
            self._failed = True
            self._screen.end_piece()
            for line in failures_of(failed):
                self._screen.error(line.removeprefix("Answerer: "))
            return
        self._screen.end_piece()
        words = "(stopped)" if answer is None else _tokens(answer.usage)
        self._screen.note(words, style="dim")

    def _result(
        self, future: Future[Answer | None], scope: trio.CancelScope
    ) -> Answer | None:
        """Wait for the answer; an interrupt stops it, the next one leaves."""
        try:
            return future.result()
        except KeyboardInterrupt:
            if not self._is_terminal:
                raise
        self._portal.start_task_soon(scope.cancel, "the user stopped it")
        return future.result()


def _tokens(usage: Usage) -> str:
    return f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
