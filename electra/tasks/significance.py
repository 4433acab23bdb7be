"""Two models' answers to the same examples -> whether they differ by more than the choice of examples explains.

Paired bootstrap: examples are drawn with replacement, the same ones for both models (Efron and Tibshirani 1993, chapters 13 and 16). The
interval is of percentiles; the p-value is the chance, were the true difference zero, of a difference as far from zero as the one seen, with
the bootstrap's spread around it. McNemar's test asks of right and wrong answers alone: of the examples that one model has right and the
other wrong, are those of one more than a fair coin gives (exact below 25 of them, as is usual; else with the continuity correction).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from electra.errors import UserError, did_you_mean, require
from electra.tasks.text_tasks import read_text

Metric: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""((N,) gold, (N,) predicted, (R, N) how often each example was drawn) -> (R,) values."""
OF_CLASSES = ("accuracy", "f1", "macro_f1", "matthews")
OF_NUMBERS = ("pearson", "spearman", "root_mean_squared_error")
FEW_DISCORDANT = 25
CELLS_AT_A_TIME = 4_000_000
"""Drawn examples held in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Two models' answers to N examples, in the same order."""

    ids: tuple[str, ...]
    gold: np.ndarray
    """(N,) class numbers, or float64 labels."""
    first: np.ndarray
    second: np.ndarray
    classes: tuple[str, ...]
    """Class names; empty for numbers."""


def read_answers(path: Path) -> dict[str, tuple[Any, Any]]:
    """predictions.jsonl -> id -> (label, prediction).

    Raises:
        UserError: not JSON lines with id, label and prediction, an id twice, or no label.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for number, line in enumerate(read_text(path, "predictions").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, label, prediction = str(row["id"]), row["label"], row["prediction"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{path}, line {number}: expected JSON with id, label and prediction, as 'electra evaluate --predictions' writes"
            ) from None
        if label is None:
            raise UserError(f"{path}, line {number}: example {key} has no label; compare answers to labelled examples")
        if key in found:
            raise UserError(f"{path}, line {number}: id {key} is there twice; give one answer for each example")
        found[key] = (label, prediction)
    return found


def pair(first: Path, second: Path) -> Answers:
    """Two files of answers -> the answers side by side, in the first file's order.

    Raises:
        UserError: they are not of the same examples (the first id that differs is named), or of kinds that cannot be compared.
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
    if all(isinstance(value, int | float) and not isinstance(value, bool) for column in columns for value in column):
        gold, one, two = (np.array(column, dtype=np.float64) for column in columns)
        return Answers(ids=tuple(ours), gold=gold, first=one, second=two, classes=())
    names = [[json.dumps(value) if isinstance(value, list | dict) else str(value) for value in column] for column in columns]
    classes = tuple(sorted({name for column in names for name in column}))
    number = {name: i for i, name in enumerate(classes)}
    gold, one, two = (np.array([number[name] for name in column]) for column in names)
    return Answers(ids=tuple(ours), gold=gold, first=one, second=two, classes=classes)


# ---- metrics of many resamples at once ----


def metric_named(name: str, answers: Answers, positive: str | None) -> Metric:
    """A metric's name -> its function of resamples.

    Raises:
        UserError: one for numbers asked of classes or the other way round, or an unknown positive class.
    """
    if name not in (OF_CLASSES if answers.classes else OF_NUMBERS):
        known = ", ".join(OF_CLASSES if answers.classes else OF_NUMBERS)
        raise UserError(f"--metric {name} is not for {'classes' if answers.classes else 'numbers'}; choose one of {known}")
    if positive is not None and positive not in answers.classes:
        raise UserError(f"--positive {positive}: no such class; {did_you_mean(positive, answers.classes)}")
    if name in OF_NUMBERS:
        return {"pearson": _pearson, "spearman": _spearman, "root_mean_squared_error": _root_mean_squared_error}[name]
    count = len(answers.classes)
    if name == "f1":
        gold_classes = sorted(set(answers.gold.tolist()))
        wanted = answers.classes.index(positive) if positive is not None else gold_classes[-1]
        return lambda gold, predicted, draws: _f1(_confusions(gold, predicted, draws, count))[:, wanted]
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {"accuracy": _accuracy, "macro_f1": _macro_f1, "matthews": _matthews}
    return lambda gold, predicted, draws: functions[name](_confusions(gold, predicted, draws, count))


def _confusions(gold: np.ndarray, predicted: np.ndarray, draws: np.ndarray, count: int) -> np.ndarray:
    """(R, C, C) counts, gold by predicted."""
    cells = gold * count + predicted
    used, place = np.unique(cells, return_inverse=True)
    sums = np.zeros((len(draws), count * count))
    for i, cell in enumerate(used):
        sums[:, cell] = draws[:, place == i].sum(axis=1)
    return sums.reshape(-1, count, count)


def _accuracy(confusions: np.ndarray) -> np.ndarray:
    return np.trace(confusions, axis1=1, axis2=2) / confusions.sum(axis=(1, 2))


def _f1(confusions: np.ndarray) -> np.ndarray:
    """(R, C); 0 where a class is neither there nor predicted."""
    both = confusions.sum(axis=1) + confusions.sum(axis=2)
    return 2 * np.diagonal(confusions, axis1=1, axis2=2) / np.maximum(both, 1)


def _macro_f1(confusions: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur in a resample."""
    there = (confusions.sum(axis=1) + confusions.sum(axis=2)) > 0
    return (_f1(confusions) * there).sum(axis=1) / there.sum(axis=1)


def _matthews(confusions: np.ndarray) -> np.ndarray:
    """Of any number of classes (Gorodkin 2004); 0 where one side is constant."""
    total, right = confusions.sum(axis=(1, 2)), np.trace(confusions, axis1=1, axis2=2)
    gold, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    above = right * total - (gold * predicted).sum(axis=1)
    below = np.sqrt((total**2 - (predicted**2).sum(axis=1)) * (total**2 - (gold**2).sum(axis=1)))
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _pearson(gold: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> np.ndarray:
    count = draws.sum(axis=1)
    x, y = gold - gold.mean(), predicted - predicted.mean()
    mean_x, mean_y = draws @ x / count, draws @ y / count
    covariance = draws @ (x * y) / count - mean_x * mean_y
    spread = np.sqrt(np.maximum(draws @ (x * x) / count - mean_x**2, 0) * np.maximum(draws @ (y * y) / count - mean_y**2, 0))
    return np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 1e-12)


def _spearman(gold: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Ranks are taken anew in every resample: an example drawn twice shares its rank."""
    return np.array([_pearson(_ranks(gold, row), _ranks(predicted, row), row[None])[0] for row in draws])


def _ranks(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mean rank of each value, counted as often as it was drawn."""
    _, place = np.unique(values, return_inverse=True)
    counts = np.bincount(place, weights=draws)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _root_mean_squared_error(gold: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(draws @ (gold - predicted) ** 2 / draws.sum(axis=1)))


# ---- tests ----


def bootstrap(answers: Answers, metric: Metric, *, num_resamples: int, confidence: float, seed: int) -> dict[str, Any]:
    """Both models' scores, their difference (first minus second), its interval and the p-value."""
    whole = np.ones((1, len(answers.gold)))
    scores = [float(metric(answers.gold, side, whole)[0]) for side in (answers.first, answers.second)]
    differences, rng = [], np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_A_TIME // len(answers.gold))
    for start in range(0, num_resamples, at_once):
        drawn = rng.integers(0, len(answers.gold), size=(min(at_once, num_resamples - start), len(answers.gold)))
        draws = np.stack([np.bincount(row, minlength=len(answers.gold)) for row in drawn]).astype(np.float64)
        differences.append(metric(answers.gold, answers.first, draws) - metric(answers.gold, answers.second, draws))
    found, difference = np.concatenate(differences), scores[0] - scores[1]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    # One is added above and below: the sample itself is one of those that chance could have given.
    p_value = float((1 + (np.abs(found - difference) >= abs(difference) - 1e-12).sum()) / (1 + len(found)))
    return {"first": scores[0], "second": scores[1], "difference": difference, "interval": [low, high], "p_value": p_value}


def mcnemar(first_right: Sequence[bool] | np.ndarray, second_right: Sequence[bool] | np.ndarray) -> dict[str, Any]:
    """Which examples each model has right -> counts of those that only one has right, and the two-sided p-value."""
    one, two = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    stats, count = require("scipy.stats", "train"), only_first + only_second
    exact = count < FEW_DISCORDANT
    if count == 0:
        p_value = 1.0
    elif exact:
        p_value = float(stats.binomtest(only_first, count, 0.5).pvalue)
    else:
        p_value = float(stats.chi2.sf((max(0, abs(only_first - only_second) - 1)) ** 2 / count, 1))
    return {"only_first_right": only_first, "only_second_right": only_second, "exact": exact, "p_value": p_value}
