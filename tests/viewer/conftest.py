"""A real browser, and pages that are watched while a test looks at them."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright.sync_api import Browser, Page, sync_playwright

from agentflow.viewer import Source, Viewer, open_viewer

SWITCH = "AGENTFLOW_TESTS_WITHOUT_BROWSER"
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the browser out if, and only if, somebody says so."""
    if os.environ.get(SWITCH):
        skip = pytest.mark.skip(reason=f"{SWITCH} is set")
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(skip)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The chromium of the system, started once for a file of tests."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail(
            "these tests drive a real browser: apt-get install chromium, "
            f"or set {SWITCH}=1 to leave them out"
        )
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS.split()
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """A thread in which trio runs, with the viewers in it."""
    with start_blocking_portal("trio") as started:
        yield started


@pytest.fixture
def serve(portal: BlockingPortal) -> Iterator[Callable[..., Viewer]]:
    """Serves a trace until the test ends."""
    with ExitStack() as open_viewers:

        def start(source: Source, **options: Any) -> Viewer:
            viewer = portal.wrap_async_context_manager(open_viewer(source, **options))
            return open_viewers.enter_context(viewer)

        yield start


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens a page. It must neither fail, nor complain, nor ask for anything outside."""
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": 1440, "height": 860})
    context.grant_permissions(["clipboard-read", "clipboard-write"])

    def start(url: str) -> Page:
        origin = url[: url.index("/", len("http://"))]
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog {dialog.message}"))

        def complain(message: Any) -> None:
            if message.type in {"error", "warning"}:
                trouble.append(message.text)

        def ask(request: Any) -> None:
            if not request.url.startswith((origin, "data:")):
                trouble.append(f"asked for {request.url}")

        page.on("console", complain)
        page.on("request", ask)
        page.goto(url)
        return page

    yield start
    context.close()
    assert trouble == []


@pytest.fixture
def show(
    serve: Callable[..., Viewer], visit: Callable[[str], Page]
) -> Callable[..., Page]:
    """Serves a trace, opens it, and waits until all of it has been read."""

    def start(source: Source, **options: Any) -> Page:
        page = visit(serve(source, **options).url)
        page.wait_for_selector(".app[data-state=ended]", timeout=30_000)
        return page

    return start
