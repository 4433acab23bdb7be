"""checkpoint + held-out shards, a fixed corruption set, or a task's files -> metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from electra import config
from electra.errors import UserError, require
from electra.settings import EvaluateSettings

if TYPE_CHECKING:
    from electra.model.classifier import TaskNetwork


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
    from electra.contracts import Head
    from electra.data.tokenizer import load_tokenizer
    from electra.model.hf import load_checkpoint
    from electra.settings import LoopSettings
    from electra.tasks import find_task
    from electra.tasks.clue import choose_fold
    from electra.tasks.trial import compute_outputs
    from electra.tasks.truncation import as_trained
    from electra.train.ranks import choose_device

    task = choose_fold(find_task(settings.task or ""), settings.fold)
    if len(settings.data) != 1:
        raise UserError(f"--task {task.name} needs --data DIR, the folder with its files")
    if settings.split not in task.splits:
        raise UserError(f"{task.name} has no split '{settings.split}'; it has {', '.join(task.splits)}")
    examples = task.read(Path(settings.data[0]), settings.split)
    if any(example.label is None for example in examples):
        raise UserError(f"split '{settings.split}' of {task.name} has no labels; use --split dev, or 'electra predict'")
    checkpoint = load_checkpoint(settings.model, "classifier")
    wanted = task.head(examples)
    head = Head(kind=wanted.kind, labels=checkpoint.labels if wanted.labels else ())
    if set(head.labels) != set(wanted.labels):
        raise UserError(f"{settings.model} answers with {', '.join(checkpoint.labels)}, {task.name} with {', '.join(wanted.labels)}; fine-tune on it")
    asked = settings.sequence_length if "sequence_length" in config.given(settings) else None
    task, length = as_trained(task, checkpoint.hf_config, settings.truncate, asked)
    features = task.featurize(examples, load_tokenizer(checkpoint.path), min(length, checkpoint.config.max_position_embeddings), head)
    loop = LoopSettings(batch_size=settings.batch_size)
    outputs = compute_outputs(cast("TaskNetwork", checkpoint.module), features, head, loop, choose_device())
    return task.score(examples, task.decode(outputs, features, examples, head), head)
