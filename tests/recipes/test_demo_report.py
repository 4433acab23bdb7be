"""The demo's page: it stands alone, shows what was found and nothing else, and its pictures place values where they belong."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest

from electra.recipes.demo import report, run

TOKENS = [
    {"token": "a", "start": 0, "end": 1, "probability": 0.1, "replaced": False},
    {"token": "<b>", "start": 2, "end": 5, "probability": 0.9, "replaced": True},
]
DETECTION = {"text": "a <b>", "tokens": TOKENS}
BEFORE = {"text": "a cat", "tokens": [TOKENS[0], {"token": "cat", "start": 2, "end": 5, "probability": 0.2, "replaced": False}]}
REPLACEMENT = {
    "index": 1,
    "original": "x", "proposals": [{"token": "y", "probability": 0.5}], "sampled": "y", "verdict": True, "changed": True, "probability": 0.8,
}  # fmt: skip
FOUND: dict[str, dict[str, Any]] = {
    "collect": {
        "seconds": 9.0, "size_bytes": 12_345_678, "num_documents": 5000, "num_sentences": 160000, "num_duplicates": 60000,
        "samples": ["One & <two>."],
    },
    "vocab": {"seconds": 5.0, "size": 4096, "examples": [("a film", ["a", "film"])], "commands": ['electra vocab "a b.txt"']},
    "prepare": {"seconds": 4.0, "train_tokens": 3000000, "held_out_tokens": 30000},
    "pretrain": {"seconds": 200.0, "steps": 2000, "tokens": 3000000, "train_seconds": 190.0, "shape": "2 layers"},
    "evaluate": {"seconds": 8.0, "metrics": {"disc_auc": 0.612, "masked_lm_loss": 5.1, "disc_loss": 0.4}},
    "detect": {
        "seconds": 3.0,
        "pairs": [{"original": BEFORE, "changed": DETECTION, "word": "<b>"}],
        "corruption": {
            "masked": "a [MASK]",
            "replacements": [REPLACEMENT],
            "corrupted": DETECTION,
        },
    },
    "sentiment": {
        "seconds": 60.0, "pretrained": 0.684, "random": 0.6, "tfidf": 0.7056, "majority": 0.5, "num_train": 2262, "num_dev": 316, "epochs": 8.0,
        "source": "reviews", "data": "x",
    },
    "predict": {"seconds": 2.0, "answers": [{"text": "<script>alert(1)</script>", "label": "1", "probability": 0.7, "expected": "0"}]},
    "build": {
        "seconds": 9.0,
        "rows": [
            {"name": "checkpoint", "size_bytes": 3_900_000, "p50_ms": 2.0, "speedup": [], "accuracy": 0.684, "agreement": None,
             "load_seconds": 2.0},
            {"name": "built", "size_bytes": 1_300_000, "p50_ms": 0.25, "speedup": [8.0, 7.1, 9.2], "accuracy": 0.681, "agreement": 0.997,
             "load_seconds": 0.2},
        ],
    },
}  # fmt: skip
LINES = [
    {
        "kind": kind,
        "step": step,
        "tokens": step * 100,
        "seconds": step / 10,
        "masked_lm_loss": 8 - step / 1000,
        "disc_loss": 0.4,
        "disc_auc": 0.5 + step / 9000,
    }
    for step in range(50, 2001, 50)
    for kind in (("train", "evaluation") if step % 200 == 0 else ("train",))
]
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


def test_the_page_stands_alone_and_shows_what_was_found() -> None:
    page = report.render({"about": ABOUT, **FOUND}, LINES, [line for line in LINES if line["kind"] == "train"])
    reader = _Balance()
    reader.feed(page)
    assert reader.open == [] and reader.fetched == []
    assert not {"script", "link", "img", "iframe"} & reader.names and "url(" not in page and "@import" not in page
    for shown in ("12.3 MB", "0.612", "68.4%", "70.6", "60.0", "5 min 00 s", "2,262", "reviews", "&lt;script&gt;", "One &amp; &lt;two&gt;."):
        assert shown in page, shown
    for shown in (
        "cat \N{RIGHTWARDS ARROW} &lt;b&gt;",
        "0.20 became 0.90",
        "in 1 of 1 the second",
        "judged 1 rightly",
        "8.0 times as fast",
        "7.1 to 9.2",
        "1.3 MB",
    ):
        assert shown in page, shown
    # Two stages' curves, the exchanged words, the scores, size and time; each picture has its sentence.
    assert page.count("<svg") == 4 + 1 + 1 + 2 and page.count("<figcaption>") == page.count("<figure>") == 4 + 3 + 1 + 1


def test_what_was_not_done_is_not_shown() -> None:
    """An artefact that could not be built says why; a first stage that was not run has no curve; a shipped model has a row where there is one."""
    found = {"about": ABOUT, **FOUND, "build": {"seconds": 0.1, "left_out": "needs <onnx>"}}
    page = report.render(found, LINES)
    assert "Left out: needs &lt;onnx&gt;" in page and page.count("<svg") == 3 + 1 + 1 and "own model" not in page
    found["sentiment"] = {**FOUND["sentiment"], "shipped": 0.81, "classifier": 0.79, "answers": "sentiment-shipped"}
    page = report.render(found, LINES)
    assert "own model, fine-tuned" in page and ">81.0<" in page and "demo/sentiment-shipped/best" in page
    assert "81.0%" in page and "the model that comes with electra" in page
    assert "own classifier, as it comes" in page and ">79.0<" in page and "shipped:sentiment" in page


@pytest.mark.parametrize(("text", "word", "other"), run.PAIRS)
def test_the_exchanged_word_is_found_though_others_are_like_it(text: str, word: str, other: str) -> None:
    """'the' put where another 'the' stands before it: its own place counts."""
    changed = text.replace(word, other, 1)
    place = text.find(word)
    assert report.exchanged({"original": {"text": text}, "changed": {"text": changed}, "word": other}) == (place, word, other)
    tokens = [{"start": i, "end": i + 1, "probability": 0.9 if place <= i < place + len(other) else 0.1} for i in range(len(changed))]
    assert report.suspicion({"tokens": tokens}, place, other) == 0.9
    assert report.suspicion({"tokens": tokens}, place - 2, "x") == 0.1


def test_pictures_place_values_on_their_lines() -> None:
    drawn = ElementTree.fromstring(report.dots([("a & b", 0.6, False), ("ours", 0.8, True)], 0.02, (0.5, "chance"), 0.4))
    left, right = (float(rect.get("x", "")) + 5 for rect in drawn.iter("rect"))
    assert left == pytest.approx(250 + 430 / 3, abs=0.1) and right == pytest.approx(250 + 2 * 430 / 3, abs=0.1)
    drawn = ElementTree.fromstring(report.bars("size", [("a", 4.0, "4"), ("b", 1.0, "1")]))
    assert [float(rect.get("width", "")) for rect in drawn.iter("rect")] == [250.0, 62.5]
    drawn = ElementTree.fromstring(report.pairs([("was", 0.25, "is", 0.75)]))
    first, second = (float(rect.get("x", "")) + 6 for rect in drawn.iter("rect"))
    assert (first, second) == (250 + 430 / 4, 250 + 3 * 430 / 4)
    assert report.bars("none", []).startswith("<svg")


def test_a_chart_is_well_formed_and_survives_odd_values() -> None:
    drawn = report.chart("loss < 1", [("a", [(0, 1.0), (10, float("nan")), (20, 3.0)]), ("b", [(5, 2.0)])], (0.5, "chance"))
    root = ElementTree.fromstring(drawn)
    lines = [element.get("points", "").split() for element in root.iter("polyline")]
    assert [len(line) for line in lines] == [2, 1]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in lines[0])
    assert x0 < x1 and y0 > y1  # three is drawn above one
    assert report.chart("empty", [("a", [])]) == ""
    assert "polyline" in report.chart("flat", [("a", [(1, 2.0), (2, 2.0)])])
