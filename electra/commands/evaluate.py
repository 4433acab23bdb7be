"""checkpoint + held-out shards, a fixed corruption set, or a task's files -> metrics."""

from __future__ import annotations

import json
import sys

from electra.errors import UserError, require
from electra.settings import EvaluateSettings


def run(settings: EvaluateSettings) -> int | None:
    """Measure and print."""
    if settings.task is None and not settings.data and settings.corruption is None:
        raise UserError("nothing to measure on: give --data SHARDS, --corruption FILE, or --task NAME --data DIR")
    if settings.task is None and (settings.report or settings.predictions):
        raise UserError("--report and --predictions are of a fine-tuned model; name its task by --task")
    if settings.task is None:
        require("torch", "train")
    if settings.task is not None:
        metrics = task_scores(settings)
    elif settings.corruption is not None:
        from electra.pretraining.evaluate import corruption_metrics

        metrics = corruption_metrics(settings)
    else:
        from electra.pretraining.evaluate import held_out_metrics

        metrics = held_out_metrics(settings)
    if settings.json:
        print(json.dumps(metrics))
    else:
        width = max(len(name) for name in metrics)
        for name, value in metrics.items():
            print(f"{name:<{width}}  {value:.4f}")
    return None


def task_scores(settings: EvaluateSettings) -> dict[str, float]:
    """A fine-tuned checkpoint or artefact on a labelled split or file; what was asked for beside the scores is written."""
    from electra.inference.predictor import open_fine_tuned
    from electra.tasks import error_report
    from electra.tasks.evaluate import assess, write_answers
    from electra.tasks.tagging import scores_by_type

    found = assess(settings, open_fine_tuned)
    if settings.predictions is not None:
        write_answers(found, settings.predictions)
    if settings.report is not None:
        error_report.write(found, settings.model, settings.report)
        print(f"report: {settings.report / 'report.md'}", file=sys.stderr)
    return found.scores() | (scores_by_type(found.examples, found.predictions, found.head) if settings.per_class else {})
