"""electra evaluate: model + held-out shards, a fixed corruption set, or a task's files -> metrics."""

from __future__ import annotations

import json

from electra import api
from electra.settings import EvaluateSettings


def run(settings: EvaluateSettings) -> None:
    """Measure and print."""
    metrics = api.evaluate(settings).metrics
    if settings.json:
        print(json.dumps(dict(metrics)))
        return
    width = max(len(name) for name in metrics)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.4f}")
