"""A session in the browser while it runs, and a trace of a hundred thousand records."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import BlockingPortal
from playwright.sync_api import Page, expect

from agentflow import AsyncDispatcher, Event, Router
from agentflow.viewer import LiveTrace, Viewer
from tests.viewer import traces

pytestmark = pytest.mark.browser


class Order(Event):
    item: str


class Packed(Event):
    item: str


class Shop:
    """A router whose agent waits until the test lets it go on."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.router = Router()
        self.router.on(Order)(self.pack)

    async def pack(self, event: Order) -> Packed:
        """Pack an order, or fail."""
        await self.open.wait()
        if event.item == "glass":
            raise ValueError("it broke")
        return Packed(source="pack", item=event.item)


@contextmanager
def session(
    portal: BlockingPortal, shop: Shop, live: LiveTrace
) -> Generator[Callable[[str], None]]:
    """Run a session in the portal's thread; yields what runs the flow of an order."""
    dispatcher = AsyncDispatcher(shop.router, tracer=live)
    with portal.wrap_async_context_manager(dispatcher):

        def order(item: str) -> None:
            event = Order(source="main", item=item, correlation_id=f"order-{item}")
            portal.start_task_soon(dispatcher.run, event, Packed)  # it owns its failure

        yield order


def test_a_session_is_followed_while_it_runs(
    portal: BlockingPortal,
    serve: Callable[..., Viewer],
    visit: Callable[[str], Page],
) -> None:
    """Flows appear, run, end and fail on the page by themselves."""
    live, shop = LiveTrace(), portal.call(Shop)
    page = visit(serve(live).url)
    expect(page.get_by_test_id("feed")).to_have_attribute("data-state", "live")
    expect(page.get_by_text("No flow yet.")).to_be_visible()
    with session(portal, shop, live) as order:
        order("book")
        row = page.locator("[data-flow=order-book]")
        expect(row).to_contain_text("Order")
        expect(row.get_by_role("img")).to_have_attribute("aria-label", "running")
        row.click()
        page.keyboard.press("ArrowDown")
        inspector = page.get_by_test_id("inspector")
        expect(inspector.locator(".badge.status").first).to_have_text("running")
        order("glass")
        expect(page.get_by_test_id("flow-count")).to_have_text("2")
        portal.call(shop.open.set)
        expect(row.get_by_role("img")).to_have_attribute("aria-label", "finished")
        expect(inspector.locator(".badge.status").first).to_have_text("finished")
        expect(inspector).to_contain_text("1 event came of it")
        broken = page.locator("[data-flow=order-glass]")
        expect(broken.get_by_role("img")).to_have_attribute("aria-label", "failed")
        page.keyboard.press("e")
        expect(inspector.get_by_test_id("error")).to_contain_text("it broke")
        expect(inspector.get_by_test_id("error")).to_contain_text("in pack")


def test_a_page_that_comes_late_sees_what_was_before(
    portal: BlockingPortal,
    serve: Callable[..., Viewer],
    visit: Callable[[str], Page],
) -> None:
    """And a second one beside it sees the same."""
    live, shop = LiveTrace(), portal.call(Shop)
    portal.call(shop.open.set)
    viewer = serve(live)
    with session(portal, shop, live) as order:
        order("book")
    for page in (visit(viewer.url), visit(viewer.url)):
        row = page.locator("[data-flow=order-book]")
        expect(row.get_by_role("img")).to_have_attribute("aria-label", "finished")
        expect(page.get_by_test_id("feed")).to_have_attribute("data-state", "live")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand flows of a hundred records each."""
    path = tmp_path_factory.mktemp("large") / "large.jsonl"
    return traces.write(path, traces.session(1000))


def test_a_hundred_thousand_records_stay_usable(
    show: Callable[..., Page], large: Path
) -> None:
    """Lists draw what is seen, graphs are folded, and everything can be found."""
    page = show(large)
    expect(page.get_by_test_id("record-count")).to_have_text("101k records")
    expect(page.get_by_test_id("flow-count")).to_have_text("1,000")
    assert page.locator(".flow-row").count() < 60
    assert page.locator("*").count() < 2000
    page.locator("[data-flow=flow-0995]").click()
    page.keyboard.press("ArrowDown")
    inspector = page.get_by_test_id("inspector")
    expect(inspector).to_contain_text("the text of flow-0995")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.keyboard.press("g")
    expect(page.locator(".graph-note")).to_contain_text("folded into 3")
    expect(page.locator("[data-node=PartEvent]")).to_contain_text("12,000")
    page.locator("[data-node=PartEvent]").click()
    expect(inspector.get_by_label("Failed events")).to_be_visible()
    assert page.locator("*").count() < 2000
    page.get_by_label("Search").fill("no answer in flow-0699")
    expect(page.get_by_test_id("matches")).to_have_text("1 event in 1 flow")
    page.keyboard.press("Enter")
    expect(inspector.get_by_test_id("error")).to_contain_text("no answer in flow-0699")
