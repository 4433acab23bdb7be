"""Speed-ups and their noise; answers compared as the definitions say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from electra.benchmark import measure
from electra.benchmark.records import Latency, speedup
from electra.benchmark.worker import Answered
from electra.contracts import Example, Head, Prediction
from electra.tasks import significance
from electra.tasks.custom import OWN
from electra.tasks.registry import find_task


def test_speedup_is_the_ratio_of_medians_and_knows_noise() -> None:
    rng = np.random.default_rng(0)
    base = rng.lognormal(0.0, 0.3, size=(20, 10))
    ratio, (low, high) = speedup(base.tolist(), (base / 2).tolist())
    assert ratio == pytest.approx(2.0) and low == pytest.approx(2.0) and high == pytest.approx(2.0)  # the same texts in every draw
    noisy = base * rng.lognormal(0.0, 0.4, size=(20, 1))
    ratio, interval = speedup(base.tolist(), noisy.tolist())
    times = {"p50_ms": 1.0, "p90_ms": 1.0, "p99_ms": 1.0, "num_calls": 200}
    assert Latency(**times, speedup=ratio, speedup_interval=interval).within_noise  # type: ignore[arg-type]
    ratio, interval = speedup((2 * base).tolist(), noisy.tolist())
    assert not Latency(**times, speedup=ratio, speedup_interval=interval).within_noise and interval[0] < 2 < interval[1]  # type: ignore[arg-type]


# ---- answers ----


def _examples(labels: Sequence[Any]) -> list[Example]:
    return [Example(id=str(number), text="x", label=label) for number, label in enumerate(labels)]


def _predictions(labels: Sequence[Any]) -> list[Prediction]:
    return [Prediction(label=label) for label in labels]


def test_agreement_of_every_kind() -> None:
    classes = Head(kind="classification", labels=("a", "b"))
    assert measure.agreement(classes, [], _predictions(["a", "b", "a", "a"]), _predictions(["a", "a", "a", "a"])) == 0.75
    numbers = _examples([0.0, 5.0, 2.0])  # within 0.05 of each other is the same
    assert measure.agreement(Head(kind="regression"), numbers, _predictions([1.0, 2.0, 3.0]), _predictions([1.04, 2.06, 3.0])) == pytest.approx(2 / 3)
    tags = Head(kind="tagging", labels=("O", "B-X"))
    assert measure.agreement(tags, [], _predictions([("O", "B-X"), ("O",)]), _predictions([("O", "O"), ("O",)])) == pytest.approx(2 / 3)
    several = Head(kind="multilabel", labels=("a", "b"))
    assert measure.agreement(several, [], _predictions([("a", "b"), ()]), _predictions([("b", "a"), ("a",)])) == 0.5


def test_logits_are_compared_by_label_and_only_of_the_same_tokens() -> None:
    def answered(rows: list[list[float]], inputs_digest: str = "r") -> Answered:
        return Answered(predictions=[], outputs=[np.array(row, np.float32) for row in rows], inputs_digest=inputs_digest)

    one, other = Head(kind="classification", labels=("a", "b")), Head(kind="classification", labels=("b", "a"))
    assert measure.largest_difference(answered([[1, 2], [3, 4]]), one, answered([[1, 2.5], [3, 4]]), one) == 0.5
    assert measure.largest_difference(answered([[1, 2]]), one, answered([[2, 1]]), other) == 0.0
    assert measure.largest_difference(answered([[1, 2]]), one, answered([[1, 2]], "another"), one) is None
    assert measure.largest_difference(answered([[1, 2]]), one, Answered(predictions=[], inputs_digest="r"), one) is None
    # The beam of the original's head for questions comes in the order of its scores.
    beams = [np.array([[0.5, 0, 0, 0], [1, 2, -0.1, -0.2], [3, 4, -1, -1]]), np.array([[0.4, 0, 0, 0], [3, 4, -1, -1], [1, 2, -0.1, -0.5]])]
    answers = [Answered(predictions=[], outputs=[beam], inputs_digest="r") for beam in beams]
    assert measure.largest_difference(answers[0], Head(kind="span"), answers[1], Head(kind="span")) == pytest.approx(0.3)


def test_scores_and_their_intervals() -> None:
    stats, rng = pytest.importorskip("scipy.stats"), np.random.default_rng(2)
    gold = rng.normal(size=150)
    near, far = gold + rng.normal(size=150), gold + 2 * rng.normal(size=150)
    task = dataclasses.replace(OWN, main_metric="pearson")
    found = measure.score(task, Head(kind="regression"), _examples(gold.tolist()), [_predictions(near.tolist()), _predictions(far.tolist())])
    assert found[0].scores["pearson"] == pytest.approx(stats.pearsonr(gold, near).statistic)
    options: dict[str, Any] = {"paired": True, "vectorized": False, "method": "percentile", "n_resamples": 1000, "rng": 5}
    theirs = stats.bootstrap((gold, near), lambda a, b: stats.pearsonr(a, b).statistic, **options).confidence_interval
    assert found[0].interval == pytest.approx((theirs.low, theirs.high), abs=0.02) and found[0].drop_interval is None
    drop = stats.bootstrap((gold, near, far), lambda a, b, c: stats.pearsonr(a, b).statistic - stats.pearsonr(a, c).statistic, **options)
    assert found[1].drop_interval == pytest.approx(tuple(drop.confidence_interval), abs=0.03)
    classes = Head(kind="classification", labels=("0", "1"))
    (accuracy,) = measure.score(find_task("sst2"), classes, _examples(["1"] * 50), [_predictions(["1"] * 40 + ["0"] * 10)])
    assert accuracy.scores == {"accuracy": 0.8} and accuracy.interval == significance.wilson(40, 50)
