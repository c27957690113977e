"""How quick the trace page is, measured in a real browser.

Run it as `python -m benchmarks.viewer`; it needs the extra `viewer`, playwright and the
chromium of the system. Times are milliseconds, from the browser's own clock: loading from
the start of the navigation, an answer from the moment of the press to the frame after the
page was drawn anew. On a machine that does other things, too, the time for which the page
kept a processor busy says more than the time that passed.
"""

import statistics
import tempfile
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Page, sync_playwright

from agentflow.viewer import open_viewer
from tests.viewer import traces

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic")
CLICKS = 21
CASES = {"1,000 handlers": 40, "100,000 records": 1000}
"""Flows of about 100 records and 25 handlers each."""

WATCH = """() => {
    window.answers = [];
    const watch = event => requestAnimationFrame(() => setTimeout(() =>
        window.answers.push(performance.now() - event.timeStamp)));
    for (const name of ["click", "keydown"]) addEventListener(name, watch, true);
}"""
LOADED = """() => new Promise(done => requestAnimationFrame(() =>
    setTimeout(() => done(performance.now()))))"""
DRAWN = "performance.getEntriesByName('lanes').at(-1).duration"


def answers(page: Page) -> list[float]:
    """Take the answers that were measured since the last time."""
    page.wait_for_timeout(300)
    taken: list[float] = page.evaluate("window.answers.splice(0)")
    return taken


def show(what: str, taken: list[float]) -> None:
    """Print the median and the slowest."""
    print(f"{statistics.median(taken):9.1f}{max(taken):9.1f}  {what}")


def press(page: Page, keys: list[str]) -> list[float]:
    """Press keys one after the other; the first is not counted, it warms up."""
    taken: list[float] = []
    for key in keys:
        page.keyboard.press(key)
        taken += answers(page)
    return taken[1:]


def click_flows(page: Page) -> list[float]:
    """Click flows in the list, from the top down."""
    taken: list[float] = []
    for index in range(CLICKS):
        page.locator(".flow-row").nth(index % 12).click()
        taken += answers(page)
    return taken[1:]


def click_lanes(page: Page) -> list[float]:
    """Click handlers in the lanes of all flows, from left to right."""
    page.keyboard.press("a")
    box = page.get_by_test_id("lanes").bounding_box()
    assert box is not None
    answers(page)
    taken: list[float] = []
    for index in range(CLICKS):
        x = box["x"] + 180 + (box["width"] - 200) * index / CLICKS
        page.mouse.click(x, box["y"] + 75)
        taken += answers(page)
    page.keyboard.press("Escape")
    answers(page)
    return taken[1:]


def look(page: Page, url: str) -> None:
    """Load a trace and use it."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(url)
    page.wait_for_selector(".app[data-state=ended]", timeout=120_000)
    print(f"{page.evaluate(LOADED):9.1f}{'':9}  loaded and drawn")
    metrics = session.send("Performance.getMetrics")["metrics"]
    (seconds,) = (one["value"] for one in metrics if one["name"] == "TaskDuration")
    print(f"{seconds * 1000:9.1f}{'':9}  of which the page kept a processor busy")
    print(f"{page.evaluate(DRAWN):9.1f}{'':9}  of which the lanes of all flows")
    page.evaluate(WATCH)
    show("a click on a flow", click_flows(page))
    show("a click on a handler among all flows", click_lanes(page))
    page.keyboard.press("j")
    show("the next handler, by key", press(page, ["ArrowRight"] * CLICKS))
    show("the graph of a flow and back", press(page, ["g", "l"] * 6))
    page.keyboard.press("a")
    show("the graph of all flows and back", press(page, ["g", "l"] * 6))
    show("the next error, by key", press(page, ["]"] * CLICKS))
    page.keyboard.press("/")
    show("a letter of a search", press(page, list("no answer in flow")))
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    print(f"{heap:9.1f}{'':9}  MiB of JavaScript heap")


def main() -> None:
    """Measure every case."""
    print(f"{'median':>9}{'slowest':>9}  ms")
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal("trio") as portal,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGUMENTS, "--enable-precise-memory-info"]
        )
        for name, flows in CASES.items():
            path = traces.write(Path(folder, f"{flows}.jsonl"), traces.session(flows))
            print(f"\n{name}, {path.stat().st_size / 2**20:.1f} MiB")
            viewer = portal.wrap_async_context_manager(open_viewer(path))
            with viewer as served:
                page = browser.new_page(viewport={"width": 1440, "height": 860})
                look(page, served.url)
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
