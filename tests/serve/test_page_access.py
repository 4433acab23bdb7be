"""The page for everyone: by keyboard, by ear, in light and dark, on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from page_server import MODELS, SEARCHERS, PageServer
from page_visit import AUDIT, Visit, browser, server, shared_server, until

__all__ = ["browser", "server", "shared_server"]  # pytest finds fixtures by their names here


@pytest.fixture(scope="module")
def every_tab() -> Iterator[PageServer]:
    server = PageServer([*MODELS, *SEARCHERS]).start()
    yield server
    server.stop()


# What a finger hits, but links in a text; a box to check is hit by its label, too.
LOW = """() => [...document.querySelectorAll("button, select, textarea, summary, input:not([type=checkbox], [type=radio]), .check, .choice")]
  .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 40)
  .map((node) => `${node.outerHTML.slice(0, 80)} ${node.getBoundingClientRect().height}`)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_every_tab_is_in_sight_and_can_be_hit(browser: Any, every_tab: PageServer, width: int, scheme: str) -> None:
    """All eight tabs: within the screen, one over the other nowhere, their words not cut, and chosen by a tap."""
    with Visit(browser, every_tab.url, viewport={"width": width, "height": 740}, color_scheme=scheme, has_touch=True) as visit:
        page = visit.page
        page.wait_for_selector("[role=tab]")
        tabs = page.locator("[role=tablist] [role=tab]")
        assert tabs.all_inner_texts() == ["Detect", "Corrupt", "Classify", "Tag", "Ask", "Fill", "Search", "Compare"]
        boxes = [tab.bounding_box() for tab in tabs.all()]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 40 for box in boxes)
        assert len({box["y"] for box in boxes}) <= 2 and boxes[-1]["y"] + boxes[-1]["height"] < 300, (
            "at most two rows, in the first half of the screen"
        )
        for first, second in pairwise(boxes):
            assert first["x"] + first["width"] <= second["x"] or first["y"] + first["height"] <= second["y"]
        for tab in tabs.all():
            tab.tap()
            assert tab.get_attribute("aria-selected") == "true" and page.is_visible(f"#{tab.get_attribute('aria-controls')}[role=tabpanel]")
            assert tab.evaluate("(node) => node.scrollWidth <= node.clientWidth"), f"{tab.inner_text()} is cut"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(LOW) == []
        assert visit.complaints == []


def test_tabs_by_keyboard(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.wait_for_selector("[role=tab]")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-corrupt" and page.is_visible("#corrupt") and page.is_hidden("#detect")
        page.keyboard.press("End")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-detect" and page.url.endswith("#detect")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "detect-text", "the other tabs are one arrow away, not one Tab each"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.type("she ate")
        until(page, "document.querySelector('#detect [role=status]').textContent.startsWith('1 token of 2 judged replaced. ate, 91 %')")


def test_every_panel_is_named_legible_and_fits(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url, reduced_motion="reduce") as visit:
        page = visit.page

        def audit(place: str) -> None:
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, ground[4:-1].split(", "))) < 384) == (scheme == "dark")
                found = page.evaluate(AUDIT)
                assert found.pop("count") > 15
                assert found == {"unnamed": [], "repeated": [], "dim": []}, (place, scheme)
            for width in (1280, 768, 390, 360):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (place, width)
                assert page.evaluate(LOW) == [], (place, width)

        page.wait_for_selector("[role=tab]")
        audit("empty")
        for name in [tab.split("-")[1] for tab in page.eval_on_selector_all("[role=tab]", "tabs => tabs.map(tab => tab.id)")]:
            page.click(f"#tab-{name}")
            if name != "compare":
                page.click(f"#{name} .examples button >> nth=1")
                page.wait_for_selector(f"#{name} .took")
            audit(name)
        page.click("#tab-detect")
        page.fill("#detect-text", "x" * 300 + " ate " * 30)
        until(page, "document.querySelectorAll('#detect .token.fake').length === 30")
        page.hover("#detect .token.fake >> nth=0")
        audit("long words")
        assert page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
        server.refuse = (429, {"Retry-After": "9"}, {})
        page.fill("#detect-text", "the river again")
        page.wait_for_selector("#detect .notice:not([hidden])")
        audit("notice")
        assert [line for line in visit.complaints if "429" not in line] == []
