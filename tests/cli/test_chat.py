"""`agentflow chat`, in a terminal and in pipes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command, needs_model
from tests.cli.fake_openai import FakeOpenAI
from tests.cli.terminal import LIMIT, ROOT, Terminal, environment, open_terminal

FLOWS = "tests.cli.flows"
TOOLS = "tests.cli.tools"


def say(terminal: Terminal, words: str) -> None:
    """Type a line at the prompt."""
    terminal.wait_for_prompt()
    terminal.type(f"{words}\r")


def leave(terminal: Terminal) -> None:
    """Type Ctrl-D at the prompt."""
    terminal.wait_for_prompt()
    terminal.type("\x04")
    assert terminal.wait() == 0


def test_questions_and_answers_take_turns_in_a_terminal(fake: FakeOpenAI) -> None:
    """Each answer is followed by what it took, and Ctrl-D leaves with the sum."""
    with open_terminal("chat", *fake.chat) as terminal:
        say(terminal, "hello")
        terminal.wait_for("You said hello\n10 tokens in, 5 out")
        say(terminal, "again")
        terminal.wait_for("You said again\n10 tokens in, 5 out")
        leave(terminal)
    assert "2 answers, 20 tokens in, 10 out" in terminal.text


def test_a_line_can_be_edited(fake: FakeOpenAI) -> None:
    """The arrow keys fetch the line before, as in any shell."""
    with open_terminal("chat", *fake.chat) as terminal:
        say(terminal, "hello")
        terminal.wait_for("You said hello")
        say(terminal, "\x1b[A there")
        terminal.wait_for("You said hello there")
        leave(terminal)


def test_ctrl_c_stops_the_answer_and_at_the_prompt_leaves(fake: FakeOpenAI) -> None:
    """The conversation goes on after the first, and no traceback is seen."""
    with open_terminal("chat", *fake.chat) as terminal:
        say(terminal, "babble")
        terminal.wait_for("You said babble")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        say(terminal, "hello")
        terminal.wait_for("You said hello")
        terminal.wait_for_prompt()
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.text


def test_sigusr1_shows_what_the_session_is_doing(fake: FakeOpenAI) -> None:
    """Below the beginning of the answer, which goes on."""
    with open_terminal("chat", *fake.chat, size=(30, 200)) as terminal:
        say(terminal, "babble")
        terminal.wait_for("You said babble")
        terminal.send(signal.SIGUSR1)
        terminal.wait_for("- 1 handlers in 1 flows")
        terminal.wait_for("Answerer handles Question ")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        leave(terminal)


def test_thoughts_are_dimmed(fake: FakeOpenAI) -> None:
    """They are seen, and are not the answer."""
    with open_terminal("chat", *fake.chat) as terminal:
        say(terminal, "think")
        terminal.wait_for("You said think")
        leave(terminal)
    assert b"\x1b[2mHmm.\x1b[22m" in terminal.raw


def test_a_tool_is_called_and_shown(fake: FakeOpenAI) -> None:
    """With its arguments and its result, before the answer that rests on it."""
    tool = ("--tool", f"{TOOLS}:add")
    with open_terminal("chat", *fake.chat, *tool) as terminal:
        say(terminal, "add")
        terminal.wait_for("20 tokens in, 10 out")
        leave(terminal)
    assert '- calls add {"a": 1, "b": 2}\n- add -> 3 (' in terminal.text
    assert "It is 3." in terminal.text


def test_a_tool_that_fails_is_shown(fake: FakeOpenAI, command: Command) -> None:
    """The model hears of it, too, and answers."""
    tool = ("--tool", f"{TOOLS}:fail")
    ran = command("chat", *fake.chat, *tool, stdin=b"add\n")
    assert ran.code == 0
    assert "- add failed: ValueError: no luck today (tools.py, line" in ran.err


def test_what_a_model_says_cannot_take_the_terminal_over(
    fake: FakeOpenAI, command: Command
) -> None:
    """Escape sequences and marks that turn the text around are shown as escapes."""
    ran = command(
        "chat",
        *fake.chat,
        stdin="\x1b]0;title\x07 \u202eabc\n".encode(),
    )
    assert ran.out == "You said \\x1b]0;title\\x07 \\u202eabc\n"


def test_piped_questions_get_plain_answers(fake: FakeOpenAI, command: Command) -> None:
    """One line each; what is no answer goes to standard error."""
    ran = command("chat", *fake.chat, stdin=b"one\n\nthink\n")
    assert (ran.code, ran.out) == (0, "You said one\nYou said think\n")
    assert ran.err == "10 tokens in, 5 out\n" * 2


def test_the_answer_may_go_elsewhere_than_the_prompt(
    fake: FakeOpenAI, tmp_path: Path
) -> None:
    """With standard output redirected, answers alone go there."""
    out = tmp_path / "out.txt"
    line = f"{sys.executable} -m agentflow chat {' '.join(fake.chat)} > {out}"
    with open_terminal(program=("sh", "-c", line)) as terminal:
        say(terminal, "hello")
        terminal.wait_for("10 tokens in")
        leave(terminal)
    assert out.read_text() == "You said hello\n"


def test_a_second_ctrl_c_leaves_a_tool_that_heeds_nothing(fake: FakeOpenAI) -> None:
    """A blocked thread does not keep the user waiting."""
    tool = ("--tool", f"{TOOLS}:block")
    with open_terminal("chat", *fake.chat, *tool, is_killed=True) as terminal:
        say(terminal, "add")
        terminal.wait_for("calls add")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")  # two at once would count as one
        terminal.type("\x03")
        assert terminal.wait() in {0, 130}
    assert "Traceback" not in terminal.text


def test_a_piped_question_without_an_answer_fails(
    fake: FakeOpenAI, command: Command
) -> None:
    """The others are asked, too."""
    ran = command("chat", *fake.chat, stdin=b"poison\ntwo\n")
    assert (ran.code, ran.out) == (1, "You said two\n")
    assert "I do not read this" in ran.err


def test_ctrl_c_ends_a_chat_with_piped_questions(fake: FakeOpenAI) -> None:
    """Nobody is there to ask another."""
    program = (
        sys.executable,
        "-m",
        "agentflow",
        "chat",
        *fake.chat,
    )
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"babble\n")
        process.stdin.close()
        assert process.stdout.read(15) == b"You said babble"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"agentflow: interrupted\n"


def test_settings_reach_the_model(fake: FakeOpenAI, command: Command) -> None:
    """System prompt and options stand in the request."""
    options = ("--system", "Be brief.", "--temperature", 0.5, "--max-tokens", 7)
    assert command("chat", *fake.chat, *options, stdin=b"hello\n").code == 0
    (request,) = fake.requests
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}
    assert request["temperature"] == 0.5
    assert 7 in {request.get("max_tokens"), request.get("max_completion_tokens")}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nope:x",), "there is no provider 'nope'"),
        (("anthropic:x",), "anthropic wants an API key: set ANTHROPIC_API_KEY"),
        (("ollama:x", "--tool", f"{FLOWS}:nothing"), "has no 'nothing'"),
        (("ollama:x", "--tool", f"{FLOWS}:Text"), "is the class Text, not a function"),
        (("ollama:x", "--tool", f"{TOOLS}:divide"), "annotate its parameter 'a'"),
        (("ollama:x", "--context", "0"), "--context must be 1 or more, not 0"),
        (("ollama:x", "--context", "9", "--max-tokens", "9"), "for the question"),
    ],
)
def test_a_wrong_model_or_tool_is_one_line(
    arguments: tuple[str, ...],
    error: str,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It names what is wrong, before anything is asked."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    ran = command("chat", *arguments, stdin=b"hello\n")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert error in ran.err


@needs_model
@pytest.mark.model
@pytest.mark.timeout(120)
def test_the_embedded_model_calls_a_tool(command: Command) -> None:
    """A real model is given a real function, and says what it cost."""
    ran = command(
        *("chat", "local", "--tool", f"{TOOLS}:add", "--temperature", 0),
        *("--max-tokens", 60),
        stdin=b"Add 2 and 3 with the tool.\n",
    )
    assert ran.code == 0
    assert "tokens in" in ran.err
    assert "- calls add" in ran.err
