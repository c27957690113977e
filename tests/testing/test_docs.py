"""docs/testing.md keeps what it says: its tests run, and say what stands below them."""

import re
from pathlib import Path

import pytest

from tests.testing.pytest_runs import run_pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
LAST = "## Under anyio's plugin"


def blocks(language: str, text: str) -> list[str]:
    """Return the code blocks of a language, in order."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    return found


def words(text: str) -> str:
    """Return a text without the marks and breaks that pytest's layout adds."""
    return " ".join(re.sub(r"(?m)^E? +", "", text).split())


def test_the_tests_of_the_page_say_what_stands_there(
    pytester: pytest.Pytester,
) -> None:
    """Those that are meant to pass do, and each message is said by one that fails."""
    trio_page, _, anyio_page = PAGE.partition(LAST)
    programs = blocks("python", trio_page)
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    pytester.makepyfile(test_page="\n\n".join(programs))
    ran = run_pytest(pytester)
    assert ran.counts == {"passed": 4, "failed": 9}, ran.out
    said = words(ran.out)
    messages = [
        line for text in blocks("text", trio_page) for line in text.splitlines()
    ]
    assert len(messages) > 15
    assert [line for line in messages if words(line) not in said] == []
    assert "virtual_backend" in anyio_page


def test_the_anyio_part_of_the_page_runs_without_trio_mode(
    pytester: pytest.Pytester,
) -> None:
    """On both loops."""
    trio_page, _, anyio_page = PAGE.partition(LAST)
    first, *_ = blocks("python", trio_page)
    faults = next(b for b in blocks("python", trio_page) if "every_checkpoint" in b)
    imports = faults.partition("\n\n\nasync def")[0]
    programs = [first.replace("async def test", "async def skip"), imports]
    pytester.makepyfile(
        test_page="\n\n".join([*programs, *blocks("python", anyio_page)])
    )
    ran = run_pytest(pytester)
    assert ran.counts == {"passed": 2}, ran.out
