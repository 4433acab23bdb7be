"""Settings -> what every seed of a fine-tuning starts from: tasks with their features, encoder, tokenizer, settings used. All checks are here."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from electra import config
from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import at_start
from electra.errors import UserError
from electra.finetuning import distillation, few_shot, retrieval
from electra.finetuning.hyperparameters import (
    CALIBRATED,
    DATA_FILE,
    RANDOM,
    check_class_weights,
    check_same_run,
    check_together,
    class_weights,
    fit_length,
    head_form,
    recorded_values,
    resolve,
    with_heads,
)
from electra.inference.backends import check_segments
from electra.inference.embeddings import read_modules
from electra.model.huggingface import Checkpoint, load_checkpoint
from electra.model.task_models import check_layers
from electra.settings import FinetuneSettings
from electra.settings.finetune import CHANGE_ON_RESUME
from electra.storage import atomic
from electra.storage.resolve import modules_folder, unused_modules
from electra.tasks import data_warnings, input_spec, question_answering
from electra.tasks.custom import resolve_metric, sorted_labels
from electra.tasks.registry import read_task, task_names
from electra.tasks.tagging import scheme_lines, with_scheme
from electra.tasks.text_tasks import choose_examples, hold_out, swapped_copies
from electra.train.checkpoint import split_global_batch
from electra.train.distributed import Ranks
from electra.train.run_log import check_loggers


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """One task of a run: its head, and its examples as features."""

    task: Task
    head: Head
    settings: FinetuneSettings
    """The run's, with this task's input spec and form of head."""
    train: Sequence[Features]
    dev: Sequence[Features]
    dev_examples: Sequence[Example]
    held_out: Sequence[Features]
    held_out_examples: Sequence[Example]
    """Training examples that are not trained on, for calibration; empty without."""
    num_train: int
    """Training examples, exchanged pairs and unlabelled texts included."""
    text_pairs: bool
    class_weights: Sequence[float] | None = None
    """In the order of the head's labels."""
    drawn_from: Sequence[Example] = ()
    """With --few-shot all training examples, and `train` is the first seed's draw until `of_seed`."""
    labelled: Sequence[Features] = ()
    """A seed's draw, which the logistic regression is fitted on."""


@dataclass(frozen=True, kw_only=True)
class FinetuneInputs:
    """What is the same for every seed."""

    settings: FinetuneSettings
    """The values used: preset, size and flags resolved."""
    recorded: Mapping[str, Any]
    """What config.toml holds."""
    start: Checkpoint
    """Where the weights come from."""
    tokenizer: Tokenizer
    tasks: Mapping[str, TaskData]
    hashes: Mapping[str, Mapping[str, str]]
    """Task -> split -> a hash of its examples."""
    warnings: Sequence[str]

    @property
    def by_name(self) -> dict[str, Task]:
        """Name -> task."""
        return {name: data.task for name, data in self.tasks.items()}

    def part(self, folder: Path, name: str) -> Path:
        """The folder of a task's model in a folder of models: the folder itself if there is one task."""
        return folder / name if len(self.tasks) > 1 else folder

    def prediction_files(self, name: str) -> list[str]:
        """Files of a task's dev predictions, in seed-N and in RUN: JSON lines and, for questions, those of the official scripts."""
        span = question_answering.PREDICTION_FILES if self.tasks[name].head.kind == "span" else ()
        if len(self.tasks) == 1:
            return ["predictions.jsonl", *span]
        return [f"predictions-{name}.jsonl", *(f"predictions-{name}/{file}" for file in span)]

    def facts(self) -> dict[str, dict[str, Any]]:
        """Task -> what scores.json holds besides its scores: main metric, numbers of examples, whether they are pairs."""
        return {
            name: {
                "main_metric": data.task.main_metric,
                "train_examples": data.num_train,
                "dev_examples": len(data.dev_examples),
                "text_pairs": int(data.text_pairs),
            }
            for name, data in self.tasks.items()
        }


def read_inputs(settings: FinetuneSettings) -> FinetuneInputs:
    """Read all files, open the model and check everything; no file of the run is written.

    Raises:
        UserError: anything wrong with the settings, the files or the model.
    """
    names = task_names(settings.task)
    check_together(settings, names)
    retrieval.check_unused(settings)
    check_loggers(settings.loop)
    if not settings.resume:
        atomic.fresh_output(settings.output, remedy="add --resume to continue it, or choose another --output")
    read = {name: read_task(name, settings) for name in names}
    heads = {name: task.head(training) for name, (task, training, _) in read.items()}
    if (settings.output / "config.toml").exists() and not (settings.output / DATA_FILE).exists() and not settings.label_columns:
        # Version 0.1 sorted the classes, whatever the data set says.
        heads = {name: replace(head, labels=tuple(sorted_labels(head.labels))) if name == "own" else head for name, head in heads.items()}
    few_shot.check(settings, heads)
    for head in heads.values():
        check_class_weights(settings.class_weights, head)
    start, tokenizer = open_start(settings.model)
    whole, own = resolve_tasks(settings, heads, start)
    if settings.task in retrieval.FITTING:
        whole = retrieval.resolve(whole, *read[settings.task][1:], start)
    specs = {name: {key: getattr(own[name], key) for key in ("max_length", *input_spec.OPTIONS)} for name in names}
    recorded = recorded_values(whole, specs)
    hashes = {name: data_hashes(training, dev) for name, (_, training, dev) in read.items()}
    if (path := settings.output / "config.toml").exists():
        known = check_same_data(settings.output, hashes)
        check_same_run(settings.output, config.read_toml(path), recorded, CHANGE_ON_RESUME - (set() if known else {"data", "train", "dev"}))
    tasks, warnings = {}, list[str]()
    if settings.task != "embed":
        warnings = pooling_lines(settings.model, start.path, {head_form("mean", head) for head in heads.values()}, whole.head)
    for name, (task, training, dev) in read.items():
        task = with_scheme(resolve_metric(task, heads[name]), training)
        task = with_chosen_metric(task, whole.metric, heads[name], dev)
        task = retrieval.with_prompts(task, whole) if name == "embed" else task
        if len(names) == 1 and not path.exists():
            input_spec.check_asked(task, settings)
        calibrate = whole.calibrate and heads[name].kind in CALIBRATED
        chosen = replace(whole, **specs[name], head=head_form(whole.head, heads[name]), calibrate=calibrate)
        tasks[name] = featurize(input_spec.as_set(task, own[name]), heads[name], training, dev, tokenizer, chosen)
        check_segments((*tasks[name].train, *tasks[name].dev), start.config.type_vocab_size)
        if heads[name].kind == "span" and chosen.head == "original":
            question_answering.check_segments(tokenizer, settings.model)
        if name == "embed":
            start = retrieval.with_layers(start, chosen, tasks[name].dev, dev, heads[name])
        warnings += start_lines(tasks[name], training, start)
        warnings += [f"{name}: not calibrated, since its answers are no classes of texts"] if whole.calibrate > calibrate else []
        found = data_warnings.data_lines(training, dev, heads[name], settings.pretraining_data)
        found += data_warnings.unknown_lines({"training set": training, "dev set": dev}, tokenizer)
        found += few_shot.lines(name, training, heads[name], whole.few_shot) if whole.few_shot else []
        warnings += found if len(names) == 1 else [at_start(f"{name}: ", line) for line in found]
    return FinetuneInputs(settings=whole, recorded=recorded, start=start, tokenizer=tokenizer, tasks=tasks, hashes=hashes, warnings=warnings)


def open_start(model: str) -> tuple[Checkpoint, Tokenizer]:
    """--model -> the checkpoint that a run starts from, and its tokenizer.

    Raises:
        UserError: they cannot be read, or are not of one model.
    """
    start = load_checkpoint(model.removeprefix(RANDOM), "encoder")
    tokenizer = load_tokenizer(start.path)
    if tokenizer.vocab_size > start.config.vocab_size:
        sizes = f"its tokenizer has {tokenizer.vocab_size} tokens, its model {start.config.vocab_size}"
        raise UserError(f"{start.path}: {sizes}; give a checkpoint whose tokenizer and model are of one run")
    return start, tokenizer


def resolve_tasks(settings: FinetuneSettings, heads: Mapping[str, Head], start: Checkpoint) -> tuple[FinetuneSettings, dict[str, FinetuneSettings]]:
    """Settings as given -> those of the run, and of each of its tasks, which has its own input spec.

    Raises:
        UserError: settings that fit neither the model nor the tasks' heads.
    """

    def resolved(name: str) -> FinetuneSettings:
        fitting = fit_length(resolve(settings, name, start.config.hidden_size), settings, start.config.max_position_embeddings)
        return retrieval.with_length(fitting, settings, start)

    own = {name: resolved(name) for name in heads}
    whole = resolved(settings.task) if len(own) > 1 else next(iter(own.values()))
    whole = with_heads(whole, settings, heads)
    few_shot.check(whole, heads)
    check_layers(whole.freeze_layers, start.config.num_hidden_layers)
    return whole, own


def start_lines(data: TaskData, training: Sequence[Example], start: Checkpoint) -> list[str]:
    """What a task is trained from, on and with: the encoder and the new head, or the loss; the tags' scheme; texts that are cut; class weights."""
    task, head, chosen = data.task, data.head, data.settings
    lines = [retrieval.describe(chosen, training)] if task.name in retrieval.FITTING else []
    if task.name != "embed":
        lines.append(data_warnings.start_line(chosen.model, start.hf_config, task, head, chosen.head))
    lines += scheme_lines(task, head)
    lines += retrieval.cut_lines(data.train, chosen.max_length) if task.name in retrieval.FITTING else []
    if weights := data.class_weights:
        shown = ", ".join(f"{label} {weight:.4g}" for label, weight in zip(head.labels[:20], weights, strict=False))
        lines.append(f"{task.name}: class weights: {shown}{', ...' if len(weights) > 20 else ''}")
    return lines


def with_chosen_metric(task: Task, metric: str | None, head: Head, dev: Sequence[Example]) -> Task:
    """The task with --metric as its main metric.

    Raises:
        UserError: it is not computed for this task, or is an error, which is best where it is lowest.
    """
    if metric is None:
        return task
    if head.kind not in ("classification", "multilabel", "regression", "tagging"):
        raise UserError(f"--metric {metric}: {task.name} is always chosen by {task.main_metric}; leave it out")
    right = [Prediction(label="" if example.label is None else example.label) for example in dev]
    known = [name for name in task.score(dev, right, head) if not name.endswith("error")]
    if metric not in known:
        raise UserError(f"--metric {metric}: {task.name} has no such metric; known: {', '.join(known)}")
    return replace(task, main_metric=metric)


def examples_hash(examples: Sequence[Example]) -> str:
    """SHA-256 of all that is read of a split."""
    found = hashlib.sha256()
    for e in examples:
        found.update(repr((e.id, e.text, e.text_pair, e.negatives, e.scores, e.label, e.words, e.answers)).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def data_hashes(training: Sequence[Example], dev: Sequence[Example]) -> dict[str, str]:
    """Split -> the hash of its examples, as a run records them."""
    return {"train": examples_hash(training), "dev": examples_hash(dev)}


def check_same_data(run: Path, hashes: Mapping[str, Mapping[str, str]]) -> bool:
    """Check that a run that is resumed began with the same examples -> whether it says with which (not in version 0.1).

    Raises:
        UserError: it began with others.
    """
    if not (file := run / DATA_FILE).exists():
        return False
    before = atomic.read_json(file, dict)
    for name, splits in hashes.items():
        for split, found in splits.items():
            known = before.get(name)
            if isinstance(known, dict) and known.get(split, found) != found:
                raise UserError(f"{run} began with other {split} examples of {name}: give the files it began with, or choose another --output")
    return True


def pooling_lines(model: str, encoder: Path, possible: Collection[str], head: str) -> list[str]:
    """What becomes of the pooling of a model with modules of sentence-transformers, under a head of the `possible` forms; empty for others."""
    lines = list(unused_modules(model, encoder))
    try:
        mean = bool(lines) and read_modules(modules_folder(model, encoder)).pooling.modes == ("mean",)
    except UserError:  # modules that are not computed here, and not used
        mean = False
    if not mean or "mean" not in possible:
        return lines
    if head == "mean":
        return [f"{model} is a sentence encoder (modules.json): the head reads the mean of all states, as its vectors do"]
    return [f"{line}; --head mean reads the mean that it was trained for" for line in lines]


def featurize(
    task: Task, head: Head, training: Sequence[Example], dev: Sequence[Example], tokenizer: Tokenizer, settings: FinetuneSettings
) -> TaskData:
    """A task's examples as the network reads them; `settings` are the run's with this task's input spec."""
    chosen = choose_examples(training, settings.max_train_examples, swapped=False)
    if settings.few_shot:
        chosen = few_shot.draw(training, head, settings.few_shot, settings.loop.seed)
    held_out: list[Example] = []
    if settings.calibrate:
        chosen, held_out = hold_out(chosen)
    if task.unordered_pairs and settings.double_unordered and not settings.few_shot:
        chosen = [*chosen, *swapped_copies(chosen)]
    shown, features = distillation.featurize(task, chosen, tokenizer, head, settings)
    return TaskData(
        task=task,
        head=head,
        settings=settings,
        train=features,
        dev=task.featurize(dev, tokenizer, settings.max_length, head),
        dev_examples=dev,
        held_out=task.featurize(held_out, tokenizer, settings.max_length, head) if held_out else (),
        held_out_examples=held_out,
        num_train=len(shown),
        text_pairs=shown[0].text_pair is not None,
        class_weights=class_weights(settings.class_weights, head, features),
        drawn_from=training if settings.few_shot else (),
    )


def of_seed(data: TaskData, tokenizer: Tokenizer, seed: int) -> TaskData:
    """The same with what a seed trains on: with --few-shot its own draw, or the pairs of it; else as it is."""
    chosen = data.settings
    if chosen.few_shot is None:
        return data
    drawn = few_shot.draw(data.drawn_from, data.head, chosen.few_shot, seed)
    labelled = data.task.featurize(drawn, tokenizer, chosen.max_length, data.head)
    return replace(data, labelled=labelled, train=few_shot.pairs(labelled, seed) if chosen.few_shot_method == "contrastive" else labelled)


def for_ranks(inputs: FinetuneInputs, ranks: Ranks) -> FinetuneInputs:
    """The same with the batch of each of the ranks that train together.

    Raises:
        UserError: a global batch that cannot be split, more ranks than examples, or a sharded model.
    """
    settings = inputs.settings
    if settings.loop.parallel == "fsdp":
        raise UserError("--parallel fsdp is for pre-training; fine-tune with ddp")
    for name, data in inputs.tasks.items():
        if len(data.train) < ranks.world_size:
            raise UserError(f"{name} has {len(data.train)} training examples, fewer than the {ranks.world_size} ranks; start fewer ranks")
    return replace(inputs, settings=replace(settings, loop=split_global_batch(settings.loop, None, ranks.world_size)))
