"""One trial of fine-tuning: pre-trained encoder + new head + training features + a seed -> trained classifier and its dev scores.

The score of a trial is that of the weights after the last step. Choosing the best evaluation on the way would be choosing
on the dev set, and its mean over seeds would be too good: --early-stopping does so, and says so.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.task_batches import FeatureStream, evaluation_batches
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError
from electra.finetuning.distillation import taught
from electra.model.encoder import Encoder, parameter_depth
from electra.model.huggingface import Checkpoint, reinitialize, save_checkpoint, with_dropout
from electra.model.task_models import Classifier, HeadFirst, TaskNetwork, TaskObjective, freeze_lowest, task_network, task_objective
from electra.settings import FinetuneSettings, LoopSettings
from electra.storage import atomic
from electra.tasks import input_spec, question_answering
from electra.train import loop as budget
from electra.train.checkpoint import latest_checkpoint
from electra.train.distributed import Ranks
from electra.train.evaluation import autocast
from electra.train.loop import Run, TrainResult
from electra.train.run_log import RunLog, read_metrics

# ---- Early stopping: the best evaluation's weights are kept, and a run ends that has not bettered it for some evaluations ----


class BestEvaluation:
    """The best of a run's evaluations so far."""

    def __init__(self, folder: Path, network: nn.Module, metric: str, patience: int) -> None:
        """`metric` is to grow; `patience` is in evaluations, 0: nothing is kept and nothing ends."""
        self.path, self.metrics_file = folder / "best-evaluation.safetensors", folder / "metrics.jsonl"
        self.network, self.metric, self.patience = network, metric, patience
        self.evaluations = 0

    def _kept(self) -> tuple[int, float]:
        """(number of the best evaluation, from 1; its metric)."""
        if not self.path.exists():
            return 0, float("-inf")
        with safe_open(self.path, "pt") as file:
            told = file.metadata()
        return int(told["evaluation"]), float(told["score"])

    def _evaluated_steps(self) -> list[int]:
        lines = read_metrics(self.metrics_file) if self.metrics_file.exists() else []
        return [line["step"] for line in lines if line.get("kind") == "evaluation"]

    def consider(self, scores: Mapping[str, float]) -> None:
        """An evaluation's scores, before they are recorded: where they are the best, the weights are kept."""
        if not self.patience:
            return
        self.evaluations = len(self._evaluated_steps()) + 1
        if scores[self.metric] > self._kept()[1]:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.network.state_dict().items()}
            with atomic.atomic_file(self.path) as temporary:
                save_file(tensors, temporary, metadata={"evaluation": str(self.evaluations), "score": repr(float(scores[self.metric]))})

    def enough(self) -> bool:
        """Whether as many evaluations as patience allows brought nothing better."""
        return self.patience > 0 and self.evaluations - self._kept()[0] >= self.patience

    def restore(self, save: Callable[[Path], None]) -> int | None:
        """Give the network the best evaluation's weights, write them as RUN/final by `save`, and forget the file -> that evaluation's step.

        None where nothing is to be kept.
        """
        if not self.patience or not self.path.exists():
            return None
        step = self._evaluated_steps()[self._kept()[0] - 1]
        with torch.no_grad():
            self.network.load_state_dict(load_file(self.path))
        with atomic.atomic_folder(self.path.parent / "final") as temporary:
            save(temporary)
        return step

    def forget(self) -> None:
        """Remove the kept weights, once the run's scores are written."""
        self.path.unlink(missing_ok=True)


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
        extra = {"finetuning_task": task.name} | input_spec.record(task, trial.settings.max_length)
        save_checkpoint(in_label_units(network, head), target, labels=head.labels, extra=extra)
        trial.tokenizer.save(target)

    log = RunLog(folder, title=f"{task.name} seed {seed}", active=ranks.first)
    best = BestEvaluation(folder, network, task.main_metric, trial.settings.early_stopping)
    own = task_objective(network, head, trial.class_weights)
    freeze(own, network, trial.settings, stream.batches_per_epoch)
    objective = taught(own, trial.settings.distillation)
    run = Run(
        objective=objective,
        stream=stream,
        settings=loop,
        optimizer=trial.settings.optimizer,
        log=log,
        save=save,
        evaluate=evaluate,
        early_stop=best.enough,
        parameter_depth=depth_of(trial.start.config.num_hidden_layers) if trial.settings.optimizer.layerwise_lr_decay != 1.0 else None,
        ranks=ranks,
    )
    result = run.train(latest_checkpoint(folder))
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
        question_answering.write_predictions(folder, trial.dev_examples, predictions)
        question_answering.keep_threshold(folder / "final", trial.task, finished.scores)
    atomic.write_text(folder / "predictions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    atomic.write_text(folder / "scores.json", json.dumps(asdict(finished), indent=1) + "\n")
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
