"""The page in a real browser: what it requests, what it shows, also when the server refuses, and accessibility."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from page_server import MODELS, SEARCHERS, PageServer
from page_visit import Visit, browser, server, shared_server, texts, until, until_requested

from electra.serve import app as page_module
from electra.serve.app import read_assets, takes_html

ROOT = Path(__file__).resolve().parents[2]
__all__ = ["browser", "server", "shared_server"]  # pytest finds fixtures by their names here
SENTENCE = "the chef ate the meal in the river"


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


def test_search_sorts_passages(browser: Any) -> None:
    """By a re-ranker with the similarity beside it, by vectors alone, and by a re-ranker alone."""
    server = PageServer(SEARCHERS).start()
    with Visit(browser, f"{server.url}#search") as visit:
        page = visit.page
        page.fill("#search-passages", "the cook\n\n  the river  \na bridge")
        page.fill("#search-query", "who cooked")
        until(page, "document.querySelectorAll('#search .bar').length === 3")
        assert page.inner_text("#search h3") == "3 passages, sorted by relevance by the re-ranker"
        names = texts(page, "#search .bar-name")
        assert [name.split(" similarity")[0] for name in names] == ["a bridge", "the river", "the cook"]
        assert "place 1 by vectors" in names[2] and texts(page, "#search .bar-words") == ["0.750", "0.500", "0.250"]
        asked = dict(server.seen)
        assert asked["ranker/rerank"] == {"query": "who cooked", "texts": ["the cook", "the river", "a bridge"]}
        assert asked["vectors/similarity"]["inputs"]["sentences"] == ["the cook", "the river", "a bridge"]
        page.select_option("#search-reranker", "")
        until(page, "document.querySelector('#search h3')?.textContent === '3 passages, sorted by similarity of vectors'")
        assert texts(page, "#search .bar-name")[0] == "the cook"
        page.click("#search .examples button")
        until(page, "document.querySelectorAll('#search .bar').length === 5")
    server.stop()
    server = PageServer(SEARCHERS[1:]).start()
    with Visit(browser, f"{server.url}#search") as visit:
        visit.page.fill("#search-passages", "one")
        visit.page.fill("#search-query", "two")
        until(visit.page, "document.querySelector('#search h3')?.textContent === '1 passage, sorted by relevance by the re-ranker'")
        assert not visit.page.locator("#search-reranker").count() and [name for name, _ in server.seen if "rerank" not in name] == []
    server.stop()


def test_many_passages_are_sent_in_parts(browser: Any) -> None:
    """One request has at most the server's number of texts; the answers are put together in the order of the passages."""
    server = PageServer([*SEARCHERS, {**SEARCHERS[1], "name": "rating", "title": "a number for each text", "regression": True}])
    server.max_texts = 3
    server.start()
    with Visit(browser, f"{server.url}#search") as visit:
        page = visit.page
        page.fill("#search-passages", "\n".join("abcde"))
        page.fill("#search-query", "d")
        until(page, "document.querySelectorAll('#search .bar').length === 5")
        assert page.locator("#search-reranker option").all_inner_texts() == ["re-ranker", "nothing: by vectors alone"]
        parts = [["a", "b"], ["c", "d"], ["e"]]
        assert [body["texts"] for name, body in server.seen if name == "ranker/rerank"] == parts
        assert [body["inputs"]["sentences"] for name, body in server.seen if name == "vectors/similarity"] == parts
        # The server of the test gives the second text of a request 0.67, the first 0.33, and a single one 0.5.
        assert [name[0] for name in texts(page, "#search .bar-name")] == ["b", "d", "e", "a", "c"]
        page.select_option("#search-reranker", "")
        until(page, "document.querySelector('#search .bar.best .bar-name')?.textContent === 'd'")
        assert texts(page, "#search .bar-words") == ["1.00", "0.00", "0.00", "0.00", "0.00"]
    server.stop()


def test_typing_shows_every_token(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.locator("#detect-text").press_sequentially("\U0001f44d the chef ate in the river", delay=15)
        page.wait_for_selector("#detect .token.fake")
        until(page, "document.querySelector('#detect h3')?.textContent === '2 tokens of 7 judged replaced'")
        assert texts(page, "#detect .token.fake .piece") == ["ate", "river"]  # the emoji counts once, as on the server
        assert texts(page, "#detect .token.fake .number") == ["91 %", "83 %"]
        assert page.locator("#detect .tokens").inner_text().startswith("\U0001f44d")
        questions = [body["inputs"] for name, body in server.seen if name == "mini/detect"]
        assert questions[-1].endswith("river") and len(questions) < 8, "one question per pause, not per key"
        page.hover("#detect .token.fake >> nth=0")
        assert "91 % replaced" in page.inner_text("#detect .tip")
        page.focus("#detect .tokens")
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        chosen = page.get_attribute("#detect [aria-selected=true]", "aria-label")
        assert chosen == "the, 4 %, judged original"
        page.keyboard.press("Escape")
        assert page.is_hidden("#detect .tip")
        assert not visit.complaints and not visit.foreign


def test_the_threshold_changes_decisions_without_a_request(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", SENTENCE)
        page.wait_for_selector("#detect .token.fake")
        num_requests = len(server.seen)
        assert texts(page, "#detect h3") == ["2 tokens of 8 judged replaced"]
        page.click("#detect summary >> nth=0")
        page.fill("#detect-threshold", "90")
        until(page, "document.querySelectorAll('#detect .token.fake').length === 1")
        page.check("#detect [name=numbers]")
        until(page, "[...document.querySelectorAll('#detect .number')].filter(n => n.checkVisibility()).length === 8")
        page.click("#detect .result summary")
        until(page, "document.querySelectorAll('#detect tbody tr').length === 8")
        assert len(server.seen) == num_requests
        page.click("#detect .examples button >> nth=2")
        until(page, "document.querySelector('#detect h3').textContent === '2 tokens of 13 judged replaced'")
        assert page.input_value("#detect-text").endswith("on the because"), "an example is written into the field"


def test_a_slow_answer_to_an_older_text_is_dropped(browser: Any, server: PageServer) -> None:
    server.delays = {"the river": 0.8}
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", "the river")
        until_requested(server, "the river")
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
        assert texts(page, "#corrupt h3") == ["The discriminator detected 2 of 2 replacements"]
        assert texts(page, "#corrupt .case-title")[0] == "old → ate"
        assert server.seen[-1] == ("mini/corrupt", {"inputs": "the old man walked to the sea", "mask_prob": 0.4, "temperature": 1, "seed": 1})
        page.fill("#corrupt-threshold", "95")
        until(page, "document.querySelector('#corrupt h3').textContent === 'The discriminator detected 0 of 2 replacements'")
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
        until(page, "document.querySelector('#classify .facts').textContent.includes('int8, ONNX Runtime')")
        page.check("#classify [name=paired]")
        page.fill("#classify-pair", "another")
        until_requested(server, [["a wonderful film, warm and quietly funny", "another"]])
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
        page.wait_for_selector("#compare .chart-rows li")
        assert rows.count() == 3  # two models carry the same comparison: each row once
        widths = [float(row.locator(".chart-fill").get_attribute("width").rstrip("%")) for row in rows.all()]
        assert widths[1] / widths[0] == pytest.approx(1.9 / 8.0)
        assert texts(page, "#compare .chart-rows .tag") == ["fastest"] and rows.nth(1).locator(".tag").count() == 1
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
        assert texts(visit.page, "[role=tab]") == ["Classify", "Compare"]
        assert visit.page.is_visible("#classify") and visit.page.is_hidden("#detect")
        server.models = [MODELS[1] | {"role": "encoder", "abilities": [], "measured": []}]
        visit.page.reload()
        visit.page.wait_for_selector("#startup:not([hidden])")
        assert "negative / positive (models/sst2)" in visit.page.inner_text("#startup")
        server.models = [MODELS[1] | {"measured": [{"name": "odd", "latency": {"p50_ms": "fast"}, "throughput": []}]}]
        visit.page.reload()
        visit.page.click("#tab-compare")
        assert "could not be read" in visit.page.inner_text("#compare .notice")
    server.stop()


def test_hostile_text_stays_text(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", "<img src=x onerror=alert(1)> <script>ate</script>")
        page.wait_for_selector("#detect .token.fake")
        assert page.locator("#detect .result img, #detect .result script").count() == 0
        assert texts(page, "#detect .piece")[:2] == ["<", "img"]
        assert not visit.complaints
