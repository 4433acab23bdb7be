"""Gold labels and predictions -> scores, as scikit-learn and scipy define them, without either: an artefact's scores need only numpy.

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


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(C, C) counts, gold by predicted, of `labels` in their order; answers outside of them are not counted."""
    number = {name: place for place, name in enumerate(labels)}
    pairs = [(number[g], number[p]) for g, p in zip(gold, predicted, strict=True) if g in number and p in number]
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, tuple(np.array(pairs, dtype=np.int64).reshape(-1, 2).T), 1)
    return counts


def class_scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(C, 3) true positives, predicted, gold of each class -> (C,) precision, recall and F1; 0 where they are not defined."""
    right, predicted, gold = counts.astype(np.float64).T
    return right / np.maximum(predicted, 1), right / np.maximum(gold, 1), 2 * right / np.maximum(predicted + gold, 1)


def _class_counts(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(C, 3) true positives, predicted, gold."""
    counts = confusion(gold, predicted, labels)
    return np.stack([np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)], axis=1)


def _there(gold: Sequence[str], predicted: Sequence[str]) -> list[str]:
    return sorted({*gold, *predicted})


def f1(gold: Sequence[str], predicted: Sequence[str], positive: str) -> float:
    """F1 of the class `positive`, 0..1; 0 where that class is neither there nor predicted."""
    names = sorted({*gold, *predicted, positive})
    return float(class_scores(_class_counts(gold, predicted, names))[2][names.index(positive)])


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean F1 over the classes that occur, 0..1."""
    return float(class_scores(_class_counts(gold, predicted, _there(gold, predicted)))[2].mean())


def matthews(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Matthews correlation of any number of classes (Gorodkin 2004), -1..1; 0 for a constant answer."""
    counts = confusion(gold, predicted, _there(gold, predicted)).astype(np.float64)
    total, by_gold, by_answer = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    below = (total**2 - by_answer @ by_answer) * (total**2 - by_gold @ by_gold)
    return float((np.trace(counts) * total - by_gold @ by_answer) / np.sqrt(below)) if below > 0 else 0.0


def pearson(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Pearson correlation, -1..1; 0 where one side is constant and the correlation is undefined."""
    # A constant answer carries no information: its correlation is undefined, a score table needs 0.
    if len(gold) < 2 or len(set(gold)) == 1 or len(set(predicted)) == 1:
        return 0.0
    x, y = (np.asarray(side, dtype=np.float64) - np.mean(side) for side in (gold, predicted))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    value = float(x @ y)
    return max(-1.0, min(1.0, value)) if np.isfinite(value) else 0.0


def spearman(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Spearman rank correlation (ties share their mean rank), -1..1; 0 where one side is constant."""
    return pearson(_ranks(gold), _ranks(predicted))


def _ranks(values: Sequence[float]) -> list[float]:
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: list[float] = (np.cumsum(counts) - (counts - 1) / 2)[place].tolist()
    return ranks


def root_mean_squared_error(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Root of the mean squared difference, in the label's unit."""
    return float(np.sqrt(np.mean((np.asarray(gold) - np.asarray(predicted)) ** 2)))


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
