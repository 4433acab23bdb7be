"""The demo's report: self-contained, shows the results and nothing else, pictures in the colours of the page."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from demo_results import FOUND, LINES

from electra.recipes.demo import report, run

ABOUT = {"version": "0", "date": "2026-01-01", "machine": "two cores", "folder": "demo"}


class _Balance(HTMLParser):
    """Checks that every element is closed in order, and notes what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "br"):
            assert self.open.pop() == tag


def test_the_page_is_self_contained_and_shows_the_results() -> None:
    page = report.render({"about": ABOUT, **FOUND}, [*({**line, "phase": "mlm_first"} for line in LINES if line["kind"] == "train"), *LINES])
    reader = _Balance()
    reader.feed(page)
    assert reader.open == [] and [each for each in reader.fetched if not each.startswith("#")] == []
    assert not {"script", "link", "img", "iframe"} & reader.names and "@import" not in page and not re.search(r"url\((?!#)", page)
    for shown in ("12.3 MB", "0.612", "68.4%", "70.6%", "60.0%", "76.5%", "78.9%", "2,262", "21 more", "&lt;script&gt;", "One &amp; &lt;two&gt;."):
        assert shown in page, shown
    text = " ".join(page.split())
    for shown in (
        'a <del>cat</del> <b class="two">&lt;b&gt;</b>',
        "0.20 became 0.90",
        "in 1 of 1 the replacement",
        "<code>shipped:detector</code>, trained longer and on general English, in 1.",
        "was correct at 1.",
        "8.0 times as fast",
        "7.1 to 9.2",
        "1.3 MB",
        "16.8 points above TF-IDF</b> (95% interval of the difference: 12.0 to 21.3)",
        "does not win yet",
        "It has read 3.0 million tokens. ELECTRA-Small read 16 billion, BERT read 131 billion: 5,461 times as many",
        "from their frequencies alone has a loss of 6.25, and the generator is at 5.10",
        "after 64 labelled ones; TF-IDF 51.6%",
        "The loss goes from 7.95 to 6.00; a uniform guess would be 8.3.",
        "loss goes from 7.80 to 6.00 on held-out text",
    ):
        assert shown in text, shown
    # Curves of two phases, the accuracies, size and latency; a figure has a caption.
    assert page.count("<svg") == 4 + 1 + 2 and page.count("<figcaption>") == page.count("<figure>") == 4 + 2 + 1 + 1


def test_what_was_not_done_is_not_shown() -> None:
    """An artifact that could not be built says why, as do film reviews; a first phase that was not run has no curve."""
    found = {"about": ABOUT, **FOUND, "build": {"seconds": 0.1, "left_out": "needs <onnx>"}, "films": {"seconds": 0.1, "left_out": "no <hub>"}}
    page = report.render(found, LINES)
    assert "Left out: needs &lt;onnx&gt;" in page and "was left out: no &lt;hub&gt;" in page and page.count("<svg") == 3 + 1
    assert "demo/fine-tuned/encoder-reviews-2262-1" in page
    found["detect"] = {**FOUND["detect"], "bundled": []}
    found["sentiment"] = {key: value for key, value in FOUND["sentiment"].items() if key != "classifier"}
    page = report.render(found, LINES)
    assert "shipped:detector" not in page and "shipped:sentiment" not in page
    without_build = {name: step for name, step in found.items() if name != "build"}
    assert "Deployment" not in report.render(without_build, LINES)


def test_the_last_line_says_what_was_learned() -> None:
    scores = FOUND["sentiment"]
    figures = "TF-IDF 52%, the model pre-trained here 52%, random weights 50%"
    assert report.learned(scores) == f"with 64 labelled reviews: bundled encoder 68%, {figures}"
    assert report.learned({**scores, "encoder": "runs/public"}) == f"with 64 labelled reviews: public 68%, {figures}"


@pytest.mark.parametrize(("text", "word", "other"), run.PAIRS)
def test_the_exchanged_word_is_found_though_others_are_like_it(text: str, word: str, other: str) -> None:
    """'the' is replaced after another 'the': its own position counts."""
    changed = text.replace(word, other, 1)
    place = text.find(word)
    assert report.replaced_word({"original": {"text": text}, "changed": {"text": changed}, "word": other}) == (place, word, other)
    tokens = [{"start": i, "end": i + 1, "probability": 0.9 if place <= i < place + len(other) else 0.1} for i in range(len(changed))]
    assert report.suspicion({"tokens": tokens}, place, other) == 0.9
    assert report.suspicion({"tokens": tokens}, place - 2, "x") == 0.1


def test_pictures_are_well_formed_and_take_the_colours_of_the_page() -> None:
    named = [("a & b", [(0.0, 1.0), (20.0, 3.0)]), ("held out", [(5.0, 2.0)])]
    drawn = report.curves_picture("loss < 1", named, (0.5, "chance"))
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == "loss < 1"
    text = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a & b", "held out", "chance", "steps"} <= text
    assert all(f"var(--{name})" in drawn for name in ("ink", "soft", "line", "one", "two"))
    # Nothing in matplotlib's own black or a placeholder of ours, which the dark page would not change.
    assert not re.search(r"(fill|stroke): ?#(000000|0\d0\d0\d)", drawn)
    # Two pictures on a page share no name.
    other = report.bars_picture("size", ["a", "b"], [4.0, 1.0], "{:g}")
    ids = [re.findall(r'\bid="([^"]+)"', each) for each in (drawn, other)]
    assert ids[0] and ids[1] and not set(ids[0]) & set(ids[1])


def test_curves_leave_out_what_is_not_a_number() -> None:
    lines = [{"kind": "train", "step": step, "loss": value} for step, value in ((1, 2.0), (2, math.nan), (3, 1.0))]
    assert report.curves(lines, "loss") == [("training", [(1, 2.0), (3, 1.0)])]
    assert report.curves([{"kind": "train", "step": 1}], "loss") == [] and report.pretraining_charts([], 6.0) == {}
