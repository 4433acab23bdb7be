"""electra significance: two files of predictions for the same examples -> whether the models differ, in a sentence or as JSON."""

from __future__ import annotations

import json
from typing import Any

from electra.errors import require
from electra.settings import SignificanceSettings
from electra.tasks.significance import bootstrap, mcnemar, metric_named, p_text, pair


def run(settings: SignificanceSettings) -> None:
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
    one = 1.0 if found["metric"] == "root_mean_squared_error" else 100.0
    low, high = (end * one for end in found["interval"])
    scores = f"{first} has {found['metric']} {found['first'] * one:.2f}, {second} {found['second'] * one:.2f} on {found['num_examples']:,} examples"
    conclusion = "the difference is significant" if found["differ"] else "the difference is not significant"
    text = f"{scores}; {conclusion} (difference {found['difference'] * one:+.2f}, {found['confidence']:.0%} interval {low:+.2f} to {high:+.2f}, "
    text += f"{p_text(found['p_value'])}, paired bootstrap)."
    if (test := found.get("mcnemar")) is not None:
        text += f" {test['only_first_right']} examples only the first has right, {test['only_second_right']} only the second: "
        text += f"McNemar's exact test: {p_text(test['p_value'])}."
    return text
