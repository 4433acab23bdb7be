"""Gold labels and predictions -> scores, as scikit-learn and scipy define them, without either: an artifact's scores need only numpy.

Every score is a fraction (0..1) or a correlation (-1..1); times a hundred they are what GLUE prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from electra.contracts import Example, Head, Prediction
from electra.errors import UserError

Score = Callable[[Sequence[Example], Sequence[Prediction], Head], dict[str, float]]


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of equal labels, 0..1."""
    return sum(one == other for one, other in zip(gold, predicted, strict=True)) / len(gold)


def f1(gold: Sequence[str], predicted: Sequence[str], positive: str) -> float:
    """F1 of the class `positive`, 0..1; 0 where that class is neither there nor predicted."""
    names = sorted({*gold, *predicted, positive})
    return float(f1_of(confusion(gold, predicted, names))[names.index(positive)])


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean F1 over the classes that occur, 0..1."""
    return float(macro_f1_of(confusion(gold, predicted, sorted({*gold, *predicted}))))


def matthews(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Matthews correlation of any number of classes, -1..1; 0 for a constant answer."""
    return float(matthews_of(confusion(gold, predicted, sorted({*gold, *predicted}))))


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(C, C) counts, gold by predicted, of `labels` in their order; answers outside of them are not counted."""
    number = {name: place for place, name in enumerate(labels)}
    pairs = [(number[g], number[p]) for g, p in zip(gold, predicted, strict=True) if g in number and p in number]
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, tuple(np.array(pairs, dtype=np.int64).reshape(-1, 2).T), 1)
    return counts


def pearson(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Pearson correlation, -1..1; 0 where one side is constant and the correlation is undefined."""
    return float(weighted_pearson(np.asarray(gold), np.asarray(predicted), np.ones((1, len(gold))))[0])


def spearman(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Spearman rank correlation (ties share their mean rank), -1..1; 0 where one side is constant."""
    return float(weighted_spearman(np.asarray(gold), np.asarray(predicted), np.ones((1, len(gold))))[0])


def root_mean_squared_error(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Root of the mean squared difference, in the label's unit."""
    return float(weighted_root_mean_squared_error(np.asarray(gold), np.asarray(predicted), np.ones((1, len(gold))))[0])


# ---- the formulas: of confusions (..., C, C), and of N numbers under R rows of weights (R, N) such as a resample's counts ----


def accuracy_of(confusions: np.ndarray) -> np.ndarray:
    """(..., C, C) -> (...)."""
    return np.asarray(np.trace(confusions, axis1=-2, axis2=-1) / confusions.sum(axis=(-2, -1)))


def class_scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(..., C, 3) true positives, predicted, gold of each class -> (..., C) precision, recall and F1; 0 where they are not defined."""
    right, predicted, gold = np.moveaxis(counts.astype(np.float64), -1, 0)
    return right / np.maximum(predicted, 1), right / np.maximum(gold, 1), 2 * right / np.maximum(predicted + gold, 1)


def _class_counts(confusions: np.ndarray) -> np.ndarray:
    """(..., C, C) -> (..., C, 3) true positives, predicted, gold."""
    return np.stack([np.diagonal(confusions, axis1=-2, axis2=-1), confusions.sum(axis=-2), confusions.sum(axis=-1)], axis=-1)


def f1_of(confusions: np.ndarray) -> np.ndarray:
    """(..., C, C) -> (..., C); 0 for a class that is neither there nor predicted."""
    return class_scores(_class_counts(confusions))[2]


def macro_f1_of(confusions: np.ndarray) -> np.ndarray:
    """(..., C, C) -> (...), the mean over the classes that occur."""
    occurs = _class_counts(confusions)[..., 1:].sum(axis=-1) > 0
    return np.asarray((f1_of(confusions) * occurs).sum(axis=-1) / occurs.sum(axis=-1))


def matthews_of(confusions: np.ndarray) -> np.ndarray:
    """(..., C, C) -> (...), for any number of classes (Gorodkin 2004); 0 where one side is constant."""
    right, predicted, gold = np.moveaxis(_class_counts(confusions).astype(np.float64), -1, 0)
    total = gold.sum(axis=-1)
    above = right.sum(axis=-1) * total - (gold * predicted).sum(axis=-1)
    below = np.sqrt((total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (gold**2).sum(axis=-1)))
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def _standardized(values: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1, so that the sums below lose no digits; zeros where all values are equal."""
    values = np.asarray(values, dtype=np.float64)
    if not np.ptp(values) > 0:
        return np.zeros_like(values)
    values = values / np.abs(values).max()
    values = values - values.mean()
    return np.asarray(values / np.sqrt(np.mean(values**2)))


def weighted_pearson(gold: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,), (N,), (R, N) -> (R,); 0 where one side is constant."""
    count = weights.sum(axis=1)
    x, y = _standardized(gold), _standardized(predicted)
    mean_x, mean_y = weights @ x / count, weights @ y / count
    covariance = weights @ (x * y) / count - mean_x * mean_y
    variances = weights @ (x * x) / count - mean_x**2, weights @ (y * y) / count - mean_y**2
    defined = np.minimum(*variances) > 1e-12
    spread = np.sqrt(np.where(defined, variances[0] * variances[1], 1.0))
    return np.clip(np.where(defined, covariance / spread, 0.0), -1.0, 1.0)


def weighted_spearman(gold: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,), (N,), (R, N) -> (R,). Ranks are taken anew in every row: an example counted twice shares its rank."""
    return np.array([weighted_pearson(_ranks(gold, row), _ranks(predicted, row), row[None])[0] for row in weights])


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean rank of each value, counted as often as its weight says."""
    _, place = np.unique(values, return_inverse=True)
    counts = np.bincount(place, weights=weights)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def weighted_root_mean_squared_error(gold: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,), (N,), (R, N) -> (R,)."""
    return np.asarray(np.sqrt(weights @ (gold - predicted) ** 2 / weights.sum(axis=1)))


# ---- what tasks are made of: (examples, predictions, head) -> scores ----


def _classes(examples: Sequence[Example], predictions: Sequence[Prediction]) -> tuple[list[str], list[str]]:
    _check(examples, predictions)
    return [str(e.label) for e in examples], [str(p.label) for p in predictions]


def _numbers(examples: Sequence[Example], predictions: Sequence[Prediction]) -> tuple[list[float], list[float]]:
    _check(examples, predictions)
    return [float(str(e.label)) for e in examples], [float(str(p.label)) for p in predictions]


def _check(examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    assert len(examples) == len(predictions), (len(examples), len(predictions))
    if not examples:
        raise UserError("there are no examples to score; give a file that has some")
    if any(e.label is None for e in examples):
        raise UserError("this split has no labels, so it cannot be scored; use the dev split")


def score_accuracy(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Accuracy (SST-2, RTE, WNLI, IMDb)."""
    gold, predicted = _classes(examples, predictions)
    return {"accuracy": accuracy(gold, predicted)}


def score_matthews(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Matthews correlation and accuracy (CoLA)."""
    gold, predicted = _classes(examples, predictions)
    return {"matthews": matthews(gold, predicted), "accuracy": accuracy(gold, predicted)}


def score_paraphrase(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Accuracy, F1 of the last class ("1"), and their mean, which GLUE's table averages (MRPC)."""
    gold, predicted = _classes(examples, predictions)
    scores = {"accuracy": accuracy(gold, predicted), "f1": f1(gold, predicted, head.labels[-1])}
    return scores | {"glue_score": (scores["accuracy"] + scores["f1"]) / 2}


def score_similarity(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Pearson, Spearman, and their mean, which GLUE's table averages (STS-B)."""
    gold, predicted = _numbers(examples, predictions)
    scores = {"pearson": pearson(gold, predicted), "spearman": spearman(gold, predicted)}
    return scores | {"glue_score": (scores["pearson"] + scores["spearman"]) / 2}


def score_multilabel(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Several labels at once: F1 over all of them together (micro) and the mean of each one's (macro), and the share of examples whose
    labels are all right (subset accuracy)."""
    _check(examples, predictions)
    gold, predicted = (np.array([[name in _set(item.label) for name in head.labels] for item in items]) for items in (examples, predictions))
    counts = np.stack([(gold & predicted).sum(axis=0), predicted.sum(axis=0), gold.sum(axis=0)], axis=1)
    return {
        "micro_f1": float(class_scores(counts.sum(axis=0, keepdims=True))[2][0]),
        "macro_f1": float(class_scores(counts)[2].mean()),
        "subset_accuracy": float((gold == predicted).all(axis=1).mean()),
    }


def _set(label: object) -> frozenset[str]:
    return frozenset(label if isinstance(label, tuple) else ())


def score_own(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """One's own data: accuracy and macro F1 of classes; Pearson, Spearman and the error of numbers; F1 of several labels at once."""
    if head.kind == "multilabel":
        return score_multilabel(examples, predictions, head)
    if head.kind == "regression":
        numbers = _numbers(examples, predictions)
        return {"pearson": pearson(*numbers), "spearman": spearman(*numbers), "root_mean_squared_error": root_mean_squared_error(*numbers)}
    classes = _classes(examples, predictions)
    return {"accuracy": accuracy(*classes), "macro_f1": macro_f1(*classes)}


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1) of the seeds' scores; None for a single one."""
    return float(np.mean(values)), (float(np.std(values, ddof=1)) if len(values) > 1 else None)


# ---- Probabilities and which answers were right -> how far the probabilities can be believed ----


NUM_BINS = 15


def confidences(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> tuple[list[float], list[bool]]:
    """The probability of each class given, and whether it was right; of several labels at once each label's own yes or no. Empty without
    probabilities."""
    if any(answer.probabilities is None or not answer.probabilities for answer in predictions):
        return [], []
    if head.kind != "multilabel":
        found = [float(answer.probability or 0.0) for answer in predictions]
        return found, [str(e.label) == str(p.label) for e, p in zip(examples, predictions, strict=True)]
    rows = [(example, answer, name) for example, answer in zip(examples, predictions, strict=True) for name in head.labels]
    p = [answer.probabilities[name] for _, answer, name in rows]
    return [max(one, 1 - one) for one in p], [(name in _set(e.label)) == (name in _set(answer.label)) for e, answer, name in rows]


def display_unit(metric: str) -> float:
    """What a metric is multiplied by in tables and sentences: a hundred, but for errors and thresholds, which are in the unit of their numbers."""
    return 1.0 if metric == "root_mean_squared_error" or metric.endswith("_threshold") else 100.0


def reliability(probabilities: Sequence[float], right: Sequence[bool], num_bins: int = NUM_BINS) -> dict[str, Any]:
    """N probabilities of the answers given, and whether each was right -> the expected calibration error (Guo et al. 2017) and its bins.

    The bins cut (0, 1] into equal parts, each with its upper end. The error is the mean gap between mean probability and share of right
    answers, a bin weighing as many as it holds; `maximum` is the largest gap, `overconfidence` the mean probability less the accuracy.
    """
    p, r = np.asarray(probabilities, dtype=np.float64), np.asarray(right, dtype=np.float64)
    assert len(p) == len(r) > 0
    place = np.clip(np.ceil(p * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    total_p, total_r = (np.bincount(place, weights=values, minlength=num_bins) for values in (p, r))
    bins = [
        {
            "from": i / num_bins,
            "to": (i + 1) / num_bins,
            "count": int(count[i]),
            "probability": float(total_p[i] / count[i]),
            "accuracy": float(total_r[i] / count[i]),
        }
        for i in range(num_bins)
        if count[i]
    ]
    gaps = np.abs(total_p - total_r)
    return {
        "expected_calibration_error": float(gaps.sum() / len(p)),
        "maximum": float((gaps / np.maximum(count, 1)).max()),
        "overconfidence": float(p.mean() - r.mean()),
        "bins": bins,
    }
