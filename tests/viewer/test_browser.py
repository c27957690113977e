"""The page in a real browser: what it shows, and how it is used."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from agentflow.viewer import Price, Viewer
from tests.viewer import traces

pytestmark = pytest.mark.browser

Show = Callable[..., Page]
GUTTER = 168  # pixels left of the lanes


@pytest.fixture
def shop(show: Show, tmp_path: Path) -> Page:
    """Show twenty flows, of which every seventh fails."""
    return show(traces.write(tmp_path / "run.jsonl", traces.session(20, parts=3)))


def hover_over(page: Page, agent: str) -> tuple[float, float]:
    """Move over the lanes until the pointer is on a handler of an agent."""
    box = page.get_by_test_id("lanes").bounding_box()
    assert box is not None
    for y in (50, 85, 125):
        for x in range(GUTTER + 20, int(box["width"]), 40):
            page.mouse.move(box["x"] + x, box["y"] + y)
            tip = page.locator(".tip")
            if tip.count() and f"in {agent}" in (tip.text_content() or ""):
                return box["x"] + x, box["y"] + y
    pytest.fail(f"no handler of {agent} is drawn")


def lit(page: Page) -> list[str]:
    """Return the types of the graph's nodes that are not dimmed, sorted."""
    nodes = page.locator(".node:not(.dim)")
    return sorted(
        nodes.evaluate_all("nodes => nodes.map(n => n.getAttribute('data-node'))")
    )


def test_the_flows_of_a_file_are_listed(shop: Page) -> None:
    """Each with its first event, its id and its errors, and the counts of all."""
    expect(shop.get_by_test_id("flow-count")).to_have_text("20")
    expect(shop.get_by_test_id("feed")).to_contain_text("run.jsonl")
    failed = shop.locator("[data-flow=flow-0013]")
    expect(failed).to_contain_text("TextEvent")
    expect(failed).to_contain_text("1 error")
    expect(failed.get_by_role("img")).to_have_attribute("aria-label", "failed")
    shop.get_by_role("radio", name="errors").click()
    expect(shop.get_by_test_id("flow-count")).to_have_text("2 of 20")


def test_tokens_and_costs_are_summed_up(show: Show, tmp_path: Path) -> None:
    """By the prices that were given; cached input has its own."""
    path = traces.write(tmp_path / "run.jsonl", traces.session(2, parts=5))
    page = show(path, prices={"tiny": Price(input=10, output=100, cached=1)})
    page.keyboard.press("j")
    numbers = page.locator(".numbers")
    expect(numbers).to_contain_text("tokens in500")
    expect(numbers).to_contain_text("tokens out50")
    # Five calls of 60 fresh and 40 cached tokens in, 10 out, in millionths.
    expect(numbers).to_contain_text("cost0.0082")


def test_a_click_in_the_lanes_opens_the_handler(shop: Page) -> None:
    """Its payload, the conversation with the model, what caused it, what came of it."""
    shop.locator("[data-flow=flow-0012]").click()
    shop.mouse.click(*hover_over(shop, "Worker"))
    inspector = shop.get_by_test_id("inspector")
    expect(inspector.get_by_role("heading", level=2)).to_have_text("PartEvent")
    expect(inspector).to_contain_text("part0")
    expect(inspector.locator("[data-role=assistant]")).to_contain_text("answer 0")
    expect(inspector).to_contain_text("100 tokens in, 10 out")
    expect(inspector.locator(".chain li")).to_contain_text(["TextEvent", "PartEvent"])
    inspector.get_by_label("What came of it").get_by_role("button").click()
    expect(inspector.get_by_role("heading", level=2)).to_have_text("DoneEvent")


def test_ancestors_and_descendants_of_a_selection_light_up(shop: Page) -> None:
    """Its brothers and their children do not."""
    shop.locator("[data-flow=flow-0012]").click()
    shop.get_by_role("tab", name="Graph").click()
    assert lit(shop) == ["DoneEvent"] * 3 + ["PartEvent"] * 3 + ["TextEvent"]
    shop.locator("[data-node=PartEvent]").first.click()
    expect(shop.locator(".node.dim")).to_have_count(4)
    assert lit(shop) == ["DoneEvent", "PartEvent", "TextEvent"]
    expect(shop.locator(".edge.lit")).to_have_count(2)
    shop.keyboard.press("Escape")
    expect(shop.locator(".node.dim")).to_have_count(0)


def test_the_search_finds_payloads_and_errors(shop: Page) -> None:
    """It narrows the list, counts events, and Enter goes from one to the next."""
    shop.keyboard.press("/")
    shop.keyboard.type("text of FLOW-0005")
    expect(shop.get_by_test_id("flow-count")).to_have_text("1 of 20")
    expect(shop.get_by_test_id("matches")).to_have_text("1 event in 1 flow")
    shop.keyboard.press("Enter")
    inspector = shop.get_by_test_id("inspector")
    expect(inspector).to_contain_text("the text of flow-0005")
    shop.get_by_label("Search").fill("valueerror")
    expect(shop.get_by_test_id("flow-count")).to_have_text("2 of 20")
    shop.keyboard.press("Enter")
    expect(inspector).to_contain_text("no answer in flow-0006")
    shop.keyboard.press("Enter")
    expect(inspector).to_contain_text("no answer in flow-0013")
    shop.keyboard.press("Escape")
    expect(shop.get_by_test_id("flow-count")).to_have_text("20")


def test_the_first_error_is_one_click_away(shop: Page) -> None:
    """With its flow, its handler, its message and its traceback."""
    shop.get_by_test_id("first-error").click()
    inspector = shop.get_by_test_id("inspector")
    expect(inspector.get_by_test_id("error")).to_contain_text("no answer in flow-0006")
    expect(inspector.get_by_test_id("error")).to_contain_text("Traceback (most recent")
    expect(inspector).to_contain_text("It ended the flow.")
    expect(shop.locator("[data-flow=flow-0006]")).to_have_attribute(
        "aria-selected", "true"
    )
    shop.keyboard.press("]")
    expect(inspector.get_by_test_id("error")).to_contain_text("no answer in flow-0013")
    shop.keyboard.press("]")
    expect(inspector.get_by_test_id("error")).to_contain_text("no answer in flow-0006")


def test_the_keyboard_does_it_all(shop: Page) -> None:
    """Flows, handlers, causes, views and help."""
    heading = shop.get_by_test_id("inspector").get_by_role("heading", level=2)
    status = shop.get_by_role("status")
    shop.keyboard.press("j")
    expect(status).to_have_text("flow flow-0019, finished")
    shop.keyboard.press("j")
    expect(status).to_have_text("flow flow-0018, finished")
    shop.keyboard.press("k")
    expect(status).to_have_text("flow flow-0019, finished")
    shop.keyboard.press("ArrowRight")
    expect(status).to_have_text("TextEvent in Splitter, finished")
    shop.keyboard.press("ArrowDown")
    shop.keyboard.press("ArrowDown")
    expect(heading).to_have_text("DoneEvent")
    shop.keyboard.press("ArrowUp")
    expect(status).to_have_text("PartEvent in Worker, finished")
    shop.keyboard.press("g")
    expect(shop.get_by_test_id("graph")).to_be_visible()
    shop.keyboard.press("l")
    expect(shop.get_by_test_id("lanes")).to_be_visible()
    shop.keyboard.press("?")
    expect(shop.get_by_role("dialog", name="Keys")).to_be_visible()
    shop.keyboard.press("Escape")
    expect(shop.get_by_role("dialog", name="Keys")).to_have_count(0)
    shop.keyboard.press("Escape")
    expect(heading).to_have_text("Flow")
    shop.keyboard.press("Escape")
    expect(heading).to_have_text("All flows")


def test_both_themes_have_their_colors(shop: Page) -> None:
    """The choice outlasts a reload, which needs no new link."""
    back = "getComputedStyle(document.body).backgroundColor"
    colors = {shop.evaluate(back)}
    shop.keyboard.press("t")
    colors.add(shop.evaluate(back))
    assert len(colors) == 2
    chosen = shop.evaluate("document.documentElement.dataset.theme")
    shop.reload()
    shop.wait_for_selector(".app[data-state=ended]")
    assert shop.evaluate("document.documentElement.dataset.theme") == chosen


def test_zooming_in_and_out_of_the_lanes(shop: Page) -> None:
    """With keys and the wheel; what is out of sight comes back with a key."""
    canvas = shop.get_by_test_id("lanes")
    whole = canvas.screenshot()
    shop.keyboard.press("+")
    shop.wait_for_timeout(100)
    closer = canvas.screenshot()
    assert closer != whole
    canvas.hover()
    shop.keyboard.down("Control")
    shop.mouse.wheel(0, -300)
    shop.keyboard.up("Control")
    shop.wait_for_timeout(100)
    assert canvas.screenshot() != closer
    shop.keyboard.press("0")
    shop.mouse.move(5, 5)
    shop.wait_for_timeout(100)
    assert canvas.screenshot() == whole


def test_a_trace_file_dropped_on_the_page_is_shown(shop: Page) -> None:
    """It is read by the page itself and goes nowhere."""
    text = "\n".join(map(traces.line, traces.session(3, parts=1)))
    shop.evaluate(
        """text => {
            const data = new DataTransfer();
            data.items.add(new File([text], "other.jsonl"));
            const drop = new DragEvent("drop", {dataTransfer: data, bubbles: true});
            document.querySelector(".app").dispatchEvent(drop);
        }""",
        text,
    )
    expect(shop.get_by_test_id("feed")).to_contain_text("other.jsonl")
    expect(shop.get_by_test_id("flow-count")).to_have_text("3")


def test_the_page_can_reach_nothing_but_its_server(
    serve: Callable[..., Viewer], browser: Browser, tmp_path: Path
) -> None:
    """Whatever might get into it: no script of others, no request to elsewhere."""
    path = traces.write(tmp_path / "run.jsonl", traces.session(1))
    context = browser.new_context()
    page = context.new_page()
    page.goto(serve(path).url)
    blocked = page.evaluate(
        """async () => {
            const found = [];
            document.addEventListener("securitypolicyviolation",
                event => found.push(event.effectiveDirective));
            await fetch("http://localhost:1/").catch(() => {});
            document.body.append(Object.assign(new Image(), {src: "http://localhost:1/"}));
            try { document.body.innerHTML = "<b>"; } catch { found.push("innerHTML"); }
            await new Promise(done => setTimeout(done, 200));
            return [...new Set(found)].sort();
        }"""
    )
    context.close()
    assert blocked == [
        "connect-src",
        "img-src",
        "innerHTML",
        "require-trusted-types-for",
    ]
