"""`agentflow run` in a terminal: live progress, signals, and terminals that lack much."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import ROOT, environment, open_terminal

FLOWS = "tests.cli.flows"
Texts = Callable[..., list[Path]]


def test_a_terminal_shows_live_progress_above_which_results_appear(
    texts: Texts,
) -> None:
    """The table changes in place: it is seen once, and none of the plain lines is."""
    paths = texts("One.", "patient and slow", "poison")
    with open_terminal("run", f"{FLOWS}:router", *paths) as terminal:
        assert terminal.wait() == 1
    assert terminal.text.count("queued") == 1
    assert "3 of 3 flows ended, 0 running" in terminal.text
    assert "text0.txt\n  words: 1" in terminal.text
    assert "text1.txt\n  words: 3" in terminal.text
    assert "... text0.txt" not in terminal.text
    (row,) = (line.split() for line in terminal.lines if line.startswith("Counter "))
    assert row[1:6] == ["0", "0", "2", "1", "0"]
    assert "I do not read" in terminal.text
    assert b"\x1b[31mCounter: ValueError" in terminal.raw  # red


def test_results_in_a_pipe_leave_the_terminal_its_progress(
    texts: Texts, tmp_path: Path
) -> None:
    """Standard output redirected has results only, printing agents included."""
    out = tmp_path / "out.txt"
    line = (
        f"{sys.executable} -m agentflow run {FLOWS}:printing {texts('One.')[0]} > {out}"
    )
    with open_terminal(program=("sh", "-c", line)) as terminal:
        assert terminal.wait() == 0
    assert "1 of 1 flow ended" in terminal.text
    assert "words: 1" not in terminal.text
    assert out.read_text() == "printed\ntext0.txt\n  words: 1\n"


def test_a_narrow_terminal_is_not_overrun(texts: Texts) -> None:
    """The table is as wide as the terminal, also after that has changed."""
    with open_terminal(
        "run", f"{FLOWS}:router", *texts("endless"), size=(20, 60)
    ) as terminal:
        terminal.wait_for("queued")
        terminal.resize(20, 100)
        terminal.wait_for("at once")
        terminal.type("\x03")
        terminal.wait_for("finishing what has begun")
        terminal.type("\x03")
        assert terminal.wait() == 130


def test_no_color_has_no_color(texts: Texts) -> None:
    """NO_COLOR is heeded; the table may be bold."""
    paths = texts("poison")
    with open_terminal(
        "run", f"{FLOWS}:router", *paths, env={"NO_COLOR": "1"}
    ) as terminal:
        assert terminal.wait() == 1
    assert b"\x1b[31m" not in terminal.raw


def test_a_dumb_terminal_gets_plain_lines(texts: Texts) -> None:
    """Nothing is drawn over what cannot be drawn over."""
    paths = texts("One.")
    with open_terminal(
        "run", f"{FLOWS}:router", *paths, env={"TERM": "dumb"}
    ) as terminal:
        assert terminal.wait() == 0
    assert "... text0.txt: done" in terminal.text
    assert b"\x1b[" not in terminal.raw


def test_a_terminal_without_utf8_shows_escapes(texts: Texts, tmp_path: Path) -> None:
    """What the terminal cannot show ends no program."""
    path = tmp_path / "naïve ☃.txt"
    path.write_text("One.")
    latin = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    with open_terminal("run", f"{FLOWS}:router", path, env=latin) as terminal:
        assert terminal.wait() == 0
    assert "na\\xefve \\u2603.txt\n  words: 1" in terminal.text


def test_ctrl_c_finishes_what_has_begun_and_begins_no_more(texts: Texts) -> None:
    """One is finished, the other is named as not begun, and the exit code is SIGINT's."""
    paths = texts("patient " * 3, "One.")
    with open_terminal("run", f"{FLOWS}:waiting", "--jobs", 1, *paths) as terminal:
        terminal.wait_for("1 running")
        terminal.type("\x03")
        terminal.wait_for("finishing what has begun; interrupt again to cancel it")
        terminal.send(signal.SIGUSR2)  # on which the agent waits
        assert terminal.wait() == 130
    assert "text0.txt\n  words: 3" in terminal.text
    assert "not begun: text1.txt" in terminal.text
    assert "Traceback" not in terminal.text


def test_a_second_ctrl_c_cancels(texts: Texts) -> None:
    """What was not delivered is reported."""
    paths = texts("endless", "One.")
    with open_terminal("run", f"{FLOWS}:router", "--jobs", 1, *paths) as terminal:
        terminal.wait_for("1 running")
        terminal.type("\x03")
        terminal.wait_for("finishing what has begun")
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert "cancelled: text0.txt" in terminal.text
    assert "not begun: text1.txt" in terminal.text
    assert "not delivered: Text to Counter (had begun)" in terminal.text
    assert "Traceback" not in terminal.text


def test_a_third_ctrl_c_ends_an_agent_that_heeds_nothing(texts: Texts) -> None:
    """What cannot be cancelled does not keep the user waiting."""
    target = f"{FLOWS}:stuck"
    with open_terminal("run", target, *texts("One."), is_killed=True) as terminal:
        terminal.wait_for("1 running")
        terminal.type("\x03")
        terminal.wait_for("finishing what has begun")
        terminal.type("\x03")
        terminal.wait_for("cancelling")
        terminal.type("\x03")
        assert terminal.wait() == -signal.SIGINT


def test_ctrl_c_while_the_flow_is_being_opened_ends_it(texts: Texts) -> None:
    """Nothing has begun, so nothing needs to be finished."""
    with open_terminal("run", f"{FLOWS}:slow_opener", *texts("One.")) as terminal:
        terminal.wait_for("opening")
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert "not begun: text0.txt" in terminal.text
    assert "Traceback" not in terminal.text


def test_sigterm_drains_with_an_exit_code_of_its_own(texts: Texts) -> None:
    """As a process supervisor asks for it."""
    with open_terminal("run", f"{FLOWS}:waiting", *texts("patient")) as terminal:
        terminal.wait_for("1 running")
        terminal.send(signal.SIGTERM)
        terminal.wait_for("finishing what has begun")
        terminal.send(signal.SIGUSR2)
        assert terminal.wait() == 143
    assert "words: 1" in terminal.text


def test_sigusr1_shows_which_agent_is_at_which_line(texts: Texts) -> None:
    """With the event and the flow; the run goes on."""
    paths = texts("endless")
    with open_terminal("run", f"{FLOWS}:router", *paths, size=(30, 200)) as terminal:
        terminal.wait_for("1 running")
        terminal.send(signal.SIGUSR1)
        terminal.wait_for("1 handlers in 1 flows; queued: nothing")
        terminal.wait_for("Counter handles Text ")
        terminal.wait_for("await trio.sleep_forever()")
        terminal.send(signal.SIGTERM)
        terminal.wait_for("finishing what has begun")
        terminal.send(signal.SIGTERM)
        assert terminal.wait() == 143


def test_sigusr1_shows_the_agent_that_holds_up_the_event_loop(texts: Texts) -> None:
    """That is when one needs it most."""
    target = f"{FLOWS}:hogging"
    with open_terminal("run", target, *texts("One."), is_killed=True) as terminal:
        terminal.wait_for("hogging")
        terminal.send(signal.SIGUSR1)
        terminal.wait_for("Hog handles Text ")
        terminal.wait_for("the event loop is held up at")
        terminal.wait_for("time.sleep(0.01)")


@pytest.mark.parametrize("target", ["router", "chatty"])
def test_a_reader_that_has_enough_ends_it_quietly(target: str, texts: Texts) -> None:
    """As `head` does."""
    path = texts("One.")[0]
    line = f"{sys.executable} -m agentflow run {FLOWS}:{target} {path}"
    done = subprocess.run(
        ["/bin/bash", "-c", f"{line} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=environment(),
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
    assert done.returncode == 141
