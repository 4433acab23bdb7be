"""A browser on the page: what its console and network complain of, waiting, and an audit of names and contrasts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
from page_server import PageServer

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
# What accessible names and contrasts are read from; written for this test, after the WCAG's formulas.
AUDIT = """() => {
  const seen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const words = (nodes) => [...nodes].map((node) => node.textContent).join(" ");
  const referred = (node) => node.getAttribute("aria-labelledby")?.split(" ").map((id) => document.getElementById(id));
  const name = (node) => (node.getAttribute("aria-label") ?? words(node.labels?.length ? node.labels : referred(node) ?? [node])).trim();
  const controls = ["button", "input", "select", "textarea", "a", "summary", "[role=listbox]", "[role=option]", "[role=tabpanel]", "[role=region]"];
  const unnamed = [...document.querySelectorAll(controls.join())].filter((n) => seen(n) && name(n) === "").map((n) => n.outerHTML.slice(0, 120));
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  const repeated = ids.filter((id, index) => ids.indexOf(id) !== index);
  const numbers = (colour) => { const n = colour.match(/[\\d.]+/g).map(Number); return n.length === 3 ? [...n, 1] : n; };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(numbers(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const dim = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(node) || node.closest("script, noscript, .spoken")) continue;
    const ground = behind(node);
    const [a, b] = [light(over(numbers(getComputedStyle(node).color), ground)), light(ground)].sort((x, y) => y - x);
    count += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) dim.push(`${((a + 0.05) / (b + 0.05)).toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return { unnamed, repeated, dim, count };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[PageServer]:
    server = PageServer().start()
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: PageServer) -> PageServer:
    shared_server.refuse = None
    shared_server.delays = {}
    shared_server.seen.clear()
    return shared_server


class Visit:
    """A page with the complaints that its console and its network gathered."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(5000)
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.foreign.append(request.url) if not request.url.startswith(url) else None)
        self.page.goto(url)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *failure: object) -> None:
        self.context.close()


def until(page: Any, condition: str, seconds: float = 5.0) -> None:
    """Playwright's wait_for_function needs 'unsafe-eval', which the page's policy refuses."""
    limit = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < limit, f"never came true: {condition}"
        page.wait_for_timeout(30)


def until_requested(server: Any, inputs: Any) -> None:
    limit = time.monotonic() + 5
    while not any(body["inputs"] == inputs for _, body in server.seen):
        assert time.monotonic() < limit, server.seen
        time.sleep(0.02)


def texts(page: Any, selector: str) -> list[str]:
    return page.locator(selector).all_inner_texts()
