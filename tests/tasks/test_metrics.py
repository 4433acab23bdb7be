"""Scores against formulas written out here (the code uses scikit-learn and scipy) and against known values."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from electra.contracts import Example, Head, Prediction
from electra.errors import UserError
from electra.tasks import metrics


def _table(gold: list[str], predicted: list[str]) -> tuple[int, int, int, int]:
    pairs = list(zip(gold, predicted, strict=True))
    return tuple(pairs.count(cell) for cell in (("1", "1"), ("0", "1"), ("1", "0"), ("0", "0")))  # type: ignore[return-value]


@pytest.fixture
def answers() -> tuple[list[str], list[str]]:
    rng = random.Random(3)
    gold = [rng.choice("01") for _ in range(200)]
    return gold, [g if rng.random() < 0.7 else rng.choice("01") for g in gold]


def test_binary_scores_equal_their_definitions(answers: tuple[list[str], list[str]]) -> None:
    gold, predicted = answers
    tp, fp, fn, tn = _table(gold, predicted)
    assert metrics.accuracy(gold, predicted) == pytest.approx((tp + tn) / 200)
    assert metrics.f1(gold, predicted, "1") == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert metrics.f1(gold, predicted, "0") == pytest.approx(2 * tn / (2 * tn + fp + fn))
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert metrics.matthews(gold, predicted) == pytest.approx((tp * tn - fp * fn) / root)
    assert metrics.macro_f1(gold, predicted) == pytest.approx((metrics.f1(gold, predicted, "1") + metrics.f1(gold, predicted, "0")) / 2)


def test_correlations_equal_numpy() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 26, 300) / 5  # many ties
    b = a + rng.normal(size=300)
    assert metrics.pearson(a.tolist(), b.tolist()) == pytest.approx(np.corrcoef(a, b)[0, 1])

    def ranks(values: np.ndarray) -> np.ndarray:
        return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])

    assert metrics.spearman(a.tolist(), b.tolist()) == pytest.approx(np.corrcoef(ranks(a), ranks(b))[0, 1])


def test_a_constant_answer_scores_zero() -> None:
    assert metrics.pearson([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == 0.0
    assert metrics.spearman([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == 0.0
    assert metrics.matthews(["0", "1", "1"], ["1", "1", "1"]) == 0.0
    assert metrics.f1(["0", "0"], ["0", "0"], "1") == 0.0


def test_mean_and_sd() -> None:
    assert metrics.mean_and_sd([0.9, 0.8, 0.7]) == (pytest.approx(0.8), pytest.approx(0.1))
    assert metrics.mean_and_sd([0.5]) == (0.5, None)


def test_scores_of_tasks_have_glues_names() -> None:
    head = Head(kind="classification", labels=("0", "1"))
    examples = [Example(id=str(i), text="", label=label) for i, label in enumerate("0110")]
    predictions = [Prediction(label=label) for label in "0100"]
    assert metrics.score_paraphrase(examples, predictions, head) == {
        "accuracy": 0.75,
        "f1": pytest.approx(2 / 3),
        "glue_score": pytest.approx((0.75 + 2 / 3) / 2),
    }
    assert set(metrics.score_matthews(examples, predictions, head)) == {"matthews", "accuracy"}
    numbers = [Example(id=str(i), text="", label=float(i)) for i in range(4)]
    scores = metrics.score_similarity(numbers, [Prediction(label=2.0 * i) for i in range(4)], Head(kind="regression"))
    assert scores == {"pearson": pytest.approx(1), "spearman": pytest.approx(1), "glue_score": pytest.approx(1)}


def test_a_split_without_labels_cannot_be_scored() -> None:
    with pytest.raises(UserError, match="no labels"):
        metrics.score_accuracy([Example(id="0", text="")], [Prediction(label="1")], Head(kind="classification", labels=("0", "1")))


def test_every_score_is_scikit_learns_and_scipys() -> None:
    sk, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    rng = random.Random(9)
    for count in (2, 3, 5):
        names = [f"c{i}" for i in range(count)]
        gold = [rng.choice(names) for _ in range(150)]
        predicted = [g if rng.random() < 0.6 else rng.choice([*names, "other"]) for g in gold]
        assert metrics.accuracy(gold, predicted) == pytest.approx(sk.accuracy_score(gold, predicted))
        assert metrics.f1(gold, predicted, "c1") == pytest.approx(sk.f1_score(gold, predicted, labels=["c1"], average="macro", zero_division=0.0))
        assert metrics.macro_f1(gold, predicted) == pytest.approx(sk.f1_score(gold, predicted, average="macro", zero_division=0.0))
        assert metrics.matthews(gold, predicted) == pytest.approx(sk.matthews_corrcoef(gold, predicted))
        assert metrics.confusion(gold, predicted, names).tolist() == sk.confusion_matrix(gold, predicted, labels=names).tolist()
    a = [rng.randrange(20) / 4 for _ in range(200)]
    b = [value + rng.gauss(0, 1) for value in a]
    assert metrics.pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert metrics.spearman(a, [round(value) for value in b]) == pytest.approx(stats.spearmanr(a, [round(value) for value in b]).statistic)
    assert metrics.pearson(a, [2 * value + 1 for value in a]) == pytest.approx(1.0) and metrics.pearson(a, [-value for value in a]) == pytest.approx(
        -1
    )
