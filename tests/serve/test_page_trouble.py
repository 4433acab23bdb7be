"""The page when the server refuses, is busy, requires a token, or is gone: a message says so, and no typed text is lost."""

from __future__ import annotations

from typing import Any

from page_server import PageServer
from page_visit import Visit, browser, server, shared_server, texts, until

__all__ = ["browser", "server", "shared_server"]  # pytest finds fixtures by their names here
SENTENCE = "the chef ate the meal in the river"

REFUSALS: list[tuple[int, dict[str, str], dict[str, Any], list[str]]] = [
    (429, {"Retry-After": "7"}, {"error": "queue full"}, ["The server is overloaded", "Next try in 7 s"]),
    (503, {}, {"error": "shutting down"}, ["cannot answer at the moment", "shutting down"]),
    (413, {}, {"error": "at most 1000 bytes"}, ["shorten it", "at most 1000 bytes"]),
    (422, {}, {"error": "the text has no [MASK]"}, ["the text has no [MASK]"]),
    (422, {}, {"detail": [{"msg": "field required"}]}, ["field required"]),
    (504, {}, {}, ["time limit"]),
    (500, {}, {}, ["The server failed (error 500)"]),
]


def test_a_refusal_is_shown_and_the_text_stays(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", SENTENCE)
        page.wait_for_selector("#detect .token.fake")
        for number, (status, headers, body, words) in enumerate(REFUSALS):
            server.refuse = (status, headers, body)
            page.fill("#detect-text", f"words {number}")
            page.wait_for_selector("#detect .notice:not([hidden])")
            notice = page.inner_text("#detect .notice")
            assert all(word in notice for word in words), notice
            assert page.input_value("#detect-text") == f"words {number}"
            assert "of the text before" in page.evaluate("getComputedStyle(document.querySelector('#detect .result h3'), '::after').content")
            server.refuse = None
            page.click("#detect .notice button")
            page.wait_for_selector("#detect .notice", state="hidden")
            assert texts(page, "#detect .piece") == ["words", str(number)]
        assert [line for line in visit.complaints if "Failed to load resource" not in line] == []


def test_a_busy_server_is_retried_after_the_time_it_named(browser: Any, server: PageServer) -> None:
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


def test_a_token_is_requested_and_kept(browser: Any) -> None:
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
