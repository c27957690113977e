"""A flow copied from the page as a test, and the test run."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
from anyio.from_thread import BlockingPortal
from playwright.sync_api import Page, expect

from agentflow import AsyncDispatcher, Event, FlowFailed
from agentflow.llm import LLMBroker
from agentflow.testing import ScriptedGateway
from agentflow.viewer import LiveTrace, Viewer

pytestmark = pytest.mark.browser

SHOP = '''
"""Somebody's program: two agents ask a model about an order."""

import attrs

from agentflow import Event, Router
from agentflow.llm import LLMBroker


@attrs.frozen
class Address:
    street: str
    floors: tuple[float, ...] = ()


class OrderEvent(Event):
    item: str
    address: Address


class PriceEvent(Event):
    price: str


class GreetingEvent(Event):
    text: str


def make_router(llm: LLMBroker) -> Router:
    router = Router()

    @router.on(OrderEvent)
    async def price(event: OrderEvent) -> PriceEvent:
        if event.item == "glass":
            raise ValueError("it broke")
        return PriceEvent(source="price", price=await llm.generate(f"price {event.item}"))

    @router.on(OrderEvent)
    async def greet(event: OrderEvent) -> GreetingEvent:
        said = await llm.generate(f"greet {event.address.street}")
        return GreetingEvent(source="greet", text=said)

    return router
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, as a module, and under the name that a copied test imports."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "your_program.py").write_text("from shop import make_router\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return importlib.import_module("shop")


async def trace_of(shop: ModuleType) -> LiveTrace:
    """Let two orders flow with a scripted model, and keep what happened."""
    live = LiveTrace()
    gateway = ScriptedGateway(['12 "gold" pieces', "Good day!\n"])
    llm = LLMBroker("tiny", gateway=gateway, records_content=True)
    address = shop.Address(street="Long \u2028 Street", floors=(1.5, float("inf")))
    async with AsyncDispatcher(shop.make_router(llm), tracer=live) as dispatcher:
        for item in ("book", "glass"):
            event = shop.OrderEvent(
                source="main", item=item, address=address, correlation_id=item
            )
            with suppress(FlowFailed):  # the broken glass
                await dispatcher.run(event, Event)
    return live


@pytest.fixture
def url(portal: BlockingPortal, shop: ModuleType, serve: Callable[..., Viewer]) -> str:
    """Serve the trace of the two orders."""
    return serve(portal.call(trace_of, shop)).url


def test_copied_tests_pass_as_they_stand(
    url: str, visit: Callable[[str], Page], tmp_path: Path
) -> None:
    """With the event and the model's answers from the trace, failed flows too."""
    page = visit(url)
    for item in ("book", "glass"):
        page.locator(f"[data-flow={item}]").click()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_test_id("inspector")).to_contain_text(f"item{item}")
        page.keyboard.press("c")
        expect(page.get_by_test_id("copy-test")).to_have_text("copied")
        code = page.evaluate("navigator.clipboard.readText()")
        (tmp_path / f"test_{item}.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "test_book.py",
            "test_glass.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "2 passed" in done.stdout
