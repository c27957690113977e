"""`agentflow run`, with its output in pipes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Ran

FLOWS = "tests.cli.flows"
Texts = Callable[..., list[Path]]


def results(ran: Ran) -> list[str]:
    """Return the results a command has printed, in any order, as flows are at work."""
    return re.split(r"\n(?! )", ran.out.strip())


def test_each_text_is_a_flow_with_a_result(command: Command, texts: Texts) -> None:
    """A router alone will do: its text event gets the text, its last event is printed."""
    ran = command("run", f"{FLOWS}:router", *texts("One.", "Two and three."))
    assert (ran.code, ran.errors) == (0, [])
    assert sorted(results(ran)) == ["text0.txt\n  words: 1", "text1.txt\n  words: 3"]
    for name in ("text0.txt", "text1.txt"):
        assert f"... {name}: begun" in ran.err
        assert f"... {name}: done after" in ran.err


def test_the_summary_counts_what_each_agent_did(command: Command, texts: Texts) -> None:
    """Queued, running, done, errors, tokens, agent by agent."""
    ran = command("run", f"{FLOWS}:program", *texts("One.", "poison"))
    rows = {line.split()[0]: line.split()[1:6] for line in ran.err.splitlines() if line}
    assert rows["agent"] == ["queued", "running", "done", "errors", "tokens"]
    assert rows["Counter"] == ["0", "0", "1", "1", "0"]
    assert rows["Ender"] == ["0", "0", "1", "0", "0"]


@pytest.mark.parametrize("target", ["program", "opener"])
def test_a_program_says_what_is_printed(
    target: str, command: Command, texts: Texts
) -> None:
    """Its result class counts although a route takes it, and its words are used."""
    ran = command("run", f"{FLOWS}:{target}", *texts("One two."))
    assert (ran.code, ran.out) == (0, "text0.txt\n  2 words\n")


def test_a_failed_attempt_is_no_error(command: Command, texts: Texts) -> None:
    """What is tried again and then done counts as done."""
    ran = command("run", f"{FLOWS}:retrying", *texts("again"))
    assert (ran.code, ran.errors) == (0, [])


def test_standard_input_is_a_text(command: Command, texts: Texts) -> None:
    """Alone when no file is named, and where a dash stands among the files."""
    ran = command("run", f"{FLOWS}:router", stdin=b"One two.")
    assert ran.out == "standard input\n  words: 2\n"
    ran = command("run", f"{FLOWS}:router", *texts("One."), "-", stdin=b"Two three.")
    assert sorted(results(ran)) == [
        "standard input\n  words: 2",
        "text0.txt\n  words: 1",
    ]


def test_nothing_piped_in_is_an_error(command: Command) -> None:
    """It says where there is no text."""
    ran = command("run", f"{FLOWS}:router", stdin=b"")
    assert ran.code == 2
    assert ran.err == "agentflow: there is no text in standard input\n"


def test_two_texts_of_one_name_stay_apart(command: Command, texts: Texts) -> None:
    """No result is lost for the sake of a name."""
    (path,) = texts("One.")
    out = command("run", f"{FLOWS}:router", path, path, path).out
    for name in ("text0.txt", "text0.txt (2)", "text0.txt (3)"):
        assert f"{name}\n  words: 1\n" in out


def test_one_texts_failure_is_no_others(command: Command, texts: Texts) -> None:
    """The others are done, and the same error of two texts is one line, made harmless."""
    ran = command("run", f"{FLOWS}:router", *texts("One.", "poison", "poison"))
    assert (ran.code, ran.out) == (1, "text0.txt\n  words: 1\n")
    (error,) = ran.errors
    assert error.startswith(
        r"Counter: ValueError: I do not read \x1b[31mthis (flows.py,"
    )
    assert error.endswith("(text1.txt, text2.txt)")


def test_a_traceback_is_shown_when_asked_for(command: Command, texts: Texts) -> None:
    """The user's own line is in it."""
    ran = command("run", f"{FLOWS}:router", "--traceback", *texts("poison"))
    assert ran.code == 1
    assert 'raise ValueError("I do not read' in ran.err


def test_quiet_leaves_results_and_errors(command: Command, texts: Texts) -> None:
    """Neither progress nor the table is shown."""
    ran = command("run", f"{FLOWS}:router", "--quiet", *texts("One.", "poison"))
    assert ran.out == "text0.txt\n  words: 1\n"
    assert ran.err.count("\n") == 1


def test_a_long_run_says_now_and_then_what_the_agents_do(
    command: Command, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is silent for minutes helps nobody."""
    monkeypatch.setattr("agentflow.cli._progress.PULSE", 0.1)
    ran = command("run", f"{FLOWS}:router", *texts("patient"))
    assert "... agents: Counter 0 queued, 1 running, 0 done\n" in ran.err


def test_jobs_bound_how_many_texts_are_at_work(command: Command, texts: Texts) -> None:
    """One after the other, the second begins when the first has ended."""
    ran = command("run", f"{FLOWS}:router", "--jobs", 1, *texts("patient", "patient"))
    lines = [line.split(" after")[0] for line in ran.err.splitlines()[:4]]
    assert lines == [
        "... text0.txt: begun",
        "... text0.txt: done",
        "... text1.txt: begun",
        "... text1.txt: done",
    ]
    assert command("run", f"{FLOWS}:router", "--jobs", 0, *texts("One.")).code == 2


def test_a_flow_that_cannot_be_opened_is_an_error(
    command: Command, texts: Texts
) -> None:
    """The user's own error, with its line; no text is begun."""
    ran = command("run", f"{FLOWS}:broken", *texts("One."))
    assert ran.code == 1
    assert ran.out == ""
    left, error = ran.errors
    assert left == "not begun: text0.txt"
    words = (
        "agentflow: the flow cannot be opened: ValueError: no luck today (flows.py, "
    )
    assert error.startswith(words)


def test_a_flow_that_no_text_began_fails_the_run(
    command: Command, texts: Texts
) -> None:
    """An agent began it; its failure is in nobody else's hands."""
    ran = command("run", f"{FLOWS}:straying", *texts("One."))
    assert (ran.code, ran.out) == (1, "text0.txt\n  words: 1\n")
    (error,) = ran.errors
    assert error.startswith("Taker: ValueError: nobody asked (flows.py, line")


def test_a_text_that_begins_no_flow_fails(command: Command, texts: Texts) -> None:
    """The user's own function raised."""
    ran = command("run", f"{FLOWS}:unlucky_program", *texts("One."))
    assert (ran.code, ran.out) == (1, "")
    assert "ValueError: no text0.txt (flows.py, line" in ran.err


def test_a_long_list_is_cut(command: Command, module: Callable[[str], None]) -> None:
    """Twelve texts that nobody got round to are ten names and a number."""
    for number in range(12):
        Path(f"{number:02}.txt").write_text("One.", "utf-8")
    ran = command("run", f"{FLOWS}:broken", *sorted(map(str, Path().glob("*.txt"))))
    assert "not begun: 00.txt, " in ran.err
    assert "09.txt and 2 more" in ran.err


def test_all_errors_of_a_text_are_told(command: Command, texts: Texts) -> None:
    """The words for its result could not be found, and its agent cleaned up badly."""
    ran = command("run", f"{FLOWS}:clumsy", *texts("One."))
    assert (ran.code, ran.out) == (1, "")
    speechless, clumsy = ran.errors
    assert speechless.startswith("ValueError: no words (flows.py, line")
    assert clumsy.startswith("Clumsy: ValueError: no cleaning up (flows.py, line")


def test_a_program_with_a_wrong_result_is_refused(
    command: Command, module: Callable[[str], None]
) -> None:
    """When it is made, with what to write."""
    module(
        "from agentflow import Router\nfrom agentflow.cli import Program\n"
        "flow = Program(router=Router(), start=print, result=(3,))\n"
    )
    ran = command("run", "made_up:flow", stdin=b"One.")
    assert ran.code == 2
    assert "RoutingError: result= must be event classes, not 3" in ran.err


def test_nothing_to_read_is_an_error(command: Command) -> None:
    """No file is named, and nobody pipes a text in."""
    ran = command("run", f"{FLOWS}:router", stdin=None)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "agentflow: name the files to read, or pipe a text in\n"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("untexted", "a text cannot become Untexted: it has no field text"),
        ("two_roots", "this router has Text, Counted. Write agentflow.cli.Program("),
        ("looping", "this router has none."),
        ("textless", "a text cannot become Counted: it needs words"),
    ],
)
def test_a_router_that_a_text_does_not_fit_is_an_error(
    target: str, error: str, command: Command, texts: Texts
) -> None:
    """It says what is needed instead."""
    ran = command("run", f"{FLOWS}:{target}", *texts("One."))
    assert (ran.code, ran.out) == (2, "")
    assert error in ran.err


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (b" \n", "there is no text in {path}"),
        (b"\xff\xfe", "{path} is no UTF-8 text"),
    ],
)
def test_a_file_without_a_text_is_one_line(
    content: bytes | None, error: str, command: Command, tmp_path: Path
) -> None:
    """The file is named, and nothing is begun."""
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    ran = command("run", f"{FLOWS}:router", path)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert error.format(path=path) in ran.err
