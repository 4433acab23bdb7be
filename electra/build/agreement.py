"""Two implementations' answers to the same examples -> how far they agree; answers and labels -> scores with intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from electra.build import intervals
from electra.build.contestant import Answered
from electra.build.row import Interval
from electra.contracts import Example, Head, Prediction, Task

NUMBERS_AGREE = 0.01
"""Two numbers count as the same label within this share of the range of the gold ones."""
MOST_RESAMPLES, FEWEST_RESAMPLES = 1000, 200
RESAMPLING_SECONDS = 20.0
"""Where a score takes long to compute, fewer resamples are drawn to stay within this."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An implementation's scores."""

    scores: dict[str, float]
    interval: Interval
    drop_interval: Interval | None
    """Of the first one's score minus this one's, by the same draws; None for the first."""


def agreement(head: Head, examples: Sequence[Example], reference: Sequence[Prediction], other: Sequence[Prediction]) -> float:
    """Share of equal labels, 0..1: of examples, of words where they are tagged; numbers count as equal within 1% of their range."""
    pairs = [(one.label, two.label) for one, two in zip(reference, other, strict=True)]
    if head.kind == "regression":
        gold = [float(str(example.label)) for example in examples]
        reach = NUMBERS_AGREE * (max(gold) - min(gold))
        return float(np.mean([abs(float(str(one)) - float(str(two))) <= reach for one, two in pairs]))
    if head.kind == "tagging":
        return float(np.mean([a == b for one, two in pairs for a, b in zip(tuple(one), tuple(two), strict=True)]))  # type: ignore[arg-type]
    if head.kind == "multilabel":
        return float(np.mean([set(one) == set(two) for one, two in pairs]))  # type: ignore[arg-type]
    return float(np.mean([one == two for one, two in pairs]))


def largest_difference(reference: Answered, reference_head: Head, other: Answered, other_head: Head) -> float | None:
    """Largest absolute difference of two logits; None where one tells none, or they were not asked the same tokens."""
    if reference.outputs is None or other.outputs is None or reference.reading != other.reading:
        return None
    columns: list[int] | slice = slice(None)
    if reference_head.labels != other_head.labels:
        if set(reference_head.labels) != set(other_head.labels):
            return None
        columns = [other_head.labels.index(label) for label in reference_head.labels]
    largest = 0.0
    for one, two in zip(reference.outputs, other.outputs, strict=True):
        if reference_head.kind == "span" and one.shape[-1] == 4:
            difference = _span_difference(one, two)
        elif one.shape != two.shape:
            return None
        else:
            difference = float(np.max(np.abs(one.astype(np.float64) - two[..., columns]), initial=0.0))
        largest = max(largest, difference)
    return largest


def _span_difference(one: np.ndarray, two: np.ndarray) -> float:
    """Of two beams of the original's head for questions: 'no answer', and the spans that are in both."""
    if one.shape[-1] != two.shape[-1]:
        return float("inf")
    beams = [{(int(row[0]), int(row[1])): row[2:].astype(np.float64) for row in beam[1:]} for beam in (one, two)]
    found = [abs(float(one[0, 0]) - float(two[0, 0]))]
    found += [float(np.max(np.abs(beams[0][span] - beams[1][span]))) for span in beams[0].keys() & beams[1].keys()]
    return max(found)


def score(task: Task, head: Head, examples: Sequence[Example], answers: Sequence[Sequence[Prediction]], seed: int = 1) -> list[Scored]:
    """Several implementations' answers to N labelled examples -> the scores of each, the first being the reference.

    An accuracy of classes has Wilson's interval. Other metrics, and all differences, have those of a bootstrap over examples in which the
    implementations are given the same draws.
    """
    metric = task.main_metric
    started = time.perf_counter()
    whole = [task.score(examples, predictions, head) for predictions in answers]
    seconds = time.perf_counter() - started
    if metric == "accuracy" and head.kind == "classification":
        each = [np.array([str(e.label) == str(p.label) for e, p in zip(examples, predictions, strict=True)], float) for predictions in answers]
    elif head.kind == "span":
        # The official scores of questions are means over questions.
        each = [np.array([task.score([e], [p], head)[metric] for e, p in zip(examples, predictions, strict=True)]) for predictions in answers]
    else:
        each = []
    if each:
        count = MOST_RESAMPLES
        functions = [lambda drawn, values=values: float(values[drawn].mean()) for values in each]  # type: ignore[misc]
    else:
        count = int(np.clip(RESAMPLING_SECONDS / max(seconds, 1e-9), FEWEST_RESAMPLES, MOST_RESAMPLES))
        functions = [
            lambda drawn, predictions=predictions: task.score([examples[i] for i in drawn], [predictions[i] for i in drawn], head)[metric]  # type: ignore[misc]
            for predictions in answers
        ]
    values = intervals.resample(functions, len(examples), num_resamples=count, seed=seed)
    out = []
    for number, (scores, row) in enumerate(zip(whole, values, strict=True)):
        interval = intervals.quantile_interval(row)
        if metric == "accuracy" and head.kind == "classification":
            interval = intervals.wilson(round(scores[metric] * len(examples)), len(examples))
        drop = intervals.quantile_interval(values[0] - row) if number else None
        out.append(Scored(scores=scores, interval=interval, drop_interval=drop))
    return out
