"""electra evaluate --report and --predictions: scores equal to scikit-learn's, the calibration error to a computation of its own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import checkpoints, oracle

from electra import cli
from electra.contracts import Answer, Example, Features, Head, Prediction
from electra.tasks import error_report
from electra.tasks.custom import OWN
from electra.tasks.evaluate import Assessment, answer_rows
from electra.tasks.metrics import reliability

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
sk = pytest.importorskip("sklearn.metrics")
LABELS = ("negative", "neutral", "positive")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty texts of one to twelve words, their labels unrelated to what a random network answers."""
    rng, words = np.random.default_rng(4), "the chef cooked a meal and it was good again".split()
    rows = ["review,stars"]
    for i in range(60):
        rows.append(f"{' '.join(rng.choice(words, size=1 + i % 12))},{LABELS[int(rng.integers(3))]}")
    path = tmp_path_factory.mktemp("table") / "new.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def written(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    words = ["evaluate", str(checkpoints()["classifier"]), "--task", "own", "--data", str(table), "--text", "review", "--label", "stars"]
    assert cli.main([*words, "--report", str(root / "report"), "--predictions", str(root / "out.jsonl"), "--json"]) == 0
    return root


def _rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "out.jsonl").read_text().splitlines()]


def _values(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "report" / "report.json").read_text())
    return found


def test_predictions_are_transformers(written: Path, table: Path) -> None:
    texts = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    model = oracle("ElectraForSequenceClassification", "classifier")
    for i, (row, text) in enumerate(zip(_rows(written), texts, strict=True)):
        logits = model.logits(text).astype(np.float64)
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert row["id"] == f"dev-{i}" and row["prediction"] == LABELS[int(p.argmax())] and row["probability"] == pytest.approx(p.max(), abs=1e-5)
        assert list(row["probabilities"].values()) == pytest.approx(p.tolist(), abs=1e-5) and list(row["probabilities"]) == list(LABELS)


def test_scores_are_scikit_learns(written: Path) -> None:
    rows, values = _rows(written), _values(written)
    gold, predicted = [row["label"] for row in rows], [row["prediction"] for row in rows]
    assert values["confusion"]["counts"] == sk.confusion_matrix(gold, predicted, labels=LABELS).tolist()
    expected = sk.classification_report(gold, predicted, labels=LABELS, output_dict=True, zero_division=0.0)
    for row in values["classes"]:
        theirs = expected[row["label"]]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((theirs["precision"], theirs["recall"], theirs["f1-score"]))
        assert row["support"] == theirs["support"]
    assert values["scores"] == pytest.approx(
        {"accuracy": sk.accuracy_score(gold, predicted), "macro_f1": sk.f1_score(gold, predicted, average="macro")}
    )


def _calibration_error(probabilities: list[float], right: list[bool]) -> float:
    """Example by example, in words: for each bin (k/15, (k+1)/15], its share times |share right - mean probability|."""
    error = 0.0
    for k in range(15):
        inside = [(p, r) for p, r in zip(probabilities, right, strict=True) if k / 15 < p <= (k + 1) / 15]
        if inside:
            sure, correct = sum(p for p, _ in inside) / len(inside), sum(r for _, r in inside) / len(inside)
            error += len(inside) / len(probabilities) * abs(correct - sure)
    return error


def test_calibration_equals_an_independent_computation(written: Path) -> None:
    rows = _rows(written)
    right = [row["label"] == row["prediction"] for row in rows]
    found = _values(written)["calibration"]
    assert found["expected_calibration_error"] == pytest.approx(_calibration_error([row["probability"] for row in rows], right))
    assert sum(row["count"] for row in found["bins"]) == 60
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 500).tolist()
    right = (rng.random(500) < 0.8).tolist()
    assert reliability(p, right)["expected_calibration_error"] == pytest.approx(_calibration_error(p, right))
    # Right as often as its probabilities claim: calibrated up to chance. Always sure and always wrong: as bad as can be.
    honest = rng.uniform(0.0, 1.0, 200_000)
    assert reliability(honest.tolist(), (rng.random(200_000) < honest).tolist())["expected_calibration_error"] < 0.01
    assert reliability([1.0, 1.0], [False, False])["expected_calibration_error"] == 1.0


def test_slices_and_errors(written: Path) -> None:
    rows, values = _rows(written), _values(written)
    assert sum(part["num_examples"] for part in values["slices"]) == 60 and len(values["slices"]) == 4
    mean = sum(part["num_examples"] * part["scores"]["accuracy"] for part in values["slices"]) / 60
    assert mean == pytest.approx(values["scores"]["accuracy"])
    ends = [(part["from_tokens"], part["to_tokens"]) for part in values["slices"]]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(ends))
    wrong = sorted((row for row in rows if row["label"] != row["prediction"]), key=lambda row: -row["probability"])
    assert [row["id"] for row in values["errors"]] == [row["id"] for row in wrong[:20]]
    text = (written / "report" / "report.md").read_text()
    assert wrong[0]["id"] in text and "Expected calibration error" in text
    for name in ("confusion.png", "calibration.png"):
        assert (written / "report" / name).read_bytes().startswith(b"\x89PNG") and f"({name})" in text


def test_a_regression_on_a_file(tmp_path: Path) -> None:
    rows = ["text\tlabel", *(f"the meal {'was good ' * (i % 5)}\t{i % 7}.5" for i in range(20))]
    (tmp_path / "new.tsv").write_text("\n".join(rows) + "\n")
    words = ["evaluate", str(checkpoints()["regression"]), "--task", "own", "--data", str(tmp_path / "new.tsv"), "--json"]
    assert cli.main([*words, "--report", str(tmp_path / "report"), "--predictions", str(tmp_path / "out.jsonl")]) == 0
    found, values = _rows(tmp_path), _values(tmp_path)
    gold, predicted = [row["label"] for row in found], [row["prediction"] for row in found]
    assert values["scores"]["pearson"] == pytest.approx(np.corrcoef(gold, predicted)[0, 1]) and "calibration" not in values
    off = sorted(found, key=lambda row: -abs(row["label"] - row["prediction"]))
    assert values["errors"][0]["id"] == off[0]["id"] and (tmp_path / "report" / "scatter.png").exists() and "probability" not in found[0]


def _score(examples: Any, predictions: Any, head: Head) -> dict[str, float]:
    return {"exact": sum(set(_tuple(e)) == set(_tuple(p)) for e, p in zip(examples, predictions, strict=True)) / len(examples)}


def _tuple(item: Any) -> tuple[str, ...]:
    answers = getattr(item, "answers", None)
    return (answers[0].text,) if answers else item.label if isinstance(item.label, tuple) else (item.label,)


def test_other_kinds_of_label() -> None:
    """Several labels at once, and answers to questions: what has no confusions still has scores, slices and errors."""
    import dataclasses

    task = dataclasses.replace(OWN, score=_score, main_metric="exact")
    features = [Features(ids=[1, 2, 3], segments=[0, 0, 0], example=i) for i in range(3)]
    examples = [Example(id=f"dev-{i}", text="a", label=label) for i, label in enumerate([("x", "y"), (), ("y",)])]
    answers = [Prediction(label=("x",)), Prediction(label=()), Prediction(label=("y", "x"))]
    head = Head(kind="multilabel", labels=("x", "y"))
    values = error_report.measure(Assessment(task=task, head=head, examples=examples, features=features, predictions=answers))
    table = np.array([[1, 1], [0, 0], [0, 1]]), np.array([[1, 0], [0, 0], [1, 1]])
    assert [row["f1"] for row in values["classes"]] == pytest.approx(sk.f1_score(*table, average=None).tolist())
    assert [row["id"] for row in values["errors"]] == ["dev-0", "dev-2"] and "| x y |" in error_report.to_markdown({"model": "m", **values})
    tagged = [Example(id=f"dev-{i}", text="a b", words=("a", "b"), label=tags) for i, tags in enumerate([("O", "O"), ("B-X", "O")])]
    predicted = [Prediction(label=("O", "O")), Prediction(label=("O", "O"))]
    nothing = dataclasses.replace(task, score=lambda *_: {"exact": 0.0})  # as F1 is where nothing is wanted and nothing found
    head = Head(kind="tagging", labels=("B-X", "O"))
    found = Assessment(task=nothing, head=head, examples=tagged, features=features[:2], predictions=predicted)
    assert [row["id"] for row in error_report.worst_errors(found)] == ["dev-1"]
    questions = [Example(id="q", text="who?", text_pair="the chef", answers=(Answer("the chef", 0),))]
    found = Assessment(task=task, head=Head(kind="span"), examples=questions, features=features[:1], predictions=[Prediction(label="chef")])
    assert error_report.measure(found)["errors"][0]["label"] == ["the chef"] and answer_rows(found)[0] == {
        "id": "q",
        "label": ["the chef"],
        "prediction": "chef",
    }


def test_a_file_in_the_layout_of_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import transformers

    labels = {"id2label": {0: "0", 1: "1"}, "label2id": {"0": 0, "1": 1}}
    shape = transformers.ElectraConfig.from_pretrained(checkpoints()["classifier"], **labels)
    transformers.ElectraForSequenceClassification(shape).save_pretrained(tmp_path / "model")
    from electra.data.tokenizer import load_tokenizer

    load_tokenizer(checkpoints()["classifier"]).save(tmp_path / "model")
    (tmp_path / "test.tsv").write_text("sentence\tlabel\ngood film\t1\nbad film\t0\n")
    words = ["evaluate", str(tmp_path / "model"), "--task", "sst2", "--json", "--data"]
    assert cli.main([*words, str(tmp_path / "test.tsv")]) == 0
    by_file = json.loads(capsys.readouterr().out)
    assert cli.main([*words, str(tmp_path), "--split", "test"]) == 0
    assert json.loads(capsys.readouterr().out) == by_file


def test_labels_are_no_formulas(tmp_path: Path) -> None:
    error_report.draw_confusion({"counts": [[1, 2], [0, 3]], "labels": ["$50_$100", "<$50"]}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
