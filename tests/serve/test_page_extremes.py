"""The page with what is long, much or unsure: names, rows of a comparison, pasted texts, tags by their short names, guesses."""

from __future__ import annotations

from typing import Any

import pytest
from page_server import MEASURED, MODELS, PageServer
from page_visit import Visit, browser, until

__all__ = ["browser"]  # pytest finds fixtures by their names here
LONG = "a-model-whose-name-has-as-many-characters-as-a-name-can-ever-have"[:64]
ROWS = [{**MEASURED[number % 3], "name": name, "source": name} for number, name in enumerate([LONG, *(f"row-{n}" for n in range(8))])]
EXTREME = [
    *({**model, "name": f"{LONG[:60]}-{number}", "measured": []} for number, model in enumerate(MODELS)),
    {**MODELS[1], "name": LONG, "measured": ROWS},
    {**MODELS[3], "name": "chunks", "labels": ["B-NP", "E-NP"]},
    {**MODELS[4], "name": "unsure"},
]


class ExtremeServer(PageServer):
    def tag(self, text: str, body: dict[str, Any]) -> Any:
        assert body["parameters"] == {"aggregation_strategy": "spans"}
        return [{"entity_group": kind, "score": 0.9, "word": w, "start": s, "end": s + len(w)} for kind, w, s in (("NP", "the", 0), ("X", "chef", 4))]

    def fill(self, inputs: Any, body: dict[str, Any]) -> Any:
        if isinstance(inputs, str):
            return self.tag(inputs, body)
        return {"answer": "eight", "score": 0.02, "start": 4, "end": 9}


@pytest.fixture(scope="module")
def extreme() -> Any:
    server = ExtremeServer(EXTREME).start()
    yield server
    server.stop()


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1280])
def test_long_names_and_nine_rows_fit_every_panel(browser: Any, extreme: PageServer, width: int) -> None:
    with Visit(browser, extreme.url, viewport={"width": width, "height": 700}) as visit:
        page = visit.page
        page.wait_for_selector("[role=tab]")
        for tab in page.locator("[role=tab]").all():
            tab.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, tab.inner_text()
        assert page.locator(".chart-rows li").count() == 9
        for name in page.locator("#compare .choice label").all_inner_texts():
            page.check(f"text={name} >> xpath=../input", force=True)
            boxes = page.evaluate(
                "[...document.querySelectorAll('.chart-rows li > *')].map(n => { const b = n.getBoundingClientRect(); return [b.left, b.right]; })"
            )
            assert boxes and all(0 <= left < right <= width for left, right in boxes), name
        assert visit.complaints == []


def test_the_line_of_a_latency_does_not_dwarf_its_bars(browser: Any, extreme: PageServer) -> None:
    with Visit(browser, extreme.url) as visit:
        visit.page.click("#tab-compare")
        shares = visit.page.evaluate(
            "[...document.querySelectorAll('.chart-rows svg')].map(s => ['.chart-fill', '.chart-range'].map(c => s.querySelector(c)))"
            ".map(([fill, line]) => [parseFloat(fill.getAttribute('width')), parseFloat(line.getAttribute('x2'))])"
        )
        top = 1.02 * max(row["latency"]["p90_ms"] for row in ROWS)
        wanted = [[100 * row["latency"]["p50_ms"] / top, 100 * row["latency"]["p90_ms"] / top] for row in ROWS]
        assert shares == [pytest.approx(pair) for pair in wanted]


def test_a_text_cut_by_the_field_is_reported(browser: Any, extreme: PageServer) -> None:
    with Visit(browser, extreme.url) as visit:
        page = visit.page
        page.click("#detect-text")
        page.keyboard.insert_text("w" * 25_000)
        until(page, "document.querySelector('#detect .full').textContent.includes('20,000 characters')")
        page.fill("#detect-text", "short")
        until(page, "document.querySelector('#detect .full').textContent === ''")


def test_short_names_of_tags_are_explained_and_a_guess_is_called_one(browser: Any, extreme: PageServer) -> None:
    with Visit(browser, extreme.url) as visit:
        page = visit.page
        page.click("#tab-tag")
        page.select_option("#tag-model", "chunks")
        page.fill("#tag-text", "the chef")
        page.wait_for_selector("#tag .result .legend")
        assert page.inner_text("#tag .result .legend").split("\n") == ["NP", "noun phrase"], "X has no known meaning"
        page.click("#tab-ask")
        page.select_option("#ask-model", "unsure")
        page.fill("#ask-question", "how many?")
        page.fill("#ask-context", "the eight men")
        page.wait_for_selector("#ask .result mark")
        assert page.inner_text("#ask .result .facts") == "probability 2 %: little more than a guess"
        assert visit.complaints == []
