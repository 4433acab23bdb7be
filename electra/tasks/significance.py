"""How sure a score, or a difference of two scores, is: intervals and p-values for all commands.

Paired bootstrap: examples are drawn with replacement, the same ones for both models (Efron and Tibshirani 1993, chapters 13 and 16). The
interval is of percentiles; the p-value is the probability, were the true difference zero, of a difference as far from zero as the one seen,
with the bootstrap's spread around it. McNemar's exact test looks at right and wrong answers alone: of the examples that one model has right
and the other wrong, are those of one more than a fair coin gives. A share of right answers has Wilson's interval (1927).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from electra.errors import UserError, did_you_mean, parse_json, require
from electra.tasks import metrics
from electra.tasks.question_metrics import best_of, exact_match
from electra.tasks.text_tasks import read_text

Metric: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""((N,) gold, (N,) predicted, (R, N) how often each resample has each example) -> (R,) values."""
Interval: TypeAlias = tuple[float, float]
OF_CLASSES = ("accuracy", "f1", "macro_f1", "matthews")
OF_NUMBERS = ("pearson", "spearman", "root_mean_squared_error")
CONFIDENCE = 0.95
CELLS_AT_A_TIME = 4_000_000
"""Resampled examples held in memory at once."""


@dataclass(frozen=True, kw_only=True)
class PairedAnswers:
    """Two models' answers to N examples, in the same order."""

    ids: tuple[str, ...]
    gold: np.ndarray
    """(N,) class numbers, or float64 labels."""
    first: np.ndarray
    second: np.ndarray
    classes: tuple[str, ...]
    """Class names; empty for numbers."""


def read_answers(path: Path) -> dict[str, tuple[Any, Any]]:
    """predictions.jsonl, or the run of one task that has it -> id -> (label, prediction).

    Raises:
        UserError: not JSON lines with id, label and prediction, an id twice, no label, or a folder without predictions.
    """
    if path.is_dir():
        path, run = path / "predictions.jsonl", path
        if not path.exists():
            raise UserError(f"{run} has no predictions.jsonl; give a run of 'electra finetune' on one task, or a file of predictions")
    found: dict[str, tuple[Any, Any]] = {}
    for number, line in enumerate(read_text(path, "predictions").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            key, label, prediction = str(row["id"]), row["label"], row["prediction"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{path}, line {number}: expected JSON with id, label and prediction, as 'electra evaluate --predictions' writes"
            ) from None
        if label is None:
            raise UserError(f"{path}, line {number}: example {key} has no label; compare answers to labelled examples")
        if key in found:
            raise UserError(f"{path}, line {number}: id {key} occurs twice; give one answer per example")
        found[key] = (label, prediction)
    return found


def _comparable(columns: list[list[Any]]) -> list[list[Any]]:
    """Labels and two columns of predictions -> the same in a form in which a right prediction equals its label.

    The answer to a question is right if it is one of the label's texts (exact match of SQuAD); several labels of a text have no order; a number
    may be written as text in the labels.
    """
    gold, *predicted = columns
    if all(isinstance(value, list) for value in gold) and all(isinstance(value, str) for column in predicted for value in column):
        right = [[bool(best_of(exact_match, texts or [""], value)) for texts, value in zip(gold, column, strict=True)] for column in predicted]
        return [["right"] * len(gold), *([("wrong", "right")[one] for one in column] for column in right)]
    if all(isinstance(value, list) and len(set(map(str, value))) == len(value) for column in columns for value in column):
        aligned = all(len({len(value) for value in row}) == 1 for row in zip(*columns, strict=True))
        tags = aligned and any(tag in ("O", "o") or re.match(r"[BIESLUMW][-_]", str(tag)) for value in gold for tag in value)
        return columns if tags else [[sorted(map(str, value)) for value in column] for column in columns]
    numbers = all(isinstance(value, float) for column in predicted for value in column)
    if numbers and all(isinstance(value, str) for value in gold):
        try:
            return [[float(value) for value in gold], *predicted]
        except ValueError:
            pass
    return columns


def pair(first: Path, second: Path) -> PairedAnswers:
    """Two files of answers -> the answers to each example, in the first file's order.

    Raises:
        UserError: they are not of the same examples (the first id that differs is named).
    """
    ours, theirs = read_answers(first), read_answers(second)
    for here, there, place in ((ours, theirs, second), (theirs, ours, first)):
        for key in here:
            if key not in there:
                raise UserError(f"example {key} is missing from {place}; both files must hold the answers to the same examples")
    for key, (label, _) in ours.items():
        if theirs[key][0] != label:
            raise UserError(f"example {key} is labelled {label!r} in {first} and {theirs[key][0]!r} in {second}; give answers to the same examples")
    columns = [[label for label, _ in ours.values()], [answer for _, answer in ours.values()], [theirs[key][1] for key in ours]]
    if len(ours) < 2:
        raise UserError(f"{first} holds {len(ours)} answer; a comparison needs at least two")
    columns = _comparable(columns)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for column in columns for value in column):
        gold, one, two = (np.array(column, dtype=np.float64) for column in columns)
        return PairedAnswers(ids=tuple(ours), gold=gold, first=one, second=two, classes=())
    names = [[json.dumps(value) if isinstance(value, list | dict) else str(value) for value in column] for column in columns]
    classes = tuple(sorted({name for column in names for name in column}))
    number = {name: i for i, name in enumerate(classes)}
    gold, one, two = (np.array([number[name] for name in column]) for column in names)
    return PairedAnswers(ids=tuple(ours), gold=gold, first=one, second=two, classes=classes)


# ---- metrics of many resamples at once ----


def metric_named(name: str, answers: PairedAnswers, positive: str | None) -> Metric:
    """A metric's name -> its function of resamples.

    Raises:
        UserError: a metric of numbers for classes or vice versa, or an unknown positive class.
    """
    if name not in (OF_CLASSES if answers.classes else OF_NUMBERS):
        known = ", ".join(OF_CLASSES if answers.classes else OF_NUMBERS)
        raise UserError(f"--metric {name} is not for {'classes' if answers.classes else 'numbers'}; choose one of {known}")
    if positive is not None and positive not in answers.classes:
        raise UserError(f"--positive {positive}: no such class; {did_you_mean(positive, answers.classes)}")
    if name in OF_NUMBERS:
        found: Metric = getattr(metrics, f"weighted_{name}")
        return found
    count = len(answers.classes)
    if name == "f1":
        gold_classes = sorted(set(answers.gold.tolist()))
        wanted = answers.classes.index(positive) if positive is not None else gold_classes[-1]
        return lambda gold, predicted, weights: metrics.f1_of(_confusions(gold, predicted, weights, count))[:, wanted]
    of_confusions = {"accuracy": metrics.accuracy_of, "macro_f1": metrics.macro_f1_of, "matthews": metrics.matthews_of}[name]
    return lambda gold, predicted, weights: of_confusions(_confusions(gold, predicted, weights, count))


def _confusions(gold: np.ndarray, predicted: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """(R, C, C) counts, gold by predicted."""
    cells = gold * count + predicted
    used, place = np.unique(cells, return_inverse=True)
    sums = np.zeros((len(weights), count * count))
    for i, cell in enumerate(used):
        sums[:, cell] = weights[:, place == i].sum(axis=1)
    return sums.reshape(-1, count, count)


# ---- intervals and tests ----


def resample(statistic: Callable[[np.ndarray], np.ndarray], count: int, *, num_resamples: int, seed: int = 1) -> np.ndarray:
    """A bootstrap over `count` examples -> (..., num_resamples) values.

    Args:
        statistic: (R, count) indices of examples -> (..., R) values. What it computes of several models is paired: they have the same examples.
        count: number of examples.
        num_resamples: number of resamples.
        seed: of the random choice.
    """
    rng, batch = np.random.default_rng(seed), max(1, CELLS_AT_A_TIME // max(1, count))
    sizes = [min(batch, num_resamples - start) for start in range(0, num_resamples, batch)]
    return np.concatenate([statistic(rng.integers(0, count, (size, count))) for size in sizes], axis=-1)


def interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """The middle `confidence` of a bootstrap's values."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return low, high


def bootstrap(answers: PairedAnswers, metric: Metric, *, num_resamples: int, confidence: float = CONFIDENCE, seed: int = 1) -> dict[str, Any]:
    """Both models' scores, their difference (first minus second), its interval and the p-value."""
    size = len(answers.gold)

    def differences(drawn: np.ndarray) -> np.ndarray:
        weights = np.stack([np.bincount(row, minlength=size) for row in drawn]).astype(np.float64)
        return metric(answers.gold, answers.first, weights) - metric(answers.gold, answers.second, weights)

    scores = [float(metric(answers.gold, side, np.ones((1, size)))[0]) for side in (answers.first, answers.second)]
    found, difference = resample(differences, size, num_resamples=num_resamples, seed=seed), scores[0] - scores[1]
    ends = list(interval(found, confidence))
    return {"first": scores[0], "second": scores[1], "difference": difference, "interval": ends, "p_value": p_value(found, difference)}


def p_value(values: np.ndarray, difference: float) -> float:
    """(R,) a bootstrap's differences, and the one seen -> the probability of one as far from zero, were the true difference zero."""
    # One is added above and below: the sample itself is one of those that chance could have given.
    return float((1 + (np.abs(values - difference) >= abs(difference) - 1e-12).sum()) / (1 + len(values)))


def mcnemar(first_right: Sequence[bool] | np.ndarray, second_right: Sequence[bool] | np.ndarray) -> dict[str, Any]:
    """Which examples each model has right -> counts of those that only one has right, and the exact two-sided p-value.

    Raises:
        UserError: scipy is not installed.
    """
    one, two = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    count, stats = only_first + only_second, require("scipy.stats", "train")
    p_value = float(stats.binomtest(only_first, count, 0.5).pvalue) if count else 1.0
    return {"only_first_right": only_first, "only_second_right": only_second, "p_value": p_value}


def wilson(successes: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a share, without continuity correction; (0, 1) of nothing."""
    if count == 0:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), successes / count
    middle, half = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    low, high = ((middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count))
    return low if successes else 0.0, high if successes < count else 1.0


def p_text(p_value: float) -> str:
    """'p = 0.0312', or 'p < 0.0001'."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.4f}"
