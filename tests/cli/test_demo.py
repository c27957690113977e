"""`agentflow demo`: the main job, most of it with a fake model."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, needs_model
from tests.cli.fake_openai import FakeOpenAI

Texts = Callable[..., list[Path]]
LIMIT = 170
"""Seconds for ten texts on a machine that has other things to do."""


@needs_model
@pytest.mark.model
@pytest.mark.timeout(LIMIT)
def test_ten_texts_at_once_are_read_by_the_real_model(
    command: Command, texts: Texts
) -> None:
    """Each has a result, and the model is asked about several at the same time."""
    days = [f"It was the {n}th day of rain, and the river rose." for n in range(4, 14)]
    ran = command("demo", *texts(*days))
    assert (ran.code, ran.errors) == (0, [])
    for number in range(10):
        assert f"text{number}.txt\n  tone:    " in ran.out
    rows = {line.split()[0]: line.split()[1:] for line in ran.err.splitlines()}
    assert rows["Analyzer"][:4] == ["0", "0", "10", "0"]
    assert int(rows["Analyzer"][4]) > 500
    assert int(rows["Analyzer"][-1]) > 1


def test_each_text_gets_its_result(
    fake: FakeOpenAI, command: Command, texts: Texts
) -> None:
    """Files and standard input are read side by side."""
    ran = command("demo", *fake.options, *texts("One.", "Two."), "-", stdin=b"Three.")
    assert (ran.code, ran.errors) == (0, [])
    lines = "\n  tone:    solemn\n  topic:   the sea\n  summary: A man goes to sea.\n"
    for name in ("text0.txt", "text1.txt", "standard input"):
        assert name + lines in ran.out


def test_without_files_the_shipped_texts_are_read(
    fake: FakeOpenAI, command: Command
) -> None:
    """Whatever standard input is: it may be that of a service, and never end."""
    ran = command("demo", *fake.options, stdin=b"Not this.")
    assert "standard input" not in ran.out
    for name in ("alice.txt", "gettysburg.txt", "moby_dick.txt"):
        assert f"{name}\n  tone:" in ran.out


def test_one_texts_failure_is_no_others(
    fake: FakeOpenAI, command: Command, texts: Texts
) -> None:
    """The others are done, each agent's error is a line, and the exit code tells."""
    ran = command("demo", *fake.options, *texts("One.", "poison", "Three."))
    assert ran.code == 1
    assert ran.out.count("tone:") == 2
    assert ran.errors
    for error in ran.errors:
        assert "I do not read this" in error
        assert error.endswith("(text1.txt)")


def test_a_text_beyond_the_context_is_cut_with_a_note(
    fake: FakeOpenAI, command: Command, texts: Texts
) -> None:
    """As much is read as there is room for, and the result says how much."""
    ran = command("demo", *fake.options, *texts("word " * 2000))
    assert ran.code == 0
    assert "note:    the model has read 2,500 of 10,000 characters" in ran.out


def test_a_summary_that_ran_out_of_room_ends_with_its_last_word(
    fake: FakeOpenAI, command: Command, texts: Texts
) -> None:
    """Half a word is worse than none."""
    ran = command("demo", *fake.options, *texts("A tale of endurance."))
    assert "summary: A man goes to sea and has no ...\n" in ran.out


@needs_model
@pytest.mark.model
def test_the_demo_is_a_flow_like_any_other(command: Command) -> None:
    """It can be named as one, and it adds up."""
    ran = command("graph", "agentflow.cli.demo:flow", "--check")
    assert (ran.code, ran.err) == (0, "4 agents: nothing found\n")


def test_a_wrong_key_is_said_once(
    fake: FakeOpenAI, command: Command, texts: Texts
) -> None:
    """All texts fail for the same reason, in one line for each agent."""
    url = ("--base-url", fake.base_url, "--api-key", "wrong")
    ran = command("demo", *url, *texts("One.", "Two."))
    assert ran.code == 1
    assert ran.errors
    assert len(ran.errors) <= 2
    assert "Incorrect API key" in ran.errors[0]


def test_an_unreachable_server_is_named(command: Command, texts: Texts) -> None:
    """The server's URL is in the error."""
    url = "http://127.0.0.1:9/v1"
    ran = command("demo", "--base-url", url, *texts("One."))
    assert (ran.code, ran.out) == (1, "")
    assert url in ran.errors[0]


def test_a_model_that_is_none_is_an_error(command: Command, texts: Texts) -> None:
    """What is wrong with the model's file is said in a line."""
    (text,) = texts("One.")
    ran = command("demo", "--model", text, text)
    assert (ran.code, ran.out) == (1, "")
    assert "is no GGUF file" in ran.err


def test_a_missing_wheel_is_an_error_that_says_what_to_install(
    command: Command, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is ready to be copied."""

    def find_none(name: str) -> None:
        """Find no module."""

    monkeypatch.setattr(importlib.util, "find_spec", find_none)
    ran = command("demo", *texts("One."))
    assert ran.code == 1
    assert "python -m pip install --no-deps xllamacpp" in ran.err
