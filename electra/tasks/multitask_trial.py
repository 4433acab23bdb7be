"""One seed of several tasks learned together: an encoder, a head per task -> trained models and their dev scores."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from electra import disk
from electra.contracts import Prediction
from electra.data.task_batches import FeatureStream
from electra.data.task_mixture import TaskMixture
from electra.errors import UserError
from electra.model.classifier import task_objective
from electra.model.hf import save_checkpoint
from electra.model.multitask import MultitaskObjective, share_encoder
from electra.tasks import reading
from electra.tasks.multitask import AVERAGE, prediction_rows
from electra.tasks.stopping import BestEvaluation
from electra.tasks.trial import Trial, build_network, compute_outputs, depth_of, in_label_units, plan_steps
from electra.train.loop import TrainResult, train
from electra.train.ranks import Ranks
from electra.train.record import Record
from electra.train.resume import latest_checkpoint


def run_seed(trials: Mapping[str, Trial], power: float | None, seed: int, folder: Path, ranks: Ranks) -> tuple[TrainResult, dict[str, Any] | None]:
    """Train and score one seed in `folder`, going on with what an interrupted run left there.

    Writes RUN/seed-N/: final/TASK (a model each), predictions-TASK.jsonl, and last of all scores.json. None where a signal stopped it.

    Raises:
        UserError: the loss became infinite, the folder cannot be written, or a task has fewer examples than there are ranks.
    """
    settings = next(iter(trials.values())).settings
    if settings.loop.parallel == "fsdp":
        raise UserError("--parallel fsdp is for pre-training; fine-tune with ddp")
    if few := [name for name, trial in trials.items() if len(trial.train) < ranks.world_size]:
        raise UserError(f"{few[0]} has fewer training examples than there are ranks ({ranks.world_size}); start fewer")
    networks = {name: build_network(trial, seed) for name, trial in trials.items()}
    share_encoder(networks)
    size, places = settings.loop.batch_size, {"rank": ranks.rank, "world_size": ranks.world_size}
    stream = TaskMixture({name: FeatureStream(trial.train, size, seed, **places) for name, trial in trials.items()}, seed, power)
    loop = replace(plan_steps(settings, stream.batches_per_epoch), seed=seed)

    def predict(name: str) -> list[Prediction]:
        trial = trials[name]
        outputs = compute_outputs(networks[name], trial.dev, trial.head, loop, ranks.device)
        return trial.task.decode(outputs, trial.dev, trial.dev_examples, trial.head)

    def score(predictions: Mapping[str, list[Prediction]]) -> dict[str, Any]:
        scores = {name: trial.task.score(trial.dev_examples, predictions[name], trial.head) for name, trial in trials.items()}
        return {**scores, AVERAGE: statistics.fmean(scores[name][trial.task.main_metric] for name, trial in trials.items())}

    last: dict[str, list[Prediction]] = {}

    def evaluate() -> dict[str, float]:
        last.update({name: predict(name) for name in trials})
        found = score(last)
        best.consider(found)
        return {AVERAGE: found[AVERAGE]} | {f"{name}_{metric}": value for name in trials for metric, value in found[name].items()}

    def save(target: Path) -> None:
        for name, trial in trials.items():
            network = in_label_units(networks[name], trial.head)
            extra = {"finetuning_task": name} | reading.record(trial.task, trial.settings.max_length)
            save_checkpoint(network, target / name, labels=trial.head.labels, extra=extra)
            trial.tokenizer.save(target / name)

    best = BestEvaluation(folder, nn.ModuleDict(networks), AVERAGE, settings.early_stopping)
    objective = MultitaskObjective({name: task_objective(networks[name], trial.head) for name, trial in trials.items()})
    depth = depth_of(networks[next(iter(trials))].encoder.config.num_hidden_layers) if settings.optimizer.layerwise_lr_decay != 1.0 else None
    record = Record(folder, title=f"{'+'.join(trials)} seed {seed}", active=ranks.first)
    resumed = latest_checkpoint(folder)
    result = train(objective, stream, loop, settings.optimizer, record, save, evaluate, depth, resumed, ranks, enough=best.enough)
    if result.stopped:
        return result, None
    selected = best.restore(save) if ranks.first else None
    # As in `trial.run_seed`: the last evaluation's answers, where its weights are the ones kept.
    predictions = last if last and selected is None else {name: predict(name) for name in trials}
    finished = {"seed": seed, "scores": score(predictions), "steps": result.step, "tokens": result.tokens, "seconds": round(result.seconds, 2)}
    finished |= {"selected_step": selected, "shares": stream.shares()}
    if ranks.first:
        for name, trial in trials.items():
            disk.write_text(folder / f"predictions-{name}.jsonl", prediction_rows(trial.dev_examples, predictions[name]))
        disk.write_text(folder / "scores.json", json.dumps(finished, indent=1) + "\n")
        best.forget()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    ranks.wait()
    return result, finished
