"""The commands that measure: evaluate, significance, compare."""

from __future__ import annotations

import json
import sys
from typing import Any

from electra import api
from electra.errors import require
from electra.settings import CompareSettings, EvaluateSettings, SignificanceSettings
from electra.tasks import retrieval
from electra.tasks.metrics import display_unit
from electra.tasks.significance import bootstrap, mcnemar, metric_named, p_text, pair


def evaluate(settings: EvaluateSettings) -> None:
    """Measure and print."""
    found = api.evaluate(settings)
    metrics = found.metrics
    if found.systems:
        print(json.dumps(retrieval.record(found.systems)) if settings.json else retrieval.table(found.systems))
        return
    if settings.json:
        print(json.dumps(dict(metrics)))
        return
    width = max(len(name) for name in metrics)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.4f}")


def significance(settings: SignificanceSettings) -> None:
    """Compare and print."""
    require("scipy", "train")
    answers = pair(settings.first, settings.second)
    name = settings.metric if settings.metric != "auto" else "accuracy" if answers.classes else "pearson"
    metric = metric_named(name, answers, settings.positive)
    found: dict[str, Any] = {"metric": name, "num_examples": len(answers.ids), "confidence": settings.confidence}
    found |= {"num_resamples": settings.num_resamples, "seed": settings.seed}
    found |= bootstrap(answers, metric, num_resamples=settings.num_resamples, confidence=settings.confidence, seed=settings.seed)
    if answers.classes:
        found["mcnemar"] = mcnemar(answers.first == answers.gold, answers.second == answers.gold)
    found["differ"] = found["p_value"] < 1 - settings.confidence
    found["sentence"] = sentence(found, str(settings.first), str(settings.second))
    print(json.dumps(found) if settings.json else found["sentence"])


def sentence(found: dict[str, Any], first: str, second: str) -> str:
    """The result in words."""
    one = display_unit(found["metric"])
    low, high = (end * one for end in found["interval"])
    scores = f"{first} has {found['metric']} {found['first'] * one:.2f}, {second} {found['second'] * one:.2f} on {found['num_examples']:,} examples"
    conclusion = "the difference is significant" if found["differ"] else "the difference is not significant"
    text = f"{scores}; {conclusion} (difference {found['difference'] * one:+.2f}, {found['confidence']:.0%} interval {low:+.2f} to {high:+.2f}, "
    text += f"{p_text(found['p_value'])}, paired bootstrap)."
    if (test := found.get("mcnemar")) is not None:
        text += f" {test['only_first_right']} examples only the first has right, {test['only_second_right']} only the second: "
        text += f"McNemar's exact test: {p_text(test['p_value'])}."
    return text


def compare(settings: CompareSettings) -> int:
    """Measure and print; exit code 1 if a model could not be measured."""
    from electra.benchmark.records import sealed
    from electra.benchmark.results import to_terminal

    found = api.compare(settings)
    if settings.json:
        print(json.dumps(sealed(found.to_dict())))
    else:
        from rich.console import Console

        # Without a terminal there is no width to cut the table to.
        Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(to_terminal(found))
    return 1 if any(row.error for row in found.rows) else 0
