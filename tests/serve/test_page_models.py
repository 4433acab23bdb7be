"""What the page says of the loaded models: their names, how many are compared and by which commands, several labels at once, unknown words."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from built_models import checkpoint
from page_server import MEASURED, MODELS, PageServer
from page_visit import Visit, browser, server, shared_server, texts, until
from served_models import in_thread
from test_cli import parse

from electra.inference.predictor import load

__all__ = ["browser", "server", "shared_server"]  # pytest finds fixtures by their names here
SENTIMENT = "sentiment of film review sentences: negative / positive"


def compare(browser: Any, models: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The text of the Compare tab and the commands on it."""
    server = PageServer(models).start()
    try:
        with Visit(browser, f"{server.url}#compare") as visit:
            visit.page.wait_for_selector("#compare .loaded")
            assert not visit.complaints
            return visit.page.inner_text("#compare"), [" ".join(line.split()) for line in texts(visit.page, "#compare pre code")]
    finally:
        server.stop()


# ---- names ----


def test_a_model_is_shown_by_what_it_does(browser: Any, server: PageServer) -> None:
    with Visit(browser, f"{server.url}#classify") as visit:
        page = visit.page
        page.wait_for_selector("#classify-model")
        options = texts(page, "#classify-model option")
        assert options == [
            f"{SENTIMENT} (ELECTRA\u00a04\u00a0x\u00a0192, float32, PyTorch)", f"{SENTIMENT} (ELECTRA\u00a04\u00a0x\u00a0192, int8, ONNX Runtime)"
        ], "two of one title have different names"  # fmt: skip
        page.select_option("#classify-model", "sst2-int8")
        facts = page.inner_text("#classify .facts").replace("\u00a0", " ")
        wanted = ("from sst2-int8.zip, built from sst2/best", "ELECTRA 4 x 192, int8, ONNX Runtime", "reads the first 128 tokens", "models/sst2-int8")
        assert facts == f"{' · '.join(wanted[:3])} · for programs: {wanted[3]}"
        page.click("#tab-detect")
        assert page.inner_text("#detect .model-name") == "detector of replaced tokens + generator"
        assert "reads all, 128 tokens at a time" in page.inner_text("#detect .facts")


def test_equal_models_keep_names_apart(browser: Any) -> None:
    models = [{**MODELS[3], "name": name} for name in ("best", "final")]
    server = PageServer(models).start()
    with Visit(browser, f"{server.url}#tag") as visit:
        visit.page.wait_for_selector("#tag-model")
        assert texts(visit.page, "#tag-model option") == [f"named entities: LOC, PER, 3 tags ({name})" for name in ("best", "final")]
    server.stop()


# ---- Compare ----


@pytest.mark.parametrize(
    ("rows", "loaded", "words"),
    [
        (MEASURED, 1, "1 model is loaded; 3 are compared, by figures"),
        (MEASURED, 2, "2 models are loaded; 3 are compared, by figures"),
        (MEASURED[:1], 1, "1 model is loaded; 1 is measured, by figures"),
        ([MEASURED[0], {**MEASURED[1], "error": "failed"}], 1, "1 model is loaded; 1 is measured, by figures"),
        ([], 1, "1 model is loaded; nothing is measured yet."),
        ([], 2, "2 models are loaded; nothing is measured yet."),
    ],
)
def test_the_comparison_counts_what_is_loaded(browser: Any, rows: list[Any], loaded: int, words: str) -> None:
    text, commands = compare(browser, [{**MODELS[1], "name": f"m{number}", "measured": rows} for number in range(loaded)])
    assert words in text and text.count("for programs: models/m") == loaded
    assert bool(commands) == (len(rows) < 3)


def test_best_is_never_said_of_a_figure(browser: Any) -> None:
    """A row named after the folder of a run is shown as what it is; the first of a measure is the fastest, the smallest, ..."""
    rows = [{**MEASURED[0], "name": "best"}, {**MEASURED[1], "name": "final [py3.12]"}, MEASURED[2]]
    server = PageServer([{**MODELS[1], "measured": rows}]).start()
    with Visit(browser, f"{server.url}#compare") as visit:
        page = visit.page
        page.wait_for_selector("#compare .chart-rows li")
        assert texts(page, "#compare .chart-name") == ["checkpoint", "onnx-int8 [py3.12]", "openvino"]
        said = set()
        for choice in page.locator("#compare .choice input").all():
            choice.check(force=True)
            said |= set(texts(page, "#compare .tag"))
            # The run's folder is in the name of its source alone.
            assert "best" not in re.sub(r"from sst2/best", "", page.inner_text("#compare")).lower()
        assert said == {"fastest", "smallest", "least memory", "first to be ready"}
    server.stop()


def test_speeds_of_hundreds_are_written_out(browser: Any) -> None:
    rows = [MEASURED[0], {**MEASURED[1], "latency": {**MEASURED[1]["latency"], "speedup": 332.7}}]
    text, _ = compare(browser, [{**MODELS[1], "measured": rows}])
    assert "333× as fast" in text and "e+" not in text


SHIPPED = {**MODELS[2], "name": "sentiment", "source": "shipped:sentiment", "built_from": None, "measured": []}
BARE = {**MODELS[1], "measured": []}


@pytest.mark.parametrize(
    ("models", "commands"),
    [
        (
            [BARE],
            [
                "electra build sst2/best --target onnx-int8 --output sst2-int8",
                "electra compare sst2/best sst2-int8 --data DATA --keep",
                "electra serve sst2/best sst2-int8",
            ],
        ),
        ([SHIPPED], ["electra compare shipped:sentiment OTHER --data DATA --keep", "electra serve shipped:sentiment OTHER"]),
        (
            [BARE, {**MODELS[2], "measured": []}, MODELS[0]],
            ["electra compare sst2/best sst2-int8.zip --data DATA --keep", "electra serve sst2/best sst2-int8.zip"],
        ),
        (
            [{**MODELS[4], "target": "onnx"}],
            ["electra compare squad/best OTHER --data DATA --task squad --keep", "electra serve squad/best OTHER"],
        ),
        ([MODELS[0]], []),
    ],
)
def test_the_comparison_names_the_commands(browser: Any, models: list[dict[str, Any]], commands: list[str]) -> None:
    text, found = compare(browser, models)
    assert found == commands
    for line in found:
        parse(shlex.split(line)[1:])
    assert ("OTHER is an artifact of yours" in text) == ("OTHER" in str(commands)) and ("classifiers, token classifiers" in text) == (not commands)


# ---- several labels at once ----


SCORES = {"food": 0.91, "music": 0.62, "weather": 0.5}


class LabelServer(PageServer):
    def predict(self, inputs: Any, body: dict[str, Any]) -> Any:
        scores = SCORES if "party" in inputs else dict.fromkeys(SCORES, 0.31)
        return [{"label": label, "score": score} for label, score in scores.items()]


def test_all_labels_above_the_threshold_are_the_headline(browser: Any) -> None:
    labels = {"labels": list(SCORES), "label_meanings": {}, "multi_label": True, "task": None}
    server = LabelServer([{**BARE, **labels}]).start()
    with Visit(browser, f"{server.url}#classify") as visit:
        page = visit.page
        page.fill("#classify-text", "a party")
        page.wait_for_selector("#classify .bar")
        assert page.inner_text("#classify h3") == "food, 91 %; music, 62 %", "0.5 itself is not above 0.5"
        assert texts(page, "#classify .bar.best .bar-name") == ["food", "music"]
        page.fill("#classify-text", "nothing")
        until(page, "document.querySelector('#classify h3').textContent === 'None above 0.5'")
        assert page.locator("#classify .bar.best").count() == 0 and page.locator("#classify .bar").count() == 3
        until(page, "document.querySelector('#classify .spoken').textContent === 'None above 0.5'")
        assert not visit.complaints
    server.stop()


def test_the_headline_of_a_real_model_is_what_predict_says(browser: Any) -> None:
    place = checkpoint("ElectraForSequenceClassification", multilabel=True)
    model = load(place, threads=1)
    inputs = ["and old it good", "old chef again the was", "chef it"]
    with in_thread("topics", places={"topics": place}) as served, Visit(browser, f"{served.url}/#classify") as visit:
        page = visit.page
        assert page.inner_text("#classify .model-name") == "classifier, several labels at once: negative, neutral, positive"
        for text, prediction in zip(inputs, model.predict(inputs), strict=True):
            page.fill("#classify-text", text)
            bars = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
            shown = [f"{int(100 * share + 0.5)} %" for _, share in bars]
            until(page, f"[...document.querySelectorAll('#classify .bar-words')].map(n => n.textContent).join() === '{','.join(shown)}'")
            wanted = "; ".join(f"{label}, {share}" for (label, _), share in zip(bars, shown, strict=True) if label in prediction.label)
            assert page.inner_text("#classify h3") == (wanted or "None above 0.5")
        assert [len(prediction.label) for prediction in model.predict(inputs)] == [1, 2, 0]


def test_of_many_labels_the_likeliest_are_shown(browser: Any) -> None:
    class Topics(PageServer):
        def predict(self, inputs: Any, body: dict[str, Any]) -> Any:
            return [{"label": f"topic {number}", "score": (30 - number) / 465} for number in range(30)]

    server = Topics([{**BARE, "labels": [f"topic {number}" for number in range(30)], "label_meanings": {}, "task": None}]).start()
    with Visit(browser, f"{server.url}#classify") as visit:
        page = visit.page
        page.fill("#classify-text", "a text")
        page.wait_for_selector("#classify .bar")
        shown = "[...document.querySelectorAll('#classify .bar')].filter(n => n.checkVisibility()).length"
        assert page.evaluate(shown) == 12
        page.click("#classify .result summary")
        assert page.evaluate(shown) == 30 and page.inner_text("#classify .result summary") == "The other 18 labels"
    server.stop()


# ---- texts that a model does not know ----


def test_words_that_the_vocabulary_lacks_are_reported(browser: Any) -> None:
    with in_thread("sentiment", places={"sentiment": "shipped:sentiment"}) as served, Visit(browser, f"{served.url}/#classify") as visit:  # type: ignore[dict-item]
        page = visit.page
        page.fill("#classify-text", "这部电影太棒了")
        page.wait_for_selector("#classify .result .notice")
        assert page.inner_text("#classify .result .notice").startswith("5 of 7 tokens are not in this model's vocabulary")
        page.fill("#classify-text", "a wonderful film")
        page.wait_for_selector("#classify .result .notice", state="detached")
        assert not visit.complaints


@pytest.mark.parametrize(("text", "words"), [("\u200b", "There is no token in this text"), ("rain", "The only token is judged original")])
def test_a_text_of_one_token_or_none(browser: Any, text: str, words: str) -> None:
    with in_thread("discriminator") as served, Visit(browser, served.url + "/") as visit:
        page = visit.page
        page.fill("#detect-text", text)
        page.wait_for_selector("#detect .took")
        page.click("#detect summary >> nth=0")
        page.fill("#detect-threshold", "95")
        until(page, f"document.querySelector('#detect h3').textContent === '{words}'")
        assert not visit.complaints


def test_a_text_from_the_right_is_written_from_the_right(browser: Any, server: PageServer) -> None:
    with Visit(browser, server.url) as visit:
        page = visit.page
        page.fill("#detect-text", "هذا ate جدا")
        page.wait_for_selector("#detect .token.fake")
        for selector in ("#detect-text", "#detect .tokens"):
            assert page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).direction") == "rtl"
        assert page.evaluate("getComputedStyle(document.querySelector('#detect .number')).direction") == "ltr"
