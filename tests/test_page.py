"""The page in a real browser: what it asks, shows, says when the server refuses, and whether everyone can use it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_server import MODELS, PageServer

from electra.serve import page as page_module
from electra.serve.page import read_assets, takes_html

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
SENTENCE = "the chef ate the meal in the river"
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
    """Playwright's own wait_for_function needs 'unsafe-eval', which the page's policy refuses."""
    limit = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < limit, f"never came true: {condition}"
        page.wait_for_timeout(30)


def until_asked(server: PageServer, inputs: Any) -> None:
    limit = time.monotonic() + 5
    while not any(body["inputs"] == inputs for _, body in server.seen):
        assert time.monotonic() < limit, server.seen
        time.sleep(0.02)


def texts(page: Any, selector: str) -> list[str]:
    return page.locator(selector).all_inner_texts()


# ---- without a browser ----


def test_files_are_served_with_a_policy_and_nothing_else_is() -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    app.include_router(page_module.page_router())
    client = TestClient(app)
    home = client.get("/", headers={"Accept": "text/html,application/xhtml+xml;q=0.9"})
    assert home.status_code == 200 and home.headers["content-type"].startswith("text/html")
    policy = home.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert client.get("/", headers={"If-None-Match": home.headers["etag"], "Accept": "text/html"}).status_code == 304
    assert client.get("/", headers={"Accept": "application/json"}).status_code == 406
    assert client.get("/page/app.js").headers["content-type"].startswith("text/javascript")
    for path in ("/page/..%2fpage.py", "/page/%2e%2e/page.py", "/page/nothing.js", "/page/"):
        assert client.get(path).status_code == 404, path
    assert "/page/{name}" not in client.get("/openapi.json").text
    assert client.post("/", json={}).status_code == 405


def test_accept_headers() -> None:
    assert takes_html("*/*") and takes_html("TEXT/HTML") and takes_html("application/json, text/*;q=0.5")
    assert not takes_html("application/json") and not takes_html("text/html; q=0, application/json") and not takes_html("")


def test_files_hold_nothing_from_elsewhere_and_nothing_inline() -> None:
    for name, asset in read_assets().items():
        text = asset.content.decode()
        assert len(text.splitlines()) <= 300, name
        assert not [word for word in ("https://", "//cdn", "innerHTML", "eval(", "onclick=", " style=") if word in text], name
        assert text.count("http://") == text.count("http://www.w3.org/2000/svg"), name


def test_files_are_in_the_wheel(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert {f"electra/serve/page/{name}" for name in read_assets()} <= set(zipfile.ZipFile(wheel).namelist())


# ---- using it ----


def test_typing_shows_every_token(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.locator("#detect-text").press_sequentially("\U0001f44d the chef ate in the river", delay=15)
        page.wait_for_selector("#detect .token.fake")
        until(page, "document.querySelector('#detect h3')?.textContent === '2 tokens of 7 called fake'")
        assert texts(page, "#detect .token.fake .piece") == ["ate", "river"]  # the emoji counts once, as on the server
        assert texts(page, "#detect .token.fake .number") == ["91 %", "83 %"]
        assert page.locator("#detect .tokens").inner_text().startswith("\U0001f44d")
        questions = [body["inputs"] for name, body in server.seen if name == "mini/detect"]
        assert questions[-1].endswith("river") and len(questions) < 8, "one question per pause, not per key"
        page.hover("#detect .token.fake >> nth=0")
        assert "91 % fake" in page.inner_text("#detect .tip")
        page.focus("#detect .tokens")
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        chosen = page.get_attribute("#detect [aria-selected=true]", "aria-label")
        assert chosen == "the, 4 %, called real"
        page.keyboard.press("Escape")
        assert page.is_hidden("#detect .tip")
        assert not visit.complaints and not visit.foreign


def test_the_threshold_changes_verdicts_without_a_question(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", SENTENCE)
        page.wait_for_selector("#detect .token.fake")
        asked = len(server.seen)
        assert texts(page, "#detect h3") == ["2 tokens of 8 called fake"]
        page.click("#detect summary >> nth=0")
        page.fill("#detect-threshold", "90")
        until(page, "document.querySelectorAll('#detect .token.fake').length === 1")
        page.check("#detect [name=numbers]")
        assert len([n for n in texts(page, "#detect .number") if n]) == 8
        page.click("#detect .result summary")
        assert page.locator("#detect tbody tr").count() == 8
        assert len(server.seen) == asked
        page.click("#detect .examples button >> nth=2")
        until(page, "document.querySelector('#detect h3').textContent === '2 tokens of 13 called fake'")
        assert page.input_value("#detect-text").endswith("on the because"), "an example is written into the field"


def test_a_slow_answer_to_an_older_text_is_dropped(browser: Any, server: PageServer) -> None:
    server.delays = {"the river": 0.8}
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", "the river")
        until_asked(server, "the river")
        page.fill("#detect-text", "the chef ate")
        page.wait_for_selector("#detect .token.fake")
        page.wait_for_timeout(900)
        assert texts(page, "#detect .token .piece") == ["the", "chef", "ate"]
        assert not visit.complaints


def test_corrupting_shows_what_was_changed(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url + "#corrupt") as visit:
        page = visit.page
        page.fill("#corrupt-text", "the old man walked to the sea")
        page.fill("#corrupt-share", "40")
        page.wait_for_selector("#corrupt .case")
        assert texts(page, "#corrupt .token.changed del") == ["old", "the"]
        assert texts(page, "#corrupt .token.changed .piece") == ["ate", "ate"]
        assert texts(page, "#corrupt h3") == ["The detector caught 2 of 2 forgeries"]
        assert texts(page, "#corrupt .case-title")[0] == "old → ate"
        assert server.seen[-1] == ("mini/corrupt", {"inputs": "the old man walked to the sea", "mask_prob": 0.4, "temperature": 1, "seed": 1})
        page.fill("#corrupt-threshold", "95")
        until(page, "document.querySelector('#corrupt h3').textContent === 'The detector caught 0 of 2 forgeries'")
        page.click("#corrupt .again")
        until(page, "document.querySelector('#corrupt .token.changed del').textContent === 'man'")
        assert page.input_value("#corrupt-seed") == "2"
        assert not visit.complaints


def test_answers_of_the_other_panels(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.click("#tab-classify")
        page.click("#classify .examples button >> nth=0")
        page.wait_for_selector("#classify .bar")
        assert texts(page, "#classify .bar-words") == ["97 %", "3 %"] and "positive" in texts(page, "#classify .bar.best")[0]
        page.select_option("#classify-model", "sst2-int8")
        until(page, "document.querySelector('#classify .facts').textContent.includes('onnx-int8')")
        page.check("#classify [name=paired]")
        page.fill("#classify-pair", "another")
        until_asked(server, [["a wonderful film, warm and quietly funny", "another"]])
        assert server.seen[-1] == ("sst2-int8/predict", {"inputs": [["a wonderful film, warm and quietly funny", "another"]]})
        page.click("#tab-tag")
        page.click("#tag .examples button >> nth=0")
        page.wait_for_selector("#tag mark")
        assert texts(page, "#tag mark .kind") == ["PER", "LOC", "PER"] and texts(page, "#tag mark")[1].startswith("London")
        page.click("#tab-ask")
        page.click("#ask .examples button >> nth=0")
        page.wait_for_selector("#ask mark")
        assert texts(page, "#ask mark") == ["Horace Jones"]
        page.fill("#ask-context", "Nothing of the kind.")
        until(page, "document.querySelector('#ask h3').textContent === 'The passage does not say'")
        page.click("#tab-fill")
        page.fill("#fill-text", "the chef")
        page.click("#fill .mask")
        page.wait_for_selector("#fill .bar")
        assert page.input_value("#fill-text") == "the chef [MASK]" and texts(page, "#fill .bar-name") == ["cooked", "ate", "made"]
        assert not visit.complaints and not visit.foreign


def test_the_comparison_is_a_chart_and_a_table(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url + "#compare") as visit:
        page = visit.page
        rows = page.locator("#compare .chart-rows li")
        assert rows.count() == 3  # two models carry the same comparison: each row once
        widths = [float(row.locator(".chart-fill").get_attribute("width").rstrip("%")) for row in rows.all()]
        assert widths[1] / widths[0] == pytest.approx(1.9 / 8.0)
        assert "best" in rows.nth(1).inner_text() and "best" not in rows.nth(0).inner_text()
        page.check("#measure-size")
        until(page, "document.querySelector('#compare .chart-words').textContent === '14.2 MB'")
        page.check("#measure-score")
        assert page.locator("#compare .chart-rows .best").count() == 0
        cells = texts(page, "#compare tbody tr:nth-child(3) td")
        assert "within noise" in " ".join(cells) and "as fast" in " ".join(texts(page, "#compare tbody tr:nth-child(2) td"))


def test_only_what_the_models_answer_is_offered(browser: Any) -> None:
    server = PageServer(models=[MODELS[1] | {"measured": []}]).start()
    with Visit(browser, server.url + "#detect") as visit:
        visit.page.wait_for_selector("[role=tab]")
        assert texts(visit.page, "[role=tab]") == ["Classify"]
        assert visit.page.is_visible("#classify") and visit.page.is_hidden("#detect")
        server.models = [MODELS[1] | {"role": "encoder", "abilities": ["embed"], "measured": []}]
        visit.page.reload()
        visit.page.wait_for_selector("#startup:not([hidden])")
        assert "sst2 (encoder)" in visit.page.inner_text("#startup")
    server.stop()


# ---- when the server refuses ----


REFUSALS: list[tuple[int, dict[str, str], dict[str, Any], list[str]]] = [
    (429, {"Retry-After": "7"}, {"error": "queue full"}, ["more to do than it can", "Next try in 7 s"]),
    (503, {}, {"error": "shutting down"}, ["cannot answer at the moment", "shutting down"]),
    (413, {}, {"error": "at most 1000 bytes"}, ["shorten it", "at most 1000 bytes"]),
    (422, {}, {"error": "the text has no [MASK]"}, ["the text has no [MASK]"]),
    (422, {}, {"detail": [{"msg": "field required"}]}, ["field required"]),
    (504, {}, {}, ["time limit"]),
    (500, {}, {}, ["failed at this (error 500)"]),
]


def test_a_refusal_is_told_in_words_and_the_text_stays(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", SENTENCE)
        page.wait_for_selector("#detect .token.fake")
        for number, (status, headers, body, words) in enumerate(REFUSALS):
            server.refuse = (status, headers, body)
            page.fill("#detect-text", f"words {number}")
            page.wait_for_selector("#detect .notice:not([hidden])")
            said = page.inner_text("#detect .notice")
            assert all(word in said for word in words), said
            assert page.input_value("#detect-text") == f"words {number}"
            assert "of the text before" in page.evaluate("getComputedStyle(document.querySelector('#detect .result h3'), '::after').content")
            server.refuse = None
            page.click("#detect .notice button")
            page.wait_for_selector("#detect .notice", state="hidden")
            assert texts(page, "#detect .piece") == ["words", str(number)]
        assert [line for line in visit.complaints if "Failed to load resource" not in line] == []


def test_a_busy_server_is_asked_again_when_it_said(browser: Any, server: PageServer) -> None:
    server.refuse = (429, {"Retry-After": "1"}, {})
    with Visit(browser, server.url) as visit:
        visit.page.fill("#detect-text", SENTENCE)
        visit.page.wait_for_selector("#detect .notice:not([hidden])")
        assert visit.page.inner_text("#status") == "Server is busy"
        server.refuse = None
        visit.page.wait_for_selector("#detect .token.fake")
        assert visit.page.inner_text("#status") == "Connected · 5 models"


def test_a_server_that_went_away_and_came_back(browser: Any) -> None:
    server = PageServer().start()
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.wait_for_selector("[role=tab]")
        server.stop()
        page.fill("#detect-text", "the chef ate")
        page.wait_for_selector("#detect .notice:not([hidden])")
        assert "does not answer" in page.inner_text("#detect .notice") and page.inner_text("#status") == "No connection"
        again = PageServer(port=server.port).start()
        page.wait_for_selector("#detect .token.fake", timeout=9000)
        page.reload()
        page.wait_for_selector("#detect .token.fake")
        assert page.input_value("#detect-text") == "the chef ate", "a reload keeps what was typed"
        again.stop()


def test_a_token_is_asked_for_and_kept(browser: Any) -> None:
    server = PageServer(token="secret").start()
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.wait_for_selector("#token-form:not([hidden])")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#token-form label').textContent.includes('did not accept')")
        page.fill("#token", "secret")
        page.click("#token-form button")
        page.fill("#detect-text", SENTENCE)
        page.wait_for_selector("#detect .token.fake")
        server.token = "another"
        page.fill("#detect-text", "she ate")
        page.wait_for_selector("#token-form:not([hidden])")
        page.fill("#token", "another")
        page.keyboard.press("Enter")
        until(page, "document.querySelectorAll('#detect .piece').length === 2")
        assert page.is_hidden("#token-form") and "secret" not in page.url
    server.stop()


def test_hostile_text_stays_text(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", "<img src=x onerror=alert(1)> <script>ate</script>")
        page.wait_for_selector("#detect .token.fake")
        assert page.locator("#detect .result img, #detect .result script").count() == 0
        assert texts(page, "#detect .piece")[:2] == ["<", "img"]
        assert not visit.complaints


# ---- for everyone ----


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
        until(page, "document.querySelector('#detect [role=status]').textContent.startsWith('1 token of 2 called fake. ate, 91 %')")


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
            for width in (1100, 375):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (place, width)

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
