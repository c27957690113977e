"""The text analysis around the agents: arguments, texts, progress, times, errors."""

import argparse
import sys
import textwrap
from collections.abc import Awaitable, Callable, Container, Sequence
from itertools import chain, count
from pathlib import Path

import anyio
import trio
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from agentflow import AgentFlowError

TEXTS = Path(__file__).parent / "texts"

Span = tuple[float, float]
"""When something began and ended, in seconds on the event loop's clock."""


class Options(argparse.Namespace):
    """The command line."""

    files: list[str]
    model: str | None
    base_url: str | None
    api_key: str | None
    model_name: str
    asyncio: bool


class Shown:
    """What the user sees: live progress on a terminal, else plain lines.

    Attributes:
        times: For each text that is done, when its flow and its two agents were at work.
        failures: For each error, the texts it happened to.
    """

    def __init__(self) -> None:
        self.times: dict[str, tuple[Span, ...]] = {}
        self.failures: dict[str, list[str]] = {}
        self.console = Console(highlight=False, markup=False, soft_wrap=True)
        self.progress = Progress(
            SpinnerColumn(finished_text="-"),
            TextColumn("{task.description}: {task.fields[what]}", markup=False),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._rows: dict[str, TaskID] = {}

    def step(self, name: str, what: str, *, last: bool = False) -> None:
        """Say how far a text is."""
        if self.progress.disable:
            print(f"... {name}: {what}", file=sys.stderr, flush=True)
            return
        if name not in self._rows:
            self._rows[name] = self.progress.add_task(name, total=1, what=what)
        self.progress.update(self._rows[name], what=what, completed=int(last))

    def result(self, name: str, lines: Sequence[str]) -> None:
        """Show what came of a text, above the progress."""
        self.console.print("\n".join((name, *(f"  {line}" for line in lines))))

    def done(self, name: str, *spans: Span) -> None:
        """Note when a text's flow, its analyzer and its summarizer were at work."""
        self.step(name, "done", last=True)
        self.times[name] = spans

    def failure(self, name: str, error: Exception) -> None:
        """Note what went wrong with a text."""
        self.step(name, "failed", last=True)
        self.failures.setdefault(str(error), []).append(name)

    def timetable(self) -> list[str]:
        """Show when each flow, its analyzer and its summarizer began and ended."""
        zero = min(spans[0][0] for spans in self.times.values())
        width = max(map(len, self.times))
        heads = ("flow", "analyzer", "summarizer", "both at once")
        lines = [" " * width + "".join(f"{head:>16}" for head in heads)]
        for name, spans in self.times.items():
            shown = [f"{start - zero:.2f} - {end - zero:.2f}" for start, end in spans]
            _, one, other = spans
            both = min(one[1], other[1]) - max(one[0], other[0])
            shown.append(f"{max(both, 0):.2f}")
            lines.append(f"{name:{width}}" + "".join(f"{cell:>16}" for cell in shown))
        return lines


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Several agents read texts at the same time, with a real model."
    )
    parser.add_argument(
        "files", nargs="*", help="texts; - for standard input, the shipped ones if none"
    )
    parser.add_argument("--model", help="a model in a .gguf file, instead of SmolLM2")
    parser.add_argument("--base-url", help="a server, such as http://127.0.0.1:8080/v1")
    parser.add_argument("--api-key", help="the server's key")
    parser.add_argument("--model-name", default="smollm2", help="the server's model")
    parser.add_argument("--asyncio", action="store_true", help="run on asyncio")
    return parser.parse_args(arguments, namespace=Options())


def read_texts(files: Sequence[str]) -> dict[str, str]:
    """Read the texts: those named, else what is piped in, else the shipped ones."""
    texts: dict[str, str] = {}
    if not files:
        files = sorted(map(str, TEXTS.glob("*.txt"))) if sys.stdin.isatty() else ["-"]
    for name in files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        except OSError as error:
            sys.exit(f"text_analysis: cannot read {name}: {error.strerror}")
        except UnicodeDecodeError as error:
            sys.exit(f"text_analysis: {name} is no UTF-8 text: {error}")
        if not text.strip():
            sys.exit(f"text_analysis: there is no text in {name}")
        texts[_label("standard input" if name == "-" else Path(name).name, texts)] = (
            text
        )
    return texts


def _label(name: str, taken: Container[str]) -> str:
    """Keep two texts of one name apart."""
    labels = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(label for label in labels if label not in taken)


def main(
    program: Callable[[Options, dict[str, str], Shown], Awaitable[None]],
) -> None:
    """Run the program; end with one line for each error and no traceback."""
    options = parse()
    texts = read_texts(options.files)
    shown = Shown()
    try:
        with shown.progress:
            if options.asyncio:
                anyio.run(program, options, texts, shown)
            else:
                # Ctrl-C then cancels, as on asyncio, instead of breaking in anywhere.
                trio.run(
                    program,
                    options,
                    texts,
                    shown,
                    restrict_keyboard_interrupt_to_checkpoints=True,
                )
    except* KeyboardInterrupt:
        shown.failures = {"interrupted": []}
    except* AgentFlowError as group:
        for error in group.exceptions:
            shown.failures.setdefault(str(error), [])
    if shown.times:
        print("\nWhen, in seconds from the start:")
        print(textwrap.indent("\n".join(shown.timetable()), "  "))
    for failure, names in shown.failures.items():
        where = f" ({', '.join(names)})" if names else ""
        print(f"text_analysis: {failure}{where}", file=sys.stderr)
    sys.exit(1 if shown.failures else 0)
