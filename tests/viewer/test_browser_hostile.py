"""Traces that mean harm, or are broken: nothing executes, nothing breaks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.viewer import traces

pytestmark = pytest.mark.browser

Show = Callable[..., Page]
SCRIPT = "<script>window.harm = 1</script><img src=x onerror='window.harm = 2'>"
BIDI = "invoice\u202egnp.exe"
NAMES = (SCRIPT, "__proto__", "constructor", "toString", "javascript:alert(1)", BIDI)
HARMLESS = "window.harm === undefined && ({}).polluted === undefined"


def odd_flow(name: str, fields: dict[str, Any]) -> list[traces.Line]:
    """Write a flow in which everything is called by one name."""
    to = traces.Writer(name, 50.0)
    to.tell("FlowStarted")
    root = to.accept(name, None, [name], **fields)
    to.tell("HandlerStarted", event=root, agent=name, attempt=1)
    to.call(root, name, name)
    why: traces.Line = {
        "error": traces.error(name, name, notes=[name], exceptions=[{"type": name}])
    }
    after: traces.Line = {"attempt": 1, "consequence": "fail flow", "retry_in": None}
    to.tell("HandlerFailed", event=root, agent=name, duration=0.1, **why, **after)
    outcome: traces.Line = {
        "outcome": "failed",
        "reason": name,
        "events": 1,
        "duration": 1.0,
    }
    to.tell("FlowEnded", **outcome)
    return to.lines


def look_everywhere(page: Page) -> None:
    """Open every flow, its error, its event and its graph."""
    for row in page.locator(".flow-row").all():
        row.click()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("g")
        page.keyboard.press("l")
        for fold in page.locator(".inspector .fold[aria-expanded=false]").all():
            fold.click()


def test_no_text_of_a_trace_is_ever_markup_or_script(
    show: Show, tmp_path: Path
) -> None:
    """As type, agent, flow id, payload, key, message, error: it is shown as it is."""
    lines: list[traces.Line] = [traces.HEADER]
    for name in NAMES:
        lines += odd_flow(name, {name: name, "list": [name, {name: [name]}]})
    page = show(traces.write(tmp_path / "odd.jsonl", lines))
    expect(page.get_by_test_id("flow-count")).to_have_text(str(len(NAMES)))
    look_everywhere(page)
    page.get_by_label("Search").fill("<script>")
    expect(page.get_by_test_id("flow-count")).to_have_text(f"1 of {len(NAMES)}")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("inspector")).to_contain_text(SCRIPT)
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert page.evaluate(HARMLESS)


def test_keys_of_prototypes_are_keys_like_any_other(show: Show, tmp_path: Path) -> None:
    """They are shown, and change nothing."""
    path = tmp_path / "odd.jsonl"
    fields = '{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"x": 1}}}'
    event = json.dumps(traces.event("TextEvent", "flow", None, number=1))
    whole = event.replace('"fields": {}', f'"fields": {fields}')
    assert whole != event
    record = '{"record": "EventAccepted", "time": 1, "correlation_id": "flow", '
    path.write_text(f'{record}"agents": [], "__proto__": {{}}, "event": {whole}}}\n')
    page = show(path)
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    inspector = page.get_by_test_id("inspector")
    expect(inspector).to_contain_text("__proto__")
    expect(inspector).to_contain_text("polluted1")
    assert page.evaluate(HARMLESS)


def test_marks_that_turn_text_around_are_shown_by_number(
    show: Show, tmp_path: Path
) -> None:
    """A name cannot pass for another, and right-to-left text stays readable."""
    lines = [traces.HEADER, *odd_flow("flow", {"name": BIDI, "text": "שלום عالم"})]
    page = show(traces.write(tmp_path / "odd.jsonl", lines))
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    inspector = page.get_by_test_id("inspector")
    expect(inspector).to_contain_text("invoice⟨U+202E⟩gnp.exe")
    expect(inspector).to_contain_text("שלום عالم")


def test_a_text_of_a_megabyte_is_shown_in_pieces(show: Show, tmp_path: Path) -> None:
    """The page stays quick, and all of it can be had."""
    huge = "0123456789" * 100_000
    lines = [traces.HEADER, *odd_flow("flow", {"huge": huge, "many": [0] * 50_000})]
    page = show(traces.write(tmp_path / "odd.jsonl", lines))
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    inspector = page.get_by_test_id("inspector")
    expect(inspector).to_contain_text("998,800 more characters")
    assert len(inspector.inner_text()) < 20_000
    inspector.get_by_role("button", name="998,800 more characters").click()
    expect(inspector).to_contain_text("900,000 more characters")
    inspector.get_by_role("button", name="copy all").click()
    assert page.evaluate("navigator.clipboard.readText()") == huge
    inspector.locator(".fold", has_text="[50,000]").click()
    expect(inspector).to_contain_text("49,900 more")


def test_numbers_that_json_has_no_word_for_are_shown(
    show: Show, tmp_path: Path
) -> None:
    """Bare, as careless writers leave them, and tagged, as a trace file has them."""
    path = tmp_path / "odd.jsonl"
    fields = {"bare": float("nan"), "low": float("-inf"), "text": 'a "NaN" b'}
    tagged = {"nan": {"$float": "nan"}, "int": {"$int": "9007199254740993"}}
    lines = [traces.HEADER, *odd_flow("flow", fields | tagged)]
    path.write_text("\n".join(json.dumps(line) for line in lines))  # NaN stands bare
    assert ": NaN" in path.read_text()
    page = show(path)
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    inspector = page.get_by_test_id("inspector")
    for shown in ("bareNaN", "low-Infinity", 'a "NaN" b', "nannan", "9007199254740993"):
        expect(inspector).to_contain_text(shown)


def test_lines_that_are_no_records_are_counted(show: Show, tmp_path: Path) -> None:
    """Cut off by a crash, of a newer version, or of the wrong types: the rest is shown."""
    path = tmp_path / "odd.jsonl"
    odd: list[Any] = [
        {"record": "SomethingNew", "time": 51, "correlation_id": "flow-0000"},
        {"record": "HandlerStarted", "time": "late", "event": 7, "agent": []},
        {"record": "HandlerFailed", "error": "text", "event": {"id": {}}},
        {"record": "EventAccepted", "agents": 5, "event": [], "time": 1e308},
        {"record": "LLMCallFinished", "usage": [], "message": 3, "call": None},
        {"record": "Header", "wall": "noon"},
        {"record": None},
        {},
    ]
    text = "\n".join(map(traces.line, [*traces.session(2), *odd]))
    deep = '{"record": ' + "[" * 50_000 + "]" * 50_000 + "}"
    path.write_text(f'{text}\n\n[1]\nno json\n{deep}\n{{"record": "Flow')
    page = show(path)
    expect(page.locator("[data-flow=flow-0001]")).to_be_visible()
    expect(page.get_by_test_id("record-count")).to_contain_text("lines unreadable")
    look_everywhere(page)
    page.keyboard.press("a")
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_test_id("inspector")).to_be_visible()


def test_deeply_nested_values_unfold_level_by_level(show: Show, tmp_path: Path) -> None:
    """They do not exhaust the stack."""
    deep: Any = "bottom"
    for _ in range(900):
        deep = {"next": deep}
    lines = [traces.HEADER, *odd_flow("flow", {"deep": deep})]
    page = show(traces.write(tmp_path / "odd.jsonl", lines))
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    inspector = page.get_by_test_id("inspector")
    folded = inspector.locator(".fold[aria-expanded=false]")
    expect(folded).to_have_count(1)
    folded.click()
    expect(folded).to_have_count(1)
    page.get_by_label("Search").fill("bottom")
    expect(page.get_by_test_id("matches")).to_have_text("1 event in 1 flow")
