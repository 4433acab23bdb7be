"""Scores of two methods, seed by seed -> their difference, its intervals, and the sentence that they allow.

Two things could have come out otherwise: the seeds (Student's t over the seeds' differences) and the dev examples (the paired bootstrap of
`electra significance` over examples, on each example's share of seeds that have it right). A method is called better only where neither
interval holds zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electra.recipes.table import describe
from electra.tasks.significance import Answers, bootstrap, read_answers

RESAMPLES, CONFIDENCE = 2000, 0.95


def compare(first: Mapping[int, float], second: Mapping[int, float]) -> dict[str, Any] | None:
    """Seed -> score of two methods -> how much the first one's are higher, of the seeds that both have; None where there are none."""
    seeds = sorted(first.keys() & second.keys())
    return {"seeds": seeds, **describe([first[seed] - second[seed] for seed in seeds])} if seeds else None


def over_examples(first: Sequence[Path], second: Sequence[Path]) -> list[float]:
    """predictions.jsonl of each seed of two methods -> the 95% interval of their difference in accuracy over other dev examples."""
    mine, theirs = (np.mean([_right(path) for path in paths], axis=0) for paths in (first, second))
    answers = Answers(ids=tuple(map(str, range(len(mine)))), gold=np.zeros(len(mine)), first=mine, second=theirs, classes=())
    found = bootstrap(answers, _mean, num_resamples=RESAMPLES, confidence=CONFIDENCE, seed=1)
    return [float(end) for end in found["interval"]]


def _mean(gold: np.ndarray, shares: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return np.asarray(draws @ shares / draws.sum(axis=1))


def _right(path: Path) -> np.ndarray:
    return np.array([float(label == prediction) for _, (label, prediction) in sorted(read_answers(path).items())])


def verdict(difference: Mapping[str, Any]) -> str:
    """'better', 'worse', 'seeds' (zero is within their interval), 'examples' (within that one), or 'one' (a single seed tells nothing)."""
    if difference["interval"] is None:
        return "one"
    low, high = difference["interval"]
    if low <= 0 <= high:
        return "seeds"
    if (examples := difference.get("over_examples")) is not None and examples[0] <= 0 <= examples[1]:
        return "examples"
    return "better" if difference["mean"] > 0 else "worse"


def sentence(first: str, second: str, where: str, metric: str, difference: Mapping[str, Any]) -> str:
    """What the data says of two methods: 'ELECTRA beats BERT at equal FLOPs by 2.1 points of accuracy on sst2 (95%: ...).'"""
    points, count = 100 * difference["mean"], len(difference["seeds"])
    found = verdict(difference)
    if found == "one":
        return (
            f"{first} {points:+.1f} points of {metric} against {second}{where}, of one seed: one seed has no spread, "
            "so this data does not say which is better."
        )
    low, high = (100 * end for end in difference["interval"])
    told = f"95% {low:+.1f} to {high:+.1f} over {count} seeds"
    if (examples := difference.get("over_examples")) is not None:
        told += f", {100 * examples[0]:+.1f} to {100 * examples[1]:+.1f} over dev examples"
    if found == "better":
        return f"{first} beats {second}{where} by {points:.1f} points of {metric} ({told})."
    if found == "worse":
        return f"{second} beats {first}{where} by {-points:.1f} points of {metric} ({first} {points:+.1f}; {told})."
    spread = "the seeds' spread" if found == "seeds" else "what other dev examples would give"
    return f"{first} {points:+.1f} points of {metric} against {second}{where} ({told}): within {spread}, so this data does not say which is better."
