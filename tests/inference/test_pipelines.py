"""The scores of other people's classifiers, for every `problem_type` and number of outputs: those of the pipeline of `transformers`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conformance import case
from served_models import Served, call, in_thread
from tiny_models import SHAPE, TEXTS, checkpoints, vocabulary

from electra import cli
from electra.data.tokenizer import load_tokenizer
from electra.exporting.targets import build_artifact
from electra.inference.pipelines import pipeline

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SHORT = [text for text in TEXTS if len(text) < 60]
PLACES = ("predict", "build", "Python", "HTTP")


def one(outputs: int, problem: str | None, form: str) -> Any:
    return case(outputs, problem, form=form, where=PLACES, outcome="exact")


CASES = [
    one(1, None, "one output without problem_type (cross-encoder)"),
    one(1, "regression", "one output, problem_type regression"),
    one(1, "multi_label_classification", "one output, problem_type multi_label_classification"),
    one(3, None, "three outputs without problem_type"),
    one(3, "single_label_classification", "problem_type single_label_classification"),
    one(3, "multi_label_classification", "problem_type multi_label_classification"),
    one(3, "regression", "three outputs, problem_type regression"),
]


def classifier(folder: Path, outputs: int, problem: str | None) -> Path:
    torch.manual_seed(11)
    config = transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE, num_labels=outputs, problem_type=problem)
    transformers.ElectraForSequenceClassification(config).eval().save_pretrained(folder)
    load_tokenizer(checkpoints()["vocab"]).save(folder)
    return folder


def as_table(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["label"]: row["score"] for row in rows}


@pytest.mark.parametrize(("outputs", "problem"), CASES)
def test_scores_are_those_of_transformers(outputs: int, problem: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pipeline, HTTP, an artifact and `electra predict`; a pair of texts too."""
    folder = classifier(tmp_path / "m", outputs, problem)
    theirs = transformers.pipeline("text-classification", model=str(folder), top_k=None)
    expected = [as_table(rows) for rows in theirs(SHORT)]
    ours = pipeline("text-classification", folder)
    for rows, table, text in zip(ours(SHORT, top_k=None), expected, SHORT, strict=True):
        assert as_table(rows) == pytest.approx(table, abs=1e-5), text
        assert rows[0]["score"] == max(row["score"] for row in rows)
    pair = as_table(theirs([{"text": "a film", "text_pair": "the chef"}])[0])
    assert as_table(ours([("a film", "the chef")], top_k=None)[0]) == pytest.approx(pair, abs=1e-5)

    build_artifact(str(folder), "onnx", tmp_path / "onnx")
    for rows, table in zip(pipeline("text-classification", tmp_path / "onnx")(SHORT, top_k=None), expected, strict=True):
        assert as_table(rows) == pytest.approx(table, abs=1e-4)

    with in_thread("m", places={"m": folder}) as served:
        assert_served(served, expected)

    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in SHORT if text))
    assert cli.main(["predict", str(folder), str(tmp_path / "texts.txt"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, table in zip(lines, [table for text, table in zip(SHORT, expected, strict=True) if text], strict=True):
        if outputs == 1 and problem != "multi_label_classification":
            assert line["label"] == pytest.approx(table["LABEL_0"], abs=1e-5)
        else:
            assert line["probabilities"] == pytest.approx(table, abs=1e-5)


def assert_served(served: Served, expected: list[dict[str, float]]) -> None:
    answers = call(served.url, "/predict", {"inputs": [[text] for text in SHORT]}).json
    for rows, table in zip(answers, expected, strict=True):
        assert as_table(rows) == pytest.approx(table, abs=1e-5)
