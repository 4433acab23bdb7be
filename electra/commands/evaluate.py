"""checkpoint + held-out shards, a fixed corruption set, or a task's files -> metrics."""

from __future__ import annotations

import json
from pathlib import Path

from electra.errors import UserError, require
from electra.settings import EvaluateSettings


def run(settings: EvaluateSettings) -> int | None:
    """Measure and print."""
    if settings.task is None and not settings.data and settings.corruption is None:
        raise UserError("nothing to measure on: give --data SHARDS, --corruption FILE, or --task NAME --data DIR")
    require("torch", "train")
    if settings.task is not None:
        metrics = task_scores(settings)
    elif settings.corruption is not None:
        from electra.tasks.pretraining import corruption_metrics

        metrics = corruption_metrics(settings)
    else:
        from electra.tasks.pretraining import held_out_metrics

        metrics = held_out_metrics(settings)
    if settings.json:
        print(json.dumps(metrics))
    else:
        width = max(len(name) for name in metrics)
        for name, value in metrics.items():
            print(f"{name:<{width}}  {value:.4f}")
    return None


def task_scores(settings: EvaluateSettings) -> dict[str, float]:
    """A fine-tuned model on a split of its task."""
    from electra import config
    from electra.tasks import find_task
    from electra.tasks.clue import choose_fold
    from electra.tasks.finetuned import open_finetuned

    task = choose_fold(find_task(settings.task or ""), settings.fold)
    if len(settings.data) != 1:
        raise UserError(f"--task {task.name} needs --data DIR, the folder with its files")
    if settings.split not in task.splits:
        raise UserError(f"{task.name} has no split '{settings.split}'; it has {', '.join(task.splits)}")
    examples = task.read(Path(settings.data[0]), settings.split)
    if any(example.label is None for example in examples):
        raise UserError(f"split '{settings.split}' of {task.name} has no labels; use --split dev, or 'electra predict'")
    length = settings.sequence_length if "sequence_length" in config.given(settings) else None
    model = open_finetuned(settings.model, task, task.head(examples), truncate=settings.truncate, max_length=length)
    return task.score(examples, model.answer(examples, settings.batch_size), model.head)
