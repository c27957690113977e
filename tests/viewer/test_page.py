"""The page that ships: built from the sources beside it, and locked up."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from agentflow.viewer._page import load_page

PAGE = Path(__file__).parent.parent.parent / "page"
SOURCES = (
    "index.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.js",
)


def source_hash() -> str:
    """Hash what the page is made of, as page/vite.config.js does."""
    files = {name: PAGE / name for name in SOURCES}
    for path in (PAGE / "src").rglob("*"):
        if path.is_file():
            files[path.relative_to(PAGE).as_posix()] = path
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0".encode() + files[name].read_bytes() + b"\0")
    return total.hexdigest()


def test_the_shipped_page_is_built_from_its_sources() -> None:
    """Whoever changes page/ builds it anew: nox -s page."""
    assert load_page().sources == source_hash()


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    """It has no address in it from which a browser would load anything."""
    html = load_page().html.decode()
    head = html[: html.index("<style>")]
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', head) == []
    assert "@import" not in html
    assert re.findall(r"url\((?!data:|#)", html) == []
    assert html.count("<script") == html.count("</script>") == 1


@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_policy_lets_in_nothing_but_the_page_itself(tag: str) -> None:
    """Script and style stand in it by their hashes; nothing else is allowed."""
    page = load_page()
    match = re.search(rf"<{tag}[^>]*>(.*)</{tag}>", page.html.decode(), re.DOTALL)
    assert match is not None
    digest = hashlib.sha256(match[1].encode()).digest()
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in page.policy


def test_the_lock_file_names_no_registry() -> None:
    """It serves everybody, wherever their packages come from."""
    assert '"resolved"' not in (PAGE / "package-lock.json").read_text("utf-8")
