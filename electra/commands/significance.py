"""two files of answers to the same examples -> whether the models differ, in a sentence and as JSON."""

from __future__ import annotations

import json
from typing import Any

from electra.errors import UserError, require
from electra.settings import SignificanceSettings
from electra.tasks.significance import bootstrap, mcnemar, metric_named, p_text, pair


def run(settings: SignificanceSettings) -> None:
    """Compare and print."""
    if settings.num_resamples < 100:
        raise UserError(f"--num-resamples {settings.num_resamples} is too few; give at least 100")
    if not 0.5 <= settings.confidence < 1:
        raise UserError(f"--confidence {settings.confidence:g}: expected a share from 0.5 to below 1, such as 0.95")
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
    """What was found, for people."""
    one = 1.0 if found["metric"] == "root_mean_squared_error" else 100.0
    low, high = (end * one for end in found["interval"])
    scores = f"{first} has {found['metric']} {found['first'] * one:.2f}, {second} {found['second'] * one:.2f} on {found['num_examples']:,} examples"
    verdict = (
        "they differ by more than the choice of examples explains"
        if found["differ"]
        else "they may be equal: so small a difference could come from the choice of examples"
    )
    text = f"{scores}; {verdict} (difference {found['difference'] * one:+.2f}, {found['confidence']:.0%} interval {low:+.2f} to {high:+.2f}, "
    text += f"{p_text(found['p_value'])}, paired bootstrap)."
    if (test := found.get("mcnemar")) is not None:
        text += f" Of right answers, {test['only_first_right']} are the first's alone and {test['only_second_right']} the second's alone: "
        text += f"McNemar's exact test: {p_text(test['p_value'])}."
    return text
