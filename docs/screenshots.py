"""Take the pictures of the trace page that README and docs show, from the real demo.

`nox -s screenshots` runs this: the agents of `agentflow demo` on the embedded model,
observed by a live page in a real browser.
"""

import shutil
import sys
from pathlib import Path

import anyio
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Page, expect, sync_playwright

from agentflow import AsyncDispatcher
from agentflow.cli import Input
from agentflow.cli.demo import TEXTS, Model, ReportEvent, open_demo
from agentflow.viewer import LiveTrace, open_viewer

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1280, "height": 720}
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic")


def take(page: Page, name: str) -> None:
    """Take a picture once nothing moves any more."""
    page.mouse.move(640, 700)
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / name, animations="disabled")


def pictures(page: Page) -> None:
    """Look at the trace as a person would."""
    page.keyboard.press("a")
    take(page, "viewer-flows.png")
    page.locator(".flow-row").last.click()
    page.keyboard.press("g")
    page.locator("[data-node=SummaryEvent]").click()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("l")
    page.locator(".attempt", has_text="Summarizer").first.click()
    page.locator(".section", has_text="Payload").first.locator("summary").click()
    take(page, "viewer-light.png")
    page.keyboard.press("t")
    page.keyboard.press("g")
    page.locator("[data-node=SummaryEvent]").click()
    take(page, "viewer-dark.png")


async def run_demo(live: LiveTrace) -> int:
    """Let the shipped texts flow through the agents at once; return how many there are."""
    async with (
        open_demo(Model()) as program,
        AsyncDispatcher(program.router, tracer=live) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        for path in TEXTS:
            text = await anyio.Path(path).read_text("utf-8")
            root = program.start(Input(name=path.name, text=text))
            tasks.start_soon(dispatcher.run, root, ReportEvent)
    return len(TEXTS)


def main() -> None:
    """Run the demo and its page side by side."""
    browser_path = shutil.which("chromium")
    if browser_path is None:
        sys.exit("screenshots: install chromium first")
    IMAGES.mkdir(exist_ok=True)
    live = LiveTrace()
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_viewer(live)) as viewer,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=ARGUMENTS
        )
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(viewer.url)
        flows = portal.call(run_demo, live)
        expect(page.get_by_test_id("flow-count")).to_have_text(str(flows))
        expect(page.locator(".dot.running")).to_have_count(0)
        pictures(page)
        browser.close()


if __name__ == "__main__":
    main()
