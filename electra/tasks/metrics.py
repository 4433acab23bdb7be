"""Gold labels and predictions -> scores, by scikit-learn and scipy.

Every score is a fraction (0..1) or a correlation (-1..1); times a hundred they are what GLUE prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from electra.contracts import Example, Head, Prediction
from electra.errors import UserError, require

Score = Callable[[Sequence[Example], Sequence[Prediction], Head], dict[str, float]]


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of equal labels, 0..1."""
    return float(require("sklearn.metrics", "train").accuracy_score(gold, predicted))


def f1(gold: Sequence[str], predicted: Sequence[str], positive: str) -> float:
    """F1 of the class `positive`, 0..1; 0 where that class is neither there nor predicted."""
    return float(require("sklearn.metrics", "train").f1_score(gold, predicted, labels=[positive], average="macro", zero_division=0.0))


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean F1 over the classes that occur, 0..1."""
    return float(require("sklearn.metrics", "train").f1_score(gold, predicted, average="macro", zero_division=0.0))


def matthews(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Matthews correlation, -1..1; 0 for a constant answer."""
    return float(require("sklearn.metrics", "train").matthews_corrcoef(gold, predicted))


def pearson(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Pearson correlation, -1..1; 0 where one side is constant and the correlation is undefined."""
    return _correlation("pearsonr", gold, predicted)


def spearman(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """Spearman rank correlation (ties share their mean rank), -1..1; 0 where one side is constant."""
    return _correlation("spearmanr", gold, predicted)


def _correlation(name: str, gold: Sequence[float], predicted: Sequence[float]) -> float:
    # A constant answer carries no information: scipy calls its correlation undefined (nan), a score table needs 0.
    if len(gold) < 2 or len(set(gold)) == 1 or len(set(predicted)) == 1:
        return 0.0
    value = float(getattr(require("scipy.stats", "train"), name)(gold, predicted).statistic)
    return 0.0 if math.isnan(value) else value


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
    sklearn = require("sklearn.metrics", "train")
    return {
        "micro_f1": float(sklearn.f1_score(gold, predicted, average="micro", zero_division=0.0)),
        "macro_f1": float(sklearn.f1_score(gold, predicted, average="macro", zero_division=0.0)),
        "subset_accuracy": float(sklearn.accuracy_score(gold, predicted)),
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
