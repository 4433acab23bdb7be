"""The page before a real server with tiny models: the numbers on it are those of the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from page_visit import Visit, browser, texts, until
from served_models import Served, in_thread, sources

from electra.inference.predictor import load

__all__ = ["browser"]
TOKEN = "0123456789abcdef"
TEXT = "\U0001f44d the chef cooked naïve soup , walking home"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with in_thread("discriminator", "classifier", "tagger", "finder", "masked", token=TOKEN) as found:
        yield found


# The judged text as one reads it, without what is written below the tokens.
READ = """(node) => {
  const copy = node.cloneNode(true);
  copy.querySelectorAll(".number, del").forEach((extra) => extra.remove());
  return copy.textContent;
}"""


def shown(share: float) -> str:
    """As the page writes a probability."""
    return "<1 %" if share < 0.005 else ">99 %" if share > 0.995 else f"{int(100 * share + 0.5)} %"


def test_the_models_answers_are_on_the_page(browser: Any, served: Served) -> None:
    with Visit(browser, served.url + "/") as visit:
        page = visit.page
        page.wait_for_selector("#token-form:not([hidden])")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=tab]")
        assert texts(page, "[role=tab]") == ["Detect", "Corrupt", "Classify", "Tag", "Ask", "Fill", "Compare"]

        page.fill("#detect-text", TEXT)
        page.wait_for_selector("#detect .token")
        page.click("#detect summary >> nth=0")
        page.check("#detect [name=numbers]")
        wanted = load(sources()["discriminator"]).detect([TEXT])[0].tokens
        assert texts(page, "#detect .piece") == [TEXT[token.start : token.end] for token in wanted]
        assert texts(page, "#detect .number") == [shown(token.probability) for token in wanted]

        page.click("#tab-corrupt")
        page.fill("#corrupt-text", TEXT)
        page.fill("#corrupt-share", "50")
        page.fill("#corrupt-seed", "3")
        (corruption,) = load(sources()["discriminator"]).corrupt([TEXT], mask_prob=0.5, seed=3)
        until(page, f"document.querySelectorAll('#corrupt .case').length === {len(corruption.replacements)}")
        changed = [item for item in corruption.replacements if item.changed]
        assert texts(page, "#corrupt .token.changed del") == [item.original.removeprefix("##") for item in changed]
        assert page.locator("#corrupt .tokens").evaluate(READ) == corruption.corrupted.text

        page.click("#tab-classify")
        page.fill("#classify-text", TEXT)
        page.wait_for_selector("#classify .bar")
        ranked = sorted(load(sources()["classifier"]).predict([TEXT])[0].probabilities.items(), key=lambda item: -item[1])
        assert texts(page, "#classify .bar-name") == [name for name, _ in ranked]
        assert texts(page, "#classify .bar-words") == [shown(share) for _, share in ranked]

        page.click("#tab-tag")
        page.fill("#tag-text", TEXT)
        page.wait_for_selector("#tag .took")
        page.click("#tab-ask")
        page.fill("#ask-question", "who cooked ?")
        page.fill("#ask-context", TEXT)
        page.wait_for_selector("#ask .took")
        (found,) = load(sources()["finder"]).answer("who cooked ?", TEXT)
        assert texts(page, "#ask mark") == [found.text]
        page.click("#tab-fill")
        page.select_option("#fill-model", "masked")
        page.fill("#fill-text", "the chef [MASK] the meal")
        until(page, "document.querySelectorAll('#fill .bar').length === 5")
        filled = load(sources()["masked"]).fill("the chef [MASK] the meal")[0]
        assert texts(page, "#fill .bar-name") == [word for word, *_ in filled]
        assert [line for line in visit.complaints if "401" not in line] == []
