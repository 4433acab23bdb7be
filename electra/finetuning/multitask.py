"""electra finetune a+b: several tasks' files + one pre-trained checkpoint -> one encoder, a head per task -> RUN/best/TASK, a model each.

tasks' files  -> training and dev examples of each     (read and checked before any model is opened)
for every seed:  batches of one task each -> training -> dev scores of every task; the average of their main metrics chooses the best seed
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from electra import config
from electra.contracts import Example, Prediction
from electra.data.task_batches import FeatureStream, TaskMixture
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError, require
from electra.finetuning.hyperparameters import check_same_run, fit_length, resolve
from electra.finetuning.trainer import BestEvaluation, Trial, build_network, compute_outputs, depth_of, in_label_units, plan_steps
from electra.model.huggingface import save_checkpoint
from electra.model.task_models import MultitaskObjective, share_encoder, task_objective
from electra.settings import FinetuneSettings
from electra.storage import atomic
from electra.tasks import input_spec
from electra.tasks.hub_datasets import is_hub_name, local
from electra.tasks.metrics import mean_and_sd
from electra.tasks.registry import find_files, find_task
from electra.tasks.text_tasks import choose_examples
from electra.train.checkpoint import latest_checkpoint
from electra.train.distributed import Ranks
from electra.train.loop import Run, TrainResult
from electra.train.run_log import RunLog

RANDOM = "random:"
AVERAGE = "average"
"""Mean of the tasks' main metrics."""


def run(settings: FinetuneSettings) -> int | None:
    """Fine-tune all tasks together, score each and report.

    Raises:
        UserError: fewer than two tasks, one that cannot be joined, a wrong mixture, or anything wrong with the files or the model.
    """
    names, power = task_names(settings), mixing_power(settings.mixing)
    if not settings.resume:
        atomic.fresh_output(settings.output, remedy="add --resume to go on with it, or choose another --output")
    examples = {name: read_task(name, settings) for name in names}
    require("torch", "train")
    from electra.train import checkpoint, distributed

    trials, settings = open_trials(examples, settings)
    check_same_run(settings)
    results: list[dict[str, Any]] = []
    with distributed.join(settings.loop.device, settings.loop.threads) as here:
        loop = checkpoint.split_global_batch(settings.loop, None, here.world_size)
        trials = {name: replace(trial, settings=config.replace(trial.settings, loop=loop)) for name, trial in trials.items()}
        if here.first:
            atomic.write_text(settings.output / "config.toml", config.to_toml(settings))
        for seed in range(settings.loop.seed, settings.loop.seed + settings.seeds):
            folder = settings.output / f"seed-{seed}"
            result = read_result(folder)
            if result is None:
                ended, result = run_seed(trials, power, seed, folder, here)
                if result is None:
                    return 128 + (ended.signal or 15)
            results.append(result)
            if here.first:
                keep_best(trials, settings, results)
    if here.first:
        summary = summarize(trials, settings, results)
        print(json.dumps(summary, indent=1) if settings.json else "\n".join([*score_lines(summary), f"best: {settings.output / 'best'}"]))
    return None


def task_names(settings: FinetuneSettings) -> list[str]:
    """'sst2+rte' -> the tasks' names.

    Raises:
        UserError: an unknown one, one twice, fewer than two, or one that cannot be joined with others.
    """
    names = [find_task(name).name for name in settings.task.split("+")]
    if len(set(names)) < len(names):
        raise UserError(f"{settings.task}: a task is there twice; name each once")
    if own := {"own", "tagging"} & set(names):
        raise UserError(f"{settings.task}: '{own.pop()}' is trained by itself; join benchmark tasks only")
    if settings.data is None:
        raise UserError(f"{settings.task} needs --data DIR, the folder that holds the tasks' folders")
    alone = {"teacher": settings.distillation.teacher} | {name: getattr(settings, name) for name in ("class_weights", "freeze_layers", "fold")}
    alone["freeze_encoder_epochs"] = settings.freeze_encoder_epochs or None
    if given := [name for name, value in alone.items() if value is not None]:
        raise UserError(f"{settings.task}: --{given[0].replace('_', '-')} is for one task; fine-tune each by itself")
    return names


def mixing_power(mixing: str) -> float | None:
    """'all' -> None; 'size0.75' -> 0.75.

    Raises:
        UserError: neither.
    """
    if mixing == "all":
        return None
    try:
        power = float(mixing.removeprefix("size"))
    except ValueError:
        power = -1.0
    if not mixing.startswith("size") or not 0 <= power <= 1:
        raise UserError(f"--mixing {mixing}: expected 'all', or 'size' and a power from 0 to 1, such as size0.75")
    return power


def read_task(name: str, settings: FinetuneSettings) -> tuple[list[Example], list[Example]]:
    """All training and dev examples of a task, from its folder under --data."""
    assert settings.data is not None
    task = find_task(name)
    place = settings.data if is_hub_name(name, settings.data) else find_files(name, settings.data) or settings.data
    place = local(task, place)
    return task.read(place, "train"), task.read(place, "dev")


def open_trials(examples: dict[str, tuple[list[Example], list[Example]]], settings: FinetuneSettings) -> tuple[dict[str, Any], FinetuneSettings]:
    """Examples of every task -> its `Trial`, all of the one checkpoint, and the run's settings.

    Length and swapped copies are each task's own; the length of the run, learning rates and all else are the preset's for any task.
    """
    from electra.finetuning.trainer import Trial
    from electra.model.huggingface import load_checkpoint

    start = load_checkpoint(settings.model.removeprefix(RANDOM), "encoder")
    tokenizer = load_tokenizer(start.path)
    if tokenizer.vocab_size > start.config.vocab_size:
        raise UserError(
            f"{start.path}: its tokenizer has {tokenizer.vocab_size} pieces, the model {start.config.vocab_size}; give a model of one run"
        )
    limit = start.config.max_position_embeddings
    whole = fit_length(resolve(settings, settings.task, start.config.hidden_size), settings, limit)
    trials = {}
    for name, (training, dev) in examples.items():
        task = find_task(name)
        head = task.head(training)
        own = fit_length(resolve(settings, name, start.config.hidden_size), settings, limit)
        task = input_spec.as_set(task, own)
        shown = choose_examples(training, whole.max_train_examples, swapped=task.unordered_pairs and whole.double_unordered)
        trials[name] = Trial(
            task=task,
            head=head,
            start=start,
            random_weights=settings.model.startswith(RANDOM),
            tokenizer=tokenizer,
            train=task.featurize(shown, tokenizer, own.max_length, head),
            dev=task.featurize(dev, tokenizer, own.max_length, head),
            dev_examples=dev,
            settings=replace(whole, max_length=own.max_length),
        )
    return trials, whole


# ---- results ----


def read_result(folder: Path) -> dict[str, Any] | None:
    """A finished seed's scores.json; None where it is not finished.

    Raises:
        UserError: it is damaged.
    """
    path = folder / "scores.json"
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["seed"], found["scores"][AVERAGE]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path} is damaged; remove the folder {folder} to train that seed again") from None
    return found


def summarize(trials: dict[str, Any], settings: FinetuneSettings, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Results of the finished seeds -> what RUN/scores.json holds."""

    def spread(values: Sequence[float]) -> dict[str, Any]:
        mean, sd = mean_and_sd(values)
        return {"mean": mean, "sd": sd, "each": [*values]}

    tasks = {}
    for name, trial in trials.items():
        scores = {metric: spread([result["scores"][name][metric] for result in results]) for metric in results[0]["scores"][name]}
        counts = {"train_examples": len({feature.example for feature in trial.train}), "dev_examples": len(trial.dev_examples)}
        tasks[name] = {"main_metric": trial.task.main_metric, **counts, "scores": scores}
    out: dict[str, Any] = {"task": settings.task, "model": settings.model, "preset": settings.preset, "mixing": settings.mixing, "tasks": tasks}
    out |= {AVERAGE: spread([result["scores"][AVERAGE] for result in results]), "best_seed": best_result(results)["seed"]}
    return out | {key: [result[key] for result in results] for key in ("seed", "steps", "tokens", "seconds", "selected_step")}


def best_result(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The seed with the highest average; the earliest of equals."""
    return max(results, key=lambda result: (result["scores"][AVERAGE], -result["seed"]))


def score_lines(summary: dict[str, Any]) -> list[str]:
    """A line per task, times a hundred."""
    lines = []
    for name, task in summary["tasks"].items():
        said = ", ".join(f"{metric} {score['mean'] * 100:.2f}" for metric, score in task["scores"].items())
        lines.append(f"{name}: {said}")
    average = summary[AVERAGE]
    spread = "" if average["sd"] is None else f" (sd {average['sd'] * 100:.2f})"
    return [*lines, f"average of the main metrics: {average['mean'] * 100:.2f}{spread}"]


def keep_best(trials: dict[str, Any], settings: FinetuneSettings, results: Sequence[dict[str, Any]]) -> None:
    """Write scores.json, move the best seed's models to RUN/best and give each its card; the other seeds' weights go."""
    from electra.finetuning.results import model_card
    from electra.train.run_log import run_environment

    summary = summarize(trials, settings, results)
    atomic.write_text(settings.output / "scores.json", json.dumps(summary, indent=1) + "\n")
    folder = settings.output / f"seed-{best_result(results)['seed']}"
    if (folder / "final").exists():
        atomic.replace_folder(folder / "final", settings.output / "best")
    for name, trial in trials.items():
        shutil.copyfile(folder / f"predictions-{name}.jsonl", settings.output / f"predictions-{name}.jsonl")
        text_pairs = int(trial.dev_examples[0].text_pair is not None)
        mine = {**summary["tasks"][name], "task": name, "seeds": summary["seed"], "text_pairs": text_pairs}
        mine |= {key: summary[key] for key in ("best_seed", "steps", "tokens", "seconds")}
        if settings.early_stopping:
            mine |= {"selected_steps": summary["selected_step"], "selection": "chosen on the dev sets by the average of all tasks"}
        others = ", ".join(other for other in trials if other != name)
        card = model_card(trial.task, trial.head, trial.settings, mine, run_environment())
        card += f"\nIts encoder was trained on this task and {others} together (mixing: {settings.mixing}); seconds and tokens are of all of them.\n"
        atomic.write_text(settings.output / "best" / name / "README.md", card)
    for result in results:
        shutil.rmtree(settings.output / f"seed-{result['seed']}" / "final", ignore_errors=True)


def prediction_rows(examples: Sequence[Example], predictions: Sequence[Prediction]) -> str:
    """JSON lines of id, label, prediction and its probability."""
    rows = []
    for example, answer in zip(examples, predictions, strict=True):
        label = example.label if example.answers is None else [item.text for item in example.answers]
        row: dict[str, Any] = {"id": example.id, "label": label, "prediction": answer.label}
        rows.append(row if answer.probability is None else {**row, "probability": round(answer.probability, 6)})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# ---- One seed of several tasks learned together: an encoder, a head per task -> trained models and their dev scores ----


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
            extra = {"finetuning_task": name} | input_spec.record(trial.task, trial.settings.max_length)
            save_checkpoint(network, target / name, labels=trial.head.labels, extra=extra)
            trial.tokenizer.save(target / name)

    best = BestEvaluation(folder, nn.ModuleDict(networks), AVERAGE, settings.early_stopping)
    objective = MultitaskObjective({name: task_objective(networks[name], trial.head) for name, trial in trials.items()})
    depth = depth_of(networks[next(iter(trials))].encoder.config.num_hidden_layers) if settings.optimizer.layerwise_lr_decay != 1.0 else None
    log = RunLog(folder, title=f"{'+'.join(trials)} seed {seed}", active=ranks.first)
    run = Run(
        objective=objective,
        stream=stream,
        settings=loop,
        optimizer=settings.optimizer,
        log=log,
        save=save,
        evaluate=evaluate,
        early_stop=best.enough,
        parameter_depth=depth,
        ranks=ranks,
    )
    result = run.train(latest_checkpoint(folder))
    if result.stopped:
        return result, None
    selected = best.restore(save) if ranks.first else None
    # As in `trial.run_seed`: the last evaluation's answers, where its weights are the ones kept.
    predictions = last if last and selected is None else {name: predict(name) for name in trials}
    finished = {"seed": seed, "scores": score(predictions), "steps": result.step, "tokens": result.tokens, "seconds": round(result.seconds, 2)}
    finished |= {"selected_step": selected, "shares": stream.shares()}
    if ranks.first:
        for name, trial in trials.items():
            atomic.write_text(folder / f"predictions-{name}.jsonl", prediction_rows(trial.dev_examples, predictions[name]))
        atomic.write_text(folder / "scores.json", json.dumps(finished, indent=1) + "\n")
        best.forget()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    ranks.wait()
    return result, finished
