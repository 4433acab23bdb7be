"""One trial of fine-tuning: pre-trained encoder + new head + training features + a seed -> trained classifier and its dev scores.

The score of a trial is that of the weights after the last step. Choosing the best evaluation on the way would be choosing
on the dev set, and its mean over seeds would be too good: --early-stopping does so, and says so.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from electra import disk
from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.task_batches import FeatureStream, evaluation_batches
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError
from electra.model.classifier import Classifier, TaskNetwork, TaskObjective, task_network, task_objective
from electra.model.encoder import Encoder, parameter_depth
from electra.model.freezing import HeadFirst, freeze_lowest
from electra.model.hf import Checkpoint, reinitialize, save_checkpoint, with_dropout
from electra.settings import FinetuneSettings, LoopSettings
from electra.tasks import questions, reading
from electra.tasks.distillation import taught
from electra.tasks.stopping import BestEvaluation
from electra.train import budget
from electra.train.evaluation import autocast
from electra.train.loop import TrainResult, train
from electra.train.ranks import Ranks
from electra.train.record import Record
from electra.train.resume import latest_checkpoint


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is the same for every seed."""

    task: Task
    head: Head
    start: Checkpoint
    """Where the weights come from."""
    random_weights: bool
    """Whether only the start's shape and vocabulary are taken."""
    tokenizer: Tokenizer
    train: Sequence[Features]
    dev: Sequence[Features]
    dev_examples: Sequence[Example]
    settings: FinetuneSettings
    class_weights: Sequence[float] | None = None
    """In the order of the head's labels."""


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """How one seed ended; RUN/seed-N/scores.json."""

    seed: int
    scores: dict[str, float]
    """Metric -> value on dev, after the last step, or at `selected_step`."""
    steps: int
    tokens: int
    """Real tokens trained on."""
    seconds: float
    selected_step: int | None = None
    """The step of the best evaluation, whose weights were kept by early stopping."""


def build_network(trial: Trial, seed: int) -> TaskNetwork:
    """The start's encoder (or one of its shape with random weights) under a new head; everything new comes from `seed`."""
    encoder = Encoder(with_dropout(trial.start.config, trial.settings.dropout))
    encoder.load_state_dict(trial.start.encoder.state_dict())
    network = task_network(encoder, trial.head, trial.settings.head)
    reinitialize(network if trial.random_weights else network.head, seed)
    return network


def compute_outputs(network: TaskNetwork, features: Sequence[Features], head: Head, settings: LoopSettings, device: torch.device) -> list[np.ndarray]:
    """Features -> what `Task.decode` reads, float32, in their order, a regression's in the label's unit. The network's mode is kept."""
    found: dict[int, np.ndarray] = {}
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), autocast(device, settings.precision):
            for indices, batch in evaluation_batches(features, settings.batch_size):
                found.update(zip(indices, (output.cpu().numpy() for output in network.outputs(batch.to(device))), strict=True))
    finally:
        network.train(was_training)
    outputs = [found[i] for i in range(len(features))]
    return [output * head.scale + head.offset for output in outputs] if head.kind == "regression" else outputs


def in_label_units(network: TaskNetwork, head: Head) -> TaskNetwork:
    """A regression's classifier whose last layer also undoes the scaling of the targets; any other network as it is."""
    if head.kind != "regression":
        return network
    assert isinstance(network, Classifier)
    scaled = copy.deepcopy(network).cpu()
    output = scaled.head.output
    assert isinstance(output, torch.nn.Linear)
    with torch.no_grad():
        output.weight.mul_(head.scale)
        output.bias.mul_(head.scale).add_(head.offset)
    return scaled


def plan_steps(settings: FinetuneSettings, batches_per_epoch: int) -> LoopSettings:
    """Epochs -> the loop's steps; evaluations and checkpoints after every epoch where nothing else was asked for."""
    loop = settings.loop
    epoch = max(1, math.ceil(batches_per_epoch / loop.accumulation))
    steps = loop.num_train_steps
    if all(getattr(loop, name) is None for name in budget.LENGTHS):
        steps = max(1, math.ceil(batches_per_epoch * settings.epochs / loop.accumulation))
    return replace(loop, num_train_steps=steps, evaluate_every=loop.evaluate_every or epoch, checkpoint_every=loop.checkpoint_every or epoch)


def freeze(objective: TaskObjective, network: TaskNetwork, settings: FinetuneSettings, batches_per_epoch: int) -> None:
    """Take from the optimizer what does not learn: the lowest layers, and the whole encoder while the head learns first."""
    if settings.freeze_layers is not None:
        freeze_lowest(network.encoder, settings.freeze_layers)
    if settings.freeze_encoder_epochs:
        steps = plan_steps(settings, batches_per_epoch).num_train_steps
        assert steps is not None
        frozen = math.ceil(batches_per_epoch * settings.freeze_encoder_epochs / settings.loop.accumulation)
        objective.head_first = HeadFirst(network.encoder, frozen / steps)


def depth_of(num_hidden_layers: int) -> Callable[[str], int]:
    """Parameter name -> depth for layer-wise learning rates: embeddings 0, layers 1..n, head n + 2, as the original counts."""

    def depth(name: str) -> int:
        place = parameter_depth(name)
        return place if place >= 0 else num_hidden_layers + 2

    return depth


def run_seed(trial: Trial, seed: int, folder: Path, ranks: Ranks) -> tuple[TrainResult, SeedResult | None]:
    """Train and score one seed in `folder`, going on with what an interrupted run left there.

    Writes RUN/seed-N/: metrics.jsonl and the loop's other files, final (the model), predictions.jsonl, and last of all
    scores.json, which says that the seed is finished. The result is None when a signal stopped it.

    Raises:
        UserError: the loss became infinite, or the folder cannot be written.
    """
    if trial.settings.loop.parallel == "fsdp":
        raise UserError("--parallel fsdp is for pre-training; fine-tune with ddp")
    if len(trial.train) < ranks.world_size:
        raise UserError(f"{len(trial.train)} training examples are fewer than {ranks.world_size} ranks; start fewer")
    task, head = trial.task, trial.head
    network = build_network(trial, seed)
    stream = FeatureStream(trial.train, trial.settings.loop.batch_size, seed, rank=ranks.rank, world_size=ranks.world_size)
    loop = replace(plan_steps(trial.settings, stream.batches_per_epoch), seed=seed)

    def predict() -> list[Prediction]:
        return task.decode(compute_outputs(network, trial.dev, head, loop, ranks.device), trial.dev, trial.dev_examples, head)

    last: list[Prediction] = []

    def evaluate() -> dict[str, float]:
        last[:] = predict()
        scores = task.score(trial.dev_examples, last, head)
        best.consider(scores)
        return scores

    def save(target: Path) -> None:
        extra = {"finetuning_task": task.name} | reading.record(task, trial.settings.max_length)
        save_checkpoint(in_label_units(network, head), target, labels=head.labels, extra=extra)
        trial.tokenizer.save(target)

    record = Record(folder, title=f"{task.name} seed {seed}", active=ranks.first)
    best = BestEvaluation(folder, network, task.main_metric, trial.settings.early_stopping)
    own = task_objective(network, head, trial.class_weights)
    freeze(own, network, trial.settings, stream.batches_per_epoch)
    objective = taught(own, trial.settings.distillation)
    result = train(
        objective,
        stream,
        loop,
        trial.settings.optimizer,
        record,
        save,
        evaluate,
        depth_of(trial.start.config.num_hidden_layers) if trial.settings.optimizer.layerwise_lr_decay != 1.0 else None,
        latest_checkpoint(folder),
        ranks,
        enough=best.enough,
    )
    if result.stopped:
        return result, None
    selected = best.restore(save) if ranks.first else None
    # The loop's last act was an evaluation, unless it had nothing left to do; an earlier one's weights answer anew.
    predictions = last if last and selected is None else predict()
    scores = task.score(trial.dev_examples, predictions, head)
    finished = SeedResult(seed=seed, scores=scores, steps=result.step, tokens=result.tokens, seconds=round(result.seconds, 2), selected_step=selected)
    if ranks.first:
        keep_result(trial, finished, predictions, folder)
        best.forget()
    ranks.wait()
    return result, finished


def keep_result(trial: Trial, finished: SeedResult, predictions: Sequence[Prediction], folder: Path) -> None:
    """Write predictions and, last of all, scores.json; what would continue a training that is over goes, several times the size of the model."""
    rows = [
        {"id": e.id, "label": _label(e), "prediction": p.label, **_certainty(p.probability)}
        for e, p in zip(trial.dev_examples, predictions, strict=True)
    ]
    if trial.head.kind == "span":
        questions.write_predictions(folder, trial.dev_examples, predictions)
        questions.keep_threshold(folder / "final", trial.task, finished.scores)
    disk.write_text(folder / "predictions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    disk.write_text(folder / "scores.json", json.dumps(asdict(finished), indent=1) + "\n")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _label(example: Example) -> Any:
    return example.label if example.answers is None else [answer.text for answer in example.answers]


def _certainty(probability: float | None) -> dict[str, Any]:
    return {} if probability is None else {"probability": round(probability, 6)}


def read_result(folder: Path) -> SeedResult | None:
    """The result of a finished seed's folder; None where it is not finished.

    Raises:
        UserError: its scores.json is damaged.
    """
    path = folder / "scores.json"
    if not path.exists():
        return None
    try:
        return SeedResult(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged; remove the folder {folder} to train that seed again") from None
