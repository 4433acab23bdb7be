"""Settings -> everything that can be checked or measured before long work: methods, task, vocabulary, the checkpoint's shape, speeds, the plan."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from electra import config
from electra.command_runner import call
from electra.contracts import BatchStream, Example, Features, Head, Task
from electra.data.shards import open_shards, same_vocabulary
from electra.data.task_batches import FeatureStream
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError, did_you_mean, require
from electra.finetuning.baselines import baseline_scores
from electra.finetuning.hyperparameters import fit_length, resolve
from electra.model import pretraining_models
from electra.model.encoder import Encoder
from electra.model.huggingface import load_checkpoint, with_dropout
from electra.model.task_models import task_network, task_objective
from electra.pretraining.dry_run import RandomStream, VocabularySize
from electra.pretraining.setup import initial_objective
from electra.recipes.ablation import plan
from electra.recipes.ablation.plan import AblationPlan, FinetuneCost, Method, PhaseCost, TaskPlan, examples_per_step, find_methods, flops_per_step
from electra.settings import AblateSettings, FinetuneSettings, ModelSettings, PretrainSettings
from electra.settings.pretrain import LANGUAGE_MODELS, GeneratorWarmUp
from electra.storage import atomic
from electra.storage import resolve as hub
from electra.tasks.imdb import as_document, check_reviews, hold_out, read_unlabelled, to_csv
from electra.tasks.registry import CUSTOM, find_task
from electra.tasks.text_tasks import choose_examples
from electra.terminal import say
from electra.train import distributed
from electra.train.distributed import Ranks
from electra.train.run_log import check_loggers
from electra.train.timing import time_updates

# ---- data ----

HELD_OUT = "0.5%"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A task of the fine-tuning and all its examples."""

    task: Task
    place: Path
    head: Head
    train: list[Example]
    dev: list[Example]
    finetuning: FinetuneSettings
    """The hyper-parameters of every fine-tuning."""

    @property
    def can_shrink(self) -> bool:
        """Whether fewer dev examples than all may be scored: IMDb's 25,000 reviews would take longer than a short training."""
        return self.task.name == "imdb"


def open_tasks(settings: AblateSettings, model: ModelSettings) -> list[Labelled]:
    """All examples of every task.

    Raises:
        UserError: an unknown task, one that is not a classification, files that cannot be read, or not one folder for each task.
    """
    names = settings.task or ("imdb" if settings.variant == "imdb" else "sst2",)
    if len(set(names)) != len(names):
        raise UserError(f"--task {' '.join(names)}: give each task once")
    places = settings.task_data
    if not places and names == ("imdb",) and settings.variant == "imdb":
        places = (Path(settings.data[0]),)
    if len(places) != len(names):
        missing = f"{len(places) or 'no'} folder{'s' if len(places) > 1 else ''} for the task{'s' if len(names) > 1 else ''} {', '.join(names)}"
        raise UserError(f"{missing}: give --task-data DIR, the folder with a task's files, for each")
    return [open_task(name, place, settings, model) for name, place in zip(names, places, strict=True)]


def open_task(name: str, place: Path, settings: AblateSettings, model: ModelSettings) -> Labelled:
    """All examples of one task.

    Raises:
        UserError: as `open_tasks`.
    """
    task = find_task(name)
    if task.name in CUSTOM:
        raise UserError(f"--task {task.name} needs files that you name; give a task with a data folder, such as sst2 or imdb")
    train, dev = task.read(place, "train"), task.read(place, "dev")
    head = task.head(train)
    if head.kind != "classification":
        raise UserError(f"--task {task.name} is {head.kind}; the ablation supports classification of one label per text, such as sst2 or imdb")
    preset = settings.finetune_preset or ("mini" if model.hidden_size < 256 else "paper")
    given: FinetuneSettings = config.build(FinetuneSettings, {"task": task.name, "model": "", "output": ".", "preset": preset})
    given = replace(given, loop=replace(given.loop, precision=settings.precision))
    finetuning = fit_length(resolve(given, task.name, model.hidden_size), given, model.max_position_embeddings)
    return Labelled(task=task, place=place, head=head, train=train, dev=dev, finetuning=finetuning)


def known_tokenizer(settings: AblateSettings) -> Tokenizer | None:
    """The tokenizer, unless it has yet to be trained.

    Raises:
        UserError: no such shards or checkpoint, or shards of different vocabularies.
    """
    if settings.init is not None:
        return load_tokenizer(hub.resolve(settings.init))
    if settings.variant == "scratch":
        return load_tokenizer(open_shards(settings.data[0]).tokenizer_path)
    made = settings.output / "vocab"
    return load_tokenizer(made) if made.exists() else None


def shard_folders(settings: AblateSettings) -> tuple[str, ...]:
    """The tokenized text that every method pre-trains on."""
    return settings.data if settings.variant == "scratch" else (str(settings.output / "shards"),)


def make_shards(settings: AblateSettings, vocab_size: int) -> None:
    """IMDb's unlabelled reviews -> text -> vocabulary (unless a checkpoint brings one) -> tokenized text; what exists is kept."""
    folder = settings.output
    text, vocab, shards = folder / "text.txt", folder / "vocab", folder / "shards"
    if not text.exists():
        reviews = read_unlabelled(Path(settings.data[0]))
        atomic.write_text(text, "".join(f"{as_document(review)}\n\n" for review in reviews))
    if settings.init is None and not (vocab / "tokenizer_config.json").exists():
        shutil.rmtree(vocab, ignore_errors=True)
        call("vocab", text, "--size", vocab_size, "--documents", "blank-line", "--output", vocab)
    if not (shards / "manifest.json").exists():
        call("prepare", text, "--tokenizer", settings.init or vocab, "--held-out", HELD_OUT, "--documents", "blank-line", "--output", shards)


def describe_shards(settings: AblateSettings) -> dict[str, Any]:
    """How much there is to pre-train on."""
    opened = [open_shards(path) for path in shard_folders(settings)]
    return {"tokens": sum(shards.num_tokens for shards in opened), "vocab_size": load_tokenizer(opened[0].tokenizer_path).vocab_size}


def make_start(settings: AblateSettings, method: Method) -> Path:
    """OUTPUT/start: a checkpoint with random weights, for the row without pre-training."""
    folder = settings.output / "start"
    if not folder.exists():
        tokenizer_path = open_shards(shard_folders(settings)[0]).tokenizer_path
        objective = initial_objective(method.settings, load_tokenizer(tokenizer_path))
        with atomic.atomic_folder(folder) as temporary:
            pretraining_models.save(objective, temporary, tokenizer=tokenizer_path, card="Random weights: the shape of an ablation's networks.\n")
    return folder


def fewer(labelled: Labelled, num_train: int, num_dev: int) -> tuple[list[Example], list[Example]]:
    """The same random sample for every fine-tuning: of the training examples, and of the dev examples an equal fraction of each class."""
    train = choose_examples(labelled.train, num_train, swapped=False)
    dev = labelled.dev
    if num_dev < len(dev):
        _, dev = hold_out(dev, num_dev / len(dev), 17)
    return train, dev


def write_labelled(labelled: Labelled, sizes: TaskPlan, output: Path, part: str = "") -> None:
    """Write a task's baselines.json, and for IMDb OUTPUT/sentiment with the sampled reviews; `part` is in the name of several tasks' files."""
    train, dev = fewer(labelled, sizes.num_train, sizes.num_dev)
    if labelled.can_shrink:
        place = output / "sentiment"
        if not (place / "dev.csv").exists():
            atomic.write_text(place / "train.csv", to_csv(train))
            atomic.write_text(place / "dev.csv", to_csv(dev))
    if not (file := output / f"baselines{part}.json").exists():
        scores = baseline_scores(labelled.task, train, dev, labelled.head)
        found = {name: score[labelled.task.main_metric] for name, score in scores.items()}
        atomic.write_text(file, json.dumps(found, indent=1) + "\n")


def token_lengths(examples: Sequence[Example], tokenizer: Tokenizer | None, max_length: int) -> list[int]:
    """Lengths in tokens of a sample of examples; without a vocabulary yet, 1.3 tokens a word."""
    some = examples[:: max(1, len(examples) // 512)][:512]
    texts = [example.text if example.text_pair is None else f"{example.text} {example.text_pair}" for example in some]
    counts = [len(ids) for ids in tokenizer.encode(texts)] if tokenizer is not None else [round(1.3 * len(text.split())) for text in texts]
    return [max(3, min(max_length, count + 2)) for count in counts]


# ---- checks ----

VARIANTS = ("scratch", "imdb")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A valid ablation."""

    settings: AblateSettings
    methods: list[Method]
    tasks: list[Labelled]
    tokenizer: Tokenizer | None
    """None where it has yet to be trained."""
    vocab_size: int


def check(settings: AblateSettings) -> Checked:
    """Validate the settings; nothing is written.

    Raises:
        UserError: names the value, the place and the remedy.
    """
    if settings.variant not in VARIANTS:
        raise UserError(f"unknown ablation '{settings.variant}'; {did_you_mean(settings.variant, VARIANTS)}")
    if (steps := settings.num_train_steps) is not None and steps < 2 * settings.points:
        raise UserError(f"--num-train-steps {steps}: expected at least {2 * settings.points}, two for each of --points {settings.points}")
    check_data(settings)
    if settings.resume:
        plan.check_same(settings)
    elif not settings.dry_run:
        atomic.fresh_output(settings.output, remedy="continue with --resume, or choose another --output")
    for package in ("sklearn", "scipy.stats", "matplotlib"):
        require(package, "train")
    check_loggers(settings)
    if settings.init_mlm is not None:
        check_same_shape(settings)
    methods = find_methods(settings)
    tokenizer = known_tokenizer(settings)
    return Checked(
        settings=settings,
        methods=methods,
        tasks=open_tasks(settings, methods[0].settings.model),
        tokenizer=tokenizer,
        vocab_size=tokenizer.vocab_size if tokenizer is not None else methods[0].settings.data.vocab_size,
    )


def check_data(settings: AblateSettings) -> None:
    """The data and the initial checkpoints.

    Raises:
        UserError: missing, not of this variant, or of different vocabularies.
    """
    if not settings.data:
        what = "SHARDS, folders made by 'electra prepare'" if settings.variant == "scratch" else "aclImdb, the folder or its archive"
        raise UserError(f"no data: give --data {what}")
    if settings.variant == "scratch":
        if settings.init or settings.init_mlm:
            raise UserError("'scratch' starts from random weights, so it takes no --init; leave it out, or use 'electra ablate imdb'")
        shards = {path: open_shards(path) for path in settings.data}
        same_vocabulary(shards)
        for each in shards.values():
            # Opened now, so that a damaged one is reported before anything is written.
            each.split("train"), each.split("held_out")
        return
    if len(settings.data) > 1:
        raise UserError(f"--data has {len(settings.data)} places; imdb takes one, aclImdb or its archive")
    check_reviews(Path(settings.data[0]))
    if settings.init_mlm and not settings.init:
        raise UserError("--init-mlm needs --init: the one is BERT's initial checkpoint, the other ELECTRA's; give --init, too")


def check_same_shape(settings: AblateSettings) -> None:
    """Raise a UserError if --init or --init-mlm is not a checkpoint, or they have different shapes or vocabularies."""
    assert settings.init is not None and settings.init_mlm is not None
    found, other = load_checkpoint(settings.init), load_checkpoint(settings.init_mlm)
    if not pretraining_models.same_shape(other.config, found.config):
        raise UserError(f"--init-mlm {settings.init_mlm} has another shape than --init {settings.init}; give two of the same size")
    if load_tokenizer(other.path).pieces != load_tokenizer(found.path).pieces:
        raise UserError(f"--init-mlm {settings.init_mlm} has another vocabulary than --init {settings.init}; give two of the same")


def with_vocabulary(checked: Checked) -> Checked:
    """The same, once the vocabulary was trained."""
    tokenizer = known_tokenizer(checked.settings)
    assert tokenizer is not None
    return replace(checked, tokenizer=tokenizer, vocab_size=tokenizer.vocab_size)


# ---- speeds ----

ROUNDS = 2
"""Every kind of update is timed this often, in turns, so that a machine that slows down affects all of them alike."""
SECONDS = 6.0
"""Of each turn."""
FIXED_SECONDS = 3.0
"""Of a fine-tuning: opening files and checkpoint, writing the model."""
FEATURES_PER_SECOND = 4000.0
"""Examples tokenized, about, on one core with a warm cache."""


def make_plan(checked: Checked, setup_seconds: float) -> AblationPlan:
    """Time updates -> the plan; `setup_seconds` of the budget are already spent.

    Raises:
        UserError: the budget is too short for the smallest lengths.
    """
    settings, begun = checked.settings, time.monotonic()
    timed = [*(method.name for method in checked.methods), *(f"fine-tuning on {each.task.name}" for each in checked.tasks)]
    say(f"timing updates: {', '.join(timed)}")
    with distributed.join(settings.device, settings.threads) as ranks:
        costs = time_phases(checked.methods, checked.vocab_size, ranks)
        measured = {labelled.task.name: time_finetuning(labelled, checked, ranks) for labelled in checked.tasks}
    finetuning = []
    for each in checked.tasks:
        num_train = min(len(each.train), settings.max_train_examples or len(each.train))
        cost = FinetuneCost(**measured[each.task.name], num_train=num_train, num_dev=len(each.dev), dev_can_shrink=each.can_shrink)
        finetuning.append(cost)
    setup_seconds += time.monotonic() - begun
    per_step = plan.seconds_per_step(checked.methods, costs, settings)
    num_steps, tasks = plan.split_budget(settings, per_step, finetuning, len(plan.starts(settings)), setup_seconds)
    return AblationPlan(
        runs=plan.make_runs(checked.methods, costs, num_steps, settings),
        tasks=tasks,
        finetune_preset=str(checked.tasks[0].finetuning.preset),
        vocab_size=checked.vocab_size,
        speeds=as_record(costs, measured),
        setup_seconds=setup_seconds,
    )


def time_phases(methods: Sequence[Method], vocab_size: int, ranks: Ranks) -> dict[str, list[PhaseCost]]:
    """Every phase of every method, on random ids of full length -> its cost; the same network with the same objective is timed once."""
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        timed = set()
        for method in methods:
            for settings, _ in method.phase_shares():
                if (key := _key(settings)) not in timed:
                    timed.add(key)
                    found.setdefault(key, []).append(time_update(settings, vocab_size, ranks))
    return {
        method.name: [
            PhaseCost(
                share=share,
                flops=flops_per_step(settings, vocab_size),
                seconds=float(np.mean(found[_key(settings)])),
                trains_encoder=not isinstance(settings, GeneratorWarmUp),
            )
            for settings, share in method.phase_shares()
        ]
        for method in methods
    }


def _key(settings: PretrainSettings) -> str:
    """What an update's time depends on."""
    model = config.to_values(settings.model)
    objective = settings.objective
    if objective.objective in LANGUAGE_MODELS:
        model = {name: value for name, value in model.items() if not name.startswith("generator")}
    return repr((model, objective.objective, objective.mask_prob, settings.data.sequence_length, examples_per_step(settings)))


def time_update(settings: PretrainSettings, vocab_size: int, ranks: Ranks) -> float:
    """Seconds of one update of pre-training."""
    pieces, length = VocabularySize(vocab_size=vocab_size), settings.data.sequence_length
    objective = initial_objective(settings, pieces)
    timing = time_updates(
        objective.to(ranks.device), lambda size: RandomStream(pieces, length, size, 1), settings.loop, settings.optimizer, ranks, SECONDS
    )
    return timing.seconds_per_update * examples_per_step(settings) / (settings.loop.batch_size * settings.loop.accumulation)


def time_finetuning(labelled: Labelled, checked: Checked, ranks: Ranks) -> dict[str, float]:
    """Seconds per training example (all epochs) and per dev example: a forward pass is a third of an update."""
    settings, head, vocab_size = labelled.finetuning, labelled.head, checked.vocab_size
    lengths = token_lengths(labelled.train, checked.tokenizer, settings.max_length)
    shape = pretraining_models.discriminator_config(checked.methods[0].settings.model, vocab_size)
    network = task_network(Encoder(with_dropout(shape, settings.dropout)), head, settings.head)
    rng = np.random.default_rng(1)
    features = [
        Features(ids=rng.integers(5, vocab_size, length), segments=np.zeros(length, np.int64), example=i, label=i % len(head.labels))
        for i, length in enumerate(lengths)
    ]

    def open_stream(size: int) -> BatchStream:
        return FeatureStream(features, size, 1)

    optimizer = replace(settings.optimizer, layerwise_lr_decay=1.0)
    timing = time_updates(task_objective(network, head).to(ranks.device), open_stream, settings.loop, optimizer, ranks, SECONDS)
    each = timing.seconds_per_update / (settings.loop.batch_size * settings.loop.accumulation)
    reading = 1 / FEATURES_PER_SECOND
    return {"per_train_example": settings.epochs * each + reading, "per_dev_example": each / 3 + reading, "fixed": FIXED_SECONDS}


def as_record(costs: dict[str, list[PhaseCost]], finetuning: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The measurements in plan.json."""
    rows = {name: [{"share": s.share, "flops_per_step": s.flops, "seconds_per_step": s.seconds} for s in found] for name, found in costs.items()}
    return {"pretraining": rows, "finetuning": finetuning}
