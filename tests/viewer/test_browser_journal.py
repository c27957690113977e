"""A journal in the browser: flows, events, dead letters, and what changes meanwhile."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from playwright.sync_api import Page, expect

from agentflow import AsyncDispatcher
from agentflow.journal import SQLiteJournal
from agentflow.viewer import Viewer
from tests.cli.durable_shop import Answer, live, order, shop

pytestmark = pytest.mark.browser


def test_a_journal_shows_what_is_open_and_what_failed(
    portal: BlockingPortal,
    serve: Callable[..., Viewer],
    visit: Callable[[str], Page],
    tmp_path: Path,
) -> None:
    """Its graph comes first; a dead letter has its errors, an open event waits."""
    path = tmp_path / "run.db"
    portal.call(live, str(path), "tent", "glass", "cash")
    page = visit(serve(path).url)
    expect(page.get_by_test_id("flow-count")).to_have_text("3")
    expect(page.get_by_test_id("feed")).to_contain_text("run.db")
    expect(page.get_by_test_id("graph")).to_be_visible()
    states = {"tent-1": "running", "glass-1": "failed", "cash-1": "finished"}
    for flow, state in states.items():
        row = page.locator(f"[data-flow={flow}]")
        expect(row.get_by_role("img")).to_have_attribute("aria-label", state)
    inspector = page.get_by_test_id("inspector")
    page.locator("[data-flow=tent-1]").click()
    page.locator("[data-node=Order]").click()
    expect(inspector.locator(".badge.status").first).to_have_text("waiting")
    expect(inspector).to_contain_text("open for sell: kept charge = 310")
    expect(inspector).to_contain_text("tent")
    expect(inspector).not_to_contain_text(" ms")
    expect(page.locator("[data-node=Question]")).not_to_contain_text("nobody")
    page.locator("[data-node=Question]").click()
    expect(inspector).to_contain_text("from sell")
    page.keyboard.press("e")
    error = inspector.get_by_test_id("error").first
    expect(error).to_contain_text("ValueError")
    expect(error).to_contain_text("it broke")
    expect(inspector).to_contain_text("It ended the flow.")
    expect(inspector).to_contain_text("dead letter for audit: sell raised ValueError")


def test_an_open_flow_is_as_old_as_it_is(
    portal: BlockingPortal,
    serve: Callable[..., Viewer],
    visit: Callable[[str], Page],
    tmp_path: Path,
) -> None:
    """However long ago the journal was written last."""
    path = tmp_path / "run.db"
    portal.call(live, str(path), "tent")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE agentflow_flows SET started = started - 7200")
    page = visit(serve(path).url)
    expect(page.locator("[data-flow=tent-1]")).to_contain_text("2 h")


def test_a_session_is_followed_through_its_journal(
    portal: BlockingPortal,
    serve: Callable[..., Viewer],
    visit: Callable[[str], Page],
    tmp_path: Path,
) -> None:
    """A flow that begins, goes on and ends is seen without a reload."""
    path = tmp_path / "run.db"
    dispatcher = AsyncDispatcher(shop(), journal=SQLiteJournal(path))
    with portal.wrap_async_context_manager(dispatcher):
        page = visit(serve(path).url)
        expect(page.get_by_text("No flow yet.")).to_be_visible()
        portal.call(dispatcher.send, order("tent"))
        row = page.locator("[data-flow=tent-1]")
        expect(row.get_by_role("img")).to_have_attribute("aria-label", "running")
        expect(page.locator("[data-node=Question]")).to_be_visible()
        row.click()
        page.locator("[data-node=Order]").click()
        inspector = page.get_by_test_id("inspector")
        expect(inspector).to_contain_text("came to its wait number 1")

        async def answer() -> None:
            async with dispatcher.open_flow(correlation_id="tent-1") as flow:
                flow.dispatch(Answer(source="boss", yes=True))

        portal.call(answer)
        expect(row.get_by_role("img")).to_have_attribute("aria-label", "finished")
        expect(page.locator("[data-node=Sent]")).to_be_visible()
        expect(inspector.locator(".badge.status").first).to_have_text("finished")
