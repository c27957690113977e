"""The page in a real browser: what it shows, and how it is used."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.viewer import traces

pytestmark = pytest.mark.browser

Show = Callable[..., Page]


def test_the_flows_of_a_file_are_listed(show: Show, tmp_path: Path) -> None:
    """Each with its first event, its id and its errors, and the counts of all."""
    page = show(traces.write(tmp_path / "run.jsonl", traces.session(20)))
    expect(page.get_by_test_id("flow-count")).to_have_text("20")
    expect(page.get_by_test_id("feed")).to_contain_text("run.jsonl")
    failed = page.locator("[data-flow=flow-0013]")
    expect(failed).to_contain_text("TextEvent")
    expect(failed).to_contain_text("1 error")
    expect(failed.get_by_role("img")).to_have_attribute("aria-label", "failed")
